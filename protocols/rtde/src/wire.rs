use dissect::{Confidence, DissectError, Reader, Step, Toward};

/// Longest package toward the robot that is read, header included: twice the longest name list that a controller takes,
/// and more than any input recipe needs.
pub const MAX_TOWARD_ROBOT: usize = 4096;

/// Longest list of names in a set-up, in bytes.
/// Source: PolyScope manual, chapter on RTDE.
pub const MAX_NAMES: usize = 2048;

/// Bytes of the package header: size and type.
pub(crate) const HEADER: usize = 3;

/// Protocol version in force on a connection; every connection begins in version 1.
/// Source: the guide, section "Protocol versions".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// Outputs without frequency and without recipe id.
    V1 = 1,
    /// Outputs with frequency and recipe id, texts with source.
    V2 = 2,
}

/// The type byte of a package.
/// Source: the guide, section "Field size and types" of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PackageType {
    /// `V` (86): asks for a protocol version.
    RequestProtocolVersion = b'V',
    /// `v` (118): asks for the controller's version.
    ControllerVersion = b'v',
    /// `M` (77): a text, in both directions.
    TextMessage = b'M',
    /// `O` (79): which variables the client wants to read.
    SetupOutputs = b'O',
    /// `I` (73): which variables the client wants to write.
    SetupInputs = b'I',
    /// `S` (83): let data flow.
    Start = b'S',
    /// `P` (80): let data rest.
    Pause = b'P',
    /// `U` (85): values; toward the robot the one package that writes.
    Data = b'U',
}

impl PackageType {
    /// The type with this byte; the same eight in both directions.
    #[must_use]
    pub const fn of_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'V' => Self::RequestProtocolVersion,
            b'v' => Self::ControllerVersion,
            b'M' => Self::TextMessage,
            b'O' => Self::SetupOutputs,
            b'I' => Self::SetupInputs,
            b'S' => Self::Start,
            b'P' => Self::Pause,
            b'U' => Self::Data,
            _ => return None,
        })
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestProtocolVersion => "request_protocol_version",
            Self::ControllerVersion => "get_urcontrol_version",
            Self::TextMessage => "text_message",
            Self::SetupOutputs => "setup_outputs",
            Self::SetupInputs => "setup_inputs",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Data => "data_package",
        }
    }
}

/// One framed package.
/// Source: the guide, section "Header".
///
/// | bytes | field |
/// |---|---|
/// | 0..2 | size, big-endian, these three bytes included |
/// | 2 | type |
/// | 3.. | payload |
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
    /// A wrong size is an error as soon as its two bytes are there, a wrong type with the third: nothing of such a
    /// package is waited for.
    ///
    /// # Errors
    /// Size below 3, in either direction: a reader that trusts it never gets past the header. A size above
    /// [`MAX_TOWARD_ROBOT`] toward the robot. A type that is none of the eight.
    pub fn step(bytes: &'a [u8], toward: Toward) -> Result<Step<Self>, DissectError> {
        let Some(([high, low], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(Step::Partial { needed: HEADER });
        };
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        if size < HEADER {
            return Err(DissectError::malformed("package size", 0));
        }
        if toward == Toward::Robot && size > MAX_TOWARD_ROBOT {
            return Err(DissectError::forbidden("package size", 0));
        }
        let Some(kind) = rest.first() else {
            return Ok(Step::Partial { needed: size });
        };
        let kind = PackageType::of_byte(*kind).ok_or(DissectError::malformed("package type", 2))?;
        Ok(match bytes.get(HEADER..size) {
            Some(payload) => Step::Whole { unit: Self { kind, payload }, len: size },
            None => Step::Partial { needed: size },
        })
    }

    /// A reader over the payload that counts offsets from the start of the payload.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.payload)
    }
}

/// How sure it is that `bytes`, the first of a stream toward `toward`, are RTDE.
#[must_use]
pub fn probe(bytes: &[u8], toward: Toward) -> Confidence {
    match Package::step(bytes, toward) {
        Ok(Step::Whole { unit, .. }) => match (unit.kind, toward) {
            // Clients open with the version; it has one length and two values, which no text protocol shows.
            (PackageType::RequestProtocolVersion, Toward::Robot) if unit.payload.len() == 2 => Confidence::Certain,
            (PackageType::RequestProtocolVersion, Toward::Plant) if unit.payload.len() == 1 => Confidence::Certain,
            _ => Confidence::Possible,
        },
        Ok(Step::Partial { .. }) => Confidence::Possible,
        Err(_) => Confidence::No,
    }
}

/// Names or type names, separated by commas; a trailing comma is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a>(pub &'a [u8]);

impl<'a> Names<'a> {
    /// A list in the rest of a payload: letters, digits, underscores, commas and blanks.
    ///
    /// Everything else, NUL above all, is refused: a controller may take it as the end of a name or of the list, and
    /// what it then understands would not be what was judged.
    pub(crate) fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DissectError> {
        let offset = reader.offset();
        let bytes = reader.take(reader.rest().len(), field)?;
        match bytes.iter().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b' '))) {
            Some(at) => Err(DissectError::malformed(field, offset.saturating_add(at))),
            None => Ok(Self(bytes)),
        }
    }

    /// The names in order, blanks trimmed, empty ones left out.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
    }
}

/// That a payload is read to its end.
pub(crate) fn end(reader: &Reader<'_>, field: &'static str) -> Result<(), DissectError> {
    if reader.is_empty() { Ok(()) } else { Err(DissectError::malformed(field, reader.offset())) }
}

/// A byte that says accepted (1) or refused (0) and is all there is.
pub(crate) fn accepted(reader: &mut Reader<'_>) -> Result<bool, DissectError> {
    let offset = reader.offset();
    let accepted = match reader.u8("accepted")? {
        0 => false,
        1 => true,
        _ => return Err(DissectError::malformed("accepted", offset)),
    };
    end(reader, "payload length")?;
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dissect::ErrorKind;

    #[test]
    fn sizes_below_the_header_are_errors_in_both_directions() {
        for toward in [Toward::Robot, Toward::Plant] {
            for size in 0..3_u8 {
                let error = Package::step(&[0, size], toward).unwrap_err();
                assert_eq!((error.kind, error.offset), (ErrorKind::Malformed, 0));
                assert!(Package::step(&[0, size, b'U', 0, 0, 0], toward).is_err());
            }
            assert_eq!(Package::step(&[], toward), Ok(Step::Partial { needed: 3 }));
            assert_eq!(Package::step(&[0], toward), Ok(Step::Partial { needed: 3 }));
            assert_eq!(Package::step(&[0, 3], toward), Ok(Step::Partial { needed: 3 }));
            let unit = Package { kind: PackageType::Start, payload: &[] };
            assert_eq!(Package::step(&[0, 3, b'S', 9], toward), Ok(Step::Whole { unit, len: 3 }));
        }
    }

    #[test]
    fn only_the_robot_is_spared_long_packages() {
        let header = |size: u16| [size.to_be_bytes()[0], size.to_be_bytes()[1], b'U'];
        assert_eq!(Package::step(&header(4096), Toward::Robot), Ok(Step::Partial { needed: 4096 }));
        assert_eq!(Package::step(&header(4097), Toward::Robot).unwrap_err().kind, ErrorKind::Forbidden);
        assert_eq!(Package::step(&header(65535), Toward::Plant), Ok(Step::Partial { needed: 65535 }));
    }

    #[test]
    fn exactly_eight_types() {
        for byte in 0..=255_u8 {
            let known = b"VvMOISPU".contains(&byte);
            assert_eq!(PackageType::of_byte(byte).map(|kind| kind as u8), known.then_some(byte));
            assert_eq!(Package::step(&[0, 9, byte], Toward::Plant).is_ok(), known);
        }
    }

    #[test]
    fn trailing_comma_is_no_name_and_nul_is_no_character() {
        let names: std::vec::Vec<_> = Names(b"timestamp, actual_q,").iter().collect();
        assert_eq!(names, [&b"timestamp"[..], b"actual_q"]);
        assert_eq!(Names(b"").iter().count(), 0);
        let error = Names::read(&mut Reader::new(b"actual_q\0,x"), "names").unwrap_err();
        assert_eq!((error.kind, error.offset), (ErrorKind::Malformed, 8));
    }

    #[test]
    fn probe_is_certain_of_an_opening_only() {
        assert_eq!(probe(&[0, 5, b'V', 0, 2], Toward::Robot), Confidence::Certain);
        assert_eq!(probe(&[0, 4, b'V', 1], Toward::Plant), Confidence::Certain);
        assert_eq!(probe(&[0, 5, b'V'], Toward::Robot), Confidence::Possible);
        assert_eq!(probe(b"def f():", Toward::Robot), Confidence::No);
        assert_eq!(probe(&[0, 0, 0, 0, 0, 6], Toward::Robot), Confidence::No);
    }
}
