//! A store's ordinary life, and its quarrels with the disk.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use zerocopy::IntoBytes;

use super::faults::Faults;
use super::*;
use crate::record::Ledger;

/// Time passes and the store is looked after, ten times a second.
fn live(evidence: &mut Evidence, of: &Box_, time: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(Duration::from_millis(100));
        of.pass(step);
        evidence.tick();
        left -= step;
    }
}

/// A minute passes, in which the store is looked after a few times.
fn minute(evidence: &mut Evidence, of: &Box_) {
    for _ in 0..3 {
        of.pass(Duration::from_secs(20));
        evidence.tick();
    }
}

#[test]
fn what_is_written_is_sound_and_says_so_every_second() {
    let (directory, of) = (folder("life"), Box_::default());
    let options = options(&directory);
    let mut evidence = open(&options, &of);
    for number in 1..=10 {
        evidence.record(event(number).as_bytes(), 1);
        refused(&mut evidence, number, if number % 2 == 0 { Port::PlantDropped } else { Port::RobotDropped });
        live(&mut evidence, &of, Duration::from_millis(400));
    }
    let before = sound(&directory).leaves;
    live(&mut evidence, &of, Duration::from_secs(5));
    let idle = sound(&directory);
    assert_eq!(idle.leaves, before, "nothing happened, so no evidence block");
    assert!((9..=11).contains(&idle.checkpoints.len()), "{}", idle.checkpoints.len());
    evidence.close();
    let sound = sound(&directory);
    assert_eq!(sound.events(), (1..=10).collect::<Vec<_>>());
    assert_eq!(sound.packets.len(), 10);
    assert_eq!(sound.packets[0], (3, 1, "plc wrote 700".into()));
    assert_eq!(sound.last_record, 22, "with open and close");
    let first = &sound.records[0];
    assert_eq!(first["evidence"], "open");
    assert_eq!((&first["counter"], &first["leaves"], &first["clean"]), (&1.into(), &0.into(), &true.into()));
    assert_eq!(first["name"], "vambrace/cell-4");
    assert_eq!(sound.records.last().unwrap()["evidence"], "close");
    let (leaves, note) = sound.checkpoints.last().unwrap();
    assert_eq!(*leaves, sound.leaves, "the close is signed");
    assert!(note.contains("\ncounter 1\n"), "{note}");
    let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("evidence.key"), 0o600);
    assert_eq!(fs::read_to_string(directory.join("evidence.counter")).unwrap(), "1\n");
    // Nothing that was reserved is left behind.
    let metadata = fs::metadata(last_segment(&directory)).unwrap();
    assert!(metadata.blocks() * 512 < metadata.len() + 65536, "{}", metadata.blocks());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_run_goes_on_where_the_one_before_ended() {
    let (directory, of) = (folder("runs"), Box_::default());
    let options = options(&directory);
    for run in 1..=4u64 {
        let mut evidence = open(&options, &of);
        let second = Evidence::open(options.clone(), Arc::new(of.clone())).unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
        evidence.record(event(run).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_millis(1500));
        evidence.record(event(run + 100).as_bytes(), 1);
        if run == 3 {
            evidence.kill();
            // Without the short cut, and without the count beside it, the segments tell.
            fs::remove_file(directory.join("evidence.state")).unwrap();
            fs::remove_file(directory.join("evidence.counter")).unwrap();
        } else {
            evidence.close();
        }
    }
    let sound = sound(&directory);
    let opens = sound.words("open");
    let told: Vec<_> = opens.iter().map(|open| (open["counter"].as_u64().unwrap(), open["clean"] == true)).collect();
    assert_eq!(told, [(1, true), (2, true), (3, true), (4, false)]);
    let recovered = sound.words("recovered");
    assert_eq!((recovered.len(), &recovered[0]["segment"]), (1, &3.into()));
    // What had no trailer when the run was killed is gone.
    assert_eq!(sound.events(), [1, 101, 2, 102, 3, 4, 104]);
    assert_eq!(segment_files(&directory).unwrap().len(), 4);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn segments_turn_and_the_oldest_go() {
    let (directory, of) = (folder("prune"), Box_::default());
    let options = EvidenceOptions { budget: 2 << 20, ..options(&directory) };
    let mut evidence = open(&options, &of);
    let text = "x".repeat(900);
    for number in 1..=6000u64 {
        evidence.record(format!("{{\"event_id\":{number},\"text\":\"{text}\"}}").as_bytes(), 1);
        if number % 20 == 0 {
            live(&mut evidence, &of, Duration::from_millis(100));
        }
        if number == 3000 {
            // Across a restart as well, once by the short cut, once by reading.
            evidence.kill();
            evidence = open(&options, &of);
        }
        if number == 4000 {
            evidence.close();
            fs::remove_file(directory.join("evidence.state")).unwrap();
            evidence = open(&options, &of);
        }
    }
    assert_eq!(evidence.error(), None);
    evidence.close();
    let sound = sound(&directory);
    let bytes: u64 = segment_files(&directory).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= options.budget && bytes > options.budget / 2, "{bytes}");
    assert!(sound.first_leaf > 50);
    assert!(sound.longest <= 64 << 10, "{}", sound.longest);
    let events = sound.events();
    assert_eq!(events, (6001 - events.len() as u64..=6000).collect::<Vec<_>>());
    assert!(segment_files(&directory).unwrap().iter().all(|path| fs::metadata(path).unwrap().len() <= 256 << 10));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_disk_smaller_than_the_budget_keeps_the_newest() {
    let (directory, of, disk) = (folder("small"), Box_::default(), FaultyDisk::default());
    let options = EvidenceOptions { budget: 8 << 20, ..options(&directory) };
    disk.set(Faults { size: Some(2 << 20), ..Faults::default() });
    let mut evidence = open_on(disk, &options, &of);
    for number in 1..=600u64 {
        evidence.record(format!("{{\"event_id\":{number},\"text\":\"{}\"}}", "x".repeat(9000)).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_millis(100));
    }
    assert!(evidence.bytes() <= 2 << 20 && evidence.bytes() > 1 << 20, "{}", evidence.bytes());
    evidence.close();
    let sound = sound(&directory);
    assert_eq!(sound.events().last(), Some(&600));
    assert!(sound.words("prune").iter().all(|prune| prune["why"] == "size"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn damage_in_old_segments_stops_no_recording() {
    let (directory, of) = (folder("damage"), Box_::default());
    let options = EvidenceOptions { budget: 2 << 20, ..options(&directory) };
    let write = |evidence: &mut Evidence, count: u64| {
        for number in 1..=count {
            evidence.record(format!("{{\"event_id\":{number},\"text\":\"{}\"}}", "x".repeat(9000)).as_bytes(), 1);
            live(evidence, &of, Duration::from_millis(100));
        }
    };
    let mut evidence = open(&options, &of);
    write(&mut evidence, 200);
    evidence.close();
    // One is cut in two, one is replaced by something else, one can't be read at all.
    let paths = segment_files(&directory).unwrap();
    assert!(paths.len() > 4, "{}", paths.len());
    let bytes = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], &bytes[..bytes.len() / 2]).unwrap();
    fs::write(&paths[1], b"nothing").unwrap();
    fs::remove_file(&paths[2]).unwrap();
    fs::create_dir(&paths[2]).unwrap();
    let mut evidence = open(&options, &of);
    write(&mut evidence, 400);
    assert_eq!((evidence.error(), evidence.lost()), (None, 0));
    evidence.close();
    // What can't be removed is left, and recording goes on.
    assert!(!paths[0].exists() && !paths[1].exists() && paths[2].is_dir());
    fs::remove_dir(&paths[2]).unwrap();
    assert!(check(&directory).is_err());
    // With a hole in it, the next start puts the store aside and begins another one.
    open(&options, &of).close();
    assert_eq!(sound(&directory).words("open")[0]["counter"], 3);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_too_old_goes_whatever_the_clock_said_for_a_while() {
    let (directory, of) = (folder("age"), Box_::default());
    let options = EvidenceOptions { max_age: Some(Duration::from_secs(3600)), ..options(&directory) };
    let mut evidence = open(&options, &of);
    for number in 1..=100 {
        evidence.record(event(number).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_secs(60));
    }
    evidence.close();
    let sound = sound(&directory);
    let prunes = sound.words("prune");
    assert!(prunes.len() >= 3 && prunes.iter().all(|prune| prune["why"] == "age"), "{prunes:?}");
    let events = sound.events();
    // An hour, what a segment holds, and the minute in which it is seen.
    assert!((60..=73).contains(&events.len()), "{}", events.len());
    fs::remove_dir_all(directory).unwrap();
}

/// A dead battery and a time server that says 2038; years later nobody could tell what was removed for that.
#[test]
fn a_clock_that_jumps_ahead_makes_nothing_old() {
    const YEARS: Duration = Duration::from_secs(12 * 365 * 86_400);
    const DAY: Duration = Duration::from_secs(86_400);
    let (directory, of) = (folder("jump"), Box_::default());
    let options = EvidenceOptions { max_age: Some(10 * DAY), ..options(&directory) };
    let mut evidence = open(&options, &of);
    let mut number = 0;
    let mut minutes = |evidence: &mut Evidence, count: u32| {
        for _ in 0..count {
            number += 1;
            evidence.record(event(number).as_bytes(), 1);
            minute(evidence, &of);
        }
    };
    minutes(&mut evidence, 30);
    of.set_ahead(YEARS);
    minutes(&mut evidence, 30);
    // Nor does it with a restart: what the clock alone says counts for four days each time.
    for kill in [false, true] {
        if kill {
            evidence.kill();
        } else {
            evidence.close();
        }
        evidence = open(&options, &of);
        minutes(&mut evidence, 30);
        assert_eq!(segment_files(&directory).unwrap()[0], directory.join("evidence-00000001.pcapng"));
    }
    evidence.close();
    assert_eq!(sound(&directory).words("prune").len(), 0);
    // A third one makes it twelve days: what is older than ten of them goes, and what was written since stays.
    let mut evidence = open(&options, &of);
    minutes(&mut evidence, 3);
    evidence.close();
    let sound = sound(&directory);
    assert!(sound.words("prune").iter().all(|prune| prune["why"] == "age"));
    let events = sound.events();
    assert!(events[0] > 50 && events[0] < 90, "{}", events[0]);
    assert_eq!(events.last(), Some(&number));
    fs::remove_dir_all(directory).unwrap();
}

/// A clock that is put back, or stands in 1970 until the network is there, keeps nothing for ever.
#[test]
fn what_was_written_under_a_wrong_clock_grows_old_like_the_rest() {
    let (directory, of) = (folder("back"), Box_::default());
    let options = EvidenceOptions { max_age: Some(Duration::from_secs(3600)), ..options(&directory) };
    of.set_ahead(Duration::from_secs(12 * 365 * 86_400));
    let mut evidence = open(&options, &of);
    for number in 1..=150u64 {
        if number == 20 {
            of.set_ahead(Duration::ZERO);
        }
        if number == 75 {
            evidence.close();
            evidence = open(&options, &of);
        }
        evidence.record(event(number).as_bytes(), 1);
        minute(&mut evidence, &of);
    }
    evidence.close();
    let events = sound(&directory).events();
    assert!((60..=75).contains(&events.len()), "{} from {}", events.len(), events[0]);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_start_on_a_disk_that_the_store_fills_removes_the_oldest_and_records() {
    let (directory, of, disk) = (folder("start"), Box_::default(), FaultyDisk::default());
    let options = EvidenceOptions { budget: 8 << 20, ..options(&directory) };
    let mut evidence = open_on(disk.clone(), &options, &of);
    for number in 1..=300u64 {
        evidence.record(format!("{{\"event_id\":{number},\"text\":\"{}\"}}", "x".repeat(9000)).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_millis(100));
    }
    evidence.close();
    let before = sound(&directory);
    assert!(directory.join("evidence.reserve").is_file(), "room is held for the day on which there is none");
    // Nothing is free, whatever is removed first is the reserve's 64 KiB, and then what the segments held.
    let bytes: u64 = segment_files(&directory).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    disk.set(Faults { full_at: Some(bytes + (64 << 10)), size: Some(bytes), ..Faults::default() });
    let mut evidence = open_on(disk.clone(), &options, &of);
    assert_eq!(evidence.error(), None);
    assert!(directory.join("evidence.reserve").exists(), "held again once there is room");
    for number in 301..=320u64 {
        evidence.record(event(number).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_millis(100));
    }
    evidence.close();
    let after = sound(&directory);
    assert!(!after.words("prune").is_empty() && after.words("prune").iter().all(|prune| prune["why"] == "size"));
    assert_eq!(after.events().last(), Some(&320));
    assert!(after.first_leaf > before.first_leaf && after.lost() == 0);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_disk_that_others_fill_costs_no_evidence_and_is_told_of() {
    let (directory, of, disk) = (folder("others"), Box_::default(), FaultyDisk::default());
    let options = EvidenceOptions { budget: 8 << 20, ..options(&directory) };
    let mut evidence = open_on(disk.clone(), &options, &of);
    for number in 1..=100u64 {
        evidence.record(format!("{{\"event_id\":{number},\"text\":\"{}\"}}", "x".repeat(9000)).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_millis(100));
    }
    evidence.close();
    let full = Faults { room: Some(0), size: Some(0), used: Some(1 << 40), ..Faults::default() };
    disk.set(full);
    let mut evidence = open_on(disk.clone(), &options, &of);
    evidence.record(event(101).as_bytes(), 1);
    assert!(evidence.error().is_some(), "said at once");
    live(&mut evidence, &of, Duration::from_secs(30));
    assert!(evidence.error().is_some());
    assert!(directory.join("evidence-00000001.pcapng").exists());
    disk.set(Faults::default());
    live(&mut evidence, &of, Duration::from_millis(1100));
    assert_eq!(evidence.error(), None, "within a second of there being room");
    evidence.close();
    let sound = sound(&directory);
    assert_eq!(sound.events(), (1..=101).collect::<Vec<_>>());
    assert_eq!((sound.words("prune").len(), sound.lost()), (0, 0));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_a_killed_predecessor_left_is_told_of_and_accounted_for() {
    let (directory, of, disk) = (folder("killed"), Box_::default(), FaultyDisk::default());
    let mut evidence = open_on(disk.clone(), &options(&directory), &of);
    let ledger = Ledger::over(Box::leak(vec![0u64; 4].into_boxed_slice()).as_mut_bytes()).unwrap();
    ledger.begin(100);
    assert_eq!(evidence.note_in(ledger, Some(117)), 17);
    evidence.lost_before(2, 0);
    evidence.record(event(20).as_bytes(), 3);
    evidence.account(4);
    assert_eq!(ledger.accounted(), 104, "what waits is not written");
    // A sync that fails takes it all back.
    disk.set(Faults { syncs_fail: true, ..Faults::default() });
    live(&mut evidence, &of, Duration::from_secs(2));
    assert!(ledger.accounted() <= 104, "{}", ledger.accounted());
    disk.set(Faults::default());
    live(&mut evidence, &of, Duration::from_secs(3));
    assert_eq!(ledger.accounted(), 100 + 17 + 2 + 3 + 4);
    evidence.close();
    let sound = sound(&directory);
    let killed: Vec<_> = sound.words("gap").into_iter().filter(|gap| gap["why"] == "killed").collect();
    assert!(!killed.is_empty() && killed.iter().all(|gap| gap["records"] == 17), "{killed:?}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_disk_that_refuses_loses_what_does_not_fit_into_memory_and_says_so() {
    let (directory, of, disk) = (folder("full"), Box_::default(), FaultyDisk::default());
    let mut evidence = open_on(disk.clone(), &options(&directory), &of);
    let text = "x".repeat(900);
    let mut number = 0;
    for round in 0..6u64 {
        disk.set(Faults { room: Some(10_000 * round + 7), cuts_fail: round == 3, ..Faults::default() });
        for _ in 0..3000 {
            number += 1;
            evidence.record(format!("{{\"event_id\":{number},\"text\":\"{text}\"}}").as_bytes(), 1);
        }
        live(&mut evidence, &of, Duration::from_secs(3));
        assert!(evidence.error().is_some());
        if round != 3 {
            let there = sound(&directory);
            assert_eq!(there.rest, 0, "what was half written was cut off at once");
        }
        disk.set(Faults::default());
        live(&mut evidence, &of, Duration::from_secs(2));
        assert_eq!(evidence.error(), None);
    }
    let lost = evidence.lost();
    evidence.close();
    let sound = sound(&directory);
    assert!(lost > 1000);
    assert_eq!(sound.lost(), lost);
    assert_eq!(sound.events().len() as u64 + lost, number);
    assert!(sound.words("gap").iter().all(|gap| gap["why"] == "disk"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_a_failed_sync_leaves_open_is_taken_for_lost() {
    let (directory, of, disk) = (folder("sync"), Box_::default(), FaultyDisk::default());
    disk.set(Faults { syncs_fail: true, ..Faults::default() });
    let mut evidence = open_on(disk.clone(), &options(&directory), &of);
    for number in 1..=20u64 {
        disk.set(Faults { syncs_fail: number % 3 != 0, creates_fail: number == 7, ..Faults::default() });
        evidence.record(event(number).as_bytes(), 1);
        refused(&mut evidence, number, Port::PlantDropped);
        live(&mut evidence, &of, Duration::from_millis(1300));
    }
    disk.set(Faults::default());
    live(&mut evidence, &of, Duration::from_secs(2));
    evidence.close();
    let sound = sound(&directory);
    assert_eq!(sound.words("open").len(), 1);
    assert_eq!(sound.records[0]["evidence"], "open");
    assert!(sound.lost() > 0);
    assert_eq!(sound.events().len() as u64 + sound.packets.len() as u64 + sound.lost(), 40);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn losses_before_the_store_are_told_of_once_a_second() {
    let (directory, of) = (folder("queue"), Box_::default());
    let mut evidence = open(&options(&directory), &of);
    for number in 1..=100 {
        evidence.lost_before(3, 1);
        evidence.record(event(number).as_bytes(), 1);
        live(&mut evidence, &of, Duration::from_millis(100));
    }
    evidence.close();
    let sound = sound(&directory);
    let gaps = sound.words("gap");
    assert!((9..=12).contains(&gaps.len()), "{}", gaps.len());
    assert!(gaps.iter().all(|gap| gap["why"] == "queue"));
    assert_eq!(sound.lost(), 400);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_store_that_makes_no_sense_is_put_aside() {
    let (directory, of) = (folder("aside"), Box_::default());
    let options = EvidenceOptions { budget: 1 << 20, ..options(&directory) };
    for _ in 0..3 {
        open(&options, &of).close();
    }
    let hole = segment_files(&directory).unwrap()[1].clone();
    fs::remove_file(hole).unwrap();
    let evidence = open(&options, &of);
    evidence.close();
    assert_eq!(segment_files(&directory.join("damaged-4")).unwrap().len(), 2);
    let sound = sound(&directory);
    assert_eq!(sound.words("open")[0]["counter"], 4, "whoever asks sees that it was opened before");
    // Without its key nobody could tell later who wrote.
    fs::remove_file(directory.join("evidence.key")).unwrap();
    let error = Evidence::open(options, Arc::new(of)).unwrap_err();
    assert!(error.to_string().contains("evidence.key is missing"), "{error}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_segment_that_somebody_removes_is_not_written_to_any_more() {
    let (directory, of) = (folder("unlinked"), Box_::default());
    let mut evidence = open(&options(&directory), &of);
    fs::remove_file(last_segment(&directory)).unwrap();
    live(&mut evidence, &of, Duration::from_secs(4));
    evidence.record(event(1).as_bytes(), 1);
    live(&mut evidence, &of, Duration::from_secs(2));
    assert_eq!(evidence.error(), None);
    evidence.close();
    assert!(last_segment(&directory).ends_with("evidence-00000002.pcapng"));
    assert!(check(&directory).unwrap_err().contains("nothing tells what stood before leaf"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn witnesses_get_a_checkpoint_every_ten_seconds_and_at_the_end() {
    let (directory, of) = (folder("witness"), Box_::default());
    let path = directory.join("vambrace.checkpoints");
    let missing = directory.join("not/there/vambrace.checkpoints");
    let options = EvidenceOptions { witnesses: vec![missing, path.clone()], ..options(&directory) };
    let mut evidence = open(&options, &of);
    for _ in 0..31 {
        live(&mut evidence, &of, Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(5));
    }
    evidence.close();
    let notes = fs::read_to_string(&path).unwrap();
    let in_store: Vec<String> = sound(&directory).checkpoints.into_iter().map(|(_, note)| note).collect();
    let kept: Vec<&str> = notes.split_inclusive("\n\n").collect();
    let kept: Vec<String> = kept.chunks(2).map(|pair| pair.concat().trim_end().to_owned() + "\n").collect();
    assert!((4..=7).contains(&kept.len()), "{notes}");
    assert!(kept.iter().all(|note| in_store.contains(note)), "{notes}");
    assert_eq!(kept.last(), in_store.last());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn opening_reads_the_last_segment_only() {
    let (directory, of) = (folder("many"), Box_::default());
    let options = options(&directory);
    let mut evidence = open(&options, &of);
    for number in 1..=410 {
        evidence.record(event(number).as_bytes(), 1);
        of.pass(Duration::from_secs(601));
        evidence.tick();
    }
    evidence.kill();
    let paths = segment_files(&directory).unwrap();
    assert!(paths.len() >= 200, "{}", paths.len());
    let middle_path = &paths[paths.len() / 2];
    // Whoever reads this one can't go on.
    let middle = fs::read(middle_path).unwrap();
    fs::write(middle_path, b"nothing").unwrap();
    let start = std::time::Instant::now();
    open(&options, &of).close();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(check(&directory).is_err(), "but a verifier sees it");
    fs::write(middle_path, &middle).unwrap();
    // A short cut that lies is not followed: all are read.
    let state = fs::read_to_string(directory.join("evidence.state")).unwrap();
    let lies = [
        state.replacen("\"leaves\":", "\"leaves\":1", 1),
        state.replacen("\"segment\":2", "\"segment\":1", 1),
        flip_first_root(&state),
    ];
    for lie in lies {
        assert_ne!(lie, state);
        fs::write(directory.join("evidence.state"), lie).unwrap();
        open(&options, &of).close();
        sound(&directory);
    }
    fs::remove_dir_all(directory).unwrap();
}

fn flip_first_root(state: &str) -> String {
    let at = state.find("\"frontier\":[\"").unwrap() + 13;
    let digit = if &state[at..=at] == "0" { "1" } else { "0" };
    format!("{}{digit}{}", &state[..at], &state[at + 1..])
}

/// Says so where tshark is missing; CI has it.
#[test]
fn tshark_reads_a_segment_without_a_complaint() {
    let (directory, of) = (folder("tshark"), Box_::default());
    let mut evidence = open(&options(&directory), &of);
    for number in 1..=3 {
        evidence.record(event(number).as_bytes(), 1);
        refused(&mut evidence, number, Port::PlantDropped);
        live(&mut evidence, &of, Duration::from_millis(700));
    }
    evidence.close();
    let path = last_segment(&directory);
    let fields = ["frame.interface_name", "frame.comment", "frame.packet_id", "frame.time_epoch"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&path).args(["-Y", "frame.comment", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no tshark");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaint.contains("rror"), "{complaint}");
    assert_eq!(text.lines().count(), 3, "{text}");
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("plant.dropped\tplc wrote 700\t1\t1764000000.000000001"), "{line}");
    fs::remove_dir_all(directory).unwrap();
}
