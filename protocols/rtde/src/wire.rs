use dissect::{DissectError, Step, Toward};

use crate::{DataType, Recipe, Session, Value, Variable};

/// The type byte of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "skeleton")]
pub enum PackageType {
    RequestProtocolVersion = b'V',
    ControllerVersion = b'v',
    TextMessage = b'M',
    SetupOutputs = b'O',
    SetupInputs = b'I',
    Start = b'S',
    Pause = b'P',
    Data = b'U',
}

/// One framed package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package<'a> {
    /// The type byte.
    pub kind: PackageType,
    /// Bytes after the three of the header.
    pub payload: &'a [u8],
}

impl<'a> Package<'a> {
    /// Looks for one package at the start of `bytes`.
    ///
    /// # Errors
    /// Size below 3, a type unknown in this direction, or a size beyond the direction's limit.
    pub fn step(bytes: &'a [u8], toward: Toward) -> Result<Step<Self>, DissectError> {
        let _ = (bytes, toward);
        Err(DissectError::unsupported("skeleton", 0))
    }
}

/// Comma-separated variable names; a trailing comma is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a>(pub &'a [u8]);

impl<'a> Names<'a> {
    /// The names in order, blanks trimmed, empty ones left out.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
    }
}

/// A package toward the robot, read with the session.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// `V`.
    ProtocolVersion(u16),
    /// `v`.
    ControllerVersion,
    /// `M`.
    Message(&'a [u8]),
    /// `O`.
    SetupOutputs {
        /// Absent in version 1.
        frequency_hz: Option<f64>,
        /// What the client wants to read.
        names: Names<'a>,
    },
    /// `I`.
    SetupInputs {
        /// What the client wants to write.
        names: Names<'a>,
    },
    /// `S`.
    Start,
    /// `P`.
    Pause,
    /// `U`: the one package that writes.
    Data(InputData<'a>),
}

/// A data package toward the robot.
#[derive(Clone, Copy, Debug)]
pub struct InputData<'a> {
    /// Recipe id, 1 to 255.
    pub recipe_id: u8,
    /// The recipe; absent where its set-up was not seen or was refused.
    pub recipe: Option<Recipe<'a>>,
    /// The values, packed.
    pub values: &'a [u8],
}

/// One field of a data package.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Which variable.
    pub variable: Variable,
    /// Its type.
    pub data_type: DataType,
    /// Its value.
    pub value: Value,
}

impl InputData<'_> {
    /// The fields in order; empty without a recipe.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        core::iter::empty()
    }
}

/// A package toward the plant.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "skeleton")]
pub enum Reply<'a> {
    ProtocolVersion { accepted: bool },
    ControllerVersion { major: u32, minor: u32, bugfix: u32, build: u32 },
    Message(&'a [u8]),
    SetupOutputs { recipe_id: u8, types: Names<'a> },
    SetupInputs { recipe_id: u8, types: Names<'a> },
    Start { accepted: bool },
    Pause { accepted: bool },
    Data { recipe_id: u8, values: &'a [u8] },
}

impl<'a> Request<'a> {
    /// Reads a package toward the robot with what the session knows.
    ///
    /// # Errors
    /// A payload that its type does not allow.
    pub fn read(package: &Package<'a>, session: &'a Session) -> Result<Self, DissectError> {
        let _ = (package, session);
        Err(DissectError::unsupported("skeleton", 0))
    }
}
