use dissect::DissectError;

use crate::wire::{MAX_NAMES, Names, Package, PackageType, end};
use crate::{Fields, Message, Recipe, Session, Version};

/// A package toward the robot, read with the session.
/// Source: the guide, one section a package; facts that differ by version stand with the variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request<'a> {
    /// `V`: asks for this protocol version; 1 and 2 exist, a controller refuses others.
    ProtocolVersion(u16),
    /// `v`: asks for the controller's version.
    ControllerVersion,
    /// `M`: a text for the controller's log.
    Message(Message<'a>),
    /// `O`: which variables the client wants to read; replaces the connection's output recipe.
    SetupOutputs {
        /// How often, in hertz, always finite; absent in version 1, where the controller sends as fast as it can.
        frequency_hz: Option<f64>,
        /// What the client wants to read.
        names: Names<'a>,
    },
    /// `I`: which variables the client wants to write; makes one more input recipe.
    SetupInputs {
        /// What the client wants to write.
        names: Names<'a>,
    },
    /// `S`: let data flow.
    Start,
    /// `P`: let data rest.
    Pause,
    /// `U`: the one package that writes.
    Data(InputData<'a>),
}

/// A data package toward the robot: recipe id and packed values, in both versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputData<'a> {
    /// Recipe id, 1 to 255.
    pub recipe_id: u8,
    /// The recipe; absent where its set-up was not seen, was refused or is not answered yet. Such values can't be
    /// named, so nothing that depends on them may be allowed.
    pub recipe: Option<Recipe<'a>>,
    /// The values, packed.
    pub values: &'a [u8],
}

impl<'a> InputData<'a> {
    /// The fields in order; none without a recipe.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        self.recipe.map_or_else(Fields::none, |recipe| recipe.fields(self.values))
    }
}

impl<'a> Request<'a> {
    /// Reads a package toward the robot with what the session knows.
    ///
    /// # Errors
    /// Offsets count from the start of the payload. A payload whose length or content its type does not allow: names
    /// longer than [`MAX_NAMES`] or with characters that no name has, a frequency that is no number, values that are
    /// longer or shorter than their known recipe, a BOOL that is neither 0 nor 1. A package whose layout depends on the
    /// version while a version request is unanswered.
    pub fn read(package: &Package<'a>, session: &'a Session) -> Result<Self, DissectError> {
        let mut request = Self::parse(package, session.request_version())?;
        if let Self::Data(data) = &mut request {
            data.recipe = session.recipe(data.recipe_id);
            if let Some(recipe) = data.recipe {
                check_values(&recipe, data.values)?;
            }
        }
        Ok(request)
    }

    /// Reads a package without recipes; `version` is none while a version request is unanswered.
    pub(crate) fn parse(package: &Package<'a>, version: Option<Version>) -> Result<Self, DissectError> {
        // Nobody is known to send these before the answer; guessing would judge another list than the robot reads.
        let in_force = || version.ok_or(DissectError::unsupported("protocol version still unanswered", 0));
        let mut reader = package.reader();
        let request = match package.kind {
            PackageType::RequestProtocolVersion => Self::ProtocolVersion(reader.u16("protocol version")?),
            PackageType::ControllerVersion => Self::ControllerVersion,
            PackageType::TextMessage => return Message::read(package, in_force()?).map(Self::Message),
            PackageType::SetupOutputs => {
                let frequency_hz = match in_force()? {
                    Version::V1 => None,
                    Version::V2 => Some(reader.f64("output frequency")?),
                };
                if frequency_hz.is_some_and(|frequency| !frequency.is_finite()) {
                    return Err(DissectError::malformed("output frequency", 0));
                }
                check_length(reader.rest(), reader.offset())?;
                Self::SetupOutputs { frequency_hz, names: Names::read(&mut reader, "output names")? }
            }
            PackageType::SetupInputs => {
                check_length(reader.rest(), 0)?;
                Self::SetupInputs { names: Names::read(&mut reader, "input names")? }
            }
            PackageType::Start => Self::Start,
            PackageType::Pause => Self::Pause,
            PackageType::Data => {
                let recipe_id = reader.u8("recipe id")?;
                return Ok(Self::Data(InputData { recipe_id, recipe: None, values: reader.rest() }));
            }
        };
        end(&reader, "payload length")?;
        Ok(request)
    }

    /// Which package it is.
    #[must_use]
    pub const fn kind(&self) -> PackageType {
        match self {
            Self::ProtocolVersion(_) => PackageType::RequestProtocolVersion,
            Self::ControllerVersion => PackageType::ControllerVersion,
            Self::Message(_) => PackageType::TextMessage,
            Self::SetupOutputs { .. } => PackageType::SetupOutputs,
            Self::SetupInputs { .. } => PackageType::SetupInputs,
            Self::Start => PackageType::Start,
            Self::Pause => PackageType::Pause,
            Self::Data(_) => PackageType::Data,
        }
    }
}

/// A controller that cuts a longer list might end it inside a register's number and name another register.
fn check_length(names: &[u8], offset: usize) -> Result<(), DissectError> {
    if names.len() > MAX_NAMES { Err(DissectError::forbidden("length of names", offset)) } else { Ok(()) }
}

fn check_values(recipe: &Recipe<'_>, values: &[u8]) -> Result<(), DissectError> {
    if values.len() < recipe.size() {
        return Err(DissectError::truncated("values of the recipe", 1, recipe.size(), values.len()));
    }
    if values.len() > recipe.size() {
        return Err(DissectError::malformed("values of the recipe", recipe.size().saturating_add(1)));
    }
    // One controller may test for zero, another for the lowest bit: only 0 and 1 mean the same to both.
    match recipe.odd_bool(values) {
        Some(offset) => Err(DissectError::malformed("BOOL", offset.saturating_add(1))),
        None => Ok(()),
    }
}
