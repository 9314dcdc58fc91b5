//! The Merkle tree of RFC 9162, section 2.1.1, as far as a log that only grows needs it.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// The roots of the largest whole subtrees, from left to right: one for each bit that is set in the number of leaves.
///
/// All that is needed to add leaves and to know the root; 64 hashes at most, however many leaves there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frontier {
    leaves: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The frontier of `leaves` leaves; `None` where the number of roots is another.
    pub(super) fn of(leaves: u64, roots: Vec<Hash>) -> Option<Self> {
        (usize::try_from(leaves.count_ones()) == Ok(roots.len())).then_some(Self { leaves, roots })
    }

    /// How many leaves there are.
    pub(super) fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The roots, largest subtree first.
    pub(super) fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Adds a leaf.
    pub(super) fn push(&mut self, leaf: &[u8]) {
        let mut hash = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
        let mut rest = self.leaves;
        while rest & 1 == 1
            && let Some(left) = self.roots.pop()
        {
            hash = node(&left, &hash);
            rest >>= 1;
        }
        self.roots.push(hash);
        self.leaves = self.leaves.saturating_add(1);
    }

    /// The root of all leaves; of none the hash of nothing.
    pub(super) fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            Some(last) => roots.fold(*last, |right, left| node(left, &right)),
            None => Sha256::digest([]).into(),
        }
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that `text` has the digits of.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
    use super::*;

    /// The leaves and roots of the reference implementation of Certificate Transparency (RFC 6962, the same tree).
    #[test]
    fn roots_are_those_of_the_published_vectors() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        assert_eq!(hex(&frontier.root()), roots[0]);
        for (leaf, root) in leaves.iter().zip(&roots[1..]) {
            frontier.push(leaf);
            assert_eq!(hex(&frontier.root()), *root);
        }
    }

    /// The definition, word for word: split at the largest power of two below the number.
    fn root_by_definition(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => Sha256::digest([&[0][..], leaf].concat()).into(),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = (root_by_definition(&leaves[..split]), root_by_definition(&leaves[split..]));
                Sha256::digest([&[1][..], &left, &right].concat()).into()
            }
        }
    }

    #[test]
    fn a_frontier_can_be_put_down_and_taken_up_at_any_size() {
        let leaves: Vec<Vec<u8>> = (0..70u32).map(|leaf| leaf.to_le_bytes().to_vec()).collect();
        let mut frontier = Frontier::default();
        for (at, leaf) in leaves.iter().enumerate() {
            frontier = Frontier::of(frontier.leaves(), frontier.roots().to_vec()).unwrap();
            assert_eq!(frontier.root(), root_by_definition(&leaves[..at]));
            frontier.push(leaf);
        }
        assert!(Frontier::of(3, vec![[0; 32]]).is_none());
        assert_eq!(unhex(&hex(&frontier.root())), Some(frontier.root()));
        assert!(unhex("0g").is_none() && unhex(&"g".repeat(64)).is_none());
    }
}
