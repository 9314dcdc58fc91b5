//! Evidence stores that the input alters, asked of the verifier: by somebody who can write what he likes, who recomputes
//! every hash, and who, at the input's wish, holds the box's key.
//!
//! Nothing panics; what was altered is found, or less is said; pieces of any size give the same answer; and with the secret
//! key of an auditor nothing is called sound that is not so without it.

#[path = "../../support/evidence.rs"]
mod maker;

use std::sync::OnceLock;

use maker::{Maker, auditor_lines, blocks, custom, sha256};
use vambrace::verify::{
    Identity, Key, Memory, Question, Report, Segment, Signed, Store, Unsealed, Verifier, base, list, read_witness,
    verify,
};

type Files = Vec<(String, Vec<u8>)>;

/// The secret key of the auditor that the encrypted stores name.
const AUDITOR: [u8; 32] = [7; 32];

/// Most bytes that a store may become: what a mutation repeats must not slow the fuzzer down.
const MOST: usize = 1 << 18;

struct Kept {
    maker: Maker,
    files: Files,
    key: Key,
    report: Report,
}

fn made(kind: usize) -> Kept {
    let mut maker = Maker::new(1, "vambrace/cell4");
    if kind % 2 == 1 {
        maker.auditors = vec![AUDITOR, [8; 32]];
    }
    maker.open();
    maker.work(2, 40);
    maker.segment();
    maker.work(1, 30);
    maker.gap(7);
    maker.close();
    maker.open();
    maker.work(2, 20);
    if kind >= 2 {
        maker.prune(2);
    }
    maker.boot = 2;
    maker.open();
    maker.work(2, 30);
    maker.checkpoint();
    maker.event(10);
    maker.trailer();
    maker.event(3);
    maker.seal();
    let files = maker.files();
    let key = Key::parse(&maker.line()).unwrap();
    let question = Question { key: Some(key.clone()), ..Question::default() };
    let report = verify(&Memory::new(files.clone(), false), &question, |_| {}).unwrap();
    assert!(report.sound, "{:?}", report.findings);
    Kept { maker, files, key, report }
}

fn kept(kind: usize) -> &'static Kept {
    static ALL: [OnceLock<Kept>; 4] = [const { OnceLock::new() }; 4];
    ALL[kind % 4].get_or_init(|| made(kind % 4))
}

/// What the input asks for, byte by byte; zeros behind its end.
struct Asked<'a>(&'a [u8]);

impl Asked<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.byte() << 16 | self.byte() << 8 | self.byte()) % bound.max(1)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let count = self.byte().min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }
}

/// Where the block at or before `at` begins and ends.
fn block_at(bytes: &[u8], at: usize) -> (usize, usize) {
    let all = blocks(bytes);
    let found = all.iter().find(|(from, to, _)| (*from..*to).contains(&at)).or(all.last());
    found.map_or((0, bytes.len()), |(from, to, _)| (*from, *to))
}

/// Makes all trailers again, so that their hashes, lengths and chain hold; `first` is the chain in front.
fn mend(files: &mut Files, mut chain: [u8; 32]) {
    for (_, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".pcapng")) {
        let mut from = 0;
        for (at, end, kind) in blocks(bytes) {
            if kind != 2 || end - at != 260 {
                continue;
            }
            let (hash, length) = (sha256(&bytes[from..at]), ((at - from) as u64).to_le_bytes());
            let body = &mut bytes[at + 24..at + 256];
            body[104..112].copy_from_slice(&length);
            body[112..144].copy_from_slice(&hash);
            body[144..176].copy_from_slice(&chain);
            let crc = crc32fast::hash(&body[..228]).to_le_bytes();
            body[228..].copy_from_slice(&crc);
            chain = sha256(body);
            from = end;
        }
    }
}

/// Signs all checkpoints again, as somebody who holds the key; the leaves are counted from the first trailer on.
fn sign(files: &mut Files, maker: &Maker) {
    let mut signer = maker.clone();
    signer.leaves.truncate(maker.begins.get(maker.removed).map_or(0, |(leaves, ..)| *leaves));
    for (_, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".pcapng")) {
        let mut signed = Vec::new();
        let mut from = 0;
        for (at, end, kind) in blocks(bytes) {
            let body = bytes.get(at + 24..end - 4).unwrap_or_default();
            if kind == 2 && body.len() == 232 {
                signer.leaves.push(sha256(&[&[0][..], body].concat()));
                signer.records = u64::from_le_bytes(body[24..32].try_into().unwrap());
            }
            signed.extend_from_slice(&bytes[from..if kind == 3 { at } else { end }]);
            if kind == 3 {
                signer.wait(1);
                signed.extend(custom(3, signer.note().as_bytes()));
            }
            from = end;
        }
        signed.extend_from_slice(&bytes[from..]);
        *bytes = signed;
    }
}

/// Alters the files as the input asks; whether the key was used for it.
fn alter(files: &mut Files, asked: &mut Asked<'_>, kept: &Kept) -> bool {
    let mut has_key = false;
    for _ in 0..12 {
        if asked.0.is_empty() {
            break;
        }
        let (what, count) = (asked.byte() % 16, files.len());
        let which = asked.byte() % count.max(1);
        if what == 0 {
            mend(files, kept.maker.begins[kept.maker.removed].2);
            continue;
        }
        if what == 1 {
            has_key = true;
            mend(files, kept.maker.begins[kept.maker.removed].2);
            sign(files, &kept.maker);
            continue;
        }
        let Some((name, bytes)) = files.get_mut(which) else { continue };
        let at = asked.below(bytes.len());
        let (from, to) = block_at(bytes, at);
        match what {
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (asked.byte() % 8);
                }
            }
            3 => bytes.truncate(at),
            4 => {
                let new = asked.bytes();
                let end = bytes.len().min(at + new.len());
                bytes[at.min(end)..end].copy_from_slice(&new[..end - at.min(end)]);
            }
            5 => {
                let new = asked.bytes();
                bytes.splice(at..at, new);
            }
            6 => drop(bytes.drain(from.min(to)..to.min(bytes.len()))),
            7 if bytes.len() < MOST => {
                let again = bytes[from..to].to_vec();
                bytes.splice(to..to, again);
            }
            8 => {
                let end = bytes.len().min(at / 512 * 512 + 512);
                bytes[at / 512 * 512..end].fill(0);
            }
            9 => bytes.extend(vec![0; asked.byte() * 4]),
            // A number of a block, with what it may be.
            10 if to - from >= 28 => {
                let place = from + 8 + asked.byte() % (to - from - 12);
                let value = [0u32, 1, 2, 0x7fff_ffff, 0x8000_0000, u32::MAX][asked.byte() % 6].to_le_bytes();
                for (byte, new) in bytes[place..].iter_mut().zip(value) {
                    *byte = new;
                }
            }
            // A block of ours with any body.
            11 => {
                let (kind, body) = (asked.byte() as u8, asked.bytes());
                bytes.splice(from..from, custom(kind, &body));
            }
            // A block with another body of the same kind: words of the store's own, keys, what is sealed.
            12 => {
                let kind = bytes.get(from + 16).copied().unwrap_or(1);
                let mut body = bytes.get(from + 24..to.saturating_sub(4)).unwrap_or_default().to_vec();
                let place = asked.below(body.len());
                let new = asked.bytes();
                let end = body.len().min(place + asked.byte());
                body.splice(place.min(end)..end, new);
                bytes.splice(from..to, custom(kind, &body));
            }
            13 => drop(files.remove(which)),
            14 => {
                let other = asked.byte() % count;
                let (one, two) = (files[which].1.clone(), files[other].1.clone());
                (files[which].1, files[other].1) = (two, one);
            }
            _ => name.clone_from(
                &["evidence-00000001.pcapng", "evidence-00000009.pcapng", "evidence.pub"][at % 3].to_owned(),
            ),
        }
    }
    has_key
}

/// Whether a sound statement says less than another.
fn is_weaker(report: &Report, than: &Report) -> bool {
    let says = |report: &Report| {
        let signed = report.signed.unwrap_or(Signed { leaves: 0, records: 0, time_ns: 0 });
        [signed.time_ns, signed.leaves, signed.records, report.leaves, report.last_record, report.signatures]
    };
    let (less, more) = (says(report), says(than));
    less.iter().zip(&more).all(|(less, more)| less <= more) && less != more
}

/// Whether the files are the same up to the last block of the whole store; what stands behind is anybody's.
fn same_up_to_the_tail(files: &Files, kept: &Kept) -> bool {
    let tail = kept.report.tail.as_ref().map_or(u64::MAX, |tail| tail.byte);
    let segments =
        |files: &Files| -> Files { files.iter().filter(|(name, _)| name.ends_with(".pcapng")).cloned().collect() };
    let (now, before) = (segments(files), segments(&kept.files));
    now.len() == before.len()
        && now.iter().zip(&before).enumerate().all(|(at, (now, before))| {
            let end = if at + 1 == kept.files.len() - 1 { usize::try_from(tail).unwrap() } else { usize::MAX };
            let cut = |bytes: &[u8]| bytes[..bytes.len().min(end)].to_vec();
            now.0 == before.0 && cut(&now.1) == cut(&before.1)
        })
}

/// The same pass in pieces of `size` bytes.
fn in_pieces(store: &Memory, files: &Files, question: &Question, size: usize) -> Option<Report> {
    let base = base(store).ok()?.ok()?;
    let mut verifier = Verifier::new(question.key.clone()?, true, base, Vec::new(), None);
    verifier.read_with(&question.identities);
    let segments: Vec<_> = store.entries().iter().filter_map(|entry| Some((entry, entry.segment()?))).collect();
    for (at, (entry, number)) in segments.iter().enumerate() {
        let bytes = &files.iter().find(|(name, _)| *name == entry.name)?.1;
        verifier.begin(*number, Some(bytes.len() as u64), at + 1 == segments.len());
        bytes.chunks(size.max(1)).for_each(|piece| verifier.feed(piece));
        verifier.end();
    }
    Some(verifier.finish())
}

/// Looks at the store in every way that there is.
fn look(store: &Memory, key: &Key, identity: &Identity) {
    if let Ok(Ok(base)) = base(store) {
        let segments: Vec<Segment> = list(store, base, |_| {}).unwrap();
        assert!(segments.len() <= store.entries().len());
    }
    for entry in store.entries() {
        let mut plain = Vec::new();
        let from = store.open(entry).unwrap();
        if std::io::Read::read_to_end(&mut Unsealed::new(from, std::slice::from_ref(identity)), &mut plain).is_ok() {
            assert!(plain.len() as u64 <= entry.bytes);
        }
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut store.open(entry).unwrap(), &mut bytes).unwrap();
        let _ = (read_witness(&entry.name, bytes.as_slice(), key), Key::parse(&String::from_utf8_lossy(&bytes)));
        let _ = Identity::parse(&String::from_utf8_lossy(&bytes));
    }
}

/// Plays an input: the first byte names a store, the second says whether it is altered or replaced.
pub fn play(input: &[u8]) {
    let mut asked = Asked(input);
    let kept = kept(asked.byte());
    let mode = asked.byte() % 4;
    let size = asked.byte() * 3 + 1;
    let mut files = kept.files.clone();
    let mut has_key = false;
    if mode == 0 {
        // Anything at all, as a segment and as an export.
        files.retain(|(name, _)| name == "evidence.pub");
        files.push(("evidence-00000001.pcapng".into(), asked.0.to_vec()));
        let exported = [("manifest.json".to_owned(), asked.0.to_vec())].into_iter().chain(files.clone());
        let _ = verify(&Memory::new(exported, true), &Question::default(), |_| {});
    } else {
        has_key = alter(&mut files, &mut asked, kept);
    }
    // A folder holds no name twice.
    let mut names = std::collections::BTreeSet::new();
    files.retain(|(name, _)| names.insert(name.clone()));
    let store = Memory::new(files.clone(), false);
    let (secret, _) = auditor_lines("anna", &AUDITOR);
    let identity = Identity::parse(&secret).unwrap();
    look(&store, &kept.key, &identity);

    let question = Question { key: Some(kept.key.clone()), ..Question::default() };
    let Ok(report) = verify(&store, &question, |_| {}) else { return };
    assert!(report.findings.len() <= 1004 && report.gaps.len() <= 1000 && report.unclosed.len() <= 1000);
    let own = verify(&store, &Question::default(), |_| {});
    if own.is_ok_and(|own| own.sound && own.key == kept.key.line()) {
        assert!(report.sound, "sound with its own key, and not with the same one that was given");
    }
    // What is wrong outside of the segments is not seen in pieces.
    if report.findings.iter().all(|finding| finding.file.is_none())
        && let Some(pieces) = in_pieces(&store, &files, &question, size)
    {
        assert_eq!(pieces, report, "in pieces of {size} bytes");
    }
    let opened = Question { identities: vec![identity], ..question };
    if let Ok(opened) = verify(&store, &opened, |_| {}) {
        assert!(!opened.sound || report.sound, "sound with an auditor's key, and not without");
    }
    if report.sound && !has_key && !is_weaker(&report, &kept.report) {
        let is_said = report.clock_step_count > kept.report.clock_step_count;
        assert!(is_said || same_up_to_the_tail(&files, kept), "altered, and sound: {report:#?}");
    }
}
