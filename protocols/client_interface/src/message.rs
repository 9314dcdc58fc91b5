use dissect::{DissectError, Reader};

use crate::mode::flag;
use crate::{Package, PackageType, SafetyMode};

/// Types of messages.
/// Source: the library, `RobotMessagePackageType`.
pub(crate) mod kind {
    pub(crate) const TEXT: u8 = 0;
    pub(crate) const PROGRAM_LABEL: u8 = 1;
    pub(crate) const POPUP: u8 = 2;
    pub(crate) const VERSION: u8 = 3;
    pub(crate) const SAFETY_MODE: u8 = 5;
    pub(crate) const ERROR_CODE: u8 = 6;
    pub(crate) const KEY: u8 = 7;
    pub(crate) const REQUEST_VALUE: u8 = 9;
    pub(crate) const RUNTIME_EXCEPTION: u8 = 10;
}

/// Highest report level: levels are small numbers, the characters of a text are not.
const MAX_LEVEL: u32 = 0xff;

/// Highest type of a value that a popup asks for.
const MAX_VALUE_TYPE: u8 = 8;

/// First character that can begin a text; control characters don't.
pub(crate) const FIRST_CHARACTER: u8 = b' ';

/// A package of type 20: something that the robot says to everybody.
///
/// | bytes | field |
/// |---|---|
/// | 8 | microseconds since the controller started |
/// | 1 | source, signed |
/// | 1 | type |
/// | the rest | by type |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Microseconds since the controller started.
    pub timestamp_us: u64,
    /// Which part of the controller says it.
    pub source: i8,
    /// What it says.
    pub said: Said<'a>,
}

/// What a message says. Texts are bytes of whatever the program or the controller put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Type 0: `textmsg` of a program.
    Text(&'a [u8]),
    /// Type 1: the program has come to a line with a label.
    ProgramLabel {
        /// Number of the label.
        id: i32,
        /// The label.
        text: &'a [u8],
    },
    /// Type 2: a window for people.
    Popup {
        /// Whether it warns; absent where the layout is not known.
        warning: Option<bool>,
        /// Whether it tells of an error; absent where the layout is not known.
        error: Option<bool>,
        /// Its title.
        title: &'a [u8],
        /// Its text.
        text: &'a [u8],
    },
    /// Type 3: which controller it is. The first package of a connection.
    Version(Version<'a>),
    /// Type 5: the mode of the safety system changed.
    SafetyMode {
        /// Code of the message.
        code: i32,
        /// Its argument.
        argument: i32,
        /// The mode, where its table has it.
        mode: Option<SafetyMode>,
    },
    /// Type 6: an error or a warning by its code, `C<code>A<argument>`.
    ErrorCode {
        /// Its code.
        code: i32,
        /// Its argument.
        argument: i32,
        /// How grave it is, in the controller's number; absent in the older layout.
        level: Option<u8>,
        /// What it is about.
        text: &'a [u8],
    },
    /// Type 7: something that happened, by a key.
    Key {
        /// Its code.
        code: i32,
        /// Its argument.
        argument: i32,
        /// The key.
        title: &'a [u8],
        /// Its text.
        text: &'a [u8],
    },
    /// Type 9: a program asks people for a value.
    RequestValue {
        /// Number of the question.
        id: u32,
        /// Type of the value.
        value_type: u32,
        /// The question.
        text: &'a [u8],
    },
    /// Type 10: a program failed.
    RuntimeException {
        /// Line of the program.
        line: i32,
        /// Column.
        column: i32,
        /// Why.
        text: &'a [u8],
    },
    /// Any other type.
    Other {
        /// The type.
        kind: u8,
        /// What follows it.
        body: &'a [u8],
    },
}

/// Which controller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The program's name.
    pub project: &'a [u8],
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// Bugfix version; older controllers write the revision of their source here.
    pub bugfix: i32,
    /// Build; absent in the older layout.
    pub build: Option<i32>,
    /// When it was built.
    pub date: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a package as a message. Types that are not known here are [`Said::Other`].
    ///
    /// # Errors
    /// The package is of another type, or ends before a field does.
    pub fn read(package: &Package<'a>) -> Result<Self, DissectError> {
        if package.kind != PackageType::ROBOT_MESSAGE {
            return Err(DissectError::unsupported("package type", 4));
        }
        let mut reader = Reader::new(package.body);
        let timestamp_us = reader.u64("message timestamp")?;
        let source = i8::from_be_bytes(reader.array("message source")?);
        let kind = reader.u8("message type")?;
        Ok(Self { timestamp_us, source, said: Said::read(kind, &mut reader)? })
    }
}

impl<'a> Said<'a> {
    fn read(kind: u8, reader: &mut Reader<'a>) -> Result<Self, DissectError> {
        Ok(match kind {
            kind::TEXT => Self::Text(reader.rest()),
            kind::PROGRAM_LABEL => Self::ProgramLabel { id: reader.i32("label")?, text: reader.rest() },
            kind::POPUP => Self::popup(reader.rest()),
            kind::VERSION => Self::Version(Version::read(reader)?),
            kind::SAFETY_MODE => Self::SafetyMode {
                code: reader.i32("message code")?,
                argument: reader.i32("message argument")?,
                mode: SafetyMode::of(i8::from_be_bytes(reader.array("safety mode")?)),
            },
            kind::ERROR_CODE => {
                let (code, argument) = (reader.i32("error code")?, reader.i32("error argument")?);
                let (level, text) = leveled(reader.rest()).unwrap_or((None, reader.rest()));
                Self::ErrorCode { code, argument, level, text }
            }
            kind::KEY => {
                let (code, argument) = (reader.i32("key code")?, reader.i32("key argument")?);
                let len = reader.u8("key title length")?;
                Self::Key { code, argument, title: reader.take(len.into(), "key title")?, text: reader.rest() }
            }
            kind::REQUEST_VALUE => Self::RequestValue {
                id: reader.u32("request")?,
                value_type: reader.u32("request type")?,
                text: reader.rest(),
            },
            kind::RUNTIME_EXCEPTION => Self::RuntimeException {
                line: reader.i32("exception line")?,
                column: reader.i32("exception column")?,
                text: reader.rest(),
            },
            kind => Self::Other { kind, body: reader.rest() },
        })
    }

    /// A popup in the layout that it has: newer ones begin with the number and type of a question and have three flags,
    /// older ones begin with two flags. What fits neither is all text.
    fn popup(body: &'a [u8]) -> Self {
        let newer = || {
            let [_, _, _, _, value_type, warning, error, blocking, len] = *body.first_chunk()?;
            let (title, text) = body.get(9..)?.split_at_checked(len.into())?;
            let known = value_type <= MAX_VALUE_TYPE && flag(blocking).is_some();
            known.then_some((flag(warning)?, flag(error)?, title, text))
        };
        let older = || {
            let [warning, error, len] = *body.first_chunk()?;
            let (title, text) = body.get(3..)?.split_at_checked(len.into())?;
            Some((flag(warning)?, flag(error)?, title, text))
        };
        // The fifth byte of an older one is a character of its title or text, which is no type of a value.
        match newer().or_else(older) {
            Some((warning, error, title, text)) => {
                Self::Popup { warning: Some(warning), error: Some(error), title, text }
            }
            None => Self::Popup { warning: None, error: None, title: &[], text: body },
        }
    }

    /// The word for it in records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::ProgramLabel { .. } => "program_label",
            Self::Popup { .. } => "popup",
            Self::Version(_) => "version",
            Self::SafetyMode { .. } => "safety_mode",
            Self::ErrorCode { .. } => "error_code",
            Self::Key { .. } => "key",
            Self::RequestValue { .. } => "request_value",
            Self::RuntimeException { .. } => "runtime_exception",
            Self::Other { .. } => "other",
        }
    }

    /// The type in its byte.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => kind::TEXT,
            Self::ProgramLabel { .. } => kind::PROGRAM_LABEL,
            Self::Popup { .. } => kind::POPUP,
            Self::Version(_) => kind::VERSION,
            Self::SafetyMode { .. } => kind::SAFETY_MODE,
            Self::ErrorCode { .. } => kind::ERROR_CODE,
            Self::Key { .. } => kind::KEY,
            Self::RequestValue { .. } => kind::REQUEST_VALUE,
            Self::RuntimeException { .. } => kind::RUNTIME_EXCEPTION,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// The words in it, for people: the text, or what stands in its place.
    #[must_use]
    pub const fn text(&self) -> &'a [u8] {
        match self {
            Self::Text(text)
            | Self::ProgramLabel { text, .. }
            | Self::Popup { text, .. }
            | Self::ErrorCode { text, .. }
            | Self::Key { text, .. }
            | Self::RequestValue { text, .. }
            | Self::RuntimeException { text, .. } => text,
            Self::Version(version) => version.date,
            Self::SafetyMode { .. } | Self::Other { .. } => &[],
        }
    }
}

/// Level and text behind a code and its argument, in the newer layout: a level, the type of a value, the value.
fn leveled(rest: &[u8]) -> Option<(Option<u8>, &[u8])> {
    let [level, _, _] = rest.first_chunk::<12>()?.as_chunks::<4>().0 else { return None };
    let level = u32::from_be_bytes(*level);
    // Four characters of a text are a far higher number.
    (level <= MAX_LEVEL).then_some((u8::try_from(level).ok(), rest.get(12..)?))
}

impl<'a> Version<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DissectError> {
        let len = reader.u8("project name length")?;
        let project = reader.take(len.into(), "project name")?;
        let (major, minor) = (reader.u8("major version")?, reader.u8("minor version")?);
        let bugfix = reader.i32("bugfix version")?;
        let rest = reader.rest();
        let (build, date) = match rest.split_first_chunk() {
            // The older layout goes on with the date, whose first characters would be a build of half a billion and more.
            Some((build, date)) if build.first().is_some_and(|first| *first < FIRST_CHARACTER) => {
                (Some(i32::from_be_bytes(*build)), date)
            }
            _ => (None, rest),
        };
        Ok(Self { project, major, minor, bugfix, build, date })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: u8, body: &[u8]) -> Result<Said<'_>, DissectError> {
        Said::read(kind, &mut Reader::new(body))
    }

    #[test]
    fn both_layouts_of_a_popup_are_told_apart() {
        let popup = |warning, error, title, text| Said::Popup { warning, error, title, text };
        let newer = b"\0\0\0\x07\x08\x01\0\x01\x05TitleText";
        assert_eq!(said(2, newer), Ok(popup(Some(true), Some(false), b"Title", b"Text")));
        assert_eq!(said(2, b"\0\x01\x05TitleText"), Ok(popup(Some(false), Some(true), b"Title", b"Text")));
        assert_eq!(said(2, b"\0\0\0only text"), Ok(popup(Some(false), Some(false), b"", b"only text")));
        for neither in [&b"plain"[..], b"", b"\0\0\x09short", b"\x02\0\0text"] {
            assert_eq!(said(2, neither), Ok(popup(None, None, b"", neither)));
        }
    }

    #[test]
    fn both_layouts_of_an_error_are_told_apart() {
        let code = b"\0\0\0\xcc\0\0\0\x03";
        let newer = [&code[..], b"\0\0\0\x02\0\0\0\0\0\0\0\0Protective stop"].concat();
        let expected = Said::ErrorCode { code: 204, argument: 3, level: Some(2), text: b"Protective stop" };
        assert_eq!(said(6, &newer), Ok(expected));
        for text in [&b"Protective stop"[..], b"short", b""] {
            let older = [&code[..], text].concat();
            assert_eq!(said(6, &older), Ok(Said::ErrorCode { code: 204, argument: 3, level: None, text }));
        }
    }

    #[test]
    fn both_layouts_of_a_version_are_told_apart() {
        let head = b"\x09URControl\x05\x0d\0\0\0\x01";
        let newer = [&head[..], b"\0\x01\xa6\xb0", b"01-01-2023, 00:00:00"].concat();
        let Ok(Said::Version(version)) = said(3, &newer) else { panic!("a version") };
        assert_eq!((version.project, version.major, version.minor, version.bugfix), (&b"URControl"[..], 5, 13, 1));
        assert_eq!((version.build, version.date), (Some(108_208), &b"01-01-2023, 00:00:00"[..]));
        let older = [&head[..], b"Feb 12 2013, 09:47:11"].concat();
        let Ok(Said::Version(version)) = said(3, &older) else { panic!("a version") };
        assert_eq!((version.build, version.date), (None, &b"Feb 12 2013, 09:47:11"[..]));
    }

    #[test]
    fn a_message_that_ends_too_early_says_where() {
        let package = Package {
            kind: PackageType::ROBOT_MESSAGE,
            body: b"\0\0\0\0\0\0\0\x01\xfe\x07\0\0\0\x01\0\0\0\x02\x09key",
        };
        let error = Message::read(&package).unwrap_err();
        assert_eq!(error, DissectError::truncated("key title", 19, 9, 3));
        let other = Package { kind: PackageType::ROBOT_STATE, ..package };
        assert!(Message::read(&other).is_err());
    }
}
