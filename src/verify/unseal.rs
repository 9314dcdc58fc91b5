//! Encrypted evidence, read by who holds the secret key of an auditor. Nothing here is needed to verify.
//!
//! Source: `evidence-format.md`, "Encrypted segments"; RFC 9180 (HPKE, base mode), RFC 8439 (ChaCha20-Poly1305).

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, Serializable};

use super::note::hex;
use super::pcapng::{Block, Head, head, read, u32_at, u64_at};
use super::tree::{Hash, sha256};
use super::words;

type Secret = <X25519HkdfSha256 as Kem>::PrivateKey;
type Encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

/// What a secret key's line begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The byte that says X25519 before a key.
const X25519: u8 = 0x20;
/// Bytes of a keys block's body in front of the recipients.
const KEYS_HEAD: usize = 80;
/// Bytes of each recipient: public key, encapsulated key, wrapped key.
const SLOT: usize = 112;
/// Bytes of a sealed block's body in front of the ciphertext.
const SEALED_HEAD: usize = 56;
/// Bytes by which a ciphertext is longer.
const TAG: usize = 16;

/// The id of an auditor's public key: eight hexadecimal digits.
fn id_of(public: &[u8]) -> String {
    let hash = sha256(&[&[X25519], public].concat());
    hex(hash.get(..4).unwrap_or_default())
}

/// An auditor's secret key.
#[derive(Clone)]
pub struct Identity {
    name: String,
    secret: Secret,
    public: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public_line())
    }
}

impl Identity {
    /// A new one, of the kernel's random numbers, called `name`.
    ///
    /// # Errors
    /// The name can't stand in a key's line.
    pub fn generate(name: &str) -> Result<Self, &'static str> {
        let (secret, _) = X25519HkdfSha256::gen_keypair();
        Self::of(name, secret)
    }

    /// Reads `PRIVATE+KEY+NAME+HHHHHHHH+BASE64`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, &'static str> {
        const NONE: &str = "this is no auditor's secret key";
        let mut parts = line.trim().strip_prefix(PRIVATE).ok_or(NONE)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(NONE) };
        let bytes = STANDARD.decode(key).map_err(|_| NONE)?;
        match bytes.split_first() {
            Some((&X25519, secret)) => {
                let identity = Self::of(name, Secret::from_bytes(secret).map_err(|_| NONE)?)?;
                if identity.id() == id { Ok(identity) } else { Err("the key's id is not that of its bytes") }
            }
            Some((1, _)) => Err("this is a box's key, which signs; it decrypts nothing"),
            _ => Err(NONE),
        }
    }

    fn of(name: &str, secret: Secret) -> Result<Self, &'static str> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "./-_@".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err("a name is 1 to 64 letters, digits and . / - _ @");
        }
        let public = X25519HkdfSha256::sk_to_pk(&secret).to_bytes();
        let public = public.as_slice().try_into().map_err(|_| "the key is not 32 bytes long")?;
        Ok(Self { name: name.to_owned(), secret, public })
    }

    /// Its id, eight hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(&self.public)
    }

    /// The line for a file that nobody else may read.
    #[must_use]
    pub fn secret_line(&self) -> String {
        let key = [&[X25519], self.secret.to_bytes().as_slice()].concat();
        format!("{PRIVATE}{}+{}+{}", self.name, self.id(), STANDARD.encode(key))
    }

    /// The line for a box's `record.encrypt_to`.
    #[must_use]
    pub fn public_line(&self) -> String {
        let key = [&[X25519][..], &self.public].concat();
        format!("{}+{}+{}", self.name, self.id(), STANDARD.encode(key))
    }
}

/// The body of a block that wraps a segment's data key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys<'a> {
    head: &'a [u8],
    pub(super) segment: u64,
    /// SHA-256 of the line of the box's key.
    pub(super) fingerprint: &'a [u8],
    commitment: &'a [u8],
    slots: &'a [u8],
}

impl<'a> Keys<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, &'static str> {
        let wrong = "the block with the segment's data key is malformed";
        let (head, slots) = body.split_at_checked(KEYS_HEAD).ok_or(wrong)?;
        if !head.starts_with(&[1, 0, 0, 0]) {
            return Err("the segment is encrypted in a way that is not known");
        }
        let count = u32_at(head, 4).and_then(|count| usize::try_from(count).ok()).ok_or(wrong)?;
        if count == 0 || count.checked_mul(SLOT) != Some(slots.len()) {
            return Err(wrong);
        }
        Ok(Self {
            head,
            segment: u64_at(head, 8).ok_or(wrong)?,
            fingerprint: head.get(16..48).ok_or(wrong)?,
            commitment: head.get(48..).ok_or(wrong)?,
            slots,
        })
    }

    /// Ids of the keys that it is wrapped to.
    pub(super) fn recipients(&self) -> impl Iterator<Item = String> {
        self.slots.chunks_exact(SLOT).map(|slot| id_of(slot.get(..32).unwrap_or_default()))
    }

    /// The data key, if it is wrapped to one of `identities`.
    ///
    /// # Errors
    /// It is, and can't be unwrapped, or is another than everybody else gets.
    pub(super) fn unwrap(&self, identities: &[Identity]) -> Result<Option<Opener>, &'static str> {
        let parts = |slot: &'a [u8]| Some((slot.get(..32)?, slot.get(32..64)?, slot.get(64..)?));
        for (public, encapsulated, wrapped) in self.slots.chunks_exact(SLOT).filter_map(parts) {
            let Some(own) = identities.iter().find(|own| own.public == *public) else { continue };
            let purpose = [b"vambrace evidence 1\n", self.head].concat();
            let failed = "the segment's data key can't be unwrapped with the auditor's key that it names";
            let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| failed)?;
            let key = hpke::single_shot_open::<hpke::aead::ChaCha20Poly1305, hpke::kdf::HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &own.secret,
                &encapsulated,
                &purpose,
                wrapped,
                &[],
            )
            .map_err(|_| failed)?;
            if sha256(&[b"vambrace evidence data key\n", key.as_slice()].concat()) != *self.commitment {
                return Err("the data key that is wrapped to this auditor is not the one that the segment commits to");
            }
            return ChaCha20Poly1305::new_from_slice(&key)
                .map(|cipher| Some(Opener(Arc::new(cipher))))
                .map_err(|_| failed);
        }
        Ok(None)
    }
}

/// The body of a sealed block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed<'a> {
    head: &'a [u8],
    pub(super) segment: u64,
    /// Number of the evidence block.
    pub(super) block: u64,
    pub(super) first_record: u64,
    /// The nonce.
    pub(super) sequence: u64,
    pub(super) records: u32,
    pub(super) packets: u32,
    pub(super) refused: u32,
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, &'static str> {
        let wrong = "a sealed block is malformed";
        let (head, ciphertext) = body.split_at_checked(SEALED_HEAD).ok_or(wrong)?;
        let number = |at| u64_at(head, at).ok_or(wrong);
        let count = |at| u32_at(head, at).ok_or(wrong);
        let sealed = Self {
            head,
            segment: number(0)?,
            block: number(8)?,
            first_record: number(16)?,
            sequence: number(24)?,
            records: count(40)?,
            packets: count(44)?,
            refused: count(48)?,
            ciphertext,
        };
        let adds_up = sealed.packets <= sealed.records && sealed.refused <= sealed.packets && count(52)? == 0;
        if adds_up && ciphertext.len() > TAG { Ok(sealed) } else { Err(wrong) }
    }
}

/// A segment's data key.
#[derive(Clone)]
pub(super) struct Opener(Arc<ChaCha20Poly1305>);

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// The pcapng blocks that are sealed.
    ///
    /// # Errors
    /// They are not what was sealed, or not at this place.
    pub(super) fn open(&self, sealed: &Sealed<'_>) -> Result<Vec<u8>, &'static str> {
        let [a, b, c, d, e, f, g, h] = sealed.sequence.to_le_bytes();
        let nonce = Nonce::from([0, 0, 0, 0, a, b, c, d, e, f, g, h]);
        let payload = Payload { msg: sealed.ciphertext, aad: sealed.head };
        self.0.decrypt(&nonce, payload).map_err(|_| "what is sealed does not open with the segment's data key")
    }
}

/// Whether `plain` is what a sealed block says that it holds; `interfaces` are described in its segment.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(sealed: &Sealed<'_>, plain: &[u8], interfaces: u32) -> Result<(), String> {
    let (mut rest, mut records, mut packets, mut refused) = (plain, 0u32, 0u32, 0u32);
    while !rest.is_empty() {
        let Head::Whole(block) = head(rest) else { return Err("what is sealed is no row of whole blocks".into()) };
        match read(block)? {
            Block::Packet(interface) if interface >= interfaces => {
                return Err(format!("a sealed packet names interface {interface}, which is not described"));
            }
            Block::Packet(interface) => {
                packets = packets.saturating_add(1);
                refused = refused.saturating_add(u32::from(interface >= 2));
                records = records.saturating_add(1);
            }
            Block::Record(body) if words::read(body)?.is_none() => records = records.saturating_add(1),
            Block::Record(_) => return Err("a record of the store's own is sealed".into()),
            Block::Other => {}
            _ => return Err("something is sealed that is neither record nor packet".into()),
        }
        rest = rest.get(block.len()..).unwrap_or_default();
    }
    if (records, packets, refused) == (sealed.records, sealed.packets, sealed.refused) {
        return Ok(());
    }
    Err(format!("a sealed block says that it holds {} records, and holds {records}", sealed.records))
}

/// A segment with what was sealed in the clear: pcapng again, but no evidence any more, as its hashes are of what was
/// sealed. What is encrypted to others stays as it is.
pub struct Unsealed<R> {
    from: R,
    identities: Vec<Identity>,
    opener: Option<Opener>,
    /// What is handed out next, from this place on.
    ready: Vec<u8>,
    at: usize,
    /// No whole block follows.
    ended: bool,
}

impl<R> fmt::Debug for Unsealed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsealed({:?})", self.identities)
    }
}

impl<R: Read> Unsealed<R> {
    /// Reads a segment from its beginning.
    pub fn new(from: R, identities: &[Identity]) -> Self {
        Self { from, identities: identities.to_vec(), opener: None, ready: Vec::new(), at: 0, ended: false }
    }

    /// Gets the next block ready.
    fn advance(&mut self) -> io::Result<()> {
        self.at = 0;
        self.ready.clear();
        loop {
            let needs = match head(&self.ready) {
                Head::Needs(needs) => needs,
                Head::Whole(_) => break,
                Head::Broken(_) => {
                    self.ended = true;
                    return Ok(());
                }
            };
            let missing = needs.saturating_sub(self.ready.len());
            let count = self.from.by_ref().take(u64::try_from(missing).unwrap_or(0)).read_to_end(&mut self.ready)?;
            if count < missing {
                self.ended = true;
                return Ok(());
            }
        }
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let plain = match read(&self.ready) {
            Ok(Block::Keys(body)) => {
                self.opener = Keys::parse(body).and_then(|keys| keys.unwrap(&self.identities)).map_err(invalid)?;
                None
            }
            Ok(Block::Sealed(body)) => match &self.opener {
                Some(opener) => Some(Sealed::parse(body).and_then(|sealed| opener.open(&sealed)).map_err(invalid)?),
                None => None,
            },
            _ => None,
        };
        if let Some(plain) = plain {
            self.ready = plain;
        }
        Ok(())
    }
}

impl<R: Read> Read for Unsealed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.ready.len() && !self.ended {
            self.advance()?;
        }
        let mut rest = self.ready.get(self.at..).unwrap_or_default();
        let count = rest.read(to)?;
        self.at = self.at.saturating_add(count);
        Ok(count)
    }
}

/// The hash by which a segment names the box that made it.
pub(super) fn fingerprint(line: &str) -> Hash {
    sha256(line.as_bytes())
}
