//! Texts that a computer hands to the robot over the script socket of external control.
//!
//! Nothing on the wire says where such a text ends: the robot asks with one line and reads what comes. So a text is whole
//! where it is one that is known, by the hash of its bytes from the first on; until then it is held. What is not known
//! never becomes whole.

use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a SHA-256 that is under way, as the crate writes it: 8 words, the number of blocks, a block begun.
const STATE: usize = 104;

/// What is known of a text that is coming. Plain data; all zero = nothing came.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Handed {
    hash: [u8; STATE],
    /// Bytes in it.
    len: u32,
    /// 1 = they are held, 0 = they went on: what is known of the ones says nothing of the others.
    held: u32,
}

impl Handed {
    /// Nothing came.
    pub(super) const NOTHING: Self = Self { hash: [0; STATE], len: 0, held: 0 };

    /// The hash of the text so far.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher().finalize().into()
    }

    fn hasher(&self) -> Sha256 {
        if self.len == 0 {
            return Sha256::new();
        }
        // Foreign bytes may say anything: they hash to what nobody knows.
        Sha256::deserialize(&self.hash.into()).unwrap_or_default()
    }

    /// Forgets a text that was treated in the other way.
    fn begin(&mut self, held: bool) {
        if self.held != u32::from(held) {
            *self = Self { held: held.into(), ..Self::NOTHING };
        }
    }

    fn keep(&mut self, hasher: &Sha256, len: usize) {
        self.hash = hasher.serialize().into();
        self.len = u32::try_from(len).unwrap_or(u32::MAX);
    }

    /// Looks for the end of the text in `bytes`, which begin with it: at the end of each line, and at the end of what came.
    /// Gives its length and hash.
    ///
    /// Cost: each byte is hashed once however often this is asked, and each line costs one look-up.
    pub(super) fn find(&mut self, bytes: &[u8], known: impl Fn(&[u8; 32]) -> bool) -> Option<(usize, [u8; 32])> {
        self.begin(true);
        let mut hasher = self.hasher();
        let mut at = (self.len as usize).min(bytes.len());
        for line in bytes.get(at..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            hasher.update(line);
            at = at.saturating_add(line.len());
            let digest = hasher.clone().finalize().into();
            if known(&digest) {
                *self = Self::NOTHING;
                return Some((at, digest));
            }
        }
        self.keep(&hasher, at);
        None
    }

    /// Adds bytes that went on without being held.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.begin(false);
        let mut hasher = self.hasher();
        hasher.update(bytes);
        let len = (self.len as usize).saturating_add(bytes.len());
        self.keep(&hasher, len);
    }

    /// Whether a text has begun that went on, so far as it came.
    pub(super) fn is_under_way(&self) -> bool {
        self.len != 0 && self.held == 0
    }

    /// The text is over: its length and hash, if there was one.
    pub(super) fn take(&mut self) -> Option<(u32, [u8; 32])> {
        let found = (self.len != 0).then(|| (self.len, self.digest()));
        *self = Self::NOTHING;
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_known_text_is_found_however_it_is_cut(
            text in "[a-z \n]{1,200}", behind in "[a-z\n]{0,40}", cuts in prop::collection::vec(1_usize..30, 1..40)
        ) {
            let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            let whole = format!("{text}{}{behind}", if text.ends_with('\n') { "" } else { "\n" });
            let wanted = if text.ends_with('\n') { text.len() } else { text.len() + 1 };
            let known: [u8; 32] = Sha256::digest(&whole.as_bytes()[..wanted]).into();
            let mut handed = Handed::NOTHING;
            let mut came = 0;
            let mut found = None;
            for cut in cuts.into_iter().chain(std::iter::repeat(7)) {
                came = (came + cut).min(whole.len());
                found = handed.find(&whole.as_bytes()[..came], |hash| *hash == known);
                if found.is_some() || came == whole.len() {
                    break;
                }
            }
            prop_assert_eq!(found, Some((wanted, known)));
            // Without the end of its last line it is found where what came ends.
            let mut handed = Handed::NOTHING;
            prop_assert_eq!(handed.find(text.as_bytes(), |hash| *hash == digest), Some((text.len(), digest)));
        }

        #[test]
        fn what_goes_on_unheld_hashes_alike(parts in prop::collection::vec("[a-z\n]{1,90}", 1..9)) {
            let mut handed = Handed::NOTHING;
            parts.iter().for_each(|part| handed.add(part.as_bytes()));
            let whole = parts.concat();
            let digest: [u8; 32] = Sha256::digest(whole.as_bytes()).into();
            prop_assert_eq!(handed.take(), Some((whole.len() as u32, digest)));
            prop_assert_eq!(handed.take(), None);
        }
    }

    #[test]
    fn what_went_on_is_no_part_of_what_is_held() {
        let digest: [u8; 32] = Sha256::digest(b"one\ntwo\n").into();
        let mut handed = Handed::NOTHING;
        handed.add(b"one\n");
        assert_eq!(handed.find(b"xxx\ntwo\n", |hash| *hash == digest), None);
        handed.add(b"two\n");
        assert_eq!(handed.take(), Some((4, Sha256::digest(b"two\n").into())));
    }

    #[test]
    fn an_unknown_text_is_never_whole() {
        let mut handed = Handed::NOTHING;
        let text = b"movej(q)\nstopj(2)\n";
        for end in 1..=text.len() {
            assert_eq!(handed.find(&text[..end], |_| false), None);
        }
        assert_eq!(handed.len as usize, text.len());
    }
}
