//! Power cuts, at any byte and among any events.

use proptest::prelude::*;

use super::faults::Faults;
use super::*;

/// A folder as it was, to be cut anew.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_store_cut_at_any_byte_is_taken_up_again() {
    let (whole, of) = (folder("cut-whole"), Box_::default());
    let options_whole = options(&whole);
    open(&options_whole, &of).close();
    let mut evidence = open(&options_whole, &of);
    for number in 1..=4 {
        evidence.record(event(number).as_bytes(), 1);
        refused(&mut evidence, number, Port::RobotDropped);
        of.pass(Duration::from_millis(600));
        evidence.tick();
    }
    evidence.kill();
    let full = fs::read(last_segment(&whole)).unwrap();
    let cut_folder = folder("cut");
    let options = options(&cut_folder);
    // Every fifth byte, so that each kind of place meets each of the cases below; all of them take minutes.
    for cut in (0..full.len()).step_by(5) {
        copy(&whole, &cut_folder);
        let path = last_segment(&cut_folder);
        // Half of the time the length of the file is there already, and its bytes are not.
        let mut bytes = full[..cut].to_vec();
        if cut % 2 == 1 {
            bytes.resize(full.len().min(cut + 300), 0);
        }
        fs::write(&path, &bytes).unwrap();
        if cut % 3 == 0 {
            fs::remove_file(cut_folder.join("evidence.state")).unwrap();
        }
        let mut evidence = open(&options, &of);
        assert!(!path.with_extension("damaged").exists(), "cut at {cut}: a power cut is no tampering");
        evidence.record(event(9).as_bytes(), 1);
        evidence.close();
        let sound = check(&cut_folder).unwrap_or_else(|what| panic!("cut at {cut}: {what}"));
        assert_eq!(sound.events().last(), Some(&9), "cut at {cut}");
        let recovered = sound.words("recovered").len();
        // Where nothing of the second run is left, the first one's close is the last word.
        assert!(recovered == 1 || sound.words("open").len() == 2, "cut at {cut}");
        let behind: Vec<u64> = sound.events();
        assert!(behind.windows(2).all(|two| two[0] < two[1]), "cut at {cut}");
    }
    let _ = fs::remove_dir_all(whole);
    let _ = fs::remove_dir_all(cut_folder);
}

/// A checkpoint of which a part never reached the disk is cut off as what it is; one that says something else, or that is
/// signed and stands where none should, is kept for whoever looks into it.
#[test]
fn a_torn_checkpoint_is_told_from_an_altered_one() {
    let (whole, of) = (folder("torn-whole"), Box_::default());
    let mut evidence = open(&options(&whole), &of);
    for number in 1..=3 {
        evidence.record(event(number).as_bytes(), 1);
        of.pass(Duration::from_millis(1100));
        evidence.tick();
    }
    evidence.close();
    let full = fs::read(last_segment(&whole)).unwrap();
    let last = full.windows(5).rposition(|bytes| bytes == *b"VBR1\x03").unwrap();
    let end = full.len();
    let copied = folder("torn");
    let is_damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        copy(&whole, &copied);
        let path = last_segment(&copied);
        let mut bytes = full.clone();
        change(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        open(&options(&copied), &of).close();
        let is_kept = path.with_extension("damaged").exists();
        assert!(check(&copied).is_ok());
        is_kept
    };
    for at in last..end {
        assert!(!is_damaged(&|bytes| bytes.truncate(at)), "cut at {at}");
    }
    for at in (last + 40..end).step_by(7) {
        assert!(!is_damaged(&|bytes| bytes[at..].fill(0)), "zeros from {at}");
    }
    assert!(!is_damaged(&|bytes| bytes[last + 40..last + 60].fill(0)), "a hole that was never written");
    for at in (last + 12..end - 8).step_by(7) {
        assert!(is_damaged(&|bytes| bytes[at] ^= 1), "flipped at {at}");
    }
    // What is signed stands behind something that was changed.
    assert!(is_damaged(&|bytes| bytes[last - 100] ^= 1));
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(copied).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Record(usize),
    Frame(usize),
    Lost(u64),
    Pass(u64),
    Close,
    Kill { cut: usize, zeros: bool, forget: bool },
    Faults { room: Option<u64>, syncs: bool, cuts: bool, creates: bool },
    Heal,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3000).prop_map(Step::Record),
        4 => (0usize..2000).prop_map(Step::Frame),
        1 => (1u64..9).prop_map(Step::Lost),
        8 => (0u64..900).prop_map(Step::Pass),
        1 => (100_000u64..900_000).prop_map(Step::Pass),
        1 => Just(Step::Close),
        2 => (0usize..3000, any::<bool>(), any::<bool>())
            .prop_map(|(cut, zeros, forget)| Step::Kill { cut, zeros, forget }),
        1 => (proptest::option::of(0u64..200_000), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(room, syncs, cuts, creates)| Step::Faults { room, syncs, cuts, creates }),
        2 => Just(Step::Heal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_leaves_a_sound_store(steps in proptest::collection::vec(step(), 1..120), budget in 1u64..40, times in 1u64..30) {
        let (directory, of, disk) = (folder(&format!("any-{budget}")), Box_::default(), FaultyDisk::default());
        let options = EvidenceOptions { budget: budget << 17, ..options(&directory) };
        let mut evidence = open_on(disk.clone(), &options, &of);
        let (mut number, mut killed) = (0, false);
        for step in steps {
            match step {
                Step::Record(size) => for _ in 0..times {
                    number += 1;
                    evidence.record(format!("{{\"event_id\":{number},\"text\":\"{}\"}}", "x".repeat(size)).as_bytes(), 1);
                },
                Step::Frame(size) => evidence.packet(Port::PlantDropped, BEGIN, size as u32, &vec![7; size], &PacketNotes::default()),
                Step::Lost(count) => evidence.lost_before(count, 0),
                Step::Pass(time) => { of.pass(Duration::from_millis(time)); evidence.tick(); }
                Step::Close => {
                    disk.set(Faults::default());
                    evidence.close();
                    evidence = open_on(disk.clone(), &options, &of);
                }
                Step::Kill { cut, zeros, forget } => {
                    let synced = evidence.kill() as usize;
                    killed = true;
                    let path = last_segment(&directory);
                    let mut bytes = fs::read(&path).unwrap();
                    let len = bytes.len();
                    bytes.truncate(len - cut.min(len.saturating_sub(synced)));
                    if zeros { bytes.resize(len, 0); }
                    fs::write(&path, bytes).unwrap();
                    if forget { let _ = fs::remove_file(directory.join("evidence.state")); }
                    disk.set(Faults::default());
                    evidence = open_on(disk.clone(), &options, &of);
                }
                Step::Faults { room, syncs, cuts, creates } => disk.set(Faults { room, syncs_fail: syncs, cuts_fail: cuts, creates_fail: creates, ..Faults::default() }),
                Step::Heal => {
                    disk.set(Faults::default());
                    of.pass(Duration::from_millis(1100));
                    evidence.tick();
                    prop_assert_eq!(evidence.error(), None);
                    prop_assert!(check(&directory).is_ok(), "{:?}", check(&directory));
                }
            }
        }
        disk.set(Faults::default());
        of.pass(Duration::from_millis(1100));
        evidence.tick();
        evidence.close();
        let sound = check(&directory);
        prop_assert!(sound.is_ok(), "{:?}", sound);
        let sound = sound.unwrap();
        prop_assert!(!directory.join("damaged-1").exists() && fs::read_dir(&directory).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("damaged")));
        let events = sound.events();
        prop_assert!(events.windows(2).all(|two| two[0] < two[1]));
        let told: u64 = sound.words("gap").iter().filter(|gap| gap["why"] == "disk").map(|gap| gap["records"].as_u64().unwrap()).sum();
        if !killed && sound.first_leaf == 0 {
            prop_assert_eq!(events.len() as u64 + told, number);
        }
        let _ = fs::remove_dir_all(directory);
    }
}
