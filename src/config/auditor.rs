use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::document::hex;

/// The byte that says X25519 before a key: the last one of the number that HPKE has for it (RFC 9180, 7.1).
const X25519: u8 = 0x20;

/// The byte that says Ed25519: a key that checks signatures, and encrypts nothing.
const ED25519: u8 = 1;

/// The public key of somebody to whom evidence is encrypted, written as `NAME+HHHHHHHH+BASE64`.
///
/// `HHHHHHHH` is the key's id, the first four bytes of SHA-256 over the byte 0x20 and the key, so that a line that was
/// mistyped is noticed; `BASE64` is that byte and the 32 bytes of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auditor {
    /// Whose key it is, in the words of who made it.
    pub name: String,
    /// The key, X25519.
    pub public: [u8; 32],
}

/// Why a line is no auditor's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAuditor {
    /// It does not look like one.
    #[error("is no auditor's public key")]
    Malformed,
    /// Its key is not the one of its id.
    #[error("is mistyped: its id is not that of its key")]
    Mistyped,
    /// It is a box's key.
    #[error("is a key that checks signatures, not an auditor's")]
    Signs,
    /// It must be kept by its owner.
    #[error("is a secret key, which must be kept from the box")]
    Secret,
}

impl FromStr for Auditor {
    type Err = NoAuditor;

    fn from_str(line: &str) -> Result<Self, NoAuditor> {
        let line = line.trim();
        if line.starts_with("PRIVATE+KEY+") {
            return Err(NoAuditor::Secret);
        }
        let mut parts = line.split('+');
        let (Some(name), Some(id)) = (parts.next(), parts.next()) else { return Err(NoAuditor::Malformed) };
        // Base64 has plus signs of its own.
        let base64 = line.get(name.len().saturating_add(id.len()).saturating_add(2)..).unwrap_or_default();
        let key = STANDARD.decode(base64).map_err(|_| NoAuditor::Malformed)?;
        let is_name = !name.is_empty() && name.len() <= 64 && !name.contains(char::is_whitespace);
        match key.split_first() {
            Some((&ED25519, rest)) if rest.len() == 32 => Err(NoAuditor::Signs),
            Some((&X25519, public)) if is_name => {
                let public = public.try_into().map_err(|_| NoAuditor::Malformed)?;
                let auditor = Self { name: name.to_owned(), public };
                if auditor.id() == id { Ok(auditor) } else { Err(NoAuditor::Mistyped) }
            }
            _ => Err(NoAuditor::Malformed),
        }
    }
}

impl Auditor {
    /// Eight hexadecimal digits by which keys are told apart.
    #[must_use]
    pub fn id(&self) -> String {
        let hash = Sha256::new().chain_update([X25519]).chain_update(self.public).finalize();
        hex(hash.get(..4).unwrap_or_default())
    }
}

impl fmt::Display for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[X25519][..], &self.public].concat();
        write!(f, "{}+{}+{}", self.name, self.id(), STANDARD.encode(key))
    }
}

impl Serialize for Auditor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Auditor {
    fn schema_name() -> Cow<'static, str> {
        "Auditor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"^\S+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$"})
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_read_back_and_a_wrong_one_is_told_apart() {
        let auditor = Auditor { name: "auditor/anna".into(), public: [0xfb; 32] };
        let line = auditor.to_string();
        assert_eq!(line.parse(), Ok(auditor.clone()));
        assert_eq!(format!("{line}\n").parse(), Ok(auditor.clone()));
        let box_key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let mistyped = line.replace(&auditor.id(), "00000000");
        for (wrong, why) in [
            ("", NoAuditor::Malformed),
            ("anna", NoAuditor::Malformed),
            ("anna+00000000+", NoAuditor::Malformed),
            ("+00000000+IA==", NoAuditor::Malformed),
            (mistyped.as_str(), NoAuditor::Mistyped),
            (box_key, NoAuditor::Signs),
            ("PRIVATE+KEY+auditor/anna+00000000+IA==", NoAuditor::Secret),
        ] {
            assert_eq!(wrong.parse::<Auditor>(), Err(why), "{wrong}");
        }
    }
}
