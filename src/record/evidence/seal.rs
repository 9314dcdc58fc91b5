//! Evidence that only auditors can read: records and packets are sealed with a data key that each segment has of its own,
//! and that is wrapped to the auditors' public keys. The box forgets the data key with the segment, and can't read its
//! own segments any more.
//!
//! Hashes, tree and signatures run over what is sealed, so that they need no secret key. The store's own words stay in the
//! clear: the box goes on behind them after a power cut, and everybody verifies by them.
//!
//! A number that only grows is the nonce, one for each time that something was sealed, also where the disk did not take
//! it and the same evidence block is written again with other records. A data key never outlives its process, so that no
//! restart and no disk that was set back can lead to one nonce twice.

use std::fmt;
use std::io;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use sha2::{Digest, Sha256};

use super::super::pcapng;
use super::block::{self, RECORD};
use crate::record::store::highest_id;

/// A custom block's kind: the wrapped data key of the segment that it stands in.
pub(super) const KEYS: u8 = 4;
/// A custom block's kind: sealed records and packets.
pub(super) const SEALED: u8 = 5;

/// Bytes of a sealed block's body in front of the ciphertext.
const HEAD: usize = 56;

/// What a data key is wrapped for, with the head of its block behind it.
const PURPOSE: &[u8] = b"vambrace evidence 1\n";

/// What the commitment to a data key begins with.
const COMMITMENT: &[u8] = b"vambrace evidence data key\n";

/// Interfaces from this number on hold refused packets.
const DROPPED: u32 = 2;

/// An auditor's public key, X25519.
pub type Recipient = [u8; 32];

/// Seals what goes into one segment.
pub(super) struct Sealer {
    segment: u64,
    /// Body of the block that wraps the key.
    keys: Vec<u8>,
    cipher: ChaCha20Poly1305,
    sequence: u64,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(segment {}, {} sealed)", self.segment, self.sequence)
    }
}

/// Where something is sealed into the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Number of the evidence block.
    pub(super) block: u64,
    /// Number of the first record.
    pub(super) record: u64,
}

impl Sealer {
    /// A data key for segment `segment` of the box with the line `box_key`, wrapped to `recipients`; `None` where there is
    /// none, and evidence is written in the clear.
    ///
    /// # Errors
    /// The kernel gives no random numbers, or a recipient's key can't be used.
    pub(super) fn begin(recipients: &[Recipient], box_key: &str, segment: u64) -> io::Result<Option<Self>> {
        if recipients.is_empty() {
            return Ok(None);
        }
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        let count = u32::try_from(recipients.len()).unwrap_or(u32::MAX);
        let mut keys = vec![1, 0, 0, 0];
        keys.extend(count.to_le_bytes());
        keys.extend(segment.to_le_bytes());
        keys.extend(Sha256::digest(box_key));
        keys.extend(Sha256::new().chain_update(COMMITMENT).chain_update(key).finalize());
        let purpose = [PURPOSE, &keys].concat();
        for recipient in recipients {
            keys.extend(recipient);
            keys.extend(wrap(recipient, &purpose, &key).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("a key of record.encrypt_to can't be used: {error}"))
            })?);
        }
        Ok(Some(Self { segment, keys, cipher: ChaCha20Poly1305::new(&key.into()), sequence: 0 }))
    }

    /// Appends the block that wraps the data key.
    pub(super) fn keys(&self, out: &mut Vec<u8>) {
        block::custom(out, KEYS, &self.keys);
    }

    /// Appends `plain`, whole pcapng blocks, as one that is sealed.
    ///
    /// # Errors
    /// The nonces are used up.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, at: At, plain: &[u8]) -> io::Result<()> {
        let told = Told::of(plain);
        let sequence = self.sequence;
        let used_up = || io::Error::other("no more can be sealed in this segment");
        self.sequence = sequence.checked_add(1).ok_or_else(used_up)?;
        let mut body = Vec::with_capacity(HEAD.saturating_add(plain.len()).saturating_add(16));
        for number in [self.segment, at.block, at.record, sequence, told.highest_event] {
            body.extend(number.to_le_bytes());
        }
        for number in [told.records, told.packets, told.refused, 0] {
            body.extend(number.to_le_bytes());
        }
        let [a, b, c, d, e, f, g, h] = sequence.to_le_bytes();
        let nonce = Nonce::from([0, 0, 0, 0, a, b, c, d, e, f, g, h]);
        let sealed = self.cipher.encrypt(&nonce, Payload { msg: plain, aad: &body }).map_err(|_| used_up())?;
        body.extend(sealed);
        block::custom(out, SEALED, &body);
        Ok(())
    }
}

/// The data key for one recipient: the encapsulated key and the wrapped one. HPKE (RFC 9180), base mode.
fn wrap(recipient: &Recipient, purpose: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, hpke::HpkeError> {
    type Public = <X25519HkdfSha256 as Kem>::PublicKey;
    let public = Public::from_bytes(recipient)?;
    let (encapsulated, wrapped) = hpke::single_shot_seal::<
        hpke::aead::ChaCha20Poly1305,
        hpke::kdf::HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &public, purpose, key, &[])?;
    let mut both = encapsulated.to_bytes().to_vec();
    both.extend(wrapped);
    Ok(both)
}

/// What is told in the clear of what is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    records: u32,
    packets: u32,
    refused: u32,
    /// So that the box can go on behind it.
    highest_event: u64,
}

impl Told {
    fn of(mut plain: &[u8]) -> Self {
        let mut told = Self::default();
        let word = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word));
        while let (Some(kind), Some(length)) = (word(plain, 0), word(plain, 4)) {
            let Some((this, rest)) = usize::try_from(length).ok().and_then(|length| plain.split_at_checked(length))
            else {
                break;
            };
            let body = this.get(8..this.len().saturating_sub(4)).unwrap_or_default();
            if kind == pcapng::PACKET {
                told.records = told.records.saturating_add(1);
                told.packets = told.packets.saturating_add(1);
                let dropped = word(body, 0).is_some_and(|interface| interface >= DROPPED);
                told.refused = told.refused.saturating_add(u32::from(dropped));
            } else if kind == pcapng::CUSTOM
                && let Some((RECORD, json)) = block::split(body)
            {
                told.records = told.records.saturating_add(1);
                told.highest_event = told.highest_event.max(highest_id(json).unwrap_or(0));
            }
            // A block of no length would never end.
            plain = if this.is_empty() { &[] } else { rest };
        }
        told
    }
}

/// The highest event id in a sealed block, by what is told in the clear.
pub(super) fn highest_event(body: &[u8]) -> u64 {
    body.get(32..).and_then(|rest| rest.first_chunk()).map_or(0, |id| u64::from_le_bytes(*id))
}

/// How many records are in a sealed block, by what is told in the clear.
pub(super) fn records(body: &[u8]) -> u64 {
    body.get(40..).and_then(|rest| rest.first_chunk()).map_or(0, |count| u64::from(u32::from_le_bytes(*count)))
}
