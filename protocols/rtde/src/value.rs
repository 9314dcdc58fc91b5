use dissect::{DissectError, Reader};

/// The types of values on the wire, big-endian and packed without padding.
/// Source: the guide, section "Data types".
///
/// | type | bytes | | type | bytes |
/// |---|---|---|---|---|
/// | BOOL | 1 | | DOUBLE | 8 |
/// | UINT8 | 1 | | VECTOR3D | 3 x 8 |
/// | UINT32 | 4 | | VECTOR6D | 6 x 8 |
/// | UINT64 | 8 | | VECTOR6INT32 | 6 x 4 |
/// | INT32 | 4 | | VECTOR6UINT32 | 6 x 4 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DataType {
    /// `BOOL`: 0 or 1.
    Bool = 1,
    /// `UINT8`.
    Uint8 = 2,
    /// `UINT32`.
    Uint32 = 3,
    /// `UINT64`.
    Uint64 = 4,
    /// `INT32`, two's complement.
    Int32 = 5,
    /// `DOUBLE`, IEEE 754.
    Double = 6,
    /// `VECTOR3D`: three doubles.
    Vector3d = 7,
    /// `VECTOR6D`: six doubles.
    Vector6d = 8,
    /// `VECTOR6INT32`: six signed integers.
    Vector6Int32 = 9,
    /// `VECTOR6UINT32`: six unsigned integers.
    Vector6Uint32 = 10,
}

impl DataType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint32,
        Self::Uint64,
        Self::Int32,
        Self::Double,
        Self::Vector3d,
        Self::Vector6d,
        Self::Vector6Int32,
        Self::Vector6Uint32,
    ];

    /// The type that a set-up reply calls `name`.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.name().as_bytes() == name)
    }

    /// Its name in set-up replies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int32 => "INT32",
            Self::Double => "DOUBLE",
            Self::Vector3d => "VECTOR3D",
            Self::Vector6d => "VECTOR6D",
            Self::Vector6Int32 => "VECTOR6INT32",
            Self::Vector6Uint32 => "VECTOR6UINT32",
        }
    }

    /// Bytes that a value takes in a data package.
    #[must_use]
    pub const fn size(self) -> u16 {
        match self {
            Self::Bool | Self::Uint8 => 1,
            Self::Uint32 | Self::Int32 => 4,
            Self::Uint64 | Self::Double => 8,
            Self::Vector3d | Self::Vector6Int32 | Self::Vector6Uint32 => 24,
            Self::Vector6d => 48,
        }
    }

    /// The type stored as `code` in a session; none for 0 (not answered yet) and for what was never stored.
    pub(crate) const fn of_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Bool,
            2 => Self::Uint8,
            3 => Self::Uint32,
            4 => Self::Uint64,
            5 => Self::Int32,
            6 => Self::Double,
            7 => Self::Vector3d,
            8 => Self::Vector6d,
            9 => Self::Vector6Int32,
            10 => Self::Vector6Uint32,
            _ => return None,
        })
    }
}

/// What a set-up reply says about one name: its type, or why there is none.
/// Source: the guide, sections on setting up outputs and inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyType {
    /// The variable is there and has this type.
    Data(DataType),
    /// `NOT_FOUND`: this controller has no such variable.
    NotFound,
    /// `IN_USE`: another client writes this input; only one client may.
    InUse,
}

impl ReplyType {
    /// What a set-up reply calls `name`.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"NOT_FOUND" => Some(Self::NotFound),
            b"IN_USE" => Some(Self::InUse),
            _ => DataType::named(name).map(Self::Data),
        }
    }

    /// Its name in set-up replies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data(data_type) => data_type.name(),
            Self::NotFound => "NOT_FOUND",
            Self::InUse => "IN_USE",
        }
    }
}

/// One value of a data package.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// `BOOL`.
    Bool(bool),
    /// `UINT8`.
    Uint8(u8),
    /// `UINT32`.
    Uint32(u32),
    /// `UINT64`.
    Uint64(u64),
    /// `INT32`.
    Int32(i32),
    /// `DOUBLE`; may be NaN or infinite.
    Double(f64),
    /// `VECTOR3D`; each may be NaN or infinite.
    Vector3d([f64; 3]),
    /// `VECTOR6D`; each may be NaN or infinite.
    Vector6d([f64; 6]),
    /// `VECTOR6INT32`.
    Vector6Int32([i32; 6]),
    /// `VECTOR6UINT32`.
    Vector6Uint32([u32; 6]),
}

impl Value {
    /// Its type.
    #[must_use]
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::Bool(_) => DataType::Bool,
            Self::Uint8(_) => DataType::Uint8,
            Self::Uint32(_) => DataType::Uint32,
            Self::Uint64(_) => DataType::Uint64,
            Self::Int32(_) => DataType::Int32,
            Self::Double(_) => DataType::Double,
            Self::Vector3d(_) => DataType::Vector3d,
            Self::Vector6d(_) => DataType::Vector6d,
            Self::Vector6Int32(_) => DataType::Vector6Int32,
            Self::Vector6Uint32(_) => DataType::Vector6Uint32,
        }
    }

    /// Zero of `data_type`.
    #[must_use]
    pub const fn zero(data_type: DataType) -> Self {
        match data_type {
            DataType::Bool => Self::Bool(false),
            DataType::Uint8 => Self::Uint8(0),
            DataType::Uint32 => Self::Uint32(0),
            DataType::Uint64 => Self::Uint64(0),
            DataType::Int32 => Self::Int32(0),
            DataType::Double => Self::Double(0.0),
            DataType::Vector3d => Self::Vector3d([0.0; 3]),
            DataType::Vector6d => Self::Vector6d([0.0; 6]),
            DataType::Vector6Int32 => Self::Vector6Int32([0; 6]),
            DataType::Vector6Uint32 => Self::Vector6Uint32([0; 6]),
        }
    }

    /// Reads one value of `data_type`; a BOOL byte other than 0 is true.
    ///
    /// # Errors
    /// Fewer bytes are left than the type takes.
    pub fn read(reader: &mut Reader<'_>, data_type: DataType) -> Result<Self, DissectError> {
        let field = data_type.name();
        Ok(match data_type {
            DataType::Bool => Self::Bool(reader.u8(field)? != 0),
            DataType::Uint8 => Self::Uint8(reader.u8(field)?),
            DataType::Uint32 => Self::Uint32(reader.u32(field)?),
            DataType::Uint64 => Self::Uint64(reader.u64(field)?),
            DataType::Int32 => Self::Int32(reader.i32(field)?),
            DataType::Double => Self::Double(reader.f64(field)?),
            DataType::Vector3d => Self::Vector3d(vector(reader.take(24, field)?, f64::from_be_bytes)),
            DataType::Vector6d => Self::Vector6d(vector(reader.take(48, field)?, f64::from_be_bytes)),
            DataType::Vector6Int32 => Self::Vector6Int32(vector(reader.take(24, field)?, i32::from_be_bytes)),
            DataType::Vector6Uint32 => Self::Vector6Uint32(vector(reader.take(24, field)?, u32::from_be_bytes)),
        })
    }
}

/// `bytes` as `N` numbers of `W` bytes each.
fn vector<T: Copy + Default, const W: usize, const N: usize>(bytes: &[u8], of: impl Fn([u8; W]) -> T) -> [T; N] {
    let mut numbers = [T::default(); N];
    for (number, chunk) in numbers.iter_mut().zip(bytes.as_chunks::<W>().0) {
        *number = of(*chunk);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codes_and_sizes_agree() {
        for data_type in DataType::ALL {
            assert_eq!(DataType::named(data_type.name().as_bytes()), Some(data_type));
            assert_eq!(DataType::of_code(data_type as u8), Some(data_type));
            assert_eq!(Value::zero(data_type).data_type(), data_type);
            let bytes = [0; 48];
            let mut reader = Reader::new(&bytes);
            assert_eq!(Value::read(&mut reader, data_type), Ok(Value::zero(data_type)));
            assert_eq!(reader.offset(), usize::from(data_type.size()));
        }
        assert_eq!(DataType::of_code(0), None);
        assert_eq!(DataType::of_code(11), None);
        assert_eq!(DataType::named(b"double"), None);
        assert_eq!(ReplyType::named(b"IN_USE"), Some(ReplyType::InUse));
        assert_eq!(ReplyType::named(b"NOT_FOUND"), Some(ReplyType::NotFound));
        assert_eq!(ReplyType::named(b"INT32"), Some(ReplyType::Data(DataType::Int32)));
        assert_eq!(ReplyType::named(b"IN_USE "), None);
    }

    #[test]
    fn vectors_are_big_endian_in_order() {
        let mut bytes = [0_u8; 24];
        bytes[3] = 1;
        bytes[4..8].copy_from_slice(&(-2_i32).to_be_bytes());
        let value = Value::read(&mut Reader::new(&bytes), DataType::Vector6Int32);
        assert_eq!(value, Ok(Value::Vector6Int32([1, -2, 0, 0, 0, 0])));
        bytes[..8].copy_from_slice(&1.5_f64.to_be_bytes());
        let value = Value::read(&mut Reader::new(&bytes), DataType::Vector3d);
        assert_eq!(value, Ok(Value::Vector3d([1.5, 0.0, 0.0])));
    }
}
