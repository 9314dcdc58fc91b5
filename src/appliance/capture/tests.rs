use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};

use super::super::learner::{Frames, LearnerTap};
use super::*;
use crate::control::Stream;
use crate::engine::{Fate, Kept, Shown, Tap};
use crate::event::{Action, Reason, RuleId};
use crate::nic::{Frame, FrameMeta};

/// What an independent reader finds: packets as interface, bytes and comment; the last counts of each interface.
#[derive(Debug, Default)]
struct Found {
    packets: Vec<(u32, Vec<u8>, String)>,
    received: [u64; 4],
    lost: [u64; 4],
}

fn read(bytes: &[u8]) -> Found {
    let mut reader = PcapNGReader::new(1 << 20, bytes).unwrap();
    let mut found = Found::default();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let comment = packet.options.iter().find(|option| option.code.0 == 1);
                        let comment = comment.map_or(String::new(), |option| {
                            let value = &option.value[..usize::from(option.len)];
                            String::from_utf8(value.to_vec()).unwrap()
                        });
                        let bytes = packet.data[..usize::try_from(packet.caplen).unwrap()].to_vec();
                        found.packets.push((packet.if_id, bytes, comment));
                    }
                    PcapBlockOwned::NG(Block::InterfaceStatistics(block)) => {
                        let at = usize::try_from(block.if_id).unwrap();
                        let count = |code: u16| {
                            let option = block.options.iter().find(|option| option.code.0 == code).unwrap();
                            u64::from_le_bytes(*option.value.first_chunk().unwrap())
                        };
                        (found.received[at], found.lost[at]) = (count(4), count(5));
                    }
                    _ => {}
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return found,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

struct Box_ {
    captures: Arc<Captures>,
    tap: WorkerTap,
}

impl Box_ {
    fn new() -> Self {
        let captures = Captures::new(Arc::new(Names::new("box", [])));
        let tap = WorkerTap { learner: LearnerTap(Arc::new(Frames::new())), captures: Arc::clone(&captures) };
        Self { captures, tap }
    }

    fn show(&self, fate: Fate, enforced: bool, kept: &[Kept], bytes: &[u8]) {
        let wire_len = u32::try_from(bytes.len()).unwrap();
        let frame = Frame { bytes, meta: FrameMeta { received_ns: 5, wire_len, checksum_partial: false } };
        let toward = Toward::Robot;
        self.tap.received(&Shown { toward, frame: &frame, fate, enforced, generation: 3, kept, events: &[] });
    }

    /// A reader that begins at once; its thread gives what it read to the end.
    fn reader(&self, only_dropped: bool, snap: u32) -> (UnixStream, thread::JoinHandle<Vec<u8>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let joined = Box::new(self.captures.join(only_dropped, snap).unwrap());
        thread::spawn(move || joined.run(&ours, &AtomicBool::new(false)).unwrap_or_default());
        let mut reading = theirs.try_clone().unwrap();
        let read = thread::spawn(move || {
            let mut bytes = Vec::new();
            reading.read_to_end(&mut bytes).unwrap();
            bytes
        });
        (theirs, read)
    }
}

fn kept(action: Action) -> Kept {
    let verdict = Verdict { action, reason: Reason::NoRule, rule: RuleId::NONE, generation: 3 };
    Kept { index: 0, toward: Toward::Robot, event: 9, verdict }
}

#[test]
fn frames_stand_where_they_are_looked_for() {
    let the_box = Box_::new();
    assert_eq!(the_box.tap.shows(), Shows::Nothing);
    // Nobody captures: nothing is copied, and no memory was taken.
    the_box.show(Fate::Forward, true, &[], b"unseen");
    assert!(the_box.captures.room.get().is_none());
    let (dropped, dropped_read) = the_box.reader(true, 2048);
    assert_eq!(the_box.tap.shows(), Shows::Refused);
    let (all, all_read) = the_box.reader(false, 4);
    assert_eq!(the_box.tap.shows(), Shows::All);
    the_box.show(Fate::Forward, true, &[], b"passed");
    the_box.show(Fate::Absorb, true, &[], b"taken in");
    the_box.show(Fate::Absorb, true, &[kept(Action::Refuse), kept(Action::Refuse)], b"refused");
    the_box.show(Fate::Drop(Reason::IpOptions), true, &[], b"not told of");
    the_box.show(Fate::Drop(Reason::NoRule), false, &[kept(Action::Reset)], b"shadow");
    the_box.show(Fate::Absorb, true, &[kept(Action::Clamp)], b"clamped");
    the_box.tap.made(Toward::Plant, 6, b"answer");
    thread::sleep(PAUSE * 10);
    for stream in [dropped, all] {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let (dropped, all) = (read(&dropped_read.join().unwrap()), read(&all_read.join().unwrap()));
    let bytes = |found: &Found| -> Vec<(u32, String)> {
        let each = found.packets.iter().map(|(at, bytes, _)| (*at, String::from_utf8(bytes.clone()).unwrap()));
        each.collect()
    };
    let named = |at: u32, text: &str| (at, text.to_owned());
    assert_eq!(bytes(&dropped), [named(2, "refused"), named(2, "not told of"), named(0, "shadow")]);
    let expected = [(0, "pass"), (0, "take"), (2, "refu"), (2, "not "), (0, "shad"), (0, "clam"), (0, "answ")];
    assert_eq!(bytes(&all), expected.map(|(at, text)| named(at, text)));
    let comments: Vec<&str> = all.packets.iter().map(|(_, _, comment)| comment.as_str()).collect();
    let says = |at: usize, what: &str| assert!(comments[at].contains(what), "{at}: {}", comments[at]);
    assert_eq!(comments[0], "");
    says(1, "Taken in");
    says(2, "Refused (no_rule, policy generation 3)");
    says(2, "(1 more in the same frame)");
    says(3, "ip_options");
    says(4, "Would be refused");
    says(6, "Made by the box");
    assert_eq!((all.received, all.lost), ([5, 0, 2, 0], [0; 4]));
    // The places are given back, and the path is as before.
    let deadline = Instant::now() + Duration::from_secs(5);
    while the_box.tap.shows() != Shows::Nothing {
        assert!(Instant::now() < deadline);
        thread::sleep(PAUSE);
    }
}

#[test]
fn who_reads_slowly_loses_packets_and_nobody_else_does() {
    let the_box = Box_::new();
    let (slow, theirs) = UnixStream::pair().unwrap();
    let joined = Box::new(the_box.captures.join(false, 2048).unwrap());
    let ended = thread::spawn(move || joined.run(&slow, &AtomicBool::new(false)));
    let (quick, quick_read) = the_box.reader(false, 2048);
    let frame = [0x5a; 1400];
    let (mut sent, mut longest) = (0_u64, Duration::ZERO);
    for _ in 0..80 {
        for _ in 0..100 {
            let began = Instant::now();
            the_box.show(Fate::Forward, true, &[], &frame);
            longest = longest.max(began.elapsed());
            sent += 1;
        }
        // As fast as a wire of a gigabit.
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(PAUSE * 20);
    quick.shutdown(Shutdown::Write).unwrap();
    let quick = read(&quick_read.join().unwrap());
    let packets = u64::try_from(quick.packets.len()).unwrap();
    assert_eq!((quick.received[0], packets + quick.lost[0]), (sent, sent), "every frame is shown or counted");
    theirs.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    (&theirs).read_to_end(&mut bytes).unwrap();
    ended.join().unwrap().unwrap();
    let slow = read(&bytes);
    let packets = u64::try_from(slow.packets.len()).unwrap();
    assert_eq!((slow.received[0], packets + slow.lost[0]), (sent, sent));
    assert!(slow.lost[0] > 1000, "the slow one lost packets: {}", slow.lost[0]);
    assert!(slow.lost[0] > quick.lost[0]);
    assert!(longest < Duration::from_millis(200), "nobody waited for it: {longest:?}");
}

#[test]
fn the_fifth_reader_is_told_so_and_places_come_back() {
    let the_box = Box_::new();
    let mut held: Vec<Joined> = (0..4).map(|_| the_box.captures.join(true, 1).unwrap()).collect();
    assert!(the_box.captures.join(false, 1).unwrap_err().contains("4 captures run already"));
    held.pop();
    held.push(the_box.captures.join(false, 1).unwrap());
    drop(held);
    assert_eq!(the_box.tap.shows(), Shows::Nothing);
}
