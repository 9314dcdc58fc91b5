//! Reading pcapng, as far as evidence needs it: blocks, whole or not.
//!
//! Source: draft-ietf-opsawg-pcapng, sections 3.1 (block), 4.1 (section header), 4.3 (packet), 4.7 (custom block).

/// Section header block.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Interface description block.
pub(super) const INTERFACE: u32 = 1;
/// Enhanced packet block.
pub(super) const PACKET: u32 = 6;
/// Custom block that may be copied.
pub(super) const CUSTOM: u32 = 0x0000_0bad;
/// Byte order of a section whose numbers are little-endian.
const LITTLE_ENDIAN: u32 = 0x1a2b_3c4d;
/// Enterprise number of our custom blocks. Source: RFC 5612.
pub(super) const ENTERPRISE: u32 = 32473;
/// What our payloads begin with.
pub(super) const MAGIC: [u8; 4] = *b"VBR1";
/// Longest block that is read, in bytes; the format allows no longer one. A corrupt length costs no more memory than this.
pub(super) const MAX_BLOCK: usize = 16 << 20;

/// The number at `offset`.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// The number at `offset`.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// What stands at the begin of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// A block whose two lengths agree.
    Whole(&'a [u8]),
    /// The block needs this many bytes, more than there are.
    Needs(usize),
    /// No block begins like this.
    Broken(&'static str),
}

/// Looks at the block that `bytes` begin with.
pub(super) fn head(bytes: &[u8]) -> Head<'_> {
    let Some(length) = u32_at(bytes, 4) else { return Head::Needs(8) };
    let Ok(length) = usize::try_from(length) else { return Head::Broken("the block's length cannot be") };
    if length < 12 || !length.is_multiple_of(4) {
        return Head::Broken("the block's length cannot be");
    }
    if length > MAX_BLOCK {
        return Head::Broken("the block is longer than any may be");
    }
    let Some(block) = bytes.get(..length) else { return Head::Needs(length) };
    if u32_at(block, length.saturating_sub(4)) == u32_at(block, 4) {
        Head::Whole(block)
    } else {
        Head::Broken("the block's two lengths differ")
    }
}

/// A whole block by what it is to evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    /// Where a section begins.
    Section,
    /// A port.
    Interface,
    /// A packet of the interface with this number.
    Packet(u32),
    /// A record: an event or the store's own word.
    Record(&'a [u8]),
    /// The body of a trailer.
    Trailer(&'a [u8]),
    /// The body of a checkpoint.
    Checkpoint(&'a [u8]),
    /// The body of a block that wraps the segment's data key.
    Keys(&'a [u8]),
    /// The body of sealed records and packets.
    Sealed(&'a [u8]),
    /// Something that a reader of pcapng may skip.
    Other,
}

/// Reads a whole block.
///
/// # Errors
/// What is wrong with one that is ours.
pub(super) fn read(block: &[u8]) -> Result<Block<'_>, &'static str> {
    let body = block.get(8..block.len().saturating_sub(4)).unwrap_or_default();
    match u32_at(block, 0) {
        Some(SECTION_HEADER) if u32_at(body, 0) != Some(LITTLE_ENDIAN) => Err("the section is not little-endian"),
        Some(SECTION_HEADER) => Ok(Block::Section),
        Some(INTERFACE) => Ok(Block::Interface),
        Some(PACKET) => u32_at(body, 0).map(Block::Packet).ok_or("the packet is cut short"),
        Some(CUSTOM) if u32_at(body, 0) == Some(ENTERPRISE) => ours(body.get(4..).unwrap_or_default()),
        _ => Ok(Block::Other),
    }
}

/// Reads the payload of a custom block with our number.
fn ours(payload: &[u8]) -> Result<Block<'_>, &'static str> {
    const NOT_OURS: &str = "a custom block of ours is malformed";
    let (Some(head), Some(length)) = (payload.first_chunk::<8>(), u32_at(payload, 8)) else { return Err(NOT_OURS) };
    let [a, b, c, d, kind, 0, 0, 0] = *head else { return Err(NOT_OURS) };
    if [a, b, c, d] != MAGIC {
        return Err(NOT_OURS);
    }
    let rest = payload.get(12..).unwrap_or_default();
    let (body, padding) = usize::try_from(length).ok().and_then(|at| rest.split_at_checked(at)).ok_or(NOT_OURS)?;
    if padding.len() > 3 || padding.iter().any(|byte| *byte != 0) {
        return Err(NOT_OURS);
    }
    match kind {
        1 => Ok(Block::Record(body)),
        2 => Ok(Block::Trailer(body)),
        3 => Ok(Block::Checkpoint(body)),
        4 => Ok(Block::Keys(body)),
        5 => Ok(Block::Sealed(body)),
        _ => Err("a custom block of ours is of a kind that is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_cannot_be_are_told_before_anything_is_kept() {
        let block = |length: u32| {
            let mut bytes = vec![6, 0, 0, 0];
            bytes.extend(length.to_le_bytes());
            bytes
        };
        assert_eq!(head(&block(16)[..7]), Head::Needs(8));
        assert_eq!(head(&block(16)), Head::Needs(16));
        for length in [0, 8, 13, u32::MAX, u32::MAX - 3, 1 << 30] {
            assert!(matches!(head(&block(length)), Head::Broken(_)), "{length}");
        }
        let mut whole = block(16);
        whole.extend([1, 0, 0, 0, 16, 0, 0, 0]);
        assert_eq!(head(&whole), Head::Whole(&whole));
        assert_eq!(read(&whole), Ok(Block::Packet(1)));
        whole[12] = 20;
        assert!(matches!(head(&whole), Head::Broken(_)));
    }
}
