use std::fmt;

/// Up to `N` bytes of text in place, for records that must not allocate. Longer text is cut and says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u16,
    cut: bool,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; N], len: 0, cut: false };

    /// A copy of `bytes`, cut to `N`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = Self::EMPTY;
        text.push(bytes);
        text
    }

    /// Appends `bytes` as far as there is room.
    pub fn push(&mut self, bytes: &[u8]) {
        let used = usize::from(self.len);
        let Some(room) = self.bytes.get_mut(used..) else { return };
        let taken = room.len().min(bytes.len());
        if let (Some(to), Some(from)) = (room.get_mut(..taken), bytes.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.len = u16::try_from(used.saturating_add(taken)).unwrap_or(u16::MAX);
        self.cut |= taken < bytes.len();
    }

    /// The bytes held.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether there was more than fits.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))?;
        if self.cut { f.write_str("...") } else { Ok(()) }
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// The items of a comma-separated list; commas inside square brackets belong to their item.
pub fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut depth = 0_u32;
    list.split(move |byte| {
        match byte {
            b'[' => depth = depth.saturating_add(1),
            b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *byte == b',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_brackets_do_not_part() {
        let all = |list: &'static [u8]| items(list).collect::<Vec<_>>();
        assert_eq!(all(b"a=[1,2],b=3"), [&b"a=[1,2]"[..], b"b=3"]);
        assert_eq!(all(b"a,b,"), [&b"a"[..], b"b", b""]);
        assert_eq!(all(b"a],b=[1,2"), [&b"a]"[..], b"b=[1,2"]);
    }
}
