//! Published attacks on Universal Robots controllers, one test each: their bytes through the engine while it enforces,
//! beside a policy of a working cell and beside one that allows everything to a whole network.
//!
//! Where the bytes of an exploit were not published, they are of its class. What each source says stands at its test.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

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

/// RVD#6 (also #7, #8), IOActive, "Hacking Robots Before Skynet", 2017: a crafted request overflows a buffer on the stack
/// of the Modbus service of software 3.1 to 3.3.4-310. The request was not published: every way in which one contradicts
/// itself.
#[test]
fn stack_overflow_of_the_modbus_service() {
    let read = [0, 1, 0, 0, 0, 6, 255, 3, 0, 128, 0, 1];
    for guard in both() {
        guard.passes(PLC, 502, &read);
        for len in [0, 1, 7, 254, 255, 256, 1000, 65_535_u16] {
            // The length field says one thing, what follows says another.
            let mut request = [0, 1, 0, 0, 0, 0, 255, 16, 0, 128, 0, 2, 4, 0, 1, 0, 2].to_vec();
            request[4..6].copy_from_slice(&len.to_be_bytes());
            request.extend([0x41; 1400]);
            assert_eq!(guard.takes(PLC, 502, &request).arrived, 0, "length field {len}");
        }
        for (quantity, bytes) in [(0_u16, 0_u8), (2, 255), (123, 4), (124, 248), (0x7fff, 4), (0xffff, 0)] {
            let [high, low] = quantity.to_be_bytes();
            let data = vec![0x41; 246.min(usize::from(bytes))];
            let len = u8::try_from(7 + data.len()).unwrap();
            let head = [0, 1, 0, 0, 0, len, 255, 16, 0, 128, high, low, bytes];
            let request = [&head[..], &data].concat();
            assert_eq!(guard.takes(PLC, 502, &request).arrived, 0, "{quantity} registers, {bytes} bytes");
        }
    }
}

/// RVD#15, IOActive 2017: traffic in the clear between robots lets somebody in between read and change it. The way in
/// between is ARP.
#[test]
fn somebody_in_the_middle_by_arp() {
    for guard in both() {
        for claimed in [ROBOT.0, PLC.0] {
            let medium = Medium::Arp(claimed);
            let arp = Attempt {
                client: PLC,
                robot: ROBOT,
                opened: Toward::Robot,
                medium,
                begin_ns: now().monotonic_ns,
                steps: &[],
            };
            let outcome = attempt(&guard.rules, &arp);
            assert_eq!((outcome.arrived, outcome.reason()), (0, Some(Reason::ArpConflict)), "{claimed}");
        }
    }
}

/// CVE-2018-10633 (ICSA-18-191-01, RVD#672): hard-coded credentials for root. CVE-2016-6515 and CVE-2016-6210 (RVD#921):
/// long passwords stop the old SSH server, its answers tell which users exist. All need a connection to port 22.
#[test]
fn root_by_known_passwords_and_long_ones() {
    let guard = Guard::new(CELL, None);
    for from in [PLC, PANEL] {
        guard.refuses(from, 22, b"SSH-2.0-OpenSSH_9.2\r\n", Reason::NoServiceRule);
    }
    guard.refuses(STRANGER, 22, b"SSH-2.0-OpenSSH_9.2\r\n", Reason::NoRuleForClient);
    // Whoever opens the port to a whole network is told so.
    Guard::new(WIDE, None).passes(PLC, 22, b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(state(WIDE, "CVE-2018-10633"), PatchState::NotProtected);
    assert_eq!(state(WIDE, "CVE-2016-6515"), PatchState::NotProtected);
}

/// CVE-2018-10635 (ICSA-18-191-01, RVD#673), IOActive 2017: ports 30001 to 30003 execute any URScript of anybody.
#[test]
fn urscript_of_anybody() {
    let program = b"def attack():\n  movej([0,-1.57,0,-1.57,0,0], a=1.4, v=1.05)\nend\n";
    for port in [30001, 30002, 30003] {
        let guard = Guard::new(CELL, None);
        guard.refuses(STRANGER, port, program, Reason::NoRuleForClient);
        guard.refuses(PLC, port, program, Reason::NoServiceRule);
        guard.refuses(PANEL, port, program, Reason::CommandNotAllowed);
        guard.refuses(PANEL, port, b"set unlock protective stop\n", Reason::CommandNotAllowed);
        guard.passes(PANEL, port, b"set_digital_out(0, True)\n");
        let wide = Guard::new(WIDE, None);
        wide.patch_refuses(PLC, port, b"powerdown()\n", "CVE-2018-10635");
        wide.patch_refuses(PLC, port, b"def x():\n  if True:\n    powerdown()\n  end\nend\n", "CVE-2018-10635");
        wide.passes(PLC, port, program);
    }
}

/// RVD#1406: the Felix shell on port 6666 takes `shutdown` from anybody, by netcat.
#[test]
fn shell_of_the_plug_in_framework() {
    Guard::new(CELL, None).patch_refuses(PLC, 6666, b"shutdown\n", "RVD-1406");
    Guard::bare(CELL).refuses(PLC, 6666, b"shutdown\n", Reason::NoServiceRule);
    let wide = Guard::new(WIDE, None);
    wide.patch_refuses(PLC, 6666, b"shutdown\n", "RVD-1406");
    wide.passes(PLC, 6667, b"shutdown\n");
    // The port has nothing to do with it on an e-Series.
    Guard::new(WIDE, Some("5.12.0")).passes(PLC, 6666, b"hello\n");
    Guard::new(WIDE, Some("3.12.1")).patch_refuses(PLC, 6666, b"shutdown\n", "RVD-1406");
}

/// CVE-2017-3731 (RVD#1426): OpenSSL reads beyond a truncated record; only where a TLS service is open at all.
#[test]
fn truncated_records_of_tls() {
    for port in [443, 802] {
        Guard::new(CELL, None).refuses(PLC, port, &[0x16, 3, 1, 0, 5, 1], Reason::NoServiceRule);
    }
}

/// CVE-2020-10265 (RVD#1443): the Dashboard lets anybody start and stop programs, shut down and reset safety.
#[test]
fn dashboard_of_anybody() {
    let dangerous = [
        "shutdown",
        "unlock protective stop",
        "restart safety",
        "close safety popup",
        "load installation attack.installation",
        "set operational mode manual",
        "clear operational mode",
        "setUserRole programmer",
    ];
    let (cell, wide) = (Guard::new(CELL, None), Guard::new(WIDE, None));
    for line in dangerous.map(|text| format!("{text}\n")) {
        cell.refuses(STRANGER, 29_999, line.as_bytes(), Reason::NoRuleForClient);
        cell.refuses(PLC, 29_999, line.as_bytes(), Reason::NoServiceRule);
        for guard in [&cell, &wide] {
            guard.patch_refuses(PANEL, 29_999, line.as_bytes(), "CVE-2020-10265");
        }
    }
    for line in ["play\n", "stop\n", "load /programs/pick.urp\n", "robotmode\n"] {
        cell.refuses(STRANGER, 29_999, line.as_bytes(), Reason::NoRuleForClient);
        cell.passes(PANEL, 29_999, line.as_bytes());
    }
    cell.refuses(PANEL, 29_999, b"power on\n", Reason::CommandNotAllowed);
}

/// CVE-2020-10264 (RVD#1444): RTDE lets anybody read the robot's data and write registers, outputs and the speed slider.
#[test]
fn rtde_of_anybody() {
    let version = ([0, 5, b'V', 0, 2], [0, 4, b'V', 1]);
    let package = |kind: u8, payload: &[u8]| {
        let len = u16::try_from(payload.len() + 3).unwrap().to_be_bytes();
        [&len[..], &[kind], payload].concat()
    };
    let setup = package(b'I', b"speed_slider_mask,speed_slider_fraction");
    let types = package(b'I', b"\x01UINT32,DOUBLE");
    let (start, started) = (package(b'S', b""), package(b'S', b"\x01"));
    let write = package(b'U', &[&[1_u8][..], &1_u32.to_be_bytes(), &1.0_f64.to_be_bytes()].concat());
    let (robot, plant) = (Toward::Robot, Toward::Plant);
    let steps: [(Toward, &[u8]); 7] = [
        (robot, &version.0),
        (plant, &version.1),
        (robot, &setup),
        (plant, &types),
        (robot, &start),
        (plant, &started),
        (robot, &write),
    ];
    let cell = Guard::new(CELL, None);
    for from in [STRANGER, PANEL, PLC] {
        assert_eq!(cell.exchange(from, 30_004, &steps).arrived, 0);
    }
    assert_eq!(cell.exchange(PLC, 30_004, &steps[..3]).reason(), Some(Reason::VariableNotAllowed));
    let recipe = package(b'O', &[&125.0_f64.to_be_bytes()[..], b"timestamp,actual_TCP_force"].concat());
    let reads = [steps[0], steps[1], (robot, &recipe[..])];
    assert_eq!(cell.exchange(PLC, 30_004, &reads).reason(), Some(Reason::VariableNotAllowed));
    let recipe = package(b'O', &[&125.0_f64.to_be_bytes()[..], b"timestamp,actual_q"].concat());
    assert!(cell.exchange(PLC, 30_004, &[steps[0], steps[1], (robot, &recipe[..])]).whole);
    assert!(Guard::new(WIDE, None).exchange(PLC, 30_004, &steps).whole, "the exchange itself is sound");
    assert_eq!(state(WIDE, "CVE-2020-10264"), PatchState::NotProtected);
}

/// CVE-2020-10266, CVE-2020-10267, CVE-2020-10290, CVE-2016-8619 (RVD#1487, #1489, #1495, #1496) and the archives of the
/// Robot Hacking Manual: packages come in over file transfer, plug-ins go out, or ask a server.
#[test]
fn files_in_and_connections_out() {
    let cell = Guard::new(CELL, None);
    for port in [21, 22, 80, 443, 445] {
        assert_eq!(cell.takes(PLC, port, b"x").arrived, 0, "in by {port}");
        for to in [PLC, STRANGER] {
            assert!(!cell.lets_out(to, port), "out by {port}");
        }
    }
    assert!(Guard::new(WIDE, None).lets_out(STRANGER, 443), "the connection itself is sound");
}

/// CVE-2016-0634 (RVD#1488): bash runs what stands in a host name, once somebody logs in.
#[test]
fn a_login_for_the_shell() {
    for port in [22, 23] {
        assert_eq!(Guard::new(CELL, None).takes(PLC, port, b"root\r\n").arrived, 0);
    }
}

/// CVE-2026-8153 (NVD, advisory of the maker, May 2026): OS commands in a line to the Dashboard of PolyScope 5 before
/// 5.25.1. Which command was not published: every verb with every character that a shell interprets.
#[test]
fn shell_commands_in_dashboard_lines() {
    let verbs: Vec<&str> = dashboard::Verb::all().iter().map(|verb| verb.name).collect();
    assert!(verbs.len() > 30, "{verbs:?}");
    let wide = Guard::new(WIDE, None);
    for injected in ["; id", "|id", "& id", "`id`", "$(id)", "$HOME", "> x", "< x", "\\x", "\"x\"", "'x'", "(id)"] {
        for verb in &verbs {
            let line = format!("{verb} x{injected}\n");
            wide.refuses(PANEL, 29_999, line.as_bytes(), Reason::ShellMetacharacter);
        }
    }
    for line in ["load --help\n", "load ../../etc/passwd\n", "play\rid\n", "load\tx.urp\n", "get variable x y\n"] {
        wide.refuses(PANEL, 29_999, line.as_bytes(), Reason::Malformed);
    }
    wide.refuses(PANEL, 29_999, b"exec id\n", Reason::ClassNotAllowed);
    wide.passes(PANEL, 29_999, b"load /programs/cell 4/pick_v4.urp\n");
    wide.passes(PANEL, 29_999, b"popup Part missing, check feeder 2\n");
}

fn state(text: &str, id: &str) -> PatchState {
    let loaded = Loaded::built_in();
    let policy = loaded.tighten(&policy(text), None, 1, now());
    let report = try_all(&config(), &loaded, &policy, None, now(), Limits { deadline: None });
    report.patches.iter().find(|patch| patch.id == id).unwrap().state
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
