//! Policies are put in force again and again under load: no frame is lost, and every verdict is that of one whole policy.
//! Source: the product's specification, S13.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::can_make_namespaces;
use support::modbus_load::{answer, exception};
use support::netns::{Netns, move_into};
use support::probes::Probes;
use support::restarted::Restarted;
use support::talks::{self, Line, ROBOT_ADDRESS, Shared};
use support::wire::{PLANT_SIDE, ROBOT_SIDE};
use vambrace::control::{Client, Request, Response};

/// Where the lower half of the values ends.
const HALF: u16 = 60;

/// Two policies that allow opposite halves of the values of one register.
fn policy(low: bool) -> String {
    let (id, value) = if low { ("low", "0..=60") } else { ("high", "61..=120") };
    format!(
        "version = 1\nrobot = \"robot\"\n[[allow]]\nid = \"{id}\"\nfrom = \"plc\"\nservice = \"modbus\"\n\
         function = [\"write_single_register\"]\naddress = [\"128\"]\nvalue = \"{value}\"\n"
    )
}

/// `VAMBRACE_RELOADS` makes a run longer.
fn reloads() -> usize {
    std::env::var("VAMBRACE_RELOADS").ok().map_or(1000, |text| text.parse().unwrap())
}

/// A client that writes a low and a high value in one segment, again and again: one of them is refused, whichever policy is
/// in force.
#[derive(Debug)]
struct Pairs {
    exchanged: Arc<AtomicU64>,
    /// How many had the low one allowed.
    low: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Pairs {
    fn start(space: &Netns, first: u16) -> Self {
        let (exchanged, low, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let name = space.name().to_owned();
        let own = (Arc::clone(&exchanged), Arc::clone(&low), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            move_into(&name);
            exchange_pairs(first, &own.0, &own.1, &own.2)
        });
        Self { exchanged, low, stop, thread }
    }

    fn end(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
        [self.exchanged, self.low].map(|count| count.load(Ordering::Relaxed))
    }
}

fn exchange_pairs(first: u16, exchanged: &AtomicU64, low: &AtomicU64, stop: &AtomicBool) -> Result<(), String> {
    let said = |error: std::io::Error| format!("pairs from {first}: {error}");
    let mut stream = TcpStream::connect(SocketAddr::from((ROBOT_ADDRESS, 502))).map_err(said)?;
    stream.set_nodelay(true).map_err(said)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(said)?;
    let mut n = first;
    while !stop.load(Ordering::Relaxed) {
        n = n.wrapping_add(1);
        let value = n % (HALF + 1);
        let write = |transaction: u16, value: u16| {
            let [high, low] = transaction.to_be_bytes();
            let [v_high, v_low] = value.to_be_bytes();
            vec![high, low, 0, 0, 0, 6, 255, 6, 0, 128, v_high, v_low]
        };
        // Apart by 61: never of the same half.
        let pair = [write(n, value), write(n ^ 0x8000, value + HALF)];
        let pair = if value == 0 { [write(n, 1), write(n ^ 0x8000, 1 + HALF)] } else { pair };
        stream.write_all(&pair.concat()).map_err(said)?;
        // Either way one echo of 12 bytes and one exception of 9, in whichever order.
        let mut got = [0; 21];
        stream.read_exact(&mut got).map_err(said)?;
        let [first, second] = &pair;
        let low_allowed = [answer(first), exception(second, 3)];
        let high_allowed = [exception(first, 3), answer(second)];
        let either = |pair: &[Vec<u8>; 2]| got[..] == pair.concat() || got[..] == [&pair[1][..], &pair[0]].concat();
        match (either(&low_allowed), either(&high_allowed)) {
            (true, _) => low.fetch_add(1, Ordering::Relaxed),
            (_, true) => 0,
            _ => return Err(format!("{pair:02x?} was answered {got:02x?}")),
        };
        exchanged.fetch_add(1, Ordering::Relaxed);
        // Every refusal is a record of its own: at full speed more are made than a build for tests writes.
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn apply(vambrace: &Restarted, low: bool) -> u64 {
    let mut client = Client::connect(&vambrace.socket()).unwrap();
    let request = Request::PolicyApply { text: policy(low), name: if low { "low" } else { "high" }.to_owned() };
    match client.ask(&request).unwrap() {
        Response::Policy(text) => text.generation.into(),
        other => panic!("{other:?}"),
    }
}

/// Verdicts on commands in the records: generation, values, whether allowed, rule.
fn verdicts(records: &str) -> Vec<(u64, Vec<u64>, bool, String)> {
    let mut all = Vec::new();
    for line in records.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let flow_vars = line["metadata"]["flowvars"].as_array().cloned().unwrap_or_default();
        let ours = flow_vars.into_iter().find(|it| it["key"] == "vambrace");
        let Some(ours) =
            ours.or_else(|| line["alert"]["context"].is_object().then(|| line["alert"]["context"].clone()))
        else {
            continue;
        };
        let Some(generation) = ours["generation"].as_u64() else { continue };
        if line["event_type"] == "flow" || ours["unit_hex"].is_null() {
            continue;
        }
        let unit = ours["unit_hex"].as_str().unwrap();
        let mut values = vec![u64::from_str_radix(&unit[20..24], 16).unwrap()];
        // Of repeats the lowest and the highest value.
        for range in ours["repeats"]["written"].as_array().cloned().unwrap_or_default() {
            values.extend(range.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()));
        }
        let rule = ours["rule"].as_str().unwrap_or_default().to_owned();
        all.push((generation, values, ours["action"] == "allowed", rule));
    }
    all
}

fn retransmissions(space: &Netns) -> u64 {
    let text = space.run(&["cat", "/proc/net/snmp"]);
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let names: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    let at = names.iter().position(|name| *name == "RetransSegs").unwrap();
    lines.next().unwrap().split_whitespace().nth(at).unwrap().parse().unwrap()
}

#[test]
fn a_thousand_reloads_lose_no_frame_and_mix_no_verdict() {
    if !can_make_namespaces("a_thousand_reloads_lose_no_frame_and_mix_no_verdict") {
        return;
    }
    let line = Line::new("vbrl");
    let vambrace = Restarted::start_in_memory(&line.inside, "reload", &policy(true), "");
    let shared = Arc::new(Shared::default());
    talks::serve(&line.robot, &shared);
    // Which generations are whose: the first is the configuration's.
    let mut low_from: BTreeMap<u64, bool> = BTreeMap::from([(0, true)]);
    let pairs: Vec<_> = [0, 20_000].into_iter().map(|first| Pairs::start(&line.plant, first)).collect();
    let toward_robot = Probes::start((&line.plant, PLANT_SIDE), (&line.robot, ROBOT_SIDE));
    let toward_plant = Probes::start((&line.robot, ROBOT_SIDE), (&line.plant, PLANT_SIDE));
    let settled = |more: u64| {
        let before: Vec<_> = pairs.iter().map(|pair| pair.exchanged.load(Ordering::Relaxed)).collect();
        let started = Instant::now();
        while pairs.iter().zip(&before).any(|(pair, before)| pair.exchanged.load(Ordering::Relaxed) < before + more) {
            assert!(started.elapsed() < Duration::from_secs(30), "{}", vambrace.state());
            assert!(!pairs.iter().any(|pair| pair.thread.is_finished()), "a client ended: {}", vambrace.state());
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    settled(10);
    let (started, repeated) = (Instant::now(), retransmissions(&line.plant) + retransmissions(&line.robot));
    let mut longest = Duration::ZERO;
    for reload in 0..reloads() {
        let low = reload % 2 == 1;
        let asked = Instant::now();
        low_from.insert(apply(&vambrace, low), low);
        longest = longest.max(asked.elapsed());
        // The first may have been judged before.
        settled(2);
    }
    let took = started.elapsed();
    let repeated = retransmissions(&line.plant) + retransmissions(&line.robot) - repeated;
    let tallies = [toward_robot.tally(), toward_plant.tally()];
    let counts: Vec<_> = pairs.into_iter().map(Pairs::end).collect();
    shared.end();
    assert!(shared.faults().is_empty(), "{:?}", shared.faults());
    let status = vambrace.status();
    // Repeats are told of at the end.
    let records = vambrace.records_at_end();
    let verdicts = verdicts(&records);
    let generations: std::collections::BTreeSet<_> = verdicts.iter().map(|verdict| verdict.0).collect();
    let (exchanged, low): (u64, u64) = (counts.iter().map(|it| it[0]).sum(), counts.iter().map(|it| it[1]).sum());
    println!(
        "{} reloads in {took:.1?}, the slowest {longest:.1?}: {exchanged} pairs of commands, {low} with the low one \
         allowed; frames {} and {}, lost {} and {}, longest gap {:.1?} and {:.1?}; {repeated} segments repeated; {} \
         records of verdicts of {} generations",
        reloads(),
        tallies[0].sent,
        tallies[1].sent,
        tallies[0].lost.len(),
        tallies[1].lost.len(),
        tallies[0].longest_gap,
        tallies[1].longest_gap,
        verdicts.len(),
        generations.len(),
    );
    for tally in &tallies {
        assert!(tally.sent > 100 && tally.lost.is_empty() && tally.doubled.is_empty(), "{tally:?}");
    }
    for port in status["ports"].as_array().unwrap() {
        assert_eq!(port["kernel_drops"], 0, "{status}");
    }
    assert!(low > 0 && low < exchanged, "both policies were in force");
    assert_eq!(status["records"]["lost"], 0, "{status}");
    // One pair at least a reload by each client: no generation went by without a verdict.
    assert!(generations.len() >= reloads(), "{} generations judged of {}", generations.len(), reloads());
    for (generation, values, allowed, rule) in &verdicts {
        let (_, is_low) = low_from.range(..=generation).next_back().unwrap();
        let of = if *is_low { "low" } else { "high" };
        for value in values {
            let should = (*value <= u64::from(HALF)) == *is_low;
            assert_eq!(should, *allowed, "value {value} under generation {generation}, which is {of}");
        }
        // The names of rules are remembered for the last generations alone.
        assert!(
            !*allowed || rule == of || rule.starts_with('#'),
            "rule {rule} under generation {generation}, which is {of}"
        );
    }
}
