//! The dissectors for Wireshark (`protocols/wireshark`) beside the product's own: the same conversations give the same
//! units with the same names and values, however they are cut, in whatever order packets are looked at; and no bytes make
//! a dissector fail.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;
#[path = "wireshark/talk.rs"]
mod talk;
#[path = "wireshark/talks.rs"]
mod talks;
#[path = "wireshark/tshark.rs"]
mod tshark;
#[path = "wireshark/units.rs"]
mod units;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{has_tool, skipped};
use talk::Talk;
use units::Halves;

/// A file of a test, which is gone afterwards; one of a test that failed stays, to be looked into.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wireshark-{name}-{}.pcapng", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _never_written = std::fs::remove_file(&self.0);
        }
    }
}

/// Whether two values are the same; numbers that Wireshark rounds for showing are so to 13 digits.
fn same(field: &str, ours: &str, theirs: &str) -> bool {
    let truth = |text: &str| match text {
        "true" | "True" => "1".to_owned(),
        "false" | "False" => "0".to_owned(),
        other => other.to_owned(),
    };
    let (ours, theirs) = (truth(ours), truth(theirs));
    if ours == theirs {
        return true;
    }
    if field == "rtde.value" && ours.contains(", ") {
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.split(", ").collect(), theirs.split(", ").collect());
        return ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(field, ours, theirs));
    }
    if ours.parse::<i128>().is_ok() && theirs.parse::<i128>().is_ok() {
        return false;
    }
    match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(ours), Ok(theirs)) if field == "rtde.value" => ours == theirs || (ours.is_nan() && theirs.is_nan()),
        (Ok(ours), Ok(theirs)) => (ours - theirs).abs() <= ours.abs() * 1e-13,
        _ => false,
    }
}

/// Compares what both read of conversations; gives how many units.
fn compare(talks: &[Talk], read: &[Halves], shown: &tshark::Units, what: &str) -> usize {
    let none = Vec::new();
    let mut count = 0;
    for (talk, halves) in talks.iter().zip(read) {
        let ways = [(talk.opener, talk.listener), (talk.listener, talk.opener)];
        for (way, ours) in ways.iter().zip(halves) {
            let theirs = shown.get(way).unwrap_or(&none);
            let place = |at: usize| format!("{what}: unit {at} from {} to {}", way.0, way.1);
            for (at, ours) in ours.iter().enumerate() {
                let theirs = theirs.get(at).unwrap_or_else(|| panic!("{} is not shown: {ours:?}", place(at)));
                for (field, values) in ours {
                    if *field == "malformed" {
                        assert!(theirs.keys().any(|name| name.ends_with(".malformed")), "{}: {theirs:?}", place(at));
                        continue;
                    }
                    let found = theirs.get(*field).map_or(&[][..], Vec::as_slice);
                    let equal = found.len() == values.len()
                        && values.iter().zip(found).all(|(ours, theirs)| same(field, ours, theirs));
                    assert!(equal, "{}: {field} is {values:?}, shown as {found:?}\n{theirs:#?}", place(at));
                }
                count += 1;
            }
            let ends_broken = ours.last().is_some_and(|unit| unit[0].0 == "malformed");
            assert!(ends_broken || theirs.len() == ours.len(), "{}: {:?}", place(ours.len()), theirs.get(ours.len()));
        }
    }
    count
}

/// Writes conversations and compares both readings, in the first and the second look at each packet.
fn assert_read_alike(name: &str, talks: &[Talk]) -> usize {
    let scratch = Scratch::new(name);
    talk::write(&scratch.0, talks);
    let read: Vec<Halves> = talks.iter().map(units::read).collect();
    let first = tshark::units(&scratch.0, 1);
    let count = compare(talks, &read, &first, name);
    // Only the second look knows the frames of answers yet to come.
    let mut second = tshark::units(&scratch.0, 2);
    for unit in second.values_mut().flatten() {
        unit.retain(|field, _| !field.ends_with(".reply_frame") && !field.ends_with(".answer_frame"));
    }
    for (way, first) in &first {
        for (at, (first, second)) in first.iter().zip(&second[way]).enumerate() {
            assert_eq!(first, second, "{name}: unit {at} from {} to {} in the second look", way.0, way.1);
        }
    }
    assert_eq!(first, second, "{name}");
    count
}

#[test]
fn every_protocol_is_read_as_the_product_reads_it_however_it_is_cut() {
    if !has_tool("every_protocol_is_read_as_the_product_reads_it_however_it_is_cut", "tshark") {
        return;
    }
    for (talks, sizes) in [(talks::all(), &[60_000, 1460, 64][..]), (talks::short(), &[7, 2, 1])] {
        let cut = |size: &usize| -> Vec<Talk> { talks.iter().map(|talk| talk.cut(*size)).collect() };
        let counts: BTreeSet<usize> =
            sizes.iter().map(|size| assert_read_alike(&format!("cut-{size}"), &cut(size))).collect();
        assert_eq!(counts.len(), 1, "{counts:?}");
        assert!(counts.iter().all(|count| *count > 250), "{counts:?}");
    }
}

#[test]
fn every_unit_in_segments_of_its_own() {
    if has_tool("every_unit_in_segments_of_its_own", "tshark") {
        assert_read_alike("whole", &talks::all());
    }
}

/// Every variable of the tables is a field to filter by.
#[test]
fn every_rtde_variable_has_a_field_of_its_type() {
    if !has_tool("every_rtde_variable_has_a_field_of_its_type", "tshark") {
        return;
    }
    let all = tshark::fields();
    let fields: BTreeSet<(&str, &str)> =
        all.iter().filter_map(|(name, kind)| Some((name.strip_prefix("rtde.var.")?, kind.as_str()))).collect();
    let wanted: BTreeSet<(&str, &str)> = rtde::Variable::all()
        .map(|variable| {
            let kind = match variable.data_type().unwrap().name() {
                "BOOL" => "FT_BOOLEAN",
                "UINT8" => "FT_UINT8",
                "UINT32" | "VECTOR6UINT32" => "FT_UINT32",
                "UINT64" => "FT_UINT64",
                "INT32" | "VECTOR6INT32" => "FT_INT32",
                _ => "FT_DOUBLE",
            };
            (variable.name(), kind)
        })
        .collect();
    assert_eq!(fields, wanted);
}

/// The list of fields to filter by is whole, and names none that there is not.
#[test]
fn the_readme_lists_every_field() {
    if !has_tool("the_readme_lists_every_field", "tshark") {
        return;
    }
    let readme = std::fs::read_to_string(tshark::folder().join("README.md")).unwrap();
    let listed: BTreeSet<&str> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| tshark::PROTOCOLS.iter().any(|name| word.starts_with(&format!("{name}."))))
        .filter(|word| !word.ends_with(".lua") && !word.contains([' ', '<', '*']))
        .collect();
    let all = tshark::fields();
    let wanted: BTreeSet<&str> = all.keys().map(String::as_str).filter(|name| !name.starts_with("rtde.var.")).collect();
    assert_eq!(listed, wanted);
}

/// Commands of the table are known to Wireshark with their class.
/// Two robots on one computer have two sets of ports; which socket a port is stands in the preferences.
#[test]
fn external_control_is_read_on_the_ports_of_the_preferences() {
    if !has_tool("external_control_is_read_on_the_ports_of_the_preferences", "tshark") {
        return;
    }
    for (port, other, preference) in [
        (50_001, 50_011, "urext.reverse_ports:50011"),
        (50_003, 50_013, "urext.trajectory_ports:50003, 50012-50014"),
        (50_004, 50_024, "urext.command_ports:50024"),
    ] {
        let own: Vec<Talk> = talks::all().into_iter().filter(|talk| talk.listener.port() == port).collect();
        let mut moved = own.clone();
        moved.iter_mut().for_each(|talk| talk.listener.set_port(other));
        let read = |name: String, talks: &[Talk], preferences: &[&str]| {
            let capture = Scratch::new(&name);
            talk::write(&capture.0, talks);
            let fields = [
                "urext.socket",
                "urext.mode",
                "urext.target",
                "urext.point.target",
                "urext.function",
                "urext.argument",
            ];
            let mut arguments = vec!["-Y", "urext", "-T", "fields"];
            arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
            arguments.extend(preferences);
            tshark::run(&capture.0, &arguments)
        };
        let expected = read(format!("port-{port}"), &own, &[]);
        assert!(expected.lines().count() > 3, "{expected}");
        assert_eq!(read(format!("port-{other}"), &moved, &["-o", preference]), expected, "{preference}");
        assert_eq!(read(format!("port-{other}-unknown"), &moved, &[]), "", "no preference, no guess");
    }
}

/// What the Robot API of PolyScope X says is read by Wireshark's own dissectors.
#[test]
fn the_robot_api_is_read_by_wireshark_itself() {
    if !has_tool("the_robot_api_is_read_by_wireshark_itself", "tshark") {
        return;
    }
    let capture = Scratch::new("robot-api");
    let mut talk = Talk::on(80, 40_100);
    let body = "{\"action\":\"POWER_ON\"}";
    talk.ask(format!(
        "PUT /universal-robots/robot-api/robotstate/v1/state HTTP/1.1\r\nHost: robot\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    talk.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    talk::write(&capture.0, &[talk]);
    let fields = [
        "-Y",
        "http.request",
        "-T",
        "fields",
        "-e",
        "http.request.method",
        "-e",
        "http.request.uri",
        "-e",
        "json.value.string",
    ];
    let told = tshark::run(&capture.0, &fields);
    assert_eq!(told.trim(), "PUT\t/universal-robots/robot-api/robotstate/v1/state\tPOWER_ON");
}

#[test]
fn every_dashboard_command_is_known() {
    if !has_tool("every_dashboard_command_is_known", "tshark") {
        return;
    }
    let count = assert_read_alike("commands", &[talks::every_command()]);
    assert_eq!(count, dashboard::Verb::all().len());
}

/// Leaves out which parts of a tree are shown open alike: nothing of the packet.
fn without_expansion(answer: &mut Value) {
    match answer {
        Value::Array(all) => all.iter_mut().for_each(without_expansion),
        Value::Object(all) => {
            all.remove("e");
            all.values_mut().for_each(without_expansion);
        }
        _ => {}
    }
}

/// What `sharkd` shows of a frame, in the given order of looking.
fn looked_at(home: &Path, capture: &Path, order: &[usize]) -> Vec<Value> {
    let mut asked = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":999999,\"method\":\"load\",\"params\":{{\"file\":\"{}\"}}}}\n",
        capture.display()
    );
    for frame in order {
        let question = format!("\"method\":\"frame\",\"params\":{{\"frame\":{frame},\"proto\":true}}");
        asked += &format!("{{\"jsonrpc\":\"2.0\",\"id\":{frame},{question}}}\n");
    }
    let mut command = Command::new("sharkd");
    command.arg("-").env("HOME", home).env_remove("XDG_CONFIG_HOME").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(asked.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut answers: Vec<Value> =
        text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.remove(0)["result"]["status"], "OK");
    answers.iter_mut().for_each(without_expansion);
    assert_eq!(answers.len(), order.len());
    answers
}

/// The folder copied into the personal plugins, and packets clicked on in any order.
#[test]
fn installed_by_copying_packets_read_the_same_in_any_order() {
    let test = "installed_by_copying_packets_read_the_same_in_any_order";
    if !has_tool(test, "tshark") || !has_tool(test, "sharkd") {
        return;
    }
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wireshark-home-{}", std::process::id()));
    let plugins = home.join(".local/lib/wireshark/plugins/wireshark");
    std::fs::create_dir_all(&plugins).unwrap();
    for entry in std::fs::read_dir(tshark::folder()).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, plugins.join(file.file_name().unwrap())).unwrap();
    }
    let scratch = Scratch::new("clicked");
    let cut: Vec<Talk> = talks::all().iter().map(|talk| talk.cut(40)).collect();
    talk::write(&scratch.0, &cut);
    let frames = support::reader::packets(&scratch.0).len();
    let forward: Vec<usize> = (1..=frames).collect();
    let in_order = looked_at(&home, &scratch.0, &forward);
    // Back and forth, and some twice in a row.
    let jumping: Vec<usize> =
        forward.iter().rev().flat_map(|frame| [*frame, (frame * 7) % frames + 1, *frame]).collect();
    for (frame, answer) in jumping.iter().zip(looked_at(&home, &scratch.0, &jumping)) {
        assert_eq!(answer, in_order[frame - 1], "frame {frame}");
    }
    let all = Value::from(in_order).to_string();
    for part in
        ["rtde.var.actual_q ==", "urdash.command ==", "urclient.state.type", "urscript.name ==", "urext.mode =="]
    {
        assert!(all.contains(part), "no {part}");
    }
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn no_bytes_make_a_dissector_fail() {
    if !has_tool("no_bytes_make_a_dissector_fail", "tshark") {
        return;
    }
    let scratch = Scratch::new("garbage");
    for seed in 1..=3 {
        talk::write(&scratch.0, &talks::garbage(seed));
        // With and without details, which take other ways through Wireshark.
        for arguments in [&["-2", "-V"][..], &[]] {
            tshark::run(&scratch.0, arguments);
        }
        // A snapshot length cuts every packet.
        talk::write_short(&scratch.0, &talks::garbage(seed + 100), 90);
        tshark::run(&scratch.0, &["-V"]);
    }
}

/// A megabyte of one kind of unit each: read to the end, in seconds.
#[test]
fn a_megabyte_of_small_units_is_read_in_seconds() {
    if !has_tool("a_megabyte_of_small_units_is_read_in_seconds", "tshark") {
        return;
    }
    let scratch = Scratch::new("megabyte");
    for (port, bytes) in talks::megabytes() {
        let mut talk = Talk::on(port, 41_000);
        if port >= 50_000 || port == 30_011 {
            talk.answer(bytes)
        } else {
            talk.ask(bytes)
        }
        talk::write(&scratch.0, &[talk.cut(60_000)]);
        let begun = std::time::Instant::now();
        tshark::run(&scratch.0, &["-V"]);
        assert!(begun.elapsed().as_secs() < 120, "port {port}: {:?}", begun.elapsed());
    }
}

/// A capture of `../shared/captures`, if there is one.
#[test]
fn recorded_clients_are_read_alike() {
    let test = "recorded_clients_are_read_alike";
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/ur_clients_lo.pcapng");
    if !capture.is_file() {
        return skipped(test, "no ../shared/captures/ur_clients_lo.pcapng, which is no part of the project");
    }
    if has_tool(test, "tshark") {
        assert_capture_is_read_alike(&capture, 9000);
    }
}

/// The virtual cell's own traffic: emulated controller, PLC, panel, the computer that moves the arm, and attacks.
#[cfg(feature = "lab")]
#[test]
fn the_virtual_cell_is_read_alike() {
    use std::time::Duration;

    use vambrace::lab::{Cell, Host, Options};

    let test = "the_virtual_cell_is_read_alike";
    if !support::can_make_namespaces(test) || !has_tool(test, "tshark") || !has_tool(test, "tcpdump") {
        return;
    }
    let name = format!("wireshark-{}", std::process::id());
    let program = Some(support::vambrace());
    let mut cell = Cell::direct_cable(&Options { name: Some(name), program, ..Options::default() }).unwrap();
    cell.start_robot().unwrap();
    let scratch = Scratch::new("cell");
    let file = scratch.0.display().to_string();
    let arguments = ["-i", "eth0", "-U", "-B", "16384", "-w", &file, "tcp"];
    let mut recorder = cell.spawn_program(Host::Robot, "tcpdump", Path::new("tcpdump"), &arguments).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    cell.start_cycle().unwrap();
    // It is at work.
    cell.process("ros").unwrap().wait_for("\"cycle\"", Duration::from_secs(10)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    for attack in [
        "dashboard-behind",
        "dashboard-split",
        "injection-null",
        "rtde-speed-slider",
        "rtde-second-reader",
        "rtde-size-zero",
        "script-program",
        "script-long",
        "script-secondary",
        "script-bare-unlock",
        "script-assignment",
        "script-interpreter",
    ] {
        let arguments = ["lab", "actor", "attacks", "--host", "attacker", "--name", attack];
        cell.spawn(Host::Attacker, attack, &arguments).unwrap().finish(Duration::from_secs(20)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    recorder.end();
    let listeners: BTreeSet<u16> = talk::read(&scratch.0).iter().map(|talk| talk.listener.port()).collect();
    for port in [29999, 30001, 30002, 30003, 30004, 30020, 50001, 50002, 50003, 50004] {
        assert!(listeners.contains(&port), "nobody talked on {port}: {listeners:?}");
    }
    assert_capture_is_read_alike(&scratch.0, 1000);
}

/// Compares both readings of a capture with at least so many units.
fn assert_capture_is_read_alike(capture: &Path, least: usize) {
    let talks = talk::read(capture);
    let read: Vec<Halves> = talks.iter().map(units::read).collect();
    for passes in [1, 2] {
        let count =
            compare(&talks, &read, &tshark::units(capture, passes), &format!("{} pass {passes}", capture.display()));
        assert!(count >= least, "{count} units");
    }
}
