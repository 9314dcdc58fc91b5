#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use link::craft::{self, Segment, Template};
use link::{Mac, Network, Tag, Tags, TcpFlags};
use proptest::prelude::*;

use super::*;

const ALL_BAD: Rates = Rates {
    loss: Share::percent(5),
    duplicate: Share::percent(10),
    reorder: Share::percent(20),
    corrupt: Share::percent(5),
    split: Share::percent(30),
    merge: Share::percent(30),
    fragment: Share::percent(10),
    delay_ns: 1_000_000,
    jitter_ns: 300_000,
};

fn frame(tags: Tags, seq: u32, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
    let end = |last, port| (IpAddr::from(Ipv4Addr::new(10, 20, 0, last)), port);
    let macs = (Mac([2, 0, 0, 0, 0, 21]), Mac([2, 0, 0, 0, 0, 40]));
    let template = Template::new(macs, tags, end(21, 40_000), end(40, 502)).unwrap();
    let timestamps = Some((seq, 7));
    let mut out = [0; 2048];
    let segment = Segment { seq, ack: 9, flags, window: 1000, timestamps, payload, ..Segment::default() };
    let len = craft::emit_tcp(&template, &segment, &mut out).unwrap();
    out[..len].to_vec()
}

fn data(seq: u32, payload: &[u8]) -> Vec<u8> {
    frame(Tags::default(), seq, TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0), payload)
}

/// Everything that arrives, each frame at its time.
fn drain(cable: &mut Impairment) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    while let Some(at) = cable.next_deadline() {
        while let Some(arrival) = cable.due(at) {
            assert!(arrival.due_ns <= at);
            arrivals.push(arrival);
        }
    }
    arrivals
}

/// Sends chunks as consecutive segments, 100 us apart, looking for arrivals between them.
fn send(cable: &mut Impairment, chunks: &[Vec<u8>], first_seq: u32) -> Vec<Arrival> {
    let (mut now_ns, mut seq, mut arrivals) = (1_000, first_seq, Vec::new());
    for chunk in chunks {
        cable.offer(Toward::Robot, &data(seq, chunk), now_ns);
        seq = seq.wrapping_add(chunk.len() as u32);
        now_ns += 100_000;
        arrivals.extend(std::iter::from_fn(|| cable.due(now_ns)));
    }
    arrivals.extend(drain(cable));
    arrivals
}

/// The stream that a receiver puts together.
fn assemble(arrivals: &[Arrival], first_seq: u32) -> Vec<u8> {
    let mut bytes = BTreeMap::new();
    for arrival in arrivals {
        let packet = link::parse(&arrival.bytes).unwrap();
        let tcp = packet.tcp().unwrap();
        for (at, byte) in tcp.payload.iter().enumerate() {
            let place = tcp.seq.wrapping_sub(first_seq) as usize + at;
            assert_eq!(*bytes.entry(place).or_insert(*byte), *byte, "two contents of one place");
        }
    }
    assert!(bytes.keys().copied().eq(0..bytes.len()), "a hole");
    bytes.into_values().collect()
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 1..40)
}

fn is_accounted_for(counts: &Counts) -> bool {
    let came = counts.offered.iter().sum::<u64>() + counts.duplicated + counts.split + counts.fragmented;
    came == counts.delivered.iter().sum::<u64>() + counts.lost + counts.merged + counts.overflowed
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_frames_at_the_same_times(chunks in chunks(), seed in any::<u64>()) {
        let run = |seed| {
            let mut cable = Impairment::new(ALL_BAD, seed);
            let arrivals = send(&mut cable, &chunks, 5);
            (arrivals, *cable.counts())
        };
        prop_assert_eq!(run(seed), run(seed));
    }

    #[test]
    fn a_perfect_cable_changes_nothing(
        frames in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..40),
        seed in any::<u64>(),
    ) {
        let mut cable = Impairment::new(Rates::default(), seed);
        for (now_ns, (way, bytes)) in frames.iter().enumerate() {
            cable.offer(if *way { Toward::Robot } else { Toward::Plant }, bytes, now_ns as u64);
        }
        let arrivals = drain(&mut cable);
        prop_assert_eq!(arrivals.len(), frames.len());
        for (now_ns, (arrival, (way, bytes))) in arrivals.iter().zip(&frames).enumerate() {
            prop_assert_eq!(&arrival.bytes, bytes);
            prop_assert_eq!(arrival.toward == Toward::Robot, *way);
            prop_assert_eq!(arrival.due_ns, now_ns as u64);
        }
        prop_assert_eq!(cable.next_deadline(), None);
    }

    #[test]
    fn whatever_is_cut_joined_doubled_and_reordered_is_valid_and_reassembles(
        chunks in chunks(), seed in any::<u64>(), first_seq in any::<u32>(),
    ) {
        let rates = Rates { loss: Share::NONE, corrupt: Share::NONE, fragment: Share::NONE, ..ALL_BAD };
        let mut cable = Impairment::new(rates, seed);
        let arrivals = send(&mut cable, &chunks, first_seq);
        for arrival in &arrivals {
            let packet = link::parse(&arrival.bytes).unwrap();
            prop_assert!(packet.checksums_ok());
            prop_assert!(arrival.bytes.len() >= 60);
        }
        prop_assert_eq!(assemble(&arrivals, first_seq), chunks.concat());
        prop_assert!(is_accounted_for(cable.counts()), "{:?}", cable.counts());
    }

    #[test]
    fn nothing_is_left_behind_and_damaged_frames_fail_their_checks(chunks in chunks(), seed in any::<u64>()) {
        let rates = Rates { fragment: Share::NONE, duplicate: Share::NONE, ..ALL_BAD };
        let mut cable = Impairment::new(rates, seed);
        let arrivals = send(&mut cable, &chunks, 5);
        prop_assert!(is_accounted_for(cable.counts()), "{:?}", cable.counts());
        let is_whole = |arrival: &&Arrival| link::parse(&arrival.bytes).is_ok_and(|packet| packet.checksums_ok());
        let damaged = arrivals.len() - arrivals.iter().filter(is_whole).count();
        prop_assert_eq!(damaged as u64, cable.counts().corrupted);
    }

    #[test]
    fn fragments_reassemble(payload in prop::collection::vec(any::<u8>(), 1..1400), seed in any::<u64>()) {
        let mut cable = Impairment::new(Rates { fragment: Share::ALL, ..Rates::default() }, seed);
        let whole = data(77, &payload);
        cable.offer(Toward::Plant, &whole, 0);
        let arrivals = drain(&mut cable);
        prop_assert_eq!(arrivals.len(), 2);
        let Network::Ipv4(original) = link::parse(&whole).unwrap().network else { panic!() };
        let mut joined = Vec::new();
        for arrival in &arrivals {
            let Network::Ipv4(ip) = link::parse(&arrival.bytes).unwrap().network else { panic!() };
            prop_assert!(ip.fragment && ip.header_checksum_ok());
            let offset = u16::from_be_bytes([ip.header[6], ip.header[7]]);
            prop_assert_eq!(usize::from(offset & 0x1fff) * 8, joined.len());
            prop_assert_eq!(offset & 0x2000 != 0, joined.is_empty());
            joined.extend_from_slice(ip.payload);
        }
        prop_assert_eq!(&joined[..], original.payload);
    }

    #[test]
    fn any_bytes_pass_the_worst_cable(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..40), seed in any::<u64>(),
    ) {
        let mut cable = Impairment::new(ALL_BAD, seed);
        for bytes in &frames {
            cable.offer(Toward::Robot, bytes, 0);
        }
        drain(&mut cable);
        prop_assert!(is_accounted_for(cable.counts()), "{:?}", cable.counts());
    }
}

#[test]
fn a_split_segment_is_two_with_its_flags_on_the_last() {
    let tags = Tags::new(&[Tag { tpid: 0x8100, tci: 5 }]).unwrap();
    let flags = TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0 | TcpFlags::FIN.0);
    let mut cable = Impairment::new(Rates { split: Share::ALL, ..Rates::default() }, 1);
    cable.offer(Toward::Robot, &frame(tags, 100, flags, b"ab"), 0);
    let arrivals = drain(&mut cable);
    let tcp = |at: usize| *link::parse(&arrivals[at].bytes).unwrap().tcp().unwrap();
    assert_eq!((tcp(0).seq, tcp(0).payload, tcp(0).flags), (100, &b"a"[..], TcpFlags::ACK));
    assert_eq!((tcp(1).seq, tcp(1).payload, tcp(1).flags), (101, &b"b"[..], flags));
    assert_eq!(link::parse(&arrivals[1].bytes).unwrap().tags, tags);
    // One byte, no data or a SYN can't be cut.
    for uncut in [data(1, b"x"), data(1, b""), frame(tags, 1, TcpFlags::SYN, b"xy")] {
        cable.offer(Toward::Robot, &uncut, 0);
        let arrivals = drain(&mut cable);
        assert_eq!((arrivals.len(), &arrivals[0].bytes), (1, &uncut));
    }
}

#[test]
fn neighbours_merge_and_strangers_do_not() {
    let merge = Rates { merge: Share::ALL, ..Rates::default() };
    let pass = |frames: &[(u64, Vec<u8>)]| {
        let mut cable = Impairment::new(merge, 1);
        frames.iter().for_each(|(now_ns, frame)| cable.offer(Toward::Robot, frame, *now_ns));
        let arrivals = drain(&mut cable);
        arrivals.iter().map(|it| link::parse(&it.bytes).unwrap().tcp().unwrap().payload.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(pass(&[(0, data(1, b"ab")), (9, data(3, b"c"))]), [b"abc"]);
    assert_eq!(pass(&[(0, data(1, b"ab")), (9, data(4, b"c"))]), [&b"ab"[..], b"c"], "a hole between them");
    assert_eq!(pass(&[(0, data(1, b"ab")), (MERGE_NS, data(3, b"c"))]), [&b"ab"[..], b"c"], "too late");
    let (long, tagged) =
        (vec![7; 1400], frame(Tags::new(&[Tag { tpid: 0x8100, tci: 5 }]).unwrap(), 3, TcpFlags::ACK, b"c"));
    assert_eq!(pass(&[(0, data(1, b"ab")), (9, tagged)]), [&b"ab"[..], b"c"], "another network");
    assert_eq!(pass(&[(0, data(1, &long)), (9, data(1401, &long))]).len(), 2, "longer than a packet may be");
}

#[test]
fn a_frame_put_aside_is_overtaken_or_goes_alone() {
    let mut cable = Impairment::new(Rates { reorder: Share::ALL, ..Rates::default() }, 1);
    cable.offer(Toward::Robot, b"first", 10);
    assert_eq!((cable.due(10), cable.next_deadline()), (None, Some(10 + ASIDE_NS)));
    cable.set_rates(Rates::default());
    for now_ns in 20..30 {
        cable.offer(Toward::Robot, b"later", now_ns);
    }
    let order: Vec<_> = drain(&mut cable).into_iter().map(|arrival| arrival.bytes).collect();
    let place = order.iter().position(|bytes| bytes == b"first").unwrap();
    assert!((1..=OVERTAKERS as usize).contains(&place), "at {place}");
    assert_eq!(cable.counts().reordered, 1);
    cable.set_rates(Rates { reorder: Share::ALL, ..Rates::default() });
    cable.offer(Toward::Robot, b"alone", 100);
    assert_eq!(drain(&mut cable)[0].due_ns, 100 + ASIDE_NS);
    assert_eq!(cable.counts().reordered, 1, "nothing overtook it");
}

#[test]
fn rates_are_kept_and_delay_and_jitter_keep_the_order() {
    let mut cable = Impairment::new(ALL_BAD, 42);
    let frame = data(1, b"0123456789");
    for at in 0..50_000 {
        cable.offer(Toward::Robot, &frame, at * 1_000_000);
        while let Some(arrival) = cable.due(at * 1_000_000) {
            cable.recycle(arrival.bytes);
        }
    }
    let counts = *cable.counts();
    let about = |found: u64, wanted: f64| (found as f64 - wanted).abs() < wanted * 0.1;
    assert!(about(counts.lost, 2_500.0) && about(counts.split, 47_500.0 * 0.3), "{counts:?}");
    let mut cable = Impairment::new(Rates { delay_ns: 500, jitter_ns: 1_000, ..Rates::default() }, 42);
    (0..100).for_each(|at| cable.offer(Toward::Plant, &[at], u64::from(at)));
    let arrivals = drain(&mut cable);
    assert!(arrivals.iter().map(|arrival| arrival.bytes[0]).eq(0..100));
    assert!(arrivals.iter().all(|it| (500..=1_600).contains(&it.due_ns)));
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.due_ns));
}

#[test]
fn a_full_cable_drops() {
    let mut cable = Impairment::new(Rates { delay_ns: 1, ..Rates::default() }, 0);
    (0..QUEUE + 3).for_each(|_| cable.offer(Toward::Plant, b"x", 0));
    assert_eq!((cable.counts().overflowed, drain(&mut cable).len()), (3, QUEUE));
}

#[test]
fn shares_are_read_and_written_as_percentages() {
    for (text, parts) in [("5%", 50_000), ("0.1%", 1_000), ("0.0001%", 1), ("100", 1_000_000), ("012.5%", 125_000)] {
        assert_eq!(text.parse::<Share>().unwrap(), Share::per_million(parts).unwrap(), "{text}");
    }
    for text in ["", "%", "-1%", "101%", "5%%", "1.00001%", ".5", "5.", "1e2", "five", "100.0001%", "+5", "9999999999"]
    {
        let error = text.parse::<Share>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("\"{text}\" is no share of frames")), "{error}");
    }
    assert_eq!(Share::percent(5).to_string(), "5%");
    assert_eq!(Share::per_million(1_230).unwrap().to_string(), "0.123%");
    assert_eq!((Share::ALL.to_string(), Share::NONE.to_string()), ("100%".into(), "0%".into()));
}
