//! Power cuts at any write, on a disk that keeps order only where it is synced: of what was written since, each sector is
//! there or is not, and so are the names of files that were made or removed.
//!
//! After each, the verifier says that the store is sound up to a second before, all that had been recorded until then can
//! be read, and the next start goes on.
//!
//! `VAMBRACE_POWER_CUTS` says how many, `VAMBRACE_POWER_CUTS_SEED` where they begin.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Mutex;

use super::super::disk::{Output, RealDisk};
use super::*;
use crate::verify::{Folder, Identity, Question, Report, Unsealed, verify};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// How often the recorder lets the store look at the time.
const TICK: Duration = Duration::from_millis(10);

/// A number that depends on nothing but the one before (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// A segment: what is on the disk for sure, and every state that it had since.
#[derive(Debug, Default)]
struct Held {
    synced: Vec<u8>,
    /// What stands from the last whole sector of that on, after each write.
    since: Vec<Vec<u8>>,
}

impl Held {
    fn kept(&self) -> usize {
        self.synced.len() / SECTOR * SECTOR
    }

    fn now(&self) -> Vec<u8> {
        self.since.last().cloned().unwrap_or_else(|| self.synced[self.kept()..].to_vec())
    }

    /// What a power cut leaves: a length that it had, and of each sector a state that it had.
    fn cut(&self, chance: &mut Chance) -> Vec<u8> {
        let kept = self.kept();
        let states: Vec<&[u8]> =
            std::iter::once(&self.synced[kept..]).chain(self.since.iter().map(Vec::as_slice)).collect();
        let mut len = states[chance.below(states.len())].len();
        if chance.one_in(3) {
            // The length goes to the disk with any of the sectors.
            let longest = states.iter().map(|state| state.len()).max().unwrap_or(0);
            len = len.max(chance.below(longest / SECTOR + 1) * SECTOR).min(longest);
        }
        let mut tail = vec![0; len];
        // Some disks lose nothing, some all: not every cut is a mess.
        let loses = [1, 2, 8, usize::MAX][chance.below(4)];
        for (at, sector) in tail.chunks_mut(SECTOR).enumerate() {
            let state =
                if chance.one_in(loses) { states[chance.below(states.len())] } else { states[states.len() - 1] };
            let bytes = state.get(at * SECTOR..).unwrap_or_default();
            let count = bytes.len().min(sector.len());
            sector[..count].copy_from_slice(&bytes[..count]);
        }
        [&self.synced[..kept], &tail].concat()
    }
}

/// Everything that the store has on the disk, until the power goes.
#[derive(Debug)]
struct Medium {
    directory: PathBuf,
    image: PathBuf,
    files: BTreeMap<PathBuf, Held>,
    /// Small files as they were at the write before.
    small: BTreeMap<PathBuf, Vec<u8>>,
    left: usize,
    is_off: bool,
    chance: Chance,
}

impl Medium {
    /// A write begins; at the last one the power goes, in the middle of it.
    fn write(&mut self) -> io::Result<()> {
        if self.left == 0 && !self.is_off {
            self.is_off = true;
            self.snapshot();
        }
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        self.left -= 1;
        // What changed beside the segments since the write before was brought to the disk as a whole.
        self.small = small(&self.directory);
        Ok(())
    }

    fn snapshot(&mut self) {
        let _ = fs::remove_dir_all(&self.image);
        fs::create_dir(&self.image).unwrap();
        let now = small(&self.directory);
        for (path, bytes) in &now {
            // Replaced as a whole: before or after.
            let bytes = self.small.get(path).filter(|_| self.chance.one_in(2)).unwrap_or(bytes);
            fs::write(self.image.join(path.file_name().unwrap()), bytes).unwrap();
        }
        if self.chance.one_in(8) {
            fs::write(self.image.join("evidence.state.new"), b"{\"newest\":").unwrap();
        }
        for (path, held) in &self.files {
            fs::write(self.image.join(path.file_name().unwrap()), held.cut(&mut self.chance)).unwrap();
        }
    }
}

/// The files beside the segments.
fn small(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| !is_segment(path)).filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect()
}

#[derive(Clone, Debug)]
struct CutDisk(Arc<Mutex<Medium>>);

impl Disk for CutDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let mut medium = self.0.lock().unwrap();
        // The name is there or not, before it is synced.
        if medium.left == 0 && medium.chance.one_in(2) {
            medium.files.insert(path.to_owned(), Held::default());
            fs::write(path, b"").unwrap();
        }
        medium.write()?;
        medium.files.insert(path.to_owned(), Held::default());
        Ok(Box::new(CutFile { inner: RealDisk.create(path)?, path: path.to_owned(), medium: Arc::clone(&self.0) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut medium = self.0.lock().unwrap();
        // The name is there or not, before it is synced.
        if medium.left == 0 && medium.chance.one_in(2) {
            medium.files.remove(path);
        }
        medium.write()?;
        medium.files.remove(path);
        RealDisk.remove(path)
    }

    fn free(&self, _: &Path) -> u64 {
        u64::MAX
    }

    fn used(&self, _: &Path) -> u64 {
        0
    }

    fn hold(&self, path: &Path, bytes: u64) {
        RealDisk.hold(path, bytes);
    }
}

#[derive(Debug)]
struct CutFile {
    inner: Box<dyn Output>,
    path: PathBuf,
    medium: Arc<Mutex<Medium>>,
}

impl CutFile {
    /// The file gets another state, of which the disk has not heard.
    fn state(&self, change: impl FnOnce(&mut Vec<u8>, usize)) -> io::Result<()> {
        let mut medium = self.medium.lock().unwrap();
        if let Some(held) = medium.files.get_mut(&self.path) {
            let mut now = held.now();
            change(&mut now, held.kept());
            held.since.push(now);
        }
        medium.write()
    }
}

impl Output for CutFile {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.state(|now, kept| {
            let from = (at as usize).checked_sub(kept).expect("what was synced is never written over");
            now.resize(now.len().max(from + bytes.len()), 0);
            now[from..from + bytes.len()].copy_from_slice(bytes);
        })?;
        self.inner.write_at(bytes, at)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.state(|now, kept| now.resize(len as usize - kept, 0))?;
        self.inner.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()?;
        let mut medium = self.medium.lock().unwrap();
        medium.write()?;
        if let Some(held) = medium.files.get_mut(&self.path) {
            let now = held.now();
            let kept = held.kept();
            held.synced.truncate(kept);
            held.synced.extend(now);
            held.since.clear();
        }
        Ok(())
    }

    fn reserve(&mut self, _: u64) {}

    fn date(&mut self, at_ns: u64) {
        self.inner.date(at_ns);
    }

    fn is_linked(&self) -> bool {
        self.inner.is_linked()
    }
}

/// What was recorded, and when.
#[derive(Default)]
struct Recorded {
    number: u64,
    /// Wall time at which each event was given to the store.
    at: Vec<u64>,
}

impl Recorded {
    fn event(&mut self, evidence: &mut Evidence, of: &Box_, size: usize) {
        self.number += 1;
        self.at.push(of.now().wall_ns);
        let filler = "x".repeat(size);
        evidence.record(
            format!("{{\"event_type\":\"modbus\",\"event_id\":{},\"f\":\"{filler}\"}}", self.number).as_bytes(),
            1,
        );
    }
}

/// Records for some time by chance; whether the power goes, the flag says.
fn live(evidence: &mut Evidence, of: &Box_, recorded: &mut Recorded, disk: &CutDisk, busy: usize) {
    let is_off = || disk.0.lock().unwrap().is_off;
    let mut chance = Chance(recorded.number ^ disk.0.lock().unwrap().chance.next());
    for _ in 0..300 {
        for _ in 0..chance.below(busy) {
            match chance.below(4) {
                0 => refused(evidence, recorded.number, Port::PlantDropped),
                _ => recorded.event(evidence, of, chance.below(600)),
            }
        }
        of.pass(TICK);
        evidence.tick();
        if is_off() {
            return;
        }
        if chance.one_in(200) {
            evidence.lost_before(1, 0);
        }
    }
}

struct Key(Identity);

impl Key {
    fn recipient(&self) -> Recipient {
        let line = self.0.public_line();
        line.parse::<crate::config::Auditor>().unwrap().public
    }
}

fn ask(directory: &Path, key: &Key) -> Option<Report> {
    let question = Question { identities: vec![key.0.clone()], ..Question::default() };
    verify(&Folder::open(directory).unwrap(), &question, |_| {}).ok()
}

/// The events that can be read.
fn events_in(directory: &Path, key: &Key) -> Vec<u64> {
    let mut found = Vec::new();
    let open = |path: &Path| Ok(Unsealed::new(fs::File::open(path)?, std::slice::from_ref(&key.0)));
    let sealed = events_of_all(directory, open, |text| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        found.push(value["event_id"].as_u64().unwrap());
    });
    assert_eq!(sealed.unwrap(), 0, "not all could be read");
    found
}

/// What came of one power cut.
#[derive(Default)]
struct Outcome {
    /// How long before it the last signature was, where the run had lasted a second.
    unsigned_ns: u64,
    torn: bool,
    reaches_into_retention: bool,
    recovered: u64,
}

fn one_cut(seed: u64) -> Outcome {
    let mut chance = Chance(seed);
    let (directory, image) = (folder(&format!("power-{seed}")), folder(&format!("power-{seed}-image")));
    fs::create_dir(&directory).unwrap();
    let of = Box_::default();
    let key = Key(Identity::generate("auditor").unwrap());
    let mut options = options(&directory);
    options.recipients = if seed.is_multiple_of(5) { vec![key.recipient()] } else { Vec::new() };
    // A segment is a quarter of a megabyte: of every eighth store, some are removed.
    let (budget, busy, writes) = if seed.is_multiple_of(8) { (1 << 20, 40, 500) } else { (64 << 20, 4, 120) };
    options.budget = budget;
    let medium = Medium {
        directory: directory.clone(),
        image: image.clone(),
        files: BTreeMap::new(),
        small: BTreeMap::new(),
        left: chance.below(writes),
        is_off: false,
        chance: Chance(chance.next()),
    };
    let disk = CutDisk(Arc::new(Mutex::new(medium)));
    let mut recorded = Recorded::default();
    while !disk.0.lock().unwrap().is_off {
        let mut evidence = open_on(disk.clone(), &options, &of);
        live(&mut evidence, &of, &mut recorded, &disk, busy);
        if disk.0.lock().unwrap().is_off {
            evidence.kill();
        } else {
            evidence.close();
        }
    }
    let cut_ns = of.now().wall_ns;
    drop(disk);
    let _ = fs::remove_dir_all(&directory);

    let due = recorded.at.partition_point(|at| at + SECOND <= cut_ns) as u64;
    let Some(report) = ask(&image, &key) else {
        // Not one block was on the disk.
        assert_eq!(due, 0, "seed {seed}: {due} events are gone");
        assert!(cut_ns < BEGIN + SECOND, "seed {seed}: no store");
        let _ = fs::remove_dir_all(&image);
        return Outcome::default();
    };
    assert!(report.sound, "seed {seed}: {:?}", report.findings);
    let signed_ns = report.signed.map_or(0, |signed| signed.time_ns);
    let unsigned_ns = cut_ns - signed_ns.max(BEGIN);
    assert!(unsigned_ns <= SECOND, "seed {seed}: signed up to {unsigned_ns} ns before the cut");
    let absent = report.absent.as_ref().map_or(0, |absent| absent.leaves);

    // The next start finds it, goes on, and puts nothing aside.
    options.directory = image.clone();
    of.pass(Duration::from_secs(2));
    let mut evidence = open(&options, &of);
    for _ in 0..10 {
        recorded.event(&mut evidence, &of, 50);
        of.pass(Duration::from_millis(300));
        evidence.tick();
    }
    evidence.close();
    let whole = ask(&image, &key).unwrap();
    assert!(whole.sound, "seed {seed}: after the next start: {:?}", whole.findings);
    assert!(whole.end.closed && whole.tail.is_none(), "seed {seed}");
    let names = fs::read_dir(&image).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside: Vec<String> = names.filter(|name| name.contains("damaged")).collect();
    assert!(aside.is_empty(), "seed {seed}: {aside:?}");
    let events = events_in(&image, &key);
    let kept: BTreeSet<u64> = events.iter().copied().collect();
    assert!(events.windows(2).all(|two| two[0] < two[1]), "seed {seed}: events out of order or twice");
    let first = events[0];
    assert!(absent > 0 || first == 1 || due == 0, "seed {seed}: the store begins with event {first}");
    let missing: Vec<u64> = (first..=due).filter(|id| !kept.contains(id)).collect();
    assert!(missing.is_empty(), "seed {seed}: events that were a second old are gone: {missing:?}");
    assert_eq!(highest_event(&last_segment(&image)).unwrap(), Some(recorded.number), "seed {seed}");
    let _ = fs::remove_dir_all(&image);
    Outcome {
        unsigned_ns,
        torn: report.tail.is_some(),
        reaches_into_retention: absent > 0,
        recovered: whole.unclosed_count,
    }
}

fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_sectors_a_power_cut_loses_the_store_is_sound_up_to_a_second_before() {
    let (count, first) = (told("VAMBRACE_POWER_CUTS").unwrap_or(200), told("VAMBRACE_POWER_CUTS_SEED").unwrap_or(0));
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let outcome = one_cut(seed);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let of = |which: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| which(outcome)).count();
    let longest = outcomes.iter().map(|outcome| outcome.unsigned_ns).max().unwrap_or(0);
    println!(
        "{} power cuts: signed up to {} ms before at most; {} left something torn, {} were recovered, {} while old segments \
         were gone",
        outcomes.len(),
        longest / 1_000_000,
        of(|outcome| outcome.torn),
        of(|outcome| outcome.recovered > 0),
        of(|outcome| outcome.reaches_into_retention)
    );
    assert_eq!(outcomes.len() as u64, count);
    // The dice fell as they should: what is to be tried was tried.
    assert!(of(|outcome| outcome.torn) * 4 > outcomes.len() || count < 40, "few cuts tore anything");
    assert!(of(|outcome| outcome.reaches_into_retention) > 0 || count < 100, "nothing was removed");
}
