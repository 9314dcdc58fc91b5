//! The update bundle: a signed header, and the system behind it.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VBUPDATE` |
//! | 4 | length of the header, little-endian, at most [`LONGEST`] |
//! | that many | the header, in TOML |
//! | 64 | Ed25519 over [`CONTEXT`] and the header |
//! | the rest | the system, as it stands in a slot |
//!
//! The header names the length and SHA-256 of the system, so that its signature stands for all of it. It is checked
//! before anything is written. The bytes before the system are kept beside it in the slot: they say what a slot holds.

use std::io::Read;

use ed25519_dalek::{Signature, VerifyingKey};
use semver::Version;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::release::Release;
use crate::{At, Failure};

/// First bytes of every bundle.
pub const MAGIC: &[u8; 8] = b"VBUPDATE";

/// What a signature of a header is over, before the header: nothing else that is signed with the key can pass for one.
pub const CONTEXT: &[u8] = b"vambrace update header, version 1\n";

/// Longest header in bytes; those of the build have some 300.
pub const LONGEST: u32 = 4096;

/// Largest system in bytes: with what else lies in a slot of 64 MiB there is room for it.
pub const LARGEST: u64 = 56 << 20;

/// The product of which bundles are taken.
const PRODUCT: &str = "vambrace";

/// What a header says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The product.
    pub product: String,
    /// Kinds of machines that it is for.
    pub hardware: Vec<String>,
    /// The version that it brings.
    pub version: Version,
    /// The lowest version that it may come from.
    pub from: Version,
    /// Version of the configuration file's keys that it reads.
    pub config_schema: u32,
    /// Its security epoch.
    pub epoch: u32,
    /// Length of the system in bytes.
    pub image_bytes: u64,
    /// SHA-256 of the system, in 64 small hexadecimal digits.
    pub image_sha256: String,
}

/// A header whose signature holds, and the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub header: Header,
    /// Everything before the system.
    pub bytes: Vec<u8>,
}

impl Signed {
    /// Reads the beginning of a bundle, or what is kept of it in a slot, and checks its signature with the 64 hexadecimal
    /// digits of a public key. The reader stands before the system then.
    ///
    /// # Errors
    /// It is no bundle, or not signed with that key.
    pub fn read(from: &mut impl Read, key: &str) -> Result<Self, Failure> {
        let short = "no update bundle, or cut off";
        let mut head = [0_u8; 12];
        from.read_exact(&mut head).at(short)?;
        let (magic, length) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Failure("this is no update bundle".to_owned()));
        }
        let length = u32::from_le_bytes(*length.first_chunk().unwrap_or(&[0xff; 4]));
        if length > LONGEST {
            return Err(Failure(format!("its header has {length} bytes; at most {LONGEST} are taken")));
        }
        let mut header = vec![0_u8; usize::try_from(length).unwrap_or_default()];
        from.read_exact(&mut header).at(short)?;
        let mut signature = [0_u8; 64];
        from.read_exact(&mut signature).at(short)?;
        let key = bytes_of(key)
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .ok_or_else(|| Failure("the image has no key for updates".to_owned()))?;
        key.verify_strict(&[CONTEXT, &header].concat(), &Signature::from_bytes(&signature))
            .map_err(|_| Failure("its signature does not hold: it was altered, or is of somebody else".to_owned()))?;
        let text = std::str::from_utf8(&header).at("its header")?;
        let bytes = [head.as_slice(), &header, &signature].concat();
        Ok(Self { header: toml::from_str(text).at("its header")?, bytes })
    }
}

impl Header {
    /// Whether the box may take it: the right product and machine, from this version, not below `floor`, the lowest
    /// epoch that still runs here.
    ///
    /// # Errors
    /// Why not.
    pub fn suits(&self, running: &Release, floor: u32) -> Result<(), Failure> {
        let no = |why: String| Err(Failure(why));
        if self.product != PRODUCT {
            return no(format!("it is for {:?}, not for {PRODUCT}", self.product));
        }
        if !self.hardware.contains(&running.hardware) {
            return no(format!("it is for {}; this box is {}", self.hardware.join(", "), running.hardware));
        }
        if self.image_bytes > LARGEST {
            return no(format!("its system has {} bytes; a slot takes {LARGEST}", self.image_bytes));
        }
        if self.epoch < floor {
            return no(format!(
                "its security epoch is {}, this box takes none below {floor}: version {} has known flaws",
                self.epoch, self.version
            ));
        }
        if running.version < self.from {
            return no(format!(
                "it may come from {} or later, and {} runs; bring an update in between first",
                self.from, running.version
            ));
        }
        if self.config_schema < running.config_schema {
            return no(format!(
                "it reads configurations of schema {}, this box's are of {}",
                self.config_schema, running.config_schema
            ));
        }
        Ok(())
    }
}

/// Hashes `bytes` bytes of a reader, and hands them on.
///
/// # Errors
/// There are fewer, they are others than the header says, or they can't be handed on.
pub fn checked(
    from: &mut impl Read,
    header: &Header,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut sum = Sha256::new();
    let mut left = header.image_bytes;
    let mut buffer = vec![0_u8; 1 << 18];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(place) = buffer.get_mut(..wanted) else { break };
        let got = from.read(place).at("its system")?;
        let Some(part) = place.get(..got).filter(|part| !part.is_empty()) else {
            return Err(Failure(format!("its system is cut off: {left} bytes are missing")));
        };
        sum.update(part);
        take(part).at("its system")?;
        left = left.saturating_sub(u64::try_from(got).unwrap_or(u64::MAX));
    }
    if digits(&sum.finalize()) == header.image_sha256 {
        Ok(())
    } else {
        Err(Failure("its system is not the one of its header: it was altered on the way".to_owned()))
    }
}

/// Bytes in small hexadecimal digits.
fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes from 64 hexadecimal digits.
fn bytes_of(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    let pairs: &[[u8; 2]] = text.trim().as_bytes().as_chunks().0;
    if text.trim().len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use crate::release::Trial;
    use ed25519_dalek::{Signer, SigningKey};

    fn key(seed: u8) -> (SigningKey, String) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = digits(key.verifying_key().as_bytes());
        (key, public)
    }

    fn header(image: &[u8]) -> String {
        format!(
            "product = \"vambrace\"\nhardware = [\"uefi-amd64\"]\nversion = \"0.2.0\"\nfrom = \"0.1.0\"\n\
             config_schema = 1\nepoch = 2\nimage_bytes = {}\nimage_sha256 = \"{}\"\n",
            image.len(),
            digits(&Sha256::digest(image))
        )
    }

    fn bundle(header: &str, key: &SigningKey, image: &[u8]) -> Vec<u8> {
        let signature = key.sign(&[CONTEXT, header.as_bytes()].concat());
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC.as_slice(), &length, header.as_bytes(), &signature.to_bytes(), image].concat()
    }

    fn running() -> Release {
        Release {
            version: Version::new(0, 1, 0),
            hardware: "uefi-amd64".to_owned(),
            config_schema: 1,
            epoch: 1,
            update_key: key(1).1,
            trial: Trial { hold_seconds: 120, limit_seconds: 600, latency_us: 2000 },
        }
    }

    #[test]
    fn a_signed_bundle_is_read_and_its_system_hashed() {
        let (secret, public) = key(1);
        let bytes = bundle(&header(b"system"), &secret, b"system");
        let mut rest = bytes.as_slice();
        let signed = Signed::read(&mut rest, &public).unwrap();
        assert_eq!(signed.bytes.len() + 6, bytes.len());
        assert_eq!(signed.header.epoch, 2);
        let mut taken = Vec::new();
        checked(&mut rest, &signed.header, |part| {
            taken.extend_from_slice(part);
            Ok(())
        })
        .unwrap();
        assert_eq!(taken, b"system");
        // What a slot keeps of it is read as well.
        assert_eq!(Signed::read(&mut signed.bytes.as_slice(), &public).unwrap(), signed);
    }

    #[test]
    fn no_altered_byte_and_no_cut_is_taken() {
        let (secret, public) = key(1);
        let whole = bundle(&header(b"system"), &secret, b"system");
        let take = |bytes: &[u8]| {
            let mut rest = bytes;
            let signed = Signed::read(&mut rest, &public)?;
            checked(&mut rest, &signed.header, |_| Ok(()))
        };
        take(&whole).unwrap();
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1 << (at % 8);
            assert!(take(&other).is_err(), "byte {at}");
            assert!(take(&whole[..at]).is_err(), "cut to {at} bytes");
        }
    }

    #[test]
    fn another_key_and_another_context_are_refused() {
        let (secret, _) = key(1);
        let bytes = bundle(&header(b""), &secret, b"");
        let refused = Signed::read(&mut bytes.as_slice(), &key(2).1).unwrap_err();
        assert_eq!(refused.0, "its signature does not hold: it was altered, or is of somebody else");
        for key in ["", "00", "zz"] {
            assert!(Signed::read(&mut bytes.as_slice(), key).unwrap_err().0.contains("no key for updates"));
        }
        let header = header(b"");
        let signature = secret.sign(header.as_bytes());
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        let bytes = [MAGIC.as_slice(), &length, header.as_bytes(), &signature.to_bytes()].concat();
        assert!(Signed::read(&mut bytes.as_slice(), &key(1).1).is_err(), "signed without the context");
    }

    #[test]
    fn a_header_that_claims_much_takes_no_memory() {
        let bytes = [MAGIC.as_slice(), &u32::MAX.to_le_bytes(), &[0; 64]].concat();
        let refused = Signed::read(&mut bytes.as_slice(), &key(1).1).unwrap_err();
        assert!(refused.0.contains("at most 4096 are taken"), "{refused}");
    }

    #[test]
    fn what_does_not_suit_is_refused_with_its_reason() {
        let good: Header = toml::from_str(&header(b"system")).unwrap();
        good.suits(&running(), 2).unwrap();
        let refused = |change: &dyn Fn(&mut Header), floor: u32, why: &str| {
            let mut header = good.clone();
            change(&mut header);
            let failure = header.suits(&running(), floor).unwrap_err();
            assert!(failure.0.contains(why), "{failure}");
        };
        refused(&|it| it.product = "other".into(), 0, "it is for \"other\"");
        refused(&|it| it.hardware = vec!["arm".into()], 0, "this box is uefi-amd64");
        refused(&|_| {}, 3, "takes none below 3");
        refused(&|it| it.from = Version::new(0, 1, 1), 0, "bring an update in between first");
        refused(&|it| it.config_schema = 0, 0, "this box's are of 1");
        refused(&|it| it.image_bytes = LARGEST + 1, 0, "a slot takes");
        // An older version of the same epoch may come back.
        let mut older = good;
        older.version = Version::new(0, 0, 9);
        older.from = Version::new(0, 0, 1);
        older.suits(&running(), 2).unwrap();
    }

    #[test]
    fn a_header_with_a_key_that_is_not_known_is_not_guessed_at() {
        let (secret, public) = key(1);
        let bytes = bundle(&(header(b"") + "extra = 1\n"), &secret, b"");
        assert!(Signed::read(&mut bytes.as_slice(), &public).unwrap_err().0.contains("extra"));
    }
}
