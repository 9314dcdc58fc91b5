//! Writing packages: answers in a controller's place, test traffic, an emulated controller.
//!
//! Every function writes one whole package to the start of `buffer` and returns its length, or nothing where the buffer
//! is too small or a field can't be written in its length byte; the buffer then holds no package.

use crate::wire::{HEADER, MAX_NAMES};
use crate::{Message, PackageType, Reply, ReplyType, Request, Value, Version};

/// A buffer of this many bytes holds every package that [`Request::refusal`] can write: header, recipe id, and a
/// `NOT_FOUND` with its comma for each name of the longest list, whose names take at least two bytes each.
pub const MAX_REFUSAL: usize = HEADER + 1 + MAX_NAMES.div_ceil(2) * 10;

/// A `U` with these values; toward the plant in version 1 without an id, everywhere else with one.
pub fn data(recipe_id: Option<u8>, values: impl IntoIterator<Item = Value>, buffer: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(PackageType::Data, buffer)?;
    if let Some(id) = recipe_id {
        writer.put(&[id])?;
    }
    for value in values {
        writer.value(&value)?;
    }
    writer.finish()
}

/// An `O` toward the robot: with a frequency in version 2, without one in version 1.
pub fn setup_outputs<'n>(
    frequency_hz: Option<f64>,
    names: impl IntoIterator<Item = &'n [u8]>,
    buffer: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(PackageType::SetupOutputs, buffer)?;
    if let Some(frequency) = frequency_hz {
        writer.put(&frequency.to_be_bytes())?;
    }
    writer.list(names)?;
    writer.finish()
}

/// An `I` toward the robot.
pub fn setup_inputs<'n>(names: impl IntoIterator<Item = &'n [u8]>, buffer: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(PackageType::SetupInputs, buffer)?;
    writer.list(names)?;
    writer.finish()
}

/// The answer to an `O`: without an id in version 1.
pub fn outputs_reply(
    recipe_id: Option<u8>,
    types: impl IntoIterator<Item = ReplyType>,
    buffer: &mut [u8],
) -> Option<usize> {
    setup_reply(PackageType::SetupOutputs, recipe_id, types, buffer)
}

/// The answer to an `I`; id 0 where it is refused.
pub fn inputs_reply(recipe_id: u8, types: impl IntoIterator<Item = ReplyType>, buffer: &mut [u8]) -> Option<usize> {
    setup_reply(PackageType::SetupInputs, Some(recipe_id), types, buffer)
}

fn setup_reply(
    kind: PackageType,
    recipe_id: Option<u8>,
    types: impl IntoIterator<Item = ReplyType>,
    buffer: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(kind, buffer)?;
    if let Some(id) = recipe_id {
        writer.put(&[id])?;
    }
    writer.list(types.into_iter().map(|reply_type| reply_type.name().as_bytes()))?;
    writer.finish()
}

impl Request<'_> {
    /// Writes it as a package of this version; returns its length.
    ///
    /// Nothing where the buffer is too small, a text is longer than 255 bytes in version 2, a source is given in
    /// version 1, or a frequency is there in version 1 or missing in version 2.
    #[must_use]
    pub fn emit(&self, version: Version, buffer: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(self.kind(), buffer)?;
        match self {
            Self::ProtocolVersion(asked) => writer.put(&asked.to_be_bytes())?,
            Self::ControllerVersion | Self::Start | Self::Pause => {}
            Self::Message(message) => writer.message(message, version)?,
            Self::SetupOutputs { frequency_hz, names } => {
                match (version, frequency_hz) {
                    (Version::V1, None) => {}
                    (Version::V2, Some(frequency)) => writer.put(&frequency.to_be_bytes())?,
                    _ => return None,
                }
                writer.put(names.0)?;
            }
            Self::SetupInputs { names } => writer.put(names.0)?,
            Self::Data(data) => {
                writer.put(&[data.recipe_id])?;
                writer.put(data.values)?;
            }
        }
        writer.finish()
    }
}

impl Request<'_> {
    /// Writes the reply that stands in for the controller's own where this request is refused; returns its length.
    ///
    /// `V`, `S` and `P` are answered with accepted = 0. `O` and `I` are answered with recipe id 0 (absent for `O` in
    /// version 1) and `NOT_FOUND` for every name: a list that mixed this with types might be taken for a recipe by a
    /// client that skips what it can't have. Like a controller, it answers a trailing comma with nothing.
    ///
    /// Nothing where the buffer is too small ([`MAX_REFUSAL`] always suffices), and where no reply says no: `U` and `M`
    /// are answered by nothing; a reply to `v` is a version, and clients choose what they send next by it; an `O` in
    /// version 1 without any name has no place for `NOT_FOUND`.
    #[must_use]
    pub fn refusal(&self, version: Version, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Self::ProtocolVersion(_) => Reply::ProtocolVersion { accepted: false }.emit(version, buffer),
            Self::Start => Reply::Start { accepted: false }.emit(version, buffer),
            Self::Pause => Reply::Pause { accepted: false }.emit(version, buffer),
            Self::SetupOutputs { names, .. } => {
                let recipe_id = match version {
                    Version::V1 => {
                        names.iter().next()?;
                        None
                    }
                    Version::V2 => Some(0),
                };
                outputs_reply(recipe_id, names.iter().map(|_| ReplyType::NotFound), buffer)
            }
            Self::SetupInputs { names } => inputs_reply(0, names.iter().map(|_| ReplyType::NotFound), buffer),
            Self::ControllerVersion | Self::Message(_) | Self::Data(_) => None,
        }
    }
}

impl Reply<'_> {
    /// Writes it as a package of this version; returns its length.
    ///
    /// Nothing where the buffer is too small, a text is longer than 255 bytes in version 2, a source is given in
    /// version 1, or an output recipe's id is there in version 1 or missing in version 2.
    #[must_use]
    pub fn emit(&self, version: Version, buffer: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(self.kind(), buffer)?;
        match self {
            Self::ProtocolVersion { accepted } | Self::Start { accepted } | Self::Pause { accepted } => {
                writer.put(&[u8::from(*accepted)])?;
            }
            Self::ControllerVersion { major, minor, bugfix, build } => {
                for number in [major, minor, bugfix, build] {
                    writer.put(&number.to_be_bytes())?;
                }
            }
            Self::Message(message) => writer.message(message, version)?,
            Self::SetupOutputs { recipe_id, types } => {
                writer.output_id(*recipe_id, version)?;
                writer.put(types.0)?;
            }
            Self::SetupInputs { recipe_id, types } => {
                writer.put(&[*recipe_id])?;
                writer.put(types.0)?;
            }
            Self::Data(data) => {
                writer.output_id(data.recipe_id, version)?;
                writer.put(data.values)?;
            }
        }
        writer.finish()
    }
}

/// A cursor that can't run past the buffer's end.
struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    /// Starts a package; its size is written at the end.
    fn new(kind: PackageType, buffer: &'b mut [u8]) -> Option<Self> {
        let mut writer = Self { buffer, len: 0 };
        writer.put(&[0, 0, kind as u8])?;
        Some(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buffer.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn value(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Bool(value) => self.put(&[u8::from(*value)]),
            Value::Uint8(value) => self.put(&[*value]),
            Value::Uint32(value) => self.put(&value.to_be_bytes()),
            Value::Uint64(value) => self.put(&value.to_be_bytes()),
            Value::Int32(value) => self.put(&value.to_be_bytes()),
            Value::Double(value) => self.put(&value.to_be_bytes()),
            Value::Vector3d(values) => values.iter().try_for_each(|value| self.put(&value.to_be_bytes())),
            Value::Vector6d(values) => values.iter().try_for_each(|value| self.put(&value.to_be_bytes())),
            Value::Vector6Int32(values) => values.iter().try_for_each(|value| self.put(&value.to_be_bytes())),
            Value::Vector6Uint32(values) => values.iter().try_for_each(|value| self.put(&value.to_be_bytes())),
        }
    }

    fn list<'n>(&mut self, names: impl IntoIterator<Item = &'n [u8]>) -> Option<()> {
        let mut separator: &[u8] = b"";
        for name in names {
            self.put(separator)?;
            self.put(name)?;
            separator = b",";
        }
        Some(())
    }

    fn message(&mut self, message: &Message<'_>, version: Version) -> Option<()> {
        match version {
            Version::V1 if message.source.is_empty() => {
                self.put(&[message.level_byte])?;
                self.put(message.text)
            }
            Version::V1 => None,
            Version::V2 => {
                for text in [message.text, message.source] {
                    self.put(&[u8::try_from(text.len()).ok()?])?;
                    self.put(text)?;
                }
                self.put(&[message.level_byte])
            }
        }
    }

    fn output_id(&mut self, recipe_id: Option<u8>, version: Version) -> Option<()> {
        match (version, recipe_id) {
            (Version::V1, None) => Some(()),
            (Version::V2, Some(id)) => self.put(&[id]),
            _ => None,
        }
    }

    fn finish(self) -> Option<usize> {
        let size = u16::try_from(self.len).ok()?;
        self.buffer.first_chunk_mut::<2>()?.copy_from_slice(&size.to_be_bytes());
        Some(self.len)
    }
}
