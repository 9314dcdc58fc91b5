//! The Merkle tree, held as the roots of its largest whole subtrees. Source: RFC 9162, section 2.1.1.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Hash of a leaf.
fn leaf(body: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(body).finalize().into()
}

/// Hash of a node.
fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that only grows.
///
/// Invariant: `roots` holds one hash for each bit that is set in `leaves`, the highest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    leaves: u64,
    roots: Vec<Hash>,
}

impl Tree {
    /// A tree of `leaves` leaves that are no longer there; `None` where the number of hashes does not fit.
    #[must_use]
    pub fn of_frontier(leaves: u64, roots: Vec<Hash>) -> Option<Self> {
        (usize::try_from(leaves.count_ones()).ok()? == roots.len()).then_some(Self { leaves, roots })
    }

    /// Number of leaves.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The roots of the largest whole subtrees, from left to right.
    #[must_use]
    pub fn frontier(&self) -> &[Hash] {
        &self.roots
    }

    /// Appends a leaf.
    pub(super) fn push(&mut self, body: &[u8]) {
        let mut hash = leaf(body);
        // Each bit that the increment clears is a whole subtree that the new one completes.
        for _ in 0..self.leaves.trailing_ones() {
            let Some(left) = self.roots.pop() else { break };
            hash = node(&left, &hash);
        }
        self.roots.push(hash);
        self.leaves = self.leaves.saturating_add(1);
    }

    /// The root; that of no leaves is the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return sha256(&[]) };
        roots.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9162, 2.1.1, as it stands there: split at the largest power of two below n.
    fn by_the_book(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => leaf(one),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&by_the_book(&leaves[..split]), &by_the_book(&leaves[split..]))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_book() {
        let leaves: Vec<Vec<u8>> = (0..70u8).map(|byte| vec![byte; usize::from(byte)]).collect();
        let mut tree = Tree::default();
        for count in 0..=leaves.len() {
            assert_eq!(tree.root(), by_the_book(&leaves[..count]), "{count}");
            let again = Tree::of_frontier(tree.leaves(), tree.frontier().to_vec()).unwrap();
            assert_eq!(again, tree);
            if let Some(leaf) = leaves.get(count) {
                tree.push(leaf);
            }
        }
        assert!(Tree::of_frontier(3, vec![[0; 32]]).is_none());
    }

    #[test]
    fn the_published_root_of_nothing_and_of_eight() {
        let hex = |hash: Hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(Tree::default().root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        // The reference leaves of Certificate Transparency's own tests.
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let mut tree = Tree::default();
        for leaf in leaves {
            tree.push(leaf);
        }
        assert_eq!(hex(tree.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
