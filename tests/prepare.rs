//! Ports made fit for use: every problem is told at once with its command, the kernel keeps quiet, and all is as before
//! afterwards.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::can_make_namespaces;
use support::raw::RawSocket;
use support::wire::{PLANT, PLANT_SIDE, ROBOT, ROBOT_SIDE, Wire};
use vambrace::nic::prepare::{Finding, Level, Prepared, Problem, examine, prepare};
use vambrace::nic::{AfPacket, FramePort, Geometry, wait};

/// A wire whose ports inside are as a distribution sets them up: offloads on, IPv6 on.
fn untouched(tag: &str) -> Wire {
    let wire = Wire::new(tag, 1500);
    let six = ["all", "default", PLANT, ROBOT].map(|port| format!("net/ipv6/conf/{port}/disable_ipv6=0"));
    wire.inside.run(&["sysctl", "-qw", &six[0], &six[1], &six[2], &six[3]]);
    for port in [PLANT, ROBOT] {
        wire.inside
            .run(&["ethtool", "-K", port, "tx", "on", "rx", "on", "sg", "on", "tso", "on", "gso", "on", "gro", "on"]);
    }
    wire
}

fn inside(wire: &Wire) -> Result<Prepared, Vec<Problem>> {
    wire.inside.enter(|| prepare(PLANT, ROBOT))
}

fn refused(wire: &Wire, plant: &str, robot: &str) -> Vec<String> {
    let problems = wire.inside.enter(|| prepare(plant, robot)).unwrap_err();
    let told = wire.inside.enter(|| examine(plant, robot));
    let told: Vec<_> = told.into_iter().filter(|finding| finding.level == Level::Problem).collect();
    let alike = |(problem, finding): (&Problem, &Finding)| {
        problem.what == finding.sentence && problem.command == finding.command
    };
    assert!(problems.len() == told.len() && problems.iter().zip(&told).all(alike), "{problems:?} {told:?}");
    problems.iter().map(ToString::to_string).collect()
}

/// All that can be read of the ports' settings.
fn settings(wire: &Wire) -> Vec<String> {
    let mut all = Vec::new();
    for port in [PLANT, ROBOT] {
        all.push(wire.inside.run(&["ethtool", "-k", port]));
        all.push(wire.inside.run(&[
            "sh",
            "-c",
            &format!("grep -r '' /proc/sys/net/ipv[46]/conf/{port} 2>/dev/null | sort"),
        ]));
        all.push(wire.inside.run(&["ip", "-details", "link", "show", port]));
    }
    all.push(wire.inside.run(&["sh", "-c", "nft list ruleset 2>/dev/null || true"]));
    all.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
}

fn differences<'a>(before: &'a [String], after: &'a [String]) -> Vec<&'a str> {
    let gone = before.iter().filter(|line| !after.contains(line));
    gone.chain(after.iter().filter(|line| !before.contains(line))).map(String::as_str).collect()
}

#[test]
fn a_sound_pair_is_prepared_and_given_back_as_it_was() {
    if !can_make_namespaces("a_sound_pair_is_prepared_and_given_back_as_it_was") {
        return;
    }
    let wire = untouched("pair");
    let before = settings(&wire);
    let examined = wire.inside.enter(|| examine(PLANT, ROBOT));
    assert!(examined.iter().all(|finding| finding.level != Level::Problem), "{examined:?}");
    assert_eq!(differences(&before, &settings(&wire)), Vec::<&str>::new(), "examining changed something");

    let prepared = inside(&wire).unwrap();
    let mac = wire.inside.run(&["cat", "/sys/class/net/robot/address"]);
    assert_eq!((prepared.robot.name.as_str(), prepared.robot.mac.to_string()), (ROBOT, mac.trim().to_owned()));
    // Room for two tags.
    assert_eq!((prepared.plant.mtu, prepared.robot.mtu), (1508, 1508));
    let during = settings(&wire);
    for line in ["rx-gro: on", "generic-receive-offload: on", "generic-segmentation-offload: on", "rx-checksumming: on"]
    {
        assert!(!during.iter().any(|it| it.trim() == line), "{line}");
    }
    for setting in [
        "/proc/sys/net/ipv6/conf/plant/disable_ipv6:1",
        "/proc/sys/net/ipv6/conf/robot/disable_ipv6:1",
        "/proc/sys/net/ipv4/conf/plant/arp_ignore:8",
        "/proc/sys/net/ipv4/conf/robot/rp_filter:1",
    ] {
        assert!(during.iter().any(|line| line == setting), "{setting}");
    }
    assert_eq!(during.iter().filter(|line| line.contains("NOARP") && line.contains("mtu 1508")).count(), 2);
    // From any namespace.
    drop(prepared);
    assert_eq!(differences(&before, &settings(&wire)), Vec::<&str>::new());
    // And again.
    drop(inside(&wire).unwrap());
}

#[test]
fn ports_that_were_chosen_otherwise_keep_their_mtu() {
    if !can_make_namespaces("ports_that_were_chosen_otherwise_keep_their_mtu") {
        return;
    }
    let wire = Wire::new("mtu", 1400);
    let prepared = inside(&wire).unwrap();
    assert_eq!((prepared.plant.mtu, prepared.robot.mtu), (1400, 1400));
    drop(prepared);
    let jumbo = Wire::new("jumb", 9000);
    assert_eq!(inside(&jumbo).unwrap().robot.mtu, 9008);
}

#[test]
fn a_missing_port_is_told_with_what_there_is() {
    if !can_make_namespaces("a_missing_port_is_told_with_what_there_is") {
        return;
    }
    let wire = Wire::new("miss", 1500);
    let lines = refused(&wire, "enp9s0", ROBOT);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.starts_with("port enp9s0 is missing; there is ") && line.ends_with("; run `ip -br link`"), "{line}");
    assert!(line.contains(PLANT) && line.contains(ROBOT), "{line}");
    for address in ["02:00:00:00:00:99", "0000:01:00.0"] {
        assert!(refused(&wire, PLANT, address)[0].starts_with(&format!("port {address} is missing")));
    }
    assert_eq!(refused(&wire, "lo", ROBOT), ["port lo is no Ethernet port; run `ip -br link`", MTU_OF_LO]);
}

const MTU_OF_LO: &str = "port lo has an MTU of 65536 bytes and port robot of 1500; run `ip link set lo mtu 1500`";

#[test]
fn a_port_that_is_down_is_told() {
    if !can_make_namespaces("a_port_that_is_down_is_told") {
        return;
    }
    let wire = Wire::new("isdown", 1500);
    wire.inside.run(&["ip", "link", "set", ROBOT, "down"]);
    assert_eq!(refused(&wire, PLANT, ROBOT), ["port robot is down; run `ip link set robot up`"]);
    wire.inside.run(&["ip", "link", "set", ROBOT, "up"]);
    // A cable that is off is no reason to refuse.
    wire.outside.run(&["ip", "link", "set", ROBOT_SIDE, "down"]);
    let found = wire.inside.enter(|| examine(PLANT, ROBOT));
    let link = found.iter().find(|finding| finding.name == "robot link").unwrap();
    assert_eq!(link.level, Level::Advice, "{link}");
    assert!(inside(&wire).is_ok());
}

#[test]
fn a_member_of_a_bridge_is_told() {
    if !can_make_namespaces("a_member_of_a_bridge_is_told") {
        return;
    }
    let wire = Wire::new("bridge", 1500);
    wire.inside.run(&["ip", "link", "add", "name", "br0", "type", "bridge"]);
    wire.inside.run(&["ip", "link", "set", PLANT, "master", "br0"]);
    let expected = "port plant is a member of bridge br0; run `ip link set plant nomaster`";
    assert_eq!(refused(&wire, PLANT, ROBOT), [expected]);
}

#[test]
fn an_address_is_told() {
    if !can_make_namespaces("an_address_is_told") {
        return;
    }
    let wire = Wire::new("addr", 1500);
    wire.inside.run(&["ip", "address", "add", "10.9.9.1/24", "dev", PLANT]);
    wire.inside.run(&["ip", "address", "add", "10.9.8.1/16", "label", "plant:x", "dev", PLANT]);
    wire.inside.run(&["sysctl", "-qw", "net/ipv6/conf/robot/disable_ipv6=0"]);
    wire.inside.run(&["ip", "address", "add", "fd00::1/64", "dev", ROBOT]);
    let expected = [
        "port plant has the IP address 10.9.9.1/24 and 10.9.8.1/16; run `ip address flush dev plant`",
        "port robot has the IP address fd00::1/64; run `ip address flush dev robot`",
    ];
    assert_eq!(refused(&wire, PLANT, ROBOT), expected);
}

#[test]
fn what_sits_on_a_port_is_told() {
    if !can_make_namespaces("what_sits_on_a_port_is_told") {
        return;
    }
    let wire = Wire::new("above", 1500);
    wire.inside.run(&["ip", "link", "add", "link", PLANT, "name", "mv0", "type", "macvlan"]);
    let expected = "macvlan mv0 sits on port plant and would speak there; run `ip link delete mv0`";
    assert_eq!(refused(&wire, PLANT, ROBOT), [expected]);
}

#[test]
fn a_queue_that_somebody_made_is_told_and_what_a_killed_process_left_is_cleared() {
    if !can_make_namespaces("a_queue_that_somebody_made_is_told_and_what_a_killed_process_left_is_cleared") {
        return;
    }
    let wire = Wire::new("queue", 1500);
    wire.inside.run(&["tc", "qdisc", "add", "dev", ROBOT, "root", "handle", "1:", "htb"]);
    let expected = "port robot has the queueing discipline htb, which could not be given back; \
                    run `tc qdisc delete dev robot root`";
    assert_eq!(refused(&wire, PLANT, ROBOT), [expected]);
    wire.inside.run(&["tc", "qdisc", "delete", "dev", ROBOT, "root"]);
    wire.inside.run(&["tc", "qdisc", "add", "dev", ROBOT, "root", "blackhole"]);
    drop(inside(&wire).unwrap());
    let left = wire.inside.run(&["tc", "qdisc", "show", "dev", ROBOT]);
    assert!(!left.contains("blackhole"), "{left}");
}

#[test]
fn different_mtus_are_told() {
    if !can_make_namespaces("different_mtus_are_told") {
        return;
    }
    let wire = Wire::new("mtus", 1500);
    wire.inside.run(&["ip", "link", "set", ROBOT, "mtu", "9000"]);
    let expected = "port plant has an MTU of 1500 bytes and port robot of 9000; run `ip link set robot mtu 1500`";
    assert_eq!(refused(&wire, PLANT, ROBOT), [expected]);
}

#[test]
fn ports_are_found_by_address_and_one_port_is_not_two() {
    if !can_make_namespaces("ports_are_found_by_address_and_one_port_is_not_two") {
        return;
    }
    let wire = Wire::new("mac", 1500);
    let mac = |port| wire.inside.run(&["cat", &format!("/sys/class/net/{port}/address")]).trim().to_owned();
    let (plant, robot) = (mac(PLANT), mac(ROBOT).to_uppercase().replace(':', "-"));
    let prepared = wire.inside.enter(|| prepare(&plant, &robot)).unwrap();
    assert_eq!((prepared.plant.name.as_str(), prepared.robot.name.as_str()), (PLANT, ROBOT));
    drop(prepared);
    let expected = "plant and robot are the same port, plant; name two in the configuration";
    assert_eq!(refused(&wire, PLANT, &plant), [expected]);
    wire.inside.run(&["ip", "link", "set", ROBOT, "address", &plant]);
    let twice = refused(&wire, PLANT, &plant);
    assert!(twice[0].starts_with(&format!("{plant} is the address of ")) && twice[0].contains("name one"), "{twice:?}");
}

#[test]
fn missing_rights_are_told() {
    if !can_make_namespaces("missing_rights_are_told") {
        return;
    }
    let wire = Wire::new("rights", 1500);
    let problems = wire.inside.enter(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW);
        set_capabilities(None, sets).unwrap();
        prepare(PLANT, ROBOT).unwrap_err()
    });
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].what, "CAP_NET_ADMIN and CAP_NET_RAW are missing");
    assert!(problems[0].command.as_ref().unwrap().starts_with("sudo setcap cap_net_admin,cap_net_raw+ep /"));
}

#[test]
fn all_problems_are_told_at_once_and_nothing_is_changed() {
    if !can_make_namespaces("all_problems_are_told_at_once_and_nothing_is_changed") {
        return;
    }
    let wire = untouched("all");
    wire.inside.run(&["ip", "link", "set", PLANT, "down"]);
    wire.inside.run(&["ip", "link", "set", PLANT, "mtu", "1400"]);
    wire.inside.run(&["ip", "link", "add", "name", "br0", "type", "bridge"]);
    wire.inside.run(&["ip", "link", "set", PLANT, "master", "br0"]);
    wire.inside.run(&["ip", "address", "add", "10.9.9.1/24", "dev", ROBOT]);
    let before = settings(&wire);
    assert_eq!(refused(&wire, PLANT, ROBOT).len(), 4);
    assert_eq!(differences(&before, &settings(&wire)), Vec::<&str>::new());
}

#[test]
fn a_second_one_is_kept_off() {
    if !can_make_namespaces("a_second_one_is_kept_off") {
        return;
    }
    let wire = untouched("second");
    let first = inside(&wire).unwrap();
    let during = settings(&wire);
    let problems: Vec<_> = inside(&wire).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = ["plant", "robot"]
        .map(|port| format!("port {port} is in the hands of another vambrace; run `pgrep -a vambrace`"));
    assert_eq!(problems, expected);
    assert_eq!(differences(&during, &settings(&wire)), Vec::<&str>::new(), "the first one was disturbed");
    drop(first);
    assert!(inside(&wire).is_ok());
}

/// Any program that is just being started holds all of its parent's descriptors for a moment, the shield's socket too.
#[test]
fn a_port_that_was_given_back_is_free_whoever_still_holds_the_socket() {
    if !can_make_namespaces("a_port_that_was_given_back_is_free_whoever_still_holds_the_socket") {
        return;
    }
    let wire = untouched("given-back");
    let before = sockets();
    let first = inside(&wire).unwrap();
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let copies: Vec<_> = sockets()
        .difference(&before)
        .filter_map(|socket| pidfd_getfd(&own, *socket, PidfdGetfdFlags::empty()).ok())
        .collect();
    assert!(!copies.is_empty());
    drop(first);
    assert_eq!(inside(&wire).err().map(|problems| problems[0].to_string()), None);
    drop(copies);
}

/// Numbers of this process's sockets.
fn sockets() -> BTreeSet<i32> {
    let is_socket = |path: &std::path::Path| {
        std::fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    open.filter(|entry| is_socket(&entry.path()))
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}

/// Frames that the kernel sends at a port within `time` of being set up, while programs try to speak there too.
fn heard(wire: &Wire, time: Duration) -> Vec<Vec<u8>> {
    wire.inside.run(&["ip", "link", "set", PLANT, "down"]);
    let listener = wire.outside.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    while listener.receive(Duration::from_millis(20)).unwrap().is_some() {}
    wire.inside.run(&["ip", "link", "set", PLANT, "up"]);
    // A group that is joined is reported, and a program that talks past the routing table needs no address.
    wire.inside.enter(|| {
        let index =
            rustix::net::netdevice::name_to_index(vambrace::sys::interface::any_socket().unwrap(), PLANT).unwrap();
        let group = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let (membership, ours) = (std::net::Ipv4Addr::new(239, 1, 2, 3), std::net::Ipv4Addr::UNSPECIFIED);
        let joined = rustix::net::sockopt::set_ip_add_membership_with_ifindex(&group, &membership, &ours, index);
        joined.unwrap();
        let talker = RawSocket::open(PLANT).unwrap();
        talker.send(&[&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xcc], &[0; 46]].concat()).unwrap_or(());
        std::thread::sleep(time);
    });
    let started = Instant::now();
    let mut all = Vec::new();
    while let Some(frame) = listener.receive(Duration::from_millis(50)).unwrap() {
        all.push(frame);
        assert!(started.elapsed() < Duration::from_secs(2), "no end of frames");
    }
    all
}

#[test]
fn the_kernel_keeps_quiet_on_a_prepared_port() {
    if !can_make_namespaces("the_kernel_keeps_quiet_on_a_prepared_port") {
        return;
    }
    let wire = untouched("quiet");
    let is = |frame: &[u8], kind: [u8; 2]| frame[12..14] == kind;
    // What there is to be silenced: neighbour discovery and a program's frames, at least.
    let loud = heard(&wire, Duration::from_millis(2500));
    assert!(
        loud.iter().any(|frame| is(frame, [0x86, 0xdd])) && loud.iter().any(|frame| is(frame, [0x88, 0xcc])),
        "{loud:02x?}"
    );

    // Programs that speak IPv6 on the port when it is taken are cut short as well.
    let listener = wire.outside.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    while listener.receive(Duration::from_millis(20)).unwrap().is_some() {}
    let prepared = inside(&wire).unwrap();
    assert_eq!(listener.receive(Duration::from_millis(500)).unwrap(), None);
    let frames = heard(&wire, Duration::from_millis(4000));
    assert!(frames.is_empty(), "{} frames: {frames:02x?}", frames.len());

    // The box itself is heard.
    let mut port = wire.inside.enter(|| AfPacket::open(PLANT, Geometry::for_mtu(prepared.plant.mtu)).unwrap());
    let frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5][..], &[0x5a; 46]].concat();
    assert_eq!(port.transmit(&[&frame]).unwrap(), 1);
    assert_eq!(listener.receive(Duration::from_secs(1)).unwrap(), Some(frame));
}

#[test]
fn what_arrives_at_a_prepared_port_never_reaches_the_kernels_stack() {
    if !can_make_namespaces("what_arrives_at_a_prepared_port_never_reaches_the_kernels_stack") {
        return;
    }
    let wire = untouched("stack");
    // An address of the box, as its management port has one, asked for at the wrong port.
    wire.inside.run(&["ip", "address", "add", "10.9.9.9/32", "dev", "lo"]);
    let mac = wire.inside.enter(|| prepare(PLANT, ROBOT).unwrap().plant.mac);
    let echo_request = {
        let header = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0x66, 0xc0, 192, 0, 2, 7, 10, 9, 9, 9];
        let message = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
        [&mac.0[..], &[2, 0, 0, 0, 0, 7, 0x08, 0x00], &header, &message, &[0; 18]].concat()
    };
    let sender = wire.outside.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let taken = || {
        let text = wire.inside.run(&["cat", "/proc/net/snmp"]);
        let numbers = text.lines().filter(|line| line.starts_with("Ip:")).nth(1).unwrap();
        numbers.split(' ').nth(3).unwrap().parse::<u64>().unwrap()
    };
    let send = || {
        let before = taken();
        (0..5).for_each(|_| sender.send(&echo_request).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        taken() - before
    };
    assert_eq!(send(), 5, "the test's frame is no IP packet to the kernel");
    let prepared = inside(&wire).unwrap();
    let mut port = wire.inside.enter(|| AfPacket::open(PLANT, Geometry::for_mtu(prepared.plant.mtu)).unwrap());
    assert_eq!(send(), 0);
    assert!(wait(&[&port], Duration::from_secs(1)).unwrap());
    assert_eq!(port.receive().unwrap(), 5);
    assert_eq!(port.frame(0).bytes, echo_request);
}

#[test]
fn doctor_tells_what_run_refuses_on() {
    if !can_make_namespaces("doctor_tells_what_run_refuses_on") {
        return;
    }
    let wire = untouched("doctor");
    let doctor = |more: &[&str]| {
        let mut command = wire.inside.command(support::vambrace());
        let output = command.args(["doctor", "--plant", PLANT, "--robot", ROBOT]).args(more).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = doctor(&[]);
    assert_eq!(code, 0, "{text}");
    for name in ["rights", "plant port", "robot offloads", "MTU", "cores", "bridge filter", "clock", "locked memory"] {
        assert_eq!(text.lines().filter(|line| line.contains(name)).count(), 1, "{name} in {text}");
    }
    wire.inside.run(&["ip", "link", "set", ROBOT, "down"]);
    let (code, text) = doctor(&["--json"]);
    assert_eq!(code, 3, "{text}");
    let line = text.lines().find(|line| line.contains("robot link")).unwrap();
    let expected =
        r#"{"command":"ip link set robot up","level":"problem","name":"robot link","sentence":"port robot is down"}"#;
    assert_eq!(line, expected);
}
