/// A variable of the RTDE tables, by its index in this crate's sorted table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Variable(pub u16);

impl Variable {
    /// A name that is in no table here.
    pub const UNKNOWN: Self = Self(u16::MAX);

    /// The variable called `name`, input or output, or [`Variable::UNKNOWN`].
    #[must_use]
    pub fn named(name: &[u8]) -> Self {
        let _ = name;
        Self::UNKNOWN
    }

    /// Its name; `"unknown"` for [`Variable::UNKNOWN`].
    #[must_use]
    pub fn name(self) -> &'static str {
        "unknown"
    }
}

/// Type names of the set-up replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "skeleton")]
pub enum DataType {
    Bool,
    Uint8,
    Uint32,
    Uint64,
    Int32,
    Double,
    Vector3d,
    Vector6d,
    Vector6Int32,
    Vector6Uint32,
}

/// One value of a data package.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "skeleton")]
pub enum Value {
    Bool(bool),
    Uint8(u8),
    Uint32(u32),
    Uint64(u64),
    Int32(i32),
    Double(f64),
    Vector3d([f64; 3]),
    Vector6d([f64; 6]),
    Vector6Int32([i32; 6]),
    Vector6Uint32([u32; 6]),
}
