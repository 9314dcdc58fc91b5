//! Encrypted stores, asked of the files.

use std::collections::BTreeSet;

use super::faults::Faults;
use super::*;
use crate::verify::{Folder, Identity, Question, Unsealed, verify};

fn identity() -> Identity {
    Identity::generate("auditor/anna").unwrap()
}

fn recipient(identity: &Identity) -> Recipient {
    identity.public_line().parse::<crate::config::Auditor>().unwrap().public
}

/// Bodies of the blocks of ours of one kind, of all segments.
fn bodies(directory: &Path, kind: u8) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in segment_files(directory).unwrap() {
        let bytes = fs::read(path).unwrap();
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 8) {
            let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
            let block = &bytes[at..at + length];
            if head[..4] == [0xad, 0x0b, 0, 0] && block[16] == kind {
                let body = u32::from_le_bytes(block[20..24].try_into().unwrap()) as usize;
                found.push(block[24..24 + body].to_vec());
            }
            at += length;
        }
    }
    found
}

#[test]
fn only_an_auditor_reads_what_was_recorded_and_everybody_verifies_it() {
    let (directory, of) = (folder("sealed"), Box_::default());
    let (anna, bert, other) = (identity(), identity(), identity());
    let mut options = options(&directory);
    options.recipients = vec![recipient(&anna), recipient(&bert)];
    for run in 0..3u64 {
        let mut evidence = open(&options, &of);
        for number in 0..40 {
            evidence.record(event(run * 40 + number + 1).as_bytes(), 1);
            refused(&mut evidence, run * 40 + number + 1, Port::PlantDropped);
            of.pass(Duration::from_millis(90));
            evidence.tick();
        }
        of.pass(Duration::from_secs(1));
        evidence.tick();
        if run == 1 {
            evidence.kill();
        } else {
            evidence.close();
        }
    }
    // Nothing of the traffic or the names stands in the files.
    for path in segment_files(&directory).unwrap() {
        let bytes = fs::read(path).unwrap();
        for text in ["event_id", "alert", "plc wrote", "value_not_allowed", "cell4-robot", "ZZZZZZZZ"] {
            assert!(memchr::memmem::find(&bytes, text.as_bytes()).is_none(), "{text}");
        }
    }
    let ask = |identities: Vec<Identity>| {
        let question = Question { identities, ..Question::default() };
        verify(&Folder::open(&directory).unwrap(), &question, |_| {}).unwrap()
    };
    let blind = ask(Vec::new());
    assert!(blind.sound, "{:?}", blind.findings);
    assert_eq!((blind.packets, blind.refused, blind.runs, blind.unclosed_count), (120, 120, 3, 1));
    let told = blind.encrypted.as_ref().unwrap();
    assert_eq!((told.segments, told.opened_segments, told.records), (3, 0, 240));
    assert_eq!(told.recipients, [anna.id(), bert.id()]);
    for who in [&anna, &bert] {
        let read = ask(vec![other.clone(), who.clone()]);
        assert!(read.sound, "{:?}", read.findings);
        assert_eq!(read.encrypted.as_ref().unwrap().opened_segments, 3);
        let mut ids = Vec::new();
        let open = |path: &Path| Ok(Unsealed::new(fs::File::open(path)?, std::slice::from_ref(who)));
        let sealed = events_of_all(&directory, open, |text| {
            ids.push(serde_json::from_str::<serde_json::Value>(text).unwrap()["event_id"].as_u64().unwrap());
        });
        assert_eq!((sealed.unwrap(), ids), (0, (1..=120).collect()));
    }
    assert_eq!(ask(vec![other]).encrypted.unwrap().opened_segments, 0);
    assert_eq!(events_of_all(&directory, |path| fs::File::open(path), |_| panic!("read")).unwrap(), 240);
    // The box goes on behind what it can't read.
    assert_eq!(highest_event(&last_segment(&directory)).unwrap(), Some(120));
    assert_eq!(crate::record::store::behind_evidence(&directory, crate::event::EventId(5)).unwrap().0, 121);
    let _ = fs::remove_dir_all(directory);
}

/// A disk that refuses, takes half, and is set back to what it was: whatever it ever held, no nonce was there twice under
/// one key.
#[test]
fn no_nonce_is_used_twice_whatever_the_disk_does() {
    let (directory, of, disk) = (folder("sealed-nonces"), Box_::default(), FaultyDisk::default());
    let anna = identity();
    let options = EvidenceOptions { recipients: vec![recipient(&anna)], ..options(&directory) };
    let mut seen = BTreeSet::new();
    let mut bodies_seen = BTreeSet::new();
    let mut look = || {
        // The key of a segment is told by its commitment.
        let mut key = Vec::new();
        for (kind, body) in [super::super::seal::KEYS, super::super::seal::SEALED]
            .into_iter()
            .flat_map(|kind| bodies(&directory, kind).into_iter().map(move |body| (kind, body)))
        {
            if kind == super::super::seal::KEYS {
                key = body[48..80].to_vec();
            } else if bodies_seen.insert(body.clone()) {
                assert!(seen.insert((key.clone(), body[24..32].to_vec())), "a nonce was used for two things");
            }
        }
    };
    let backup = folder("sealed-nonces-backup");
    for start in 0..4u64 {
        let mut evidence = open_on(disk.clone(), &options, &of);
        for round in 0..30 {
            evidence.record(event(start * 1000 + round).as_bytes(), 1);
            disk.set(match round % 5 {
                1 => Faults { room: Some(round * 13), ..Faults::default() },
                2 => Faults { syncs_fail: true, ..Faults::default() },
                3 => Faults { syncs_fail: true, cuts_fail: true, ..Faults::default() },
                _ => Faults::default(),
            });
            of.pass(Duration::from_millis(700));
            evidence.tick();
            if start == 0 {
                look();
            }
        }
        disk.set(Faults::default());
        evidence.kill();
        if start == 1 {
            // The disk is set back to this, later.
            let _ = fs::remove_dir_all(&backup);
            fs::create_dir(&backup).unwrap();
            for path in segment_files(&directory).unwrap() {
                fs::copy(&path, backup.join(path.file_name().unwrap())).unwrap();
            }
        }
        if start == 2 {
            let keys: BTreeSet<Vec<u8>> = bodies(&directory, super::super::seal::KEYS).into_iter().collect();
            for path in segment_files(&directory).unwrap() {
                fs::remove_file(path).unwrap();
            }
            for entry in fs::read_dir(&backup).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
            }
            let before = bodies(&directory, super::super::seal::KEYS).len();
            let evidence = open_on(disk.clone(), &options, &of);
            evidence.kill();
            let now = bodies(&directory, super::super::seal::KEYS);
            assert!(now.len() > before && now.iter().skip(before).all(|body| !keys.contains(body)), "a key came again");
        }
    }
    let question = Question { identities: vec![anna], ..Question::default() };
    let report = verify(&Folder::open(&directory).unwrap(), &question, |_| {}).unwrap();
    assert!(report.sound, "{:?}", report.findings);
    let _ = (fs::remove_dir_all(directory), fs::remove_dir_all(backup));
}

#[test]
fn a_store_may_be_encrypted_from_some_day_on_and_a_useless_key_stops_the_start() {
    let (directory, of) = (folder("sealed-later"), Box_::default());
    let anna = identity();
    let clear = options(&directory);
    let sealed = EvidenceOptions { recipients: vec![recipient(&anna)], ..clear.clone() };
    for options in [&clear, &sealed, &clear] {
        let mut evidence = open(options, &of);
        evidence.record(event(1).as_bytes(), 1);
        of.pass(Duration::from_millis(1100));
        evidence.tick();
        evidence.close();
    }
    let report = verify(&Folder::open(&directory).unwrap(), &Question::default(), |_| {}).unwrap();
    assert!(report.sound, "{:?}", report.findings);
    assert_eq!(report.encrypted.unwrap().segments, 1);
    // A point of small order: whatever is wrapped to it, anybody unwraps.
    let useless = EvidenceOptions { recipients: vec![[0; 32]], ..clear };
    let error = Evidence::open(useless, Arc::new(of)).unwrap_err();
    assert!(error.to_string().contains("record.encrypt_to"), "{error}");
    let _ = fs::remove_dir_all(directory);
}
