//! The claim: how a box that nobody owns gets its first engineer.
//!
//! The box shows a secret on its console until it is claimed. Whoever knows it may, over the management port, give the box
//! an authority, have it certified, and become its first user. Both ends prove that they know the secret, each with a value
//! that holds for this TLS connection alone (RFC 5705, RFC 8446 section 7.5), so that neither somebody in between nor a box
//! that is not the one on whose screen the secret stands gets through. The secret has 125 bits: nobody finds it out of a
//! proof. The box's secret key never leaves the box, the authority's never leaves the one who claims.
//!
//! Four lines of JSON, client first: `Hello`, `Welcome`, `Grant`, `Claimed`.

mod ask;
mod place;
mod serve;
#[cfg(test)]
mod tests;

pub use ask::{ClaimError, Owner, claim};
pub(super) use place::Place;
pub(super) use serve::Claims;

use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::document::{hex, unhex};

/// Version of the conversation.
const VERSION: u32 = 1;

/// Longest line in bytes: two certificates in PEM are some 2 kB.
const LONGEST: u64 = 64 * 1024;

/// What the proofs of a connection hold for. Source: the registry of exporter labels leaves `EXPORTER-` to all.
const LABEL: &[u8] = b"EXPORTER-vambrace-claim";

/// The client's first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    /// [`VERSION`].
    claim: u32,
    /// That the client knows the secret; in hexadecimal digits.
    proof: String,
}

/// The box's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Welcome {
    /// It goes on.
    Box {
        /// That the box knows the secret; in hexadecimal digits.
        proof: String,
        /// The box's public key, a point of P-256; in hexadecimal digits.
        public_key: String,
        /// The box's name.
        name: String,
    },
    /// It does not.
    Failed {
        /// Why, for people.
        why: String,
    },
}

/// What the client gives.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// The authority's certificate, in PEM.
    ca: String,
    /// The box's certificate by it, in PEM.
    certificate: String,
    /// Name of the first engineer.
    user: String,
    /// SHA-256 of the engineer's certificate, as configurations have it.
    fingerprint: String,
}

/// The box's last word.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Claimed {
    /// It is claimed.
    Done,
    /// It is not.
    Failed {
        /// Why, for people.
        why: String,
    },
}

/// The secret of a box: 25 characters of Crockford's base 32, in groups of five.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Digits of Crockford's base 32: no I, L, O and U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Number of characters; each stands for five bits.
const CHARACTERS: usize = 25;

impl Secret {
    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// The kernel has none.
    fn make() -> std::io::Result<Self> {
        let mut bytes = [0_u8; CHARACTERS];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let digit = |byte: &u8| DIGITS.get(usize::from(byte & 31)).copied().map_or('0', char::from);
        Ok(Self(bytes.iter().map(digit).collect()))
    }

    /// Reads one as people type it: small letters, other groups, and letters that look like digits are fine.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let letters = text.trim().chars().filter(|char| !matches!(char, '-' | ' '));
        let read: String = letters
            .map(|char| match char.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .collect();
        let fine = read.len() == CHARACTERS && read.bytes().all(|byte| DIGITS.contains(&byte));
        fine.then_some(Self(read))
    }

    /// As the screen shows it.
    #[must_use]
    fn shown(&self) -> String {
        let groups: Vec<_> = self.0.as_bytes().chunks(5).map(String::from_utf8_lossy).collect();
        groups.join("-")
    }

    /// The proof that `who` knows it, for the connection of which `binding` is known to both ends alone.
    fn proof(&self, who: Who, binding: &[u8; 32]) -> String {
        hex(hmac::sign(&self.key(), &[who.label(), binding].concat()).as_ref())
    }

    /// Whether a proof holds, in a time that does not depend on where it differs.
    fn proves(&self, who: Who, binding: &[u8; 32], proof: &str) -> bool {
        let Some(proof) = unhex(proof) else { return false };
        hmac::verify(&self.key(), &[who.label(), binding].concat(), &proof).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }
}

/// Whose proof it is: one can't be handed back as the other's.
#[derive(Clone, Copy, Debug)]
enum Who {
    Box,
    Client,
}

impl Who {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Box => b"box knows the secret of this box\0",
            Self::Client => b"client knows the secret of this box\0",
        }
    }
}

/// Whether a name can be a user's: it names files at the one who claims, and stands in records.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let taken = ["ca", "box"].contains(&name);
    !name.is_empty() && name.len() <= 32 && !taken && !name.starts_with('.') && name.bytes().all(fine)
}
