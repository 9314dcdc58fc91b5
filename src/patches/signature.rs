//! Who issued a pack: a detached Ed25519 signature over its bytes as they are (RFC 8032).
//!
//! Keys and signatures are one line of text: a word for what it is, a colon, hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::document::{hex, unhex};

/// Why a pack is not taken for its issuer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text is no key of the kind that is asked for.
    #[error("it is no {0} key: write \"{1}:\" and 64 hexadecimal digits")]
    Key(&'static str, &'static str),
    /// The signature's text is none.
    #[error("the signature is not \"ed25519-signature:\" and 128 hexadecimal digits")]
    Text,
    /// The signature is not this key's over these bytes.
    #[error("the signature is not that of key {0} over these bytes: the file was changed, or another key signed it")]
    Wrong(PublicKey),
}

const PUBLIC: &str = "ed25519";
const SECRET: &str = "ed25519-secret";
const SIGNATURE: &str = "ed25519-signature";

/// The key that packs are checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The key that packs are signed with. Whoever has it decides which rules boxes take.
pub struct SecretKey(SigningKey);

fn read<const N: usize>(kind: &str, text: &str) -> Option<[u8; N]> {
    let digits = text.trim().strip_prefix(kind)?.strip_prefix(':')?;
    unhex(digits)?.try_into().ok()
}

fn write(f: &mut fmt::Formatter<'_>, kind: &str, bytes: &[u8]) -> fmt::Result {
    write!(f, "{kind}:{}", hex(bytes))
}

impl PublicKey {
    /// The key with these bytes, if they are a point of the curve.
    #[must_use]
    pub fn of_bytes(bytes: [u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).map(|_| Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Whether `signature`, as [`SecretKey::sign`] writes it, is this key's over `bytes`.
    ///
    /// # Errors
    /// The text is no signature, or not that one.
    pub fn verify(&self, bytes: &[u8], signature: &str) -> Result<(), SignatureError> {
        let signature = Signature::from_bytes(&read(SIGNATURE, signature).ok_or(SignatureError::Text)?);
        // Strict: a signature that only some verifiers take is taken by none.
        let good = VerifyingKey::from_bytes(&self.0).and_then(|key| key.verify_strict(bytes, &signature));
        good.map_err(|_| SignatureError::Wrong(*self))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, PUBLIC, &self.0)
    }
}

impl FromStr for PublicKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(PUBLIC, text).and_then(Self::of_bytes).ok_or(SignatureError::Key("public", PUBLIC))
    }
}

impl SecretKey {
    /// The key of 32 random bytes.
    #[must_use]
    pub fn of_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What packs that it signs are checked with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Its text, for a file that nobody else may read.
    #[must_use]
    pub fn secret_text(&self) -> String {
        format!("{SECRET}:{}\n", hex(&self.0.to_bytes()))
    }

    /// The signature over `bytes`, one line.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        format!("{SIGNATURE}:{}\n", hex(&self.0.sign(bytes).to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl FromStr for SecretKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(SECRET, text).map(|seed| Self::of_seed(&seed)).ok_or(SignatureError::Key("secret", SECRET))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 8032, section 7.1, test 1 (the empty message) and test 2 (one byte).
    #[test]
    fn signs_as_the_standard_says() {
        for (secret, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                &b""[..],
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                &b"\x72"[..],
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let key: SecretKey = format!("ed25519-secret:{secret}").parse().unwrap();
            assert_eq!(key.public().to_string(), format!("ed25519:{public}"));
            assert_eq!(key.sign(message).trim(), format!("ed25519-signature:{signature}"));
            assert_eq!(key.public().verify(message, &key.sign(message)), Ok(()));
            assert!(format!("{key:?}").contains(public) && !format!("{key:?}").contains(secret));
        }
    }

    #[test]
    fn other_bytes_keys_and_texts_are_refused() {
        let (key, other) = (SecretKey::of_seed(&[7; 32]), SecretKey::of_seed(&[8; 32]));
        let signature = key.sign(b"pack");
        assert_eq!(key.public().verify(b"pacK", &signature), Err(SignatureError::Wrong(key.public())));
        assert_eq!(other.public().verify(b"pack", &signature), Err(SignatureError::Wrong(other.public())));
        for text in
            ["", "ed25519-signature:", "ed25519-signature:00", &signature[3..], &format!("{}0", signature.trim())]
        {
            assert_eq!(key.public().verify(b"pack", text), Err(SignatureError::Text), "{text}");
        }
        for text in ["", "ed25519:12", "ed25519-secret:00"] {
            assert!(text.parse::<PublicKey>().is_err() && text.parse::<SecretKey>().is_err(), "{text}");
        }
        // A point of small order: anybody could sign for it.
        assert!(format!("ed25519:01{}", "00".repeat(31)).parse::<PublicKey>().is_err());
    }
}
