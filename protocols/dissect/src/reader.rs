use crate::DissectError;

/// A cursor over bytes that can't run past their end.
///
/// Every method either returns the field and moves on, or returns [`DissectError`] with kind `Truncated` and stays.
/// Cost: one comparison a field.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// Whether all bytes are read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// Fewer than `len` bytes are left; `field` names what was wanted.
    pub fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DissectError> {
        let rest = self.rest();
        match rest.split_at_checked(len) {
            Some((taken, _)) => {
                self.offset = self.offset.saturating_add(len);
                Ok(taken)
            }
            None => Err(DissectError::truncated(field, self.offset, len, rest.len())),
        }
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// Fewer than `N` bytes are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DissectError> {
        let taken = self.take(N, field)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    /// The next byte.
    ///
    /// # Errors
    /// No byte is left.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DissectError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// The next two bytes, big-endian.
    ///
    /// # Errors
    /// Fewer than two bytes are left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DissectError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    ///
    /// # Errors
    /// Fewer than four bytes are left.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DissectError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// The next four bytes, big-endian, two's complement.
    ///
    /// # Errors
    /// Fewer than four bytes are left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DissectError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// The next eight bytes, big-endian.
    ///
    /// # Errors
    /// Fewer than eight bytes are left.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DissectError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// The next eight bytes as a big-endian IEEE 754 double.
    ///
    /// # Errors
    /// Fewer than eight bytes are left.
    pub fn f64(&mut self, field: &'static str) -> Result<f64, DissectError> {
        self.array(field).map(f64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn reads_in_order_and_stays_on_error() {
        let mut reader = Reader::new(&[1, 0, 2, 0xff, 0xff, 0xff, 0xfe, 9]);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(2));
        assert_eq!(reader.i32("c"), Ok(-2));
        let error = reader.u16("d").unwrap_err();
        assert_eq!(error, DissectError::truncated("d", 7, 2, 1));
        assert_eq!(error.kind, ErrorKind::Truncated);
        assert_eq!(reader.rest(), &[9]);
        assert_eq!(std::format!("{error}"), "d at byte 7 needs 2 bytes, 1 are there");
    }
}
