//! Forwarding, refusing and recording allocate nothing once the packet path stands: counted by the allocator itself.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "../benches/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use dissect::{Step, Toward};
use link::Tags;
use support::{Case, Frames, Rig};
use vambrace::command::Command;
use vambrace::engine::{Fate, Mode, Rules};
use vambrace::policy::{Ask, Moment, Policy};
use vambrace::record::{Became, FrameRing, LEAST_RING, Passing};
use vambrace::robot::{Connection, Inputs, Rates, State};

/// Counts what the thread that watches takes.
struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Fails only while a thread ends, which no test watches.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
}

// SAFETY: every call goes to the system's allocator with what came in; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = TAKEN.with(Cell::get);
    work();
    TAKEN.with(Cell::get) - before
}

/// Connections that open, talk and end; what passes beside them; what is refused.
struct Mix {
    cases: Vec<Case>,
    passing: Frames,
    refused: Frames,
}

fn mix() -> Mix {
    let mut passing = Frames::default();
    let mut refused = Frames::default();
    let mut buffer = [0; 2048];
    let request = link::Arp {
        operation: 1,
        sender_mac: support::PLC_MAC,
        sender_ip: support::PLC,
        target_mac: link::Mac([0; 6]),
        target_ip: support::ROBOT,
    };
    let broadcast = link::Mac([0xff; 6]);
    let len = link::craft::emit_arp(broadcast, support::PLC_MAC, &Tags::default(), &request, &mut buffer).unwrap();
    passing.push(Toward::Robot, &buffer[..len]);
    let answer = link::craft::arp_reply(&request, support::ROBOT_MAC);
    let (to, from) = (support::PLC_MAC, support::ROBOT_MAC);
    let len = link::craft::emit_arp(to, from, &Tags::default(), &answer, &mut buffer).unwrap();
    passing.push(Toward::Plant, &buffer[..len]);
    for port in 0..64_u16 {
        let (client, server) = ((support::PLC.into(), 50_000 + port), (support::ROBOT.into(), 161));
        let macs = (support::PLC_MAC, support::ROBOT_MAC);
        let template = link::craft::Template::new(macs, Tags::default(), client, server).unwrap();
        let len = link::craft::emit_udp(&template, b"who are you", &mut buffer).unwrap();
        refused.push(Toward::Robot, &buffer[..len]);
    }
    refused.push(Toward::Robot, &[0x55; 60]);
    refused.push(Toward::Robot, &[0x55; 5]);
    Mix { cases: vec![support::modbus(50), support::rtde(50), support::dashboard(50)], passing, refused }
}

/// A write that no rule allows: the refusal ends the connection with resets.
fn refusal() -> Frames {
    let mut talk = support::Talk::open(41_000, 502);
    let mut buffer = [0; 260];
    let request = modbus::Mbap::new(1, modbus::UnitId(1)).write_single_register(&mut buffer, 7, 7).unwrap();
    talk.send(Toward::Robot, request);
    talk.send(Toward::Robot, b"more");
    talk.take()
}

fn round(rig: &mut Rig, mix: &Mix, refusal: &Frames) {
    for case in &mix.cases {
        rig.play(&case.opening);
        rig.play(&case.measured);
        rig.play(&mix.passing);
        rig.play(&case.closing);
    }
    for (toward, frame) in mix.refused.iter() {
        assert!(matches!(rig.frame(toward, frame), Fate::Drop(_)));
    }
    for (toward, frame) in refusal.iter() {
        rig.frame(toward, frame);
    }
    // Timers: repeated resets, idle conversations, the ended connection forgotten.
    for _ in 0..20 {
        rig.now_ns += 100_000_000;
        rig.frame(Toward::Robot, &[0x55; 60]);
    }
    rig.now_ns += 601_000_000_000;
}

#[test]
fn nothing_is_allocated_for_a_frame() {
    let (mix, refusal) = (mix(), refusal());
    let mut rig = Rig::new(Mode::Enforce);
    round(&mut rig, &mix, &refusal);
    let events = rig.popped;
    let taken = allocations(|| {
        for _ in 0..5 {
            round(&mut rig, &mix, &refusal);
        }
    });
    assert_eq!(taken, 0);
    assert!(rig.popped - events > 5 * 200, "every command and answer was recorded");
    assert_eq!(rig.actions.lost(), 0);
}

/// The ring of the frames that passed last takes its memory at the start, and goes round in it.
#[test]
fn nothing_is_allocated_for_the_ring_of_frames() {
    let (mix, ring) = (mix(), FrameRing::new(LEAST_RING));
    let mut pushed = 0;
    let taken = allocations(|| {
        for number in 0..500 {
            for (toward, frame) in mix.refused.iter().chain(mix.cases[0].measured.iter()) {
                let wire_len = frame.len() as u32;
                let about = Passing { toward, became: Became::Passed, wire_len, wall_ns: number, monotonic_ns: number };
                ring.push(&about, frame);
                pushed += frame.len() as u64;
            }
        }
    });
    assert_eq!(taken, 0);
    assert!(pushed > 5 * LEAST_RING, "it went round: {pushed}");
}

#[test]
fn nothing_is_allocated_in_lockdown() {
    let mix = mix();
    let mut rig = Rig::new(Mode::Lockdown);
    let round = |rig: &mut Rig| {
        for case in &mix.cases {
            for frames in [&case.opening, &case.measured, &case.closing] {
                // Writes among them are refused, whatever the policy says.
                for (toward, frame) in frames.iter() {
                    rig.frame(toward, frame);
                }
            }
            rig.now_ns += 601_000_000_000;
        }
    };
    round(&mut rig);
    let events = rig.popped;
    let taken = allocations(|| round(&mut rig));
    assert_eq!(taken, 0);
    assert!(rig.popped - events > 100, "every command was recorded");
    assert_eq!(rig.actions.lost(), 0);
}

/// The deny rules of virtual patches beside the policy, and other ones taken up while frames pass.
#[test]
fn nothing_is_allocated_with_virtual_patches_in_force() {
    let (mix, refusal) = (mix(), refusal());
    let loaded = vambrace::appliance::patches::Loaded::built_in();
    let rules = |version: Option<&str>, generation| {
        let bare = Arc::into_inner(support::rules(Mode::Enforce)).unwrap();
        let version = version.map(|text| text.parse().unwrap());
        let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
        let policy = Arc::new(loaded.tighten(&bare.policy, version, generation, moment));
        Arc::new(Rules { policy, ..bare })
    };
    let all = [rules(None, 2), rules(Some("5.12.0"), 3), rules(Some("3.12.1"), 4), rules(Some("10.11.0"), 5)];
    let patches: Vec<usize> = all.iter().map(|rules| rules.policy.rule_ids().count() - rules.policy.rules()).collect();
    assert_eq!(patches, [3, 2, 3, 0]);
    let mut rig = Rig::new(Mode::Enforce);
    round(&mut rig, &mix, &refusal);
    let taken = allocations(|| {
        for rules in &all {
            rig.pipeline.set_rules(Arc::clone(rules));
            round(&mut rig, &mix, &refusal);
        }
    });
    assert_eq!(taken, 0);
}

/// Steps, rates and owners of inputs: deciding, letting through and freeing again.
#[test]
fn nothing_is_allocated_for_what_depends_on_the_past() {
    let text = "version = 1\nrobot = \"10.0.0.1\"\n[[allow]]\nfrom = \"10.0.0.2\"\nservice = \"rtde\"\n[allow.inputs]\n\
        speed_slider_mask = {}\nspeed_slider_fraction = { step = \"..=0.1\", owner = \"exclusive\", \
        rate = { per_second = 1, burst = 9 } }\n";
    let policy = Policy::compile("p", text, &[], 1, Moment { wall_ns: 0, monotonic_ns: 0 }).unwrap();
    let (session, package) = support::rtde_session();
    let Step::Whole { unit, .. } = rtde::Package::step(&package, Toward::Robot).unwrap() else { panic!("partial") };
    let write = rtde::Request::read(&unit, &session).unwrap();
    let names = rtde::Request::SetupInputs { names: rtde::Names(b"speed_slider_mask,speed_slider_fraction") };
    let (state, mut inputs, mut rates) = (State::default(), Box::new(Inputs::new()), Box::new(Rates::new()));
    let (client, opened) = (policy.client([10, 0, 0, 2].into()), Toward::Robot);
    let mut reasons = [0_usize; 2];
    let taken = allocations(|| {
        for number in 1..200 {
            let connection = Connection {
                number,
                address: std::net::Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets(),
                port: 40_000,
                wall_ns: 0,
            };
            for request in [names, write] {
                for asks in [number, number + 1] {
                    let command = Command::Rtde(request);
                    let (inputs_now, now_ns) = (&*inputs, u64::from(number));
                    let command = &command;
                    let ask =
                        Ask { client, opened, command, state: &state, inputs: inputs_now, connection: asks, now_ns };
                    let allowed = policy.decide(&ask, &mut rates).is_allowed();
                    reasons[usize::from(allowed)] += 1;
                    if allowed {
                        inputs.went(&request, &connection);
                    }
                }
                inputs.accepted(rtde::Variable::named(b"speed_slider_fraction"), &connection);
            }
            inputs.ended(number);
        }
    });
    assert_eq!(taken, 0);
    assert_eq!(reasons, [398, 398], "each connection's set-up and write pass, and another's are refused");
}

/// What is measured beside the path: beats, a stranger's connection, late frames that are told of.
#[test]
fn nothing_is_allocated_for_whose_jitter_it_was() {
    use vambrace::jitter::{ALARM_NS, Departure, Jitter};
    let case = support::rtde(200);
    let mut rig = Rig::new(Mode::Enforce);
    rig.play(&case.opening);
    let mut jitter = Jitter::new();
    let mut told = 0;
    let taken = allocations(|| {
        let mut at = 1_700_000_000_000_000_000_u64;
        for (round, (toward, frame)) in case.measured.iter().enumerate() {
            rig.frame(toward, frame);
            at += if round == 300 { 14_000_000 } else { 1_000_000 };
            let flow = rig.pipeline.touched().unwrap();
            jitter.arrived(flow, (toward, at, frame), Departure::Left);
            jitter.departed(at + 20_000, ALARM_NS);
            jitter.watch(at + 12_000_000, ALARM_NS, |_| true);
            told += std::iter::from_fn(|| jitter.next_told()).count();
        }
    });
    assert_eq!(taken, 0);
    assert!(told > 0);
    assert_eq!(jitter.talks()[0].streams[0].frames, 200);
}

#[test]
fn allocations_are_seen() {
    let mut held = Vec::new();
    assert_eq!(allocations(|| held.push(1_u64)), 1);
}

/// A rule that reads the arguments of every call, and units that it allows, refuses and can't prove.
#[test]
fn nothing_is_allocated_for_a_bounded_argument() {
    use std::net::IpAddr;
    use vambrace::command::Command;
    use vambrace::event::Reason;
    use vambrace::policy::{Ask, Asset, Moment, Policy};

    let assets = [Asset { name: "arm".into(), address: IpAddr::from([10, 0, 0, 1]), is_robot: true }];
    let text = "version = 1\nrobot = \"arm\"\n[[allow]]\nservice = \"urscript\"\n[allow.bounds]\n\"movej.a\" = \"0..=1.4\"\n\
        \"movej.q\" = [{ joint_rad = [0, 0, 0, 0, 0, 0] }, { z = \"0.1..\" }]\n\"socket_open.address\" = \"plc\"\n\
        [[deny]]\nservice = \"urscript\"\n[deny.bounds]\n\"movej.v\" = \"3..\"\n";
    let policy = Policy::compile("p", text, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }).unwrap();
    let (state, mut rates) = (vambrace::robot::State::default(), vambrace::robot::Rates::new());
    for (text, expected) in [
        ("movej([0,0,0,0,0,0], v=1, a=1.4)\n", Reason::Allowed),
        ("movej(p[0,0,0,0,0,0], v=1, a=1.4)\n", Reason::ValueNotAllowed),
        ("movej(get_inverse_kin(x), v=1, a=1)\n", Reason::Unproven),
        ("movej(q, a=1, a=1)\n", Reason::DeniedByRule),
        ("socket_open(\"hmi\", 1)\n", Reason::ArgumentNotAllowed),
    ] {
        let Ok(dissect::Step::Whole { unit, .. }) =
            urscript::Scanner::default().step(text.as_bytes(), urscript::Dialect::Client)
        else {
            unreachable!("one unit");
        };
        let command = Command::UrScript(unit);
        let client = policy.client(IpAddr::from([10, 0, 0, 2]));
        let ask = Ask {
            client,
            opened: Toward::Robot,
            command: &command,
            state: &state,
            inputs: &vambrace::robot::Inputs::new(),
            connection: 1,
            now_ns: 1,
        };
        let mut reason = Reason::NoRule;
        assert_eq!(allocations(|| reason = policy.decide(&ask, &mut rates).reason), 0, "{text}");
        assert_eq!(reason, expected, "{text}");
    }
}
