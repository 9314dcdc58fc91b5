//! File records: functions 20 and 21. Source: application protocol, sections 6.14 and 6.15.

use dissect::{DissectError, Reader};

use crate::MAX_PDU;
use crate::request::DATA;

/// The only reference type.
pub(crate) const REFERENCE_TYPE: u8 = 6;

/// A file has records 0 to 9999.
const RECORDS: u32 = 10_000;

/// A part of a file, in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord<'a> {
    /// File number, at least 1.
    pub file: u16,
    /// Number of the first record (a record is one register), 0 to 9999.
    pub record: u16,
    /// Number of registers, at least 1; `record + length` is at most 10000.
    pub length: u16,
    /// What is written, `length` big-endian registers; empty in a request to read.
    pub data: &'a [u8],
}

/// Iterator over the records of a request of function 20 or 21 (or the response of 21, which repeats the request).
#[derive(Clone, Copy, Debug)]
pub struct FileRecords<'a> {
    reader: Reader<'a>,
    with_data: bool,
}

impl<'a> FileRecords<'a> {
    /// The records of the data after the function code of a request to read.
    pub(crate) fn read(data: &'a [u8]) -> Self {
        Self { reader: Reader::new(data.get(1..).unwrap_or_default()), with_data: false }
    }

    /// The records of the data after the function code of a request to write.
    pub(crate) fn write(data: &'a [u8]) -> Self {
        Self { with_data: true, ..Self::read(data) }
    }

    pub(crate) fn none() -> Self {
        Self::read(&[])
    }

    fn step(&mut self) -> Result<FileRecord<'a>, DissectError> {
        let start = self.reader.offset();
        let [reference, f0, f1, r0, r1, l0, l1] = self.reader.array("file sub-request")?;
        let (file, record, length) =
            (u16::from_be_bytes([f0, f1]), u16::from_be_bytes([r0, r1]), u16::from_be_bytes([l0, l1]));
        let wrong = |field, at: usize| Err(DissectError::malformed(field, start.saturating_add(at)));
        if reference != REFERENCE_TYPE {
            return wrong("file reference type", 0);
        }
        if file == 0 {
            return wrong("file number", 1);
        }
        if u32::from(record) >= RECORDS {
            return wrong("file record number", 3);
        }
        if length == 0 || u32::from(record).saturating_add(u32::from(length)) > RECORDS {
            return wrong("file record length", 5);
        }
        let bytes = if self.with_data { usize::from(length).saturating_mul(2) } else { 0 };
        let data = self.reader.take(bytes, "file record data")?;
        Ok(FileRecord { file, record, length, data })
    }
}

impl<'a> Iterator for FileRecords<'a> {
    type Item = FileRecord<'a>;

    fn next(&mut self) -> Option<FileRecord<'a>> {
        if self.reader.is_empty() {
            return None;
        }
        self.step().ok()
    }
}

/// Checks the byte count against what follows it; there must be something.
fn check_count(data: &[u8]) -> Result<(), DissectError> {
    let Some((&count, records)) = data.split_first() else {
        return Err(DissectError::truncated("byte count", DATA, 1, 0));
    };
    if records.is_empty() || usize::from(count) != records.len() {
        return Err(DissectError::malformed("byte count", DATA));
    }
    Ok(())
}

/// The error with its offset counted from the start of the ADU instead of the first record.
fn in_adu(error: DissectError) -> DissectError {
    let first = u32::try_from(DATA + 1).unwrap_or_default();
    DissectError { offset: error.offset.saturating_add(first), ..error }
}

/// Checks the data of a request to read: byte count 7 to 245 in steps of 7, each record, and that the reply fits a PDU.
pub(crate) fn check_read(data: &[u8]) -> Result<(), DissectError> {
    check_count(data)?;
    let mut records = FileRecords::read(data);
    // Function code and byte count; each record adds its length byte, its reference type and its registers.
    let mut reply = 2usize;
    while !records.reader.is_empty() {
        let record = records.step().map_err(in_adu)?;
        reply = reply.saturating_add(2).saturating_add(usize::from(record.length).saturating_mul(2));
    }
    if reply > MAX_PDU {
        return Err(DissectError::malformed("file reply length", DATA));
    }
    Ok(())
}

/// Checks the data of a request to write: byte count 9 to 251, filled exactly by its records.
pub(crate) fn check_write(data: &[u8]) -> Result<(), DissectError> {
    check_count(data)?;
    let mut records = FileRecords::write(data);
    while !records.reader.is_empty() {
        records.step().map_err(in_adu)?;
    }
    Ok(())
}

/// Iterator over the registers of each record in a response of function 20, as big-endian bytes.
///
/// The response does not repeat file and record: they are in the request, in the same order.
#[derive(Clone, Copy, Debug)]
pub struct FileData<'a> {
    reader: Reader<'a>,
}

impl<'a> FileData<'a> {
    /// The records of the data after the function code.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { reader: Reader::new(data.get(1..).unwrap_or_default()) }
    }

    fn step(&mut self) -> Result<&'a [u8], DissectError> {
        let start = self.reader.offset();
        let length = self.reader.u8("file response length")?;
        let reference = self.reader.u8("file reference type")?;
        let Some(registers) = length.checked_sub(1).filter(|bytes| bytes & 1 == 0) else {
            return Err(DissectError::malformed("file response length", start));
        };
        if reference != REFERENCE_TYPE {
            return Err(DissectError::malformed("file reference type", start.saturating_add(1)));
        }
        self.reader.take(usize::from(registers), "file record data")
    }
}

impl<'a> Iterator for FileData<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.reader.is_empty() {
            return None;
        }
        self.step().ok()
    }
}

/// Checks the data of a response to a read.
pub(crate) fn check_read_response(data: &[u8]) -> Result<(), DissectError> {
    check_count(data)?;
    let mut records = FileData::new(data);
    while !records.reader.is_empty() {
        records.step().map_err(in_adu)?;
    }
    Ok(())
}
