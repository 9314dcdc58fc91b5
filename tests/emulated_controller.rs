//! The emulated controller, byte for byte, where no real client looks: RTDE version 1, input ownership, recipe limits,
//! first packages of the streams, read-only twins, units at the end of a connection, external control.

#![cfg(feature = "lab")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, reason = "lengths of a test's own bytes")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::can_make_namespaces;

/// A controller on a loopback address of its own; its ports are below 1024, so root is needed.
struct Controller {
    child: Child,
    address: String,
    journal: BufReader<ChildStdout>,
}

impl Controller {
    fn start(address: &str) -> Self {
        Self::start_with(address, &[])
    }

    fn start_with(address: &str, more: &[&str]) -> Self {
        let mut child = Command::new(support::vambrace())
            .args(["lab", "actor", "controller", "--listen", address])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let journal = BufReader::new(child.stdout.take().unwrap());
        let mut controller = Self { child, address: address.into(), journal };
        controller.until("ready");
        controller
    }

    fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect((self.address.as_str(), port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// The journal's next line that did `did`.
    fn until(&mut self, did: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.journal.read_line(&mut line).unwrap(), 0, "the controller ended before it did {did}");
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["did"] == did {
                return value;
            }
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn package(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u16 + 3).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(payload);
    bytes
}

/// The next package of type `kind`.
fn receive(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let mut header = [0; 3];
        stream.read_exact(&mut header).unwrap();
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[0], header[1]])) - 3];
        stream.read_exact(&mut payload).unwrap();
        if header[2] == kind {
            return payload;
        }
    }
}

fn ask(stream: &mut TcpStream, kind: u8, payload: &[u8]) -> Vec<u8> {
    stream.write_all(&package(kind, payload)).unwrap();
    receive(stream, kind)
}

#[test]
fn rtde_versions_recipes_and_owners() {
    if !can_make_namespaces("rtde_versions_recipes_and_owners") {
        return;
    }
    let mut controller = Controller::start("127.88.0.1");

    let mut old = controller.connect(30004);
    assert_eq!(ask(&mut old, b'O', b"timestamp,robot_mode"), b"DOUBLE,INT32", "version 1: neither rate nor recipe id");
    assert_eq!(ask(&mut old, b'S', b""), [1]);
    let data = receive(&mut old, b'U');
    assert_eq!(data.len(), 12, "version 1: no recipe id before the values");
    assert_eq!(data[8..], 7_i32.to_be_bytes(), "robot mode RUNNING");
    assert_eq!(ask(&mut old, b'P', b""), [1]);
    assert_eq!(ask(&mut old, b'V', &[0, 3]), [0], "there is no version 3");

    let mut first = controller.connect(30004);
    assert_eq!(ask(&mut first, b'V', &[0, 2]), [1]);
    let mut outputs = 125_f64.to_be_bytes().to_vec();
    outputs.extend(b"timestamp,no_such_variable");
    assert_eq!(ask(&mut first, b'O', &outputs), b"\0DOUBLE,NOT_FOUND");
    assert_eq!(ask(&mut first, b'I', b"speed_slider_mask,speed_slider_fraction,"), b"\x01UINT32,DOUBLE");
    assert_eq!(ask(&mut first, b'I', b"speed_slider_mask,input_int_register_3"), b"\x02UINT32,INT32", "its own again");
    let mut second = controller.connect(30004);
    assert_eq!(ask(&mut second, b'V', &[0, 2]), [1]);
    assert_eq!(ask(&mut second, b'I', b"input_int_register_24,speed_slider_fraction"), b"\0INT32,IN_USE");

    let mut write = vec![1];
    write.extend(1_u32.to_be_bytes());
    write.extend(0.25_f64.to_be_bytes());
    first.write_all(&package(b'U', &write)).unwrap();
    assert_eq!(controller.until("write")["values"]["speed_slider_fraction"], 0.25);

    for id in 3..=255_u8 {
        assert_eq!(ask(&mut first, b'I', b"input_int_register_3")[0], id);
    }
    assert_eq!(ask(&mut first, b'I', b"input_int_register_3")[0], 0, "255 recipes and no more");

    drop(first);
    let mut tries = 0;
    while ask(&mut second, b'I', b"speed_slider_fraction")[0] == 0 {
        tries += 1;
        assert!(tries < 100, "the claim outlived its client");
        std::thread::sleep(Duration::from_millis(10));
    }

    second.write_all(&[0, 0, b'U']).unwrap();
    assert_eq!(controller.until("malformed")["size"], 0);
}

#[test]
fn streams_begin_as_clients_expect_and_twins_take_nothing() {
    if !can_make_namespaces("streams_begin_as_clients_expect_and_twins_take_nothing") {
        return;
    }
    let mut controller = Controller::start("127.88.0.2");
    for port in [30001, 30002, 30011, 30012] {
        let mut stream = controller.connect(port);
        let mut first = [0; 15];
        stream.read_exact(&mut first).unwrap();
        assert_eq!((first[4], first[14]), (20, 3), "port {port}: robot message, version");
    }
    for port in [30003, 30013] {
        let mut stream = controller.connect(port);
        let mut record = vec![0; 1220];
        for _ in 0..3 {
            stream.read_exact(&mut record).unwrap();
            assert_eq!(record[..4], 1220_u32.to_be_bytes(), "port {port}");
        }
    }
    let mut twin = controller.connect(30011);
    twin.write_all(b"set_digital_out(1, True)\n").unwrap();
    assert_eq!(controller.until("ignored")["bytes"], 25);
}

#[test]
fn the_worst_is_done_with_unfinished_input() {
    if !can_make_namespaces("the_worst_is_done_with_unfinished_input") {
        return;
    }
    let mut controller = Controller::start("127.88.0.3");
    let mut script = controller.connect(30002);
    script.write_all(b"set_digital_out(1, True)").unwrap();
    script.shutdown(Shutdown::Write).unwrap();
    assert_eq!(controller.until("statement")["functions"][0], "set_digital_out");

    let mut dashboard = controller.connect(29999);
    dashboard.write_all(b"robotmode\nBrake   RELEASE").unwrap();
    dashboard.shutdown(Shutdown::Write).unwrap();
    controller.until("brake release");
    let mut answers = String::new();
    dashboard.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "Connected: Universal Robots Dashboard Server\nRobotmode: RUNNING\nBrake releasing\n");

    let mut interpreter = BufReader::new(controller.connect(30020));
    interpreter.get_mut().write_all(b"movej(q) textmsg(1)\n").unwrap();
    let mut line = String::new();
    interpreter.read_line(&mut line).unwrap();
    assert_eq!(line, "ack: 1: movej(q) textmsg(1)\n");
}

/// One robot behind all interfaces: what one writes, another shows.
#[test]
fn interfaces_share_one_state() {
    if !can_make_namespaces("interfaces_share_one_state") {
        return;
    }
    let mut controller = Controller::start("127.88.0.4");
    let mut modbus = controller.connect(502);
    modbus.write_all(&[0, 1, 0, 0, 0, 6, 255, 5, 0, 19, 0xff, 0]).unwrap();
    controller.until("modbus");
    let mut rtde = controller.connect(30004);
    ask(&mut rtde, b'V', &[0, 2]);
    let mut outputs = 125_f64.to_be_bytes().to_vec();
    outputs.extend(b"actual_digital_output_bits,runtime_state");
    assert_eq!(ask(&mut rtde, b'O', &outputs), b"\x01UINT64,UINT32");
    assert_eq!(ask(&mut rtde, b'S', b""), [1]);
    assert_eq!(receive(&mut rtde, b'U'), [1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1]);

    let mut dashboard = controller.connect(29999);
    dashboard.write_all(b"load /programs/a.urp\nplay\n").unwrap();
    controller.until("play");
    while receive(&mut rtde, b'U')[12] != 2 {}

    let mut primary = controller.connect(30001);
    primary.write_all(b"power off\n").unwrap();
    controller.until("bare command");
    while receive(&mut rtde, b'U')[12] != 1 {}
    let mut status = [0; 11];
    modbus.read_exact(&mut [0; 12]).unwrap();
    modbus.write_all(&[0, 2, 0, 0, 0, 6, 255, 3, 1, 2, 0, 1]).unwrap();
    modbus.read_exact(&mut status).unwrap();
    assert_eq!(status[9..], [0, 3], "register 258: POWER_OFF");
}

/// A computer of external control at an address of its own, and the emulated robot whose program asks it.
struct Computer {
    controller: Controller,
    /// Texts, reverse, trajectory, script commands.
    listeners: [TcpListener; 4],
    address: String,
    dashboard: TcpStream,
    rtde: TcpStream,
}

/// What RTDE shows of the arm.
struct Shown {
    /// Joints, rad.
    joints: [f64; 6],
    /// 1 = stopped, 2 = playing.
    state: u32,
    volts: i32,
    payload_kg: f64,
}

/// The robot's connections.
struct Sockets {
    reverse: TcpStream,
    trajectory: TcpStream,
    command: TcpStream,
}

fn integers(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A record of `count` integers: the first ones, then zeros, and what stands at some places.
fn record(count: usize, first: &[i32], at: &[(usize, i32)]) -> Vec<u8> {
    let mut values = first.to_vec();
    values.resize(count, 0);
    for (place, value) in at {
        values[*place] = *value;
    }
    integers(&values)
}

fn motion(timeout_ms: i32, values: [i32; 6], mode: i32) -> Vec<u8> {
    record(8, &[&[timeout_ms][..], &values].concat(), &[(7, mode)])
}

impl Computer {
    fn start(robot: &str, computer: &str) -> Self {
        let listeners = [50002, 50001, 50003, 50004].map(|port| TcpListener::bind((computer, port)).unwrap());
        let controller = Controller::start_with(robot, &["--external-control", computer]);
        let mut dashboard = controller.connect(29999);
        dashboard.write_all(b"load /programs/a.urp\n").unwrap();
        let mut rtde = controller.connect(30004);
        ask(&mut rtde, b'V', &[0, 2]);
        let mut outputs = 500_f64.to_be_bytes().to_vec();
        outputs.extend(b"actual_q,runtime_state,tool_output_voltage,payload");
        assert_eq!(ask(&mut rtde, b'O', &outputs), b"\x01VECTOR6D,UINT32,INT32,DOUBLE");
        assert_eq!(ask(&mut rtde, b'S', b""), [1]);
        Self { controller, listeners, address: computer.into(), dashboard, rtde }
    }

    /// Plays the program and hands it `text`.
    fn play(&mut self, text: &str) {
        self.dashboard.write_all(b"play\n").unwrap();
        let (stream, _) = self.listeners[0].accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "request_program\n");
        reader.get_mut().write_all(text.as_bytes()).unwrap();
        assert_eq!(self.controller.until("text")["bytes"], text.len());
    }

    /// Plays a program that opens all sockets here.
    fn sockets(&mut self) -> Sockets {
        let open = [("trajectory", 50003), ("script_command", 50004), ("reverse", 50001)]
            .map(|(name, port)| format!("socket_open(\"{}\", {port}, \"{name}_socket\")\n", self.address));
        self.play(&open.concat());
        let [_, reverse, trajectory, command] = &self.listeners;
        let accept = |listener: &TcpListener| {
            let stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream
        };
        Sockets { trajectory: accept(trajectory), command: accept(command), reverse: accept(reverse) }
    }

    /// The joints in RTDE's next package that `fits`.
    fn until(&mut self, what: &str, fits: impl Fn(&Shown) -> bool) -> [f64; 6] {
        let end = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            let data = receive(&mut self.rtde, b'U');
            let double = |at: usize| f64::from_be_bytes(data[at..at + 8].try_into().unwrap());
            let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
            let shown = Shown {
                joints: std::array::from_fn(|joint| double(1 + 8 * joint)),
                state: word(49),
                volts: word(53).cast_signed(),
                payload_kg: double(57),
            };
            if fits(&shown) {
                return shown.joints;
            }
            assert!(std::time::Instant::now() < end, "never {what}; the joints are at {:?}", shown.joints);
        }
    }
}

fn is_near(joints: [f64; 6], millionths: [i32; 6]) -> bool {
    joints.iter().zip(millionths).all(|(joint, target)| (joint * 1e6 - f64::from(target)).abs() < 1.0)
}

const TARGET: [i32; 6] = [100_000, -1_400_000, 1_500_000, -1_600_000, -1_570_000, 50_000];

#[test]
fn set_points_move_the_arm_until_their_time_out_passes() {
    if !can_make_namespaces("set_points_move_the_arm_until_their_time_out_passes") {
        return;
    }
    let mut computer = Computer::start("127.88.0.5", "127.88.1.5");
    let mut sockets = computer.sockets();
    // The first record is waited for without end.
    std::thread::sleep(Duration::from_millis(100));
    sockets.reverse.write_all(&motion(100, TARGET, 1)).unwrap();
    assert_eq!(computer.controller.until("mode")["mode"], 1);
    computer.until("at the set-point", |shown| is_near(shown.joints, TARGET) && shown.state == 2);
    let ended = computer.controller.until("end");
    assert_eq!((&ended["why"], &ended["records"]), (&Value::from("timed out"), &Value::from(1)));
    computer.until("halted", |shown| is_near(shown.joints, TARGET) && shown.state == 1);
    assert_eq!(sockets.reverse.read(&mut [0]).unwrap(), 0, "the robot closes");

    // Played again, it asks again; without a time-out it goes on; speeds count until something else is told.
    let mut sockets = computer.sockets();
    sockets.reverse.write_all(&motion(0, [500_000, 0, 0, 0, 0, 0], 2)).unwrap();
    computer.until("turning", |shown| shown.joints[0] > 0.25);
    sockets.reverse.write_all(&motion(0, [0; 6], 0)).unwrap();
    computer.controller.until("mode");
    computer.controller.until("mode");
    let stood = computer.until("standing", |shown| shown.state == 2);
    std::thread::sleep(Duration::from_millis(300));
    let stands = computer.until("standing", |shown| shown.state == 2);
    assert!((stands[0] - stood[0]).abs() < 0.02, "{stood:?} {stands:?}");
    // Torques make it faster and faster, in any cut of the record.
    for part in motion(1000, [0, 0, 0, 0, 0, 4_000_000], 8).chunks(5) {
        sockets.reverse.write_all(part).unwrap();
    }
    computer.until("turned by a torque", |shown| shown.joints[5] > 0.1);
    sockets.reverse.write_all(&motion(1000, [0; 6], -2)).unwrap();
    assert_eq!(computer.controller.until("end")["why"], "stopped");
    let after = computer.until("playing without its computer", |shown| shown.state == 2);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(computer.until("standing", |shown| shown.state == 2), after);
}

#[test]
fn trajectories_run_through_their_points_and_tell_how_they_ended() {
    if !can_make_namespaces("trajectories_run_through_their_points_and_tell_how_they_ended") {
        return;
    }
    let mut computer = Computer::start("127.88.0.6", "127.88.1.6");
    let mut sockets = computer.sockets();
    let point = |joints: [i32; 6], us| record(21, &joints, &[(18, us)]);
    let result = |sockets: &mut Sockets| {
        let mut bytes = [0; 4];
        sockets.trajectory.read_exact(&mut bytes).unwrap();
        i32::from_be_bytes(bytes)
    };
    let half = TARGET.map(|joint| joint / 2);
    sockets.trajectory.write_all(&[point(half, 100_000), point(TARGET, 100_000)].concat()).unwrap();
    computer.controller.until("point");
    computer.controller.until("point");
    let before = computer.until("at rest", |shown| shown.state == 2);
    assert!(!is_near(before, TARGET), "points alone move nothing");
    sockets.reverse.write_all(&motion(5000, [1, 2, 0, 0, 0, 0], 3)).unwrap();
    assert_eq!(result(&mut sockets), 0);
    computer.until("at the last point", |shown| is_near(shown.joints, TARGET));

    sockets.trajectory.write_all(&point([0; 6], 60_000_000)).unwrap();
    sockets.reverse.write_all(&motion(5000, [1, 1, 0, 0, 0, 0], 3)).unwrap();
    computer.until("under way", |shown| !is_near(shown.joints, TARGET));
    sockets.reverse.write_all(&motion(5000, [-1, 0, 0, 0, 0, 0], 3)).unwrap();
    assert_eq!(result(&mut sockets), 1, "canceled");
    computer.dashboard.write_all(b"stop\n").unwrap();
    assert_eq!(computer.controller.until("end")["why"], "stopped");
    assert_eq!(sockets.reverse.read(&mut [0]).unwrap(), 0, "a program that was stopped closes its sockets");
}

#[test]
fn script_commands_change_what_all_interfaces_show() {
    if !can_make_namespaces("script_commands_change_what_all_interfaces_show") {
        return;
    }
    let mut computer = Computer::start("127.88.0.7", "127.88.1.7");
    let mut sockets = computer.sockets();
    sockets.command.write_all(&record(28, &[0], &[])).unwrap();
    assert_eq!(computer.controller.until("zero_ftsensor")["function"], 0);
    sockets.command.write_all(&record(28, &[1, 1_500_000, 0, 0, 20_000], &[])).unwrap();
    sockets.command.write_all(&record(28, &[2, 24_000_000], &[])).unwrap();
    computer.until("24 V and 1.5 kg", |shown| shown.volts == 24 && (shown.payload_kg - 1.5).abs() < 1e-9);
    sockets.command.write_all(&record(28, &[99], &[])).unwrap();
    assert_eq!(computer.controller.until("unknown")["function"], 99);
    sockets.command.write_all(&record(28, &[6], &[])).unwrap();
    let mut canceled = [9; 4];
    sockets.command.read_exact(&mut canceled).unwrap();
    assert_eq!(canceled, [0, 0, 0, 1]);

    // A text of anybody's is run, and the sockets that it does not name are not opened.
    drop(sockets);
    assert_eq!(computer.controller.until("end")["why"], "closed");
    computer.play("set_tool_voltage(12)\n");
    computer.until("12 V", |shown| shown.volts == 12);
}
