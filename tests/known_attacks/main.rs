//! Published attacks on Universal Robots controllers, one file each: their bytes through the engine while it enforces,
//! beside a policy of a working cell and beside one that allows everything to a whole network.
//!
//! Where the bytes of an exploit were not published, they are of its class. What each source says stands at the head of
//! its file.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod a_login_for_the_shell;
mod dashboard_of_anybody;
mod files_in_and_connections_out;
mod root_by_known_passwords_and_long_ones;
mod rtde_of_anybody;
mod shell_commands_in_dashboard_lines;
mod shell_of_the_plug_in_framework;
mod somebody_in_the_middle_by_arp;
mod stack_overflow_of_the_modbus_service;
mod truncated_records_of_tls;
mod urscript_of_anybody;

use std::net::Ipv4Addr;
use std::sync::Arc;

use dissect::Toward;
use link::Mac;
use vambrace::appliance::patches::{Limits, Loaded, try_all};
use vambrace::appliance::{now, rules};
use vambrace::config::Config;
use vambrace::control::PatchState;
use vambrace::engine::trial::{Attempt, Medium, Outcome, attempt};
use vambrace::engine::{Mode, Rules};
use vambrace::event::Reason;
use vambrace::patches::{Carrier, How, Pack, Version};
use vambrace::policy::{Controller, Policy};

const CONFIG: &str = "mode = \"enforce\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
    [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n\
    [[asset]]\nname = \"plc\"\nip = \"10.20.0.21\"\nside = \"plant\"\n\
    [[asset]]\nname = \"panel\"\nip = \"10.20.0.22\"\nside = \"plant\"\n";

/// What a working cell says.
const CELL: &str = "version = 1\nrobot = \"robot\"\n\
    [[allow]]\nid = \"registers\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = [\"128..=131\"]\n\
    [[allow]]\nid = \"state\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"timestamp\", \"actual_q\"]\n\
    [[allow]]\nid = \"panel\"\nfrom = \"panel\"\nservice = \"dashboard\"\ncommand = [\"load\", \"play\", \"stop\", \"robotmode\"]\n\
    [[allow]]\nid = \"outputs\"\nfrom = \"panel\"\nservice = \"urscript\"\nfunction = [\"set_digital_out\"]\n";

/// Everything to everybody in the plant, and everything that the robot opens.
const WIDE: &str = "version = 1\nrobot = \"robot\"\n\
    [[allow]]\nid = \"everything\"\nfrom = \"10.0.0.0/8\"\nservice = \"any\"\n\
    [[allow]]\nid = \"out-21\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"tcp/21\"\n\
    [[allow]]\nid = \"out-22\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"tcp/22\"\n\
    [[allow]]\nid = \"out-80\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"tcp/80\"\n\
    [[allow]]\nid = \"out-443\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"tcp/443\"\n\
    [[allow]]\nid = \"out-445\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"tcp/445\"\n\
    [[allow]]\nid = \"out-4444\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"tcp/4444\"\n\
    [[allow]]\nid = \"out-53\"\nfrom = \"robot\"\nto = \"any\"\nservice = \"udp/53\"\n";

const ROBOT: (Ipv4Addr, Mac) = (Ipv4Addr::new(10, 20, 0, 40), Mac([2, 0, 0, 0, 0, 40]));
const PLC: (Ipv4Addr, Mac) = (Ipv4Addr::new(10, 20, 0, 21), Mac([2, 0, 0, 0, 0, 21]));
const PANEL: (Ipv4Addr, Mac) = (Ipv4Addr::new(10, 20, 0, 22), Mac([2, 0, 0, 0, 0, 22]));
const STRANGER: (Ipv4Addr, Mac) = (Ipv4Addr::new(203, 0, 113, 77), Mac([2, 0, 0, 0, 0, 77]));

fn config() -> Config {
    Config::parse("vambrace.toml", CONFIG).unwrap_or_else(|problems| panic!("{problems}"))
}

fn policy(text: &str) -> Policy {
    let assets = vambrace::appliance::assets(&config());
    Policy::compile("policy.toml", text, &assets, 1, now()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A box that enforces a policy and the built-in pack for a controller of a version.
struct Guard {
    policy: Arc<Policy>,
    rules: Arc<Rules>,
}

impl Guard {
    fn new(text: &str, version: Option<&str>) -> Self {
        let version: Option<Version> = version.map(|text| text.parse().unwrap());
        Self::of(Loaded::built_in().tighten(&policy(text), version, 1, now()))
    }

    /// The policy alone.
    fn bare(text: &str) -> Self {
        Self::of(policy(text))
    }

    fn of(policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let rules = Arc::new(rules(&config(), Mode::Enforce, Arc::clone(&policy)));
        Self { policy, rules }
    }

    fn exchange(&self, from: (Ipv4Addr, Mac), port: u16, steps: &[(Toward, &[u8])]) -> Outcome {
        let steps: Vec<_> = steps.iter().map(|(toward, bytes)| (*toward, bytes.to_vec())).collect();
        let medium = Medium::Tcp(port);
        attempt(
            &self.rules,
            &Attempt {
                client: from,
                robot: ROBOT,
                opened: Toward::Robot,
                medium,
                begin_ns: now().monotonic_ns,
                steps: &steps,
            },
        )
    }

    /// What comes of bytes to a port.
    fn takes(&self, from: (Ipv4Addr, Mac), port: u16, bytes: &[u8]) -> Outcome {
        self.exchange(from, port, &[(Toward::Robot, bytes)])
    }

    fn refuses(&self, from: (Ipv4Addr, Mac), port: u16, bytes: &[u8], why: Reason) {
        let outcome = self.takes(from, port, bytes);
        assert_eq!((outcome.arrived, outcome.reason()), (0, Some(why)), "{}", String::from_utf8_lossy(bytes));
    }

    /// Refused by the rules of a patch, which the record names.
    fn patch_refuses(&self, from: (Ipv4Addr, Mac), port: u16, bytes: &[u8], patch: &str) {
        let outcome = self.takes(from, port, bytes);
        let verdict = outcome.verdict.unwrap();
        let rule = self.policy.rule_id(verdict.rule);
        let expected = (0, Reason::DeniedByRule, Some(patch));
        assert_eq!((outcome.arrived, verdict.reason, rule), expected, "{}", String::from_utf8_lossy(bytes));
    }

    fn passes(&self, from: (Ipv4Addr, Mac), port: u16, bytes: &[u8]) {
        let outcome = self.takes(from, port, bytes);
        assert!(outcome.whole, "{}: {outcome:?}", String::from_utf8_lossy(bytes));
    }

    /// Whether a connection that the robot opens comes out.
    fn lets_out(&self, to: (Ipv4Addr, Mac), port: u16) -> bool {
        let medium = Medium::Tcp(port);
        let attempt = attempt(
            &self.rules,
            &Attempt {
                client: to,
                robot: ROBOT,
                opened: Toward::Plant,
                medium,
                begin_ns: now().monotonic_ns,
                steps: &[],
            },
        );
        attempt.arrived > 0
    }
}

/// The policy of the cell and the one that allows everything.
fn both() -> [Guard; 2] {
    [Guard::new(CELL, None), Guard::new(WIDE, None)]
}

fn state(text: &str, id: &str) -> PatchState {
    let loaded = Loaded::built_in();
    let policy = loaded.tighten(&policy(text), None, 1, now());
    let report = try_all(&config(), &loaded, &policy, None, now(), Limits { deadline: None });
    report.patches.iter().find(|patch| patch.id == id).unwrap().state
}

/// A refusal by the reader names an entry only where the entry's own attacks are refused so, and nothing harmless is.
#[test]
fn signs_of_an_entry_are_how_its_attacks_are_refused() {
    let guard = Guard::new(WIDE, None);
    let pack = Pack::built_in();
    let tried = |vector: &vambrace::patches::Vector| -> Option<Reason> {
        let medium = match vector.carrier {
            Carrier::Tcp(port) => Medium::Tcp(port),
            Carrier::Udp(port) => Medium::Udp(port),
            Carrier::Arp(_) => Medium::Arp(PANEL.0),
        };
        let attempt_of = Attempt {
            client: PLC,
            robot: ROBOT,
            opened: vector.opened,
            medium,
            begin_ns: now().monotonic_ns,
            steps: &vector.steps,
        };
        attempt(&guard.rules, &attempt_of).reason()
    };
    for patch in pack.patches().iter().filter(|patch| patch.how.contains(&How::Grammar)) {
        let seen: Vec<Option<Reason>> = patch.vectors.iter().map(tried).collect();
        let named = seen.iter().filter(|reason| patch.signs.iter().any(|sign| Some(sign.reason) == **reason)).count();
        let told: Vec<_> = patch.vectors.iter().map(|vector| &vector.name).zip(&seen).collect();
        // What stands for a device of the plant needs a bound MAC, which this bench has none of.
        if patch.id != "RVD-15" {
            // The others are refused as any mistake is, and would name it for mistakes.
            assert!(named * 2 >= seen.len(), "{}: its attacks are named: {told:#?}", patch.id);
        }
        for other in pack.patches().iter().flat_map(|patch| &patch.harmless) {
            let reason = tried(other);
            assert!(!patch.signs.iter().any(|sign| Some(sign.reason) == reason), "{}: {reason:?}", other.name);
        }
    }
}

/// The whole pack against a policy of a working cell: each vector of each entry, and each harmless line.
#[test]
fn every_vector_is_refused_and_everything_harmless_passes() {
    let loaded = Loaded::built_in();
    let policy = loaded.tighten(&policy(CELL), None, 1, now());
    let report = try_all(&config(), &loaded, &policy, None, now(), Limits { deadline: None });
    assert!(!report.has_findings(), "{report:#?}");
    assert_eq!(report.peers, ["plc", "panel", "203.0.113.77 (no rule names it)"]);
    let sum = |of: fn(&vambrace::control::PatchStatus) -> u32| report.patches.iter().map(of).sum::<u32>();
    assert!(sum(|patch| patch.tried) > 200 && sum(|patch| patch.harmless) > 30, "{}", report.summary());
    let count = |state| report.count(state);
    let states = [PatchState::Protected, PatchState::NotApplicable, PatchState::NotContainable];
    assert_eq!(states.map(count), [16, 2, 3], "{}", report.summary());
}

/// The policies to begin with: reads of each generation pass, every known attack is contained.
#[test]
fn starting_policies_let_reads_pass_and_no_attack() {
    let loaded = Loaded::built_in();
    for (name, controller) in Controller::ALL {
        let text = vambrace::policy::template(controller, "robot", &["plc".to_owned()]);
        let guard = Guard::new(&text, None);
        guard.passes(PLC, 502, &[0, 1, 0, 0, 0, 6, 255, 3, 0, 128, 0, 1]);
        guard.passes(PLC, 29_999, b"robotmode\n");
        let names = b"timestamp,actual_q";
        let mut setup = vec![0, u8::try_from(11 + names.len()).unwrap(), b'O'];
        setup.extend_from_slice(&125.0_f64.to_be_bytes());
        setup.extend_from_slice(names);
        let begin: [(Toward, &[u8]); 2] = [(Toward::Robot, &[0, 5, b'V', 0, 2]), (Toward::Plant, &[0, 4, b'V', 1])];
        let outcome = guard.exchange(PLC, 30_004, &[begin[0], begin[1], (Toward::Robot, &setup)]);
        assert!(outcome.whole, "{name}: {outcome:?}");
        assert_eq!(guard.takes(PLC, 502, &[0, 1, 0, 0, 0, 6, 255, 6, 0, 128, 0, 1]).arrived, 0, "{name}");
        for line in [&b"power on\n"[..], b"play\n", b"brake release\n"] {
            assert_eq!(guard.takes(PLC, 29_999, line).arrived, 0, "{name}");
        }
        let report = try_all(&config(), &loaded, &guard.policy, None, now(), Limits { deadline: None });
        assert_eq!(report.count(PatchState::NotProtected), 0, "{name}: {report:#?}");
        assert!(!report.has_findings(), "{name}: {}", report.summary());
    }
}

/// A policy that allows everything loosens nothing that an entry's rules or the reader refuse; and what only a rule can
/// let through does come through: the vectors are sound.
#[test]
fn what_everything_allows_and_what_no_policy_can() {
    let pack = Pack::built_in();
    let (guarded, bare) = (Guard::new(WIDE, None), Guard::bare(WIDE));
    // No known function or recipe: no policy can allow these to anybody whom it does not let send all unknown ones.
    let unknown = ["a function that nobody knows", "a package for a recipe that was never set up"];
    for patch in pack.patches().iter().filter(|patch| !patch.vectors.is_empty()) {
        let mut stopped = 0;
        for vector in &patch.vectors {
            let medium = match vector.carrier {
                vambrace::patches::Carrier::Tcp(port) => Medium::Tcp(port),
                vambrace::patches::Carrier::Udp(port) => Medium::Udp(port),
                vambrace::patches::Carrier::Arp(vambrace::patches::Claim::Robot) => Medium::Arp(ROBOT.0),
                vambrace::patches::Carrier::Arp(vambrace::patches::Claim::Client) => Medium::Arp(PLC.0),
            };
            let one = Attempt {
                client: PLC,
                robot: ROBOT,
                opened: vector.opened,
                medium,
                begin_ns: now().monotonic_ns,
                steps: &vector.steps,
            };
            let [with, without] = [&guarded, &bare].map(|guard| attempt(&guard.rules, &one));
            let name = format!("{}: {}", patch.id, vector.name);
            if patch.how == [How::Grammar] {
                assert_eq!((with.arrived, without.arrived), (0, 0), "{name}");
            } else {
                assert_eq!(without.whole, !unknown.contains(&vector.name.as_str()), "{name}: {without:?}");
                stopped += u32::from(with.arrived == 0 && without.whole);
            }
        }
        let has_rules = patch.how.contains(&How::Rule);
        assert_eq!(stopped > 0, has_rules, "{}: {stopped} stopped by its own rules", patch.id);
    }
}
