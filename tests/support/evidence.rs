//! Makes evidence stores in memory, after `evidence-format.md`: the attacker who knows the format and holds some key.
//!
//! Shares no code with the writer or the verifier. Times are invented and grow by fixed steps, so that a store comes out
//! the same every time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses a part, and a test may stop at the first surprise"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 9162, 2.1.1, as it stands there.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1][..], &root(left), &root(right)].concat())
        }
    }
}

/// Roots of the largest whole subtrees.
pub fn frontier(leaves: &[Hash]) -> Vec<Hash> {
    let (mut rest, mut roots) = (leaves, Vec::new());
    for bit in (0..usize::BITS).rev() {
        if leaves.len() & (1 << bit) != 0 {
            let (left, right) = rest.split_at(1 << bit);
            roots.push(root(left));
            rest = right;
        }
    }
    roots
}

/// A pcapng block.
pub fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let length = (12 + body.len() + padding.len()) as u32;
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), body, &padding, &length.to_le_bytes()].concat()
}

/// A custom block of ours.
pub fn custom(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_le_bytes();
    block(0xbad, &[&32473u32.to_le_bytes()[..], b"VBR1", &[kind, 0, 0, 0], &length, body].concat())
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
    [&code.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value, &padding].concat()
}

/// Where the whole blocks of a segment begin and end, with the kind of ours (0 for others).
pub fn blocks(segment: &[u8]) -> Vec<(usize, usize, u8)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(head) = segment.get(at..at + 8) {
        let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        if length < 12 || at + length > segment.len() {
            break;
        }
        let is_ours = head[..4] == 0xbad_u32.to_le_bytes();
        found.push((at, at + length, if is_ours { segment[at + 16] } else { 0 }));
        at += length;
    }
    found
}

/// Writes a store.
#[derive(Clone)]
pub struct Maker {
    pub name: String,
    pub secret: SigningKey,
    /// From 1.
    pub segments: Vec<Vec<u8>>,
    /// How many of the first are gone.
    pub removed: usize,
    /// Hashes of the leaves.
    pub leaves: Vec<Hash>,
    /// Leaves and records in front of each segment, and the hash of the trailer before.
    pub begins: Vec<(usize, u64, Hash)>,
    pub records: u64,
    pub counter: u64,
    pub monotonic: u64,
    pub wall: u64,
    pub boot: u8,
    pub clock: u8,
    pub lost: u64,
    /// What a witness would hold.
    pub notes: Vec<String>,
    /// Secret X25519 keys of those to whom it is encrypted; where empty, it stands in the clear.
    pub auditors: Vec<[u8; 32]>,
    /// Blocks that wait to be sealed; how many records and packets and refused ones they are.
    waiting: Vec<u8>,
    counts: [u32; 3],
    data_key: [u8; 32],
    sequence: u64,
    trailer: Hash,
    covered: usize,
    first: u64,
    closed: bool,
}

/// Random numbers that are the same every time.
struct Same(u64);

impl hpke::rand_core::TryRng for Same {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 += 1;
        Ok(u64::from_le_bytes(sha256(&self.0.to_le_bytes())[..8].try_into().unwrap()))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        for byte in to {
            *byte = self.try_next_u64()? as u8;
        }
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for Same {}

/// A data key wrapped to the public key of `secret`: public key, encapsulated key, wrapped key.
fn wrap(secret: &[u8; 32], purpose: &[u8], key: &[u8], seed: u64) -> Vec<u8> {
    use hpke::kem::X25519HkdfSha256 as X25519;
    use hpke::{Deserializable, Kem, Serializable};
    let secret = <X25519 as Kem>::PrivateKey::from_bytes(secret).unwrap();
    let public = X25519::sk_to_pk(&secret);
    let (encapsulated, wrapped) = hpke::single_shot_seal_with_rng::<
        hpke::aead::ChaCha20Poly1305,
        hpke::kdf::HkdfSha256,
        X25519,
    >(&hpke::OpModeS::Base, &public, purpose, key, &[], &mut Same(seed << 32))
    .unwrap();
    [&public.to_bytes()[..], &encapsulated.to_bytes(), &wrapped].concat()
}

/// The lines of an auditor's secret and public key.
pub fn auditor_lines(name: &str, secret: &[u8; 32]) -> (String, String) {
    use hpke::kem::X25519HkdfSha256 as X25519;
    use hpke::{Deserializable, Kem, Serializable};
    let key = <X25519 as Kem>::PrivateKey::from_bytes(secret).unwrap();
    let public = [&[0x20][..], &X25519::sk_to_pk(&key).to_bytes()].concat();
    let id = hex(&sha256(&public)[..4]);
    let secret = STANDARD.encode([&[0x20][..], secret].concat());
    (format!("PRIVATE+KEY+{name}+{id}+{secret}"), format!("{name}+{id}+{}", STANDARD.encode(public)))
}

impl Maker {
    /// An empty store of a box with the key that `seed` gives.
    pub fn new(seed: u8, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            secret: SigningKey::from_bytes(&[seed; 32]),
            segments: Vec::new(),
            removed: 0,
            leaves: Vec::new(),
            begins: Vec::new(),
            records: 0,
            counter: 0,
            monotonic: 5_000_000_000,
            wall: 1_796_000_000_000_000_000,
            boot: 1,
            clock: 2,
            lost: 0,
            notes: Vec::new(),
            auditors: Vec::new(),
            waiting: Vec::new(),
            counts: [0; 3],
            data_key: [0; 32],
            sequence: 0,
            trailer: [0; 32],
            covered: 0,
            first: 1,
            closed: true,
        }
    }

    /// The line of `evidence.pub`, without its line feed.
    pub fn line(&self) -> String {
        let key = [&[1][..], self.secret.verifying_key().as_bytes()].concat();
        format!("{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }

    fn id(&self) -> [u8; 4] {
        let key = self.secret.verifying_key();
        let all = sha256(&[self.name.as_bytes(), b"\n\x01", key.as_bytes()].concat());
        [all[0], all[1], all[2], all[3]]
    }

    /// The files that are there.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let segments = self.segments.iter().enumerate().skip(self.removed);
        let mut files: Vec<_> =
            segments.map(|(at, bytes)| (format!("evidence-{:08}.pcapng", at + 1), bytes.clone())).collect();
        files.push(("evidence.pub".into(), format!("{}\n", self.line()).into_bytes()));
        files
    }

    fn here(&mut self) -> &mut Vec<u8> {
        self.segments.last_mut().unwrap()
    }

    pub fn wait(&mut self, ns: u64) {
        self.monotonic += ns;
        self.wall += ns;
    }

    /// Begins a segment.
    pub fn segment(&mut self) {
        let user = option(4, b"vambrace test");
        let header = [
            &0x1a2b_3c4d_u32.to_le_bytes()[..],
            &1u16.to_le_bytes(),
            &0u16.to_le_bytes(),
            &u64::MAX.to_le_bytes(),
            &user,
            &[0; 4],
        ]
        .concat();
        let mut bytes = block(0x0a0d_0d0a, &header);
        for name in ["plant", "robot", "plant.dropped", "robot.dropped"] {
            let body = [&[1, 0, 0, 0, 0, 0, 4, 0][..], &option(2, name.as_bytes()), &option(9, &[9]), &[0; 4]].concat();
            bytes.extend(block(1, &body));
        }
        self.begins.push((self.leaves.len(), self.records, self.trailer));
        self.segments.push(bytes);
        self.covered = 0;
        if !self.auditors.is_empty() {
            self.keys();
            // The names of the assets, alone.
            self.waiting = block(4, &[1, 0, 9, 0, 10, 20, 0, 40, b'c', b'e', b'l', b'l', 0, 0, 0, 0, 0, 0, 0, 0]);
            self.seal();
        }
    }

    /// The data key of the segment, wrapped.
    fn keys(&mut self) {
        let number = self.segments.len() as u64;
        self.data_key = sha256(&[self.secret.as_bytes(), &number.to_le_bytes()[..]].concat());
        self.sequence = 0;
        let commitment = sha256(&[b"vambrace evidence data key\n", &self.data_key[..]].concat());
        let mut body = [&[1, 0, 0, 0][..], &(self.auditors.len() as u32).to_le_bytes(), &number.to_le_bytes()].concat();
        body.extend(sha256(self.line().as_bytes()));
        body.extend(commitment);
        let purpose = [b"vambrace evidence 1\n", &body[..]].concat();
        for (at, secret) in self.auditors.iter().enumerate() {
            body.extend(wrap(secret, &purpose, &self.data_key, number * 16 + at as u64));
        }
        self.here().extend(custom(4, &body));
    }

    /// Seals what waits.
    pub fn seal(&mut self) {
        use chacha20poly1305::aead::{Aead, KeyInit, Payload};
        if self.waiting.is_empty() {
            return;
        }
        let [records, packets, refused] = std::mem::take(&mut self.counts);
        let first = self.records + 1 - u64::from(records);
        let mut body = Vec::new();
        for value in [self.segments.len() as u64, self.leaves.len() as u64, first, self.sequence, 0] {
            body.extend(value.to_le_bytes());
        }
        for value in [records, packets, refused, 0] {
            body.extend(value.to_le_bytes());
        }
        let nonce: [u8; 12] = [&[0; 4][..], &self.sequence.to_le_bytes()].concat().try_into().unwrap();
        self.sequence += 1;
        let cipher = chacha20poly1305::ChaCha20Poly1305::new(&self.data_key.into());
        let payload = Payload { msg: &std::mem::take(&mut self.waiting), aad: &body };
        let sealed = cipher.encrypt(&nonce.into(), payload).unwrap();
        body.extend(sealed);
        self.here().extend(custom(5, &body));
    }

    /// A block of the traffic: sealed with others, or as it is.
    fn traffic(&mut self, bytes: Vec<u8>, packets: u32, refused: u32) {
        if self.auditors.is_empty() {
            self.here().extend(bytes);
            return;
        }
        self.waiting.extend(bytes);
        self.counts = [self.counts[0] + 1, self.counts[1] + packets, self.counts[2] + refused];
    }

    /// A record of our own.
    pub fn record(&mut self, json: &str) {
        self.records += 1;
        self.traffic(custom(1, json.as_bytes()), 0, 0);
    }

    /// An event of about `length` bytes.
    pub fn event(&mut self, length: usize) {
        let (records, filler) = (self.records, "x".repeat(length));
        self.record(&format!(r#"{{"event_type":"modbus","n":{records},"text":"the word \"evidence\" {filler}"}}"#));
    }

    /// A packet on `interface`.
    pub fn packet(&mut self, interface: u32, frame: &[u8]) {
        self.records += 1;
        let (wall, length) = (self.wall, (frame.len() as u32).to_le_bytes());
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        let time = [((wall >> 32) as u32).to_le_bytes(), (wall as u32).to_le_bytes()].concat();
        let mut body = [&interface.to_le_bytes()[..], &time, &length, &length, frame, &padding].concat();
        if interface >= 2 {
            body.extend(option(1, b"refused: no rule allows it"));
            body.extend(option(5, &self.records.to_le_bytes()));
            body.extend(option(7, b"\0no_rule"));
            body.extend([0; 4]);
        }
        self.traffic(block(6, &body), 1, u32::from(interface >= 2));
    }

    /// Ends the evidence block.
    pub fn trailer(&mut self) {
        self.seal();
        let (number, covered) = (self.segments.len() as u64, self.covered);
        let hash = sha256(&self.here()[covered..]);
        let length = (self.here().len() - covered) as u64;
        let mut body = Vec::new();
        for value in
            [number, self.leaves.len() as u64, self.first, self.records, self.monotonic, self.wall, self.clock.into()]
        {
            body.extend(value.to_le_bytes());
        }
        body.extend([self.boot; 16]);
        for value in [1000 + self.records, 1000, self.records, self.lost, length] {
            body.extend(value.to_le_bytes());
        }
        body.extend(hash);
        body.extend(self.trailer);
        body.extend([0; 52]);
        body.extend(crc32fast::hash(&body).to_le_bytes());
        assert_eq!(body.len(), 232);
        self.leaves.push(sha256(&[&[0][..], &body].concat()));
        self.trailer = sha256(&body);
        let bytes = custom(2, &body);
        self.here().extend(bytes);
        self.covered = self.here().len();
        self.first = self.records + 1;
        self.wait(250_000_000);
    }

    /// What the box signs now.
    pub fn note(&self) -> String {
        let text = format!(
            "{}\n{}\n{}\ntime_ns {}\nrecords {}\ncounter {}\n",
            self.name,
            self.leaves.len(),
            STANDARD.encode(root(&self.leaves)),
            self.wall,
            self.records,
            self.counter
        );
        let signature = [&self.id()[..], &self.secret.sign(text.as_bytes()).to_bytes()].concat();
        format!("{text}\n\u{2014} {} {}\n", self.name, STANDARD.encode(signature))
    }

    /// Signs what is there.
    pub fn checkpoint(&mut self) {
        let note = self.note();
        self.here().extend(custom(3, note.as_bytes()));
        self.notes.push(note);
        self.wait(1_000_000);
    }

    fn word(&mut self, word: &str, members: &str) {
        let (wall, monotonic) = (self.wall, self.monotonic);
        self.seal();
        self.records += 1;
        let json = format!(r#"{{"evidence":"{word}","time_ns":{wall},"monotonic_ns":{monotonic},{members}}}"#);
        self.here().extend(custom(1, json.as_bytes()));
        self.trailer();
        self.checkpoint();
    }

    /// Begins a run in a new segment.
    pub fn open(&mut self) {
        self.segment();
        self.open_here();
    }

    /// Begins a run in the segment that was begun.
    pub fn open_here(&mut self) {
        self.counter += 1;
        self.lost = 0;
        let clean = std::mem::take(&mut self.closed);
        let (name, line, counter, root) = (self.name.clone(), self.line(), self.counter, hex(&root(&self.leaves)));
        let leaves = self.leaves.len();
        let boot = hex(&[self.boot; 16]);
        self.word(
            "open",
            &format!(
                r#""name":"{name}","key":"{line}","version":"test","boot_id":"{boot}","counter":{counter},"leaves":{leaves},"root":"{root}","clean":{clean}"#
            ),
        );
        if !clean {
            let segment = self.segments.len() - 1;
            self.word("recovered", &format!(r#""segment":{segment},"cut_bytes":100,"leaves":{leaves}"#));
        }
    }

    pub fn gap(&mut self, records: u64) {
        self.lost += records;
        let since = self.wall - 1000;
        self.word("gap", &format!(r#""records":{records},"frames":0,"why":"queue","since_ns":{since}"#));
    }

    /// Removes segments up to number `last`.
    pub fn prune(&mut self, last: usize) {
        let (leaves, records, trailer) = self.begins[last];
        let frontier: Vec<String> =
            frontier(&self.leaves[..leaves]).iter().map(|hash| format!("\"{}\"", hex(hash))).collect();
        let (first, frontier, trailer) = (self.removed + 1, frontier.join(","), hex(&trailer));
        self.word(
            "prune",
            &format!(
                r#""leaves":{leaves},"records":{records},"segments":[{first},{last}],"frontier":[{frontier}],"trailer":"{trailer}","why":"size""#
            ),
        );
        self.removed = last;
    }

    /// The same by somebody who can write and has no key.
    pub fn forge_prune(&mut self, last: usize) {
        self.prune(last);
        let note = self.notes.pop().unwrap();
        let end = self.here().len() - custom(3, note.as_bytes()).len();
        self.here().truncate(end);
    }

    pub fn close(&mut self) {
        let counter = self.counter;
        self.word("close", &format!(r#""counter":{counter}"#));
        self.closed = true;
    }

    /// `count` evidence blocks of four records, a checkpoint behind every second one.
    pub fn work(&mut self, count: usize, length: usize) {
        for at in 0..count {
            self.event(length);
            self.packet(at as u32 % 4, &vec![at as u8; 60 + at % 7]);
            self.event(length / 2);
            self.packet(2, &[0xee; 90]);
            self.trailer();
            if at % 2 == 1 {
                self.checkpoint();
            }
        }
    }
}
