//! Device identification: function 43, MEI type 14. Source: application protocol, section 6.21.

use dissect::{DissectError, Reader};

use crate::request::DATA;

/// Bytes before the first object: MEI type, code, conformity level, more follows, next object, number of objects.
const HEAD: usize = 6;

/// One object of a device identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceObject<'a> {
    /// 0 vendor name, 1 product code, 2 revision, 3 vendor URL, 4 product name, 5 model name, 6 application name;
    /// 128 to 255 the vendor's own.
    pub id: u8,
    /// Usually ASCII text, not terminated.
    pub value: &'a [u8],
}

/// Iterator over the objects of a response.
#[derive(Clone, Copy, Debug)]
pub struct DeviceObjects<'a> {
    reader: Reader<'a>,
}

impl<'a> DeviceObjects<'a> {
    /// The objects of the data after the function code.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { reader: Reader::new(data.get(HEAD..).unwrap_or_default()) }
    }

    fn step(&mut self) -> Result<DeviceObject<'a>, DissectError> {
        let id = self.reader.u8("device object id")?;
        let len = self.reader.u8("device object length")?;
        Ok(DeviceObject { id, value: self.reader.take(usize::from(len), "device object value")? })
    }
}

impl<'a> Iterator for DeviceObjects<'a> {
    type Item = DeviceObject<'a>;

    fn next(&mut self) -> Option<DeviceObject<'a>> {
        if self.reader.is_empty() {
            return None;
        }
        self.step().ok()
    }
}

/// Checks the data of a response: its codes, and that the objects counted fill it exactly.
pub(crate) fn check_response(data: &[u8]) -> Result<(), DissectError> {
    let Some(&[_, code, conformity, more, _next, count]) = data.first_chunk::<HEAD>() else {
        return Err(DissectError::truncated("PDU", DATA, HEAD, data.len()));
    };
    let wrong = |field, at: usize| Err(DissectError::malformed(field, DATA.saturating_add(at)));
    if !matches!(code, 1..=4) {
        return wrong("read device identification code", 1);
    }
    if !matches!(conformity, 0x01..=0x03 | 0x81..=0x83) {
        return wrong("conformity level", 2);
    }
    if !matches!(more, 0x00 | 0xff) {
        return wrong("more follows", 3);
    }
    let mut objects = DeviceObjects::new(data);
    for _ in 0..count {
        let first = u32::try_from(DATA + HEAD).unwrap_or_default();
        objects.step().map_err(|error| DissectError { offset: error.offset.saturating_add(first), ..error })?;
    }
    if objects.reader.is_empty() { Ok(()) } else { wrong("number of objects", 5) }
}
