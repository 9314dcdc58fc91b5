use dissect::DissectError;

use crate::wire::{Names, Package, PackageType, accepted, end};
use crate::{Field, Fields, Message, Recipe, Session, Variable, Version};

/// A package toward the plant, read with the session.
/// Source: the guide, one section a package; facts that differ by version stand with the variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'a> {
    /// `V`: whether the version asked for is in force from here on.
    ProtocolVersion {
        /// Yes or no.
        accepted: bool,
    },
    /// `v`: the controller's version.
    ControllerVersion {
        /// First number, 5 in 5.12.3.
        major: u32,
        /// Second number, 12 in 5.12.3.
        minor: u32,
        /// Third number, 3 in 5.12.3.
        bugfix: u32,
        /// Build number.
        build: u32,
    },
    /// `M`: a text for the client.
    Message(Message<'a>),
    /// `O`: the types of the output recipe, one a name, in order.
    SetupOutputs {
        /// Recipe id that data packages will carry; absent in version 1.
        recipe_id: Option<u8>,
        /// Type names, `NOT_FOUND` among them.
        types: Names<'a>,
    },
    /// `I`: the types of an input recipe, one a name, in order; the same in both versions.
    SetupInputs {
        /// Recipe id for the client's data packages; 0 is no recipe.
        recipe_id: u8,
        /// Type names, `NOT_FOUND` and `IN_USE` among them.
        types: Names<'a>,
    },
    /// `S`: whether data flows.
    Start {
        /// Yes or no.
        accepted: bool,
    },
    /// `P`: whether data rests.
    Pause {
        /// Yes or no.
        accepted: bool,
    },
    /// `U`: what the robot measures.
    Data(OutputData<'a>),
}

/// A data package toward the plant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputData<'a> {
    /// Recipe id; absent in version 1.
    pub recipe_id: Option<u8>,
    /// The recipe; absent where its set-up was not seen, or where the id is another one's.
    pub recipe: Option<Recipe<'a>>,
    /// The values, packed.
    pub values: &'a [u8],
}

impl<'a> OutputData<'a> {
    /// The fields in order; none without a recipe. A BOOL byte other than 0 is true.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        self.recipe.map_or_else(Fields::none, |recipe| recipe.fields(self.values))
    }

    /// The field of `variable`, the first if it was asked for twice.
    #[must_use]
    pub fn field(&self, variable: Variable) -> Option<Field> {
        self.fields().find(|field| field.variable == variable)
    }
}

impl<'a> Reply<'a> {
    /// Reads a package toward the plant with what the session knows.
    ///
    /// # Errors
    /// Offsets count from the start of the payload. A payload whose length or content its type does not allow in the
    /// version in force; values that are longer or shorter than their known recipe.
    pub fn read(package: &Package<'a>, session: &'a Session) -> Result<Self, DissectError> {
        let mut reply = Self::parse(package, session.version())?;
        if let Self::Data(data) = &mut reply {
            data.recipe = session.output_recipe().filter(|_| data.recipe_id.is_none_or(|id| session.output_id() == id));
            if let Some(size) = data.recipe.map(|recipe| recipe.size()) {
                let before = usize::from(data.recipe_id.is_some());
                if data.values.len() < size {
                    return Err(DissectError::truncated("values of the recipe", before, size, data.values.len()));
                }
                if data.values.len() > size {
                    return Err(DissectError::malformed("values of the recipe", size.saturating_add(before)));
                }
            }
        }
        Ok(reply)
    }

    /// Reads a package without recipes.
    pub(crate) fn parse(package: &Package<'a>, version: Version) -> Result<Self, DissectError> {
        let mut reader = package.reader();
        let reply = match package.kind {
            PackageType::RequestProtocolVersion => Self::ProtocolVersion { accepted: accepted(&mut reader)? },
            PackageType::ControllerVersion => Self::ControllerVersion {
                major: reader.u32("major version")?,
                minor: reader.u32("minor version")?,
                bugfix: reader.u32("bugfix version")?,
                build: reader.u32("build number")?,
            },
            PackageType::TextMessage => return Message::read(package, version).map(Self::Message),
            PackageType::SetupOutputs => {
                let recipe_id = match version {
                    Version::V1 => None,
                    Version::V2 => Some(reader.u8("recipe id")?),
                };
                Self::SetupOutputs { recipe_id, types: Names::read(&mut reader, "output types")? }
            }
            PackageType::SetupInputs => Self::SetupInputs {
                recipe_id: reader.u8("recipe id")?,
                types: Names::read(&mut reader, "input types")?,
            },
            PackageType::Start => Self::Start { accepted: accepted(&mut reader)? },
            PackageType::Pause => Self::Pause { accepted: accepted(&mut reader)? },
            PackageType::Data => {
                let recipe_id = match version {
                    Version::V1 => None,
                    Version::V2 => Some(reader.u8("recipe id")?),
                };
                return Ok(Self::Data(OutputData { recipe_id, recipe: None, values: reader.rest() }));
            }
        };
        end(&reader, "payload length")?;
        Ok(reply)
    }

    /// Which package it is.
    #[must_use]
    pub const fn kind(&self) -> PackageType {
        match self {
            Self::ProtocolVersion { .. } => PackageType::RequestProtocolVersion,
            Self::ControllerVersion { .. } => PackageType::ControllerVersion,
            Self::Message(_) => PackageType::TextMessage,
            Self::SetupOutputs { .. } => PackageType::SetupOutputs,
            Self::SetupInputs { .. } => PackageType::SetupInputs,
            Self::Start { .. } => PackageType::Start,
            Self::Pause { .. } => PackageType::Pause,
            Self::Data(_) => PackageType::Data,
        }
    }
}
