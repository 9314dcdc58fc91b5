use dissect::DissectError;

use crate::Version;
use crate::wire::{Package, end};

/// How grave a text is.
/// Source: the guide, section on text messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageLevel {
    /// Something failed.
    Exception = 0,
    /// Something is wrong.
    Error = 1,
    /// Something may be wrong.
    Warning = 2,
    /// For information.
    Info = 3,
}

/// A text package, in either direction.
///
/// Version 1: level byte, text. Version 2: length byte and text, length byte and source, level byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The text, in no encoding that the guide names.
    pub text: &'a [u8],
    /// Who says so; empty in version 1.
    pub source: &'a [u8],
    /// The level byte as it came; [`Message::level`] names it.
    pub level_byte: u8,
}

impl<'a> Message<'a> {
    /// Reads the payload of an `M`.
    ///
    /// # Errors
    /// Lengths that don't add up to the payload's.
    pub(crate) fn read(package: &Package<'a>, version: Version) -> Result<Self, DissectError> {
        let mut reader = package.reader();
        match version {
            Version::V1 => {
                let level_byte = reader.u8("message level")?;
                Ok(Self { text: reader.rest(), source: &[], level_byte })
            }
            Version::V2 => {
                let length = reader.u8("message length")?;
                let text = reader.take(usize::from(length), "message")?;
                let length = reader.u8("source length")?;
                let source = reader.take(usize::from(length), "source")?;
                let level_byte = reader.u8("message level")?;
                end(&reader, "payload length")?;
                Ok(Self { text, source, level_byte })
            }
        }
    }

    /// The level; none for a byte that the guide doesn't name.
    #[must_use]
    pub const fn level(&self) -> Option<MessageLevel> {
        Some(match self.level_byte {
            0 => MessageLevel::Exception,
            1 => MessageLevel::Error,
            2 => MessageLevel::Warning,
            3 => MessageLevel::Info,
            _ => return None,
        })
    }
}
