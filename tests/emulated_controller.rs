//! The emulated controller, byte for byte, where no real client looks: RTDE version 1, input ownership, recipe limits,
//! first packages of the streams, read-only twins, units at the end of a connection.

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
use std::net::{Shutdown, TcpStream};
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
        let mut child = Command::new(support::vambrace())
            .args(["lab", "actor", "controller", "--listen", address])
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
