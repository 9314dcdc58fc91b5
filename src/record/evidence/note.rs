//! Signed notes and checkpoints of C2SP (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), with Ed25519.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use sha2::{Digest, Sha256};

use super::tree::Hash;

/// The byte that says Ed25519 before a key.
const ED25519: u8 = 1;

/// What a secret key's line begins with, as other writers of signed notes have it.
const PRIVATE: &str = "PRIVATE+KEY+";

/// The key that signs, with its name.
pub(super) struct Signer {
    key: SigningKey,
    name: String,
}

impl Signer {
    /// The key of 32 random bytes, called `name`.
    pub(super) fn of_seed(name: &str, seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed), name: name.to_owned() }
    }

    /// The key in a line that [`Signer::secret_line`] wrote.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.trim_end().strip_prefix(PRIVATE)?.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let bytes = STANDARD.decode(key).ok()?;
        let (&kind, seed) = bytes.split_first()?;
        let signer = Self::of_seed(name, seed.try_into().ok()?);
        (kind == ED25519 && signer.id_hex() == id).then_some(signer)
    }

    /// Its name, the origin of checkpoints.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The line for a file that nobody else may read.
    pub(super) fn secret_line(&self) -> String {
        let key = [&[ED25519][..], &self.key.to_bytes()].concat();
        format!("{PRIVATE}{}+{}+{}\n", self.name, self.id_hex(), STANDARD.encode(key))
    }

    /// The line that others check signatures with, without line end.
    pub(super) fn public_line(&self) -> String {
        format!("{}+{}+{}", self.name, self.id_hex(), STANDARD.encode(self.public()))
    }

    /// `text`, which ends in a line feed, with its signature.
    pub(super) fn sign(&self, text: &str) -> String {
        let signature = [&self.id()[..], &self.key.sign(text.as_bytes()).to_bytes()].concat();
        format!("{text}\n\u{2014} {} {}\n", self.name, STANDARD.encode(signature))
    }

    /// The text of a note that this key signed.
    pub(super) fn open<'n>(&self, note: &'n str) -> Option<&'n str> {
        let (text, line) = note.split_once("\n\n")?;
        let text = note.get(..text.len().saturating_add(1))?;
        let line = line.strip_prefix("\u{2014} ")?.strip_prefix(self.name.as_str())?.strip_prefix(' ')?;
        let bytes = STANDARD.decode(line.strip_suffix('\n')?).ok()?;
        let (id, signature) = bytes.split_first_chunk()?;
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        let good = *id == self.id() && self.key.verifying_key().verify_strict(text.as_bytes(), &signature).is_ok();
        good.then_some(text)
    }

    fn public(&self) -> Vec<u8> {
        [&[ED25519][..], self.key.verifying_key().as_bytes()].concat()
    }

    /// The first four bytes of SHA-256 over name, line feed and public key.
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update("\n").chain_update(self.public()).finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }

    fn id_hex(&self) -> String {
        super::tree::hex(&self.id())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public_line())
    }
}

/// What a checkpoint says beside its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) leaves: u64,
    pub(super) root: Hash,
    /// Wall clock, nanoseconds since 1970.
    pub(super) time_ns: u64,
    /// Number of the last record in the leaves.
    pub(super) records: u64,
    /// How often the store was opened.
    pub(super) counter: u64,
}

impl Checkpoint {
    /// The note that says it, signed.
    pub(super) fn note(&self, signer: &Signer) -> String {
        let Self { leaves, root, time_ns, records, counter } = self;
        let root = STANDARD.encode(root);
        let name = &signer.name;
        signer.sign(&format!("{name}\n{leaves}\n{root}\ntime_ns {time_ns}\nrecords {records}\ncounter {counter}\n"))
    }

    /// What a note says that `signer` signed.
    pub(super) fn of_note(note: &str, signer: &Signer) -> Option<Self> {
        let mut lines = signer.open(note)?.lines();
        if lines.next()? != signer.name {
            return None;
        }
        let leaves = lines.next()?.parse().ok()?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let mut number = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        Some(Self {
            leaves,
            root,
            time_ns: number("time_ns")?,
            records: number("records")?,
            counter: number("counter")?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example in the documentation of golang.org/x/mod/sumdb/note, where signed notes come from.
    #[test]
    fn signs_as_the_first_writer_of_notes_does() {
        let secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let signer = Signer::parse(secret).unwrap();
        assert_eq!(signer.public_line(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let note = signer.sign(text);
        let signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        assert_eq!(note, format!("{text}\n\u{2014} PeterNeumann {signature}\n"));
        assert_eq!(signer.open(&note), Some(text));
        assert_eq!(signer.secret_line().trim_end(), secret);
        assert!(signer.open(&note.replace("answer", "Answer")).is_none());
        assert!(Signer::of_seed("PeterNeumann", &[7; 32]).open(&note).is_none());
    }

    #[test]
    fn checkpoints_are_read_back() {
        let signer = Signer::of_seed("vambrace/cell4", &[3; 32]);
        let checkpoint = Checkpoint { leaves: 5, root: [9; 32], time_ns: 1_764_000_000, records: 77, counter: 2 };
        let note = checkpoint.note(&signer);
        assert!(note.starts_with("vambrace/cell4\n5\nCQkJ"), "{note}");
        assert!(note.contains("=\ntime_ns 1764000000\nrecords 77\ncounter 2\n\n\u{2014} vambrace/cell4 "), "{note}");
        assert_eq!(Checkpoint::of_note(&note, &signer), Some(checkpoint));
        for wrong in [note.replace("\n5\n", "\n6\n"), note.replace('\u{2014}', "-"), String::new(), "\n\n".into()] {
            assert_eq!(Checkpoint::of_note(&wrong, &signer), None, "{wrong}");
        }
        for wrong in ["", "PRIVATE+KEY+a+00000000+AQ==", &signer.public_line()] {
            assert!(Signer::parse(wrong).is_none(), "{wrong}");
        }
    }
}
