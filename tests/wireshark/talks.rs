//! Conversations of every protocol, written by the product's own emitters.

use client_interface::emit::Columns;
use client_interface::{
    ControlMode, Layout, Message, Package, PackageType, Program, RobotMode, RobotModeData, SafetyMode, Said,
    SubPackage, Version as ControllerVersion,
};
use dashboard::{Argument, Verb};
use external_control::{Action, Freedrive, Motion, Move, Trajectory};
use rtde::{DataType, MessageLevel, Names, Reply, ReplyType, Request, Value, Variable, Version, emit};

use crate::talk::Talk;

/// Numbers that look like chance and are the same each time.
pub(crate) struct Chance(u64);

impl Chance {
    /// With a seed other than 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % bound
    }

    /// A number of any size; now and then none, or one without fraction.
    fn double(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::NAN,
            1 => f64::NEG_INFINITY,
            2 => 0.0,
            3 => f64::from_bits(self.next()),
            4 => f64::from(self.next() as i32),
            _ => f64::from(self.next() as i32) / 1.0e7,
        }
    }

    fn value(&mut self, data_type: DataType) -> Value {
        match data_type {
            DataType::Bool => Value::Bool(self.below(2) == 1),
            DataType::Uint8 => Value::Uint8(self.next() as u8),
            DataType::Uint32 => Value::Uint32(self.next() as u32),
            DataType::Uint64 => Value::Uint64(self.next()),
            DataType::Int32 => Value::Int32(self.next() as i32),
            DataType::Double => Value::Double(self.double()),
            DataType::Vector3d => Value::Vector3d(std::array::from_fn(|_| self.double())),
            DataType::Vector6d => Value::Vector6d(std::array::from_fn(|_| self.double())),
            DataType::Vector6Int32 => Value::Vector6Int32(std::array::from_fn(|_| self.next() as i32)),
            DataType::Vector6Uint32 => Value::Vector6Uint32(std::array::from_fn(|_| self.next() as u32)),
        }
    }
}

/// What a function of the emitters writes.
fn written(emit: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 17];
    let len = emit(&mut buffer).expect("a unit that can be written");
    buffer.truncate(len);
    buffer
}

fn request(request: &Request<'_>, version: Version) -> Vec<u8> {
    written(|buffer| request.emit(version, buffer))
}

fn reply(reply: &Reply<'_>, version: Version) -> Vec<u8> {
    written(|buffer| reply.emit(version, buffer))
}

/// All conversations.
pub(crate) fn all() -> Vec<Talk> {
    let mut all = short();
    all.extend([
        rtde_of(Version::V2, 40_001, 11),
        rtde_of(Version::V1, 40_002, 12),
        packages(30012, 40_011),
        records(30003, 40_012),
    ]);
    all
}

/// Those that can be cut into single bytes.
pub(crate) fn short() -> Vec<Talk> {
    vec![
        rtde_that_changes(),
        rtde_that_breaks(),
        dashboard(),
        every_command(),
        packages(30001, 40_010),
        records(30013, 40_013),
        scripts(30002, 40_014),
        interpreter(),
        handed_over(),
        reverse(),
        trajectory(),
        commands(),
    ]
}

/// Every variable as an output, inputs in several recipes, and values of all of them.
fn rtde_of(version: Version, port: u16, seed: u64) -> Talk {
    let mut talk = Talk::on(30004, port);
    let mut chance = Chance::new(seed);
    let outputs: Vec<Variable> = Variable::all().filter(|variable| variable.is_output()).collect();
    let inputs: Vec<Variable> = Variable::all().filter(|variable| variable.is_input()).collect();
    let types = |list: &[Variable]| -> Vec<DataType> { list.iter().map(|it| it.data_type().unwrap()).collect() };
    if version == Version::V2 {
        talk.ask(request(&Request::ProtocolVersion(2), Version::V1));
        talk.answer(reply(&Reply::ProtocolVersion { accepted: true }, Version::V1));
    }
    talk.ask(request(&Request::ControllerVersion, version));
    talk.answer(reply(&Reply::ControllerVersion { major: 5, minor: 13, bugfix: 1, build: 123_456 }, version));
    let (frequency, id) = if version == Version::V2 { (Some(125.0), Some(1)) } else { (None, None) };
    for (round, outputs) in outputs.chunks(60).enumerate() {
        talk.ask(written(|buffer| {
            emit::setup_outputs(frequency, outputs.iter().map(|it| it.name().as_bytes()), buffer)
        }));
        let answers = types(outputs).into_iter().map(ReplyType::Data);
        talk.answer(written(|buffer| emit::outputs_reply(id, answers, buffer)));
        if round == 0 {
            talk.ask(request(&Request::Start, version));
            talk.answer(reply(&Reply::Start { accepted: true }, version));
        }
        for _ in 0..2 {
            let values: Vec<Value> = types(outputs).into_iter().map(|kind| chance.value(kind)).collect();
            talk.answer(written(|buffer| emit::data(id, values.iter().copied(), buffer)));
        }
    }
    for (index, inputs) in inputs.chunks(25).enumerate() {
        let id = index as u8 + 1;
        let mut list = inputs.iter().map(|it| it.name()).collect::<Vec<_>>().join(",");
        // As ur_rtde writes lists.
        list.push(',');
        talk.ask(request(&Request::SetupInputs { names: Names(list.as_bytes()) }, version));
        let answers = types(inputs).into_iter().map(ReplyType::Data);
        talk.answer(written(|buffer| emit::inputs_reply(id, answers, buffer)));
    }
    for _ in 0..2 {
        for (index, inputs) in inputs.chunks(25).enumerate() {
            let values: Vec<Value> = types(inputs).into_iter().map(|kind| chance.value(kind)).collect();
            talk.ask(written(|buffer| emit::data(Some(index as u8 + 1), values.iter().copied(), buffer)));
        }
    }
    let source: &[u8] = if version == Version::V2 { b"controller" } else { b"" };
    let words = "caf\u{e9}: 5 < 6 & \"7\"".as_bytes();
    let message = rtde::Message { text: words, source, level_byte: MessageLevel::Warning as u8 };
    talk.answer(reply(&Reply::Message(message), version));
    talk.ask(request(&Request::Message(message), version));
    talk.ask(request(&Request::Pause, version));
    talk.answer(reply(&Reply::Pause { accepted: true }, version));
    talk
}

/// Recipes that are refused, replaced, taken with data around them, a version that changes, names in no table.
fn rtde_that_changes() -> Talk {
    let mut talk = Talk::on(30004, 40_003);
    let two = Version::V2;
    // Data that no recipe is for.
    talk.ask(written(|buffer| emit::data(Some(7), [Value::Int32(5)], buffer)));
    talk.ask(request(&Request::ProtocolVersion(3), Version::V1));
    talk.answer(reply(&Reply::ProtocolVersion { accepted: false }, Version::V1));
    talk.ask(request(&Request::ProtocolVersion(2), Version::V1));
    talk.answer(reply(&Reply::ProtocolVersion { accepted: true }, Version::V1));
    let data = |names: &str, kinds: &[&str], talk: &mut Talk| {
        talk.ask(request(&Request::SetupOutputs { frequency_hz: Some(10.5), names: Names(names.as_bytes()) }, two));
        let mut payload = vec![1];
        payload.extend(kinds.join(",").bytes());
        talk.answer(package(b'O', &payload));
    };
    data("timestamp,nonsense", &["DOUBLE", "NOT_FOUND"], &mut talk);
    talk.ask(request(&Request::Start, two));
    // One segment with the answer, the recipe's first data, and of another id.
    data("made_up_vector,actual_q,robot_mode", &["VECTOR6UINT32", "VECTOR6D", "INT32"], &mut talk);
    talk.answer(reply(&Reply::Start { accepted: true }, two));
    let mut chance = Chance::new(5);
    let kinds = [DataType::Vector6Uint32, DataType::Vector6d, DataType::Int32];
    for id in [1, 2, 1] {
        let values = kinds.map(|kind| chance.value(kind));
        talk.answer(written(|buffer| emit::data(Some(id), values, buffer)));
    }
    // Shorter and longer than the recipe.
    talk.answer(package(b'U', &[1, 2, 3]));
    talk.answer(package(b'U', &[1; 80]));
    // A set-up of inputs that another client has, and twice the same id with other names.
    for (names, answer) in [
        ("speed_slider_mask,speed_slider_fraction", &b"\0UINT32,IN_USE"[..]),
        ("speed_slider_mask,speed_slider_fraction", b"\x04UINT32,DOUBLE"),
        ("input_int_register_24", b"\x04INT32"),
    ] {
        talk.ask(request(&Request::SetupInputs { names: Names(names.as_bytes()) }, two));
        talk.answer(package(b'I', answer));
        talk.ask(written(|buffer| emit::data(Some(4), [Value::Uint32(1), Value::Double(0.25)], buffer)));
        talk.ask(written(|buffer| emit::data(Some(4), [Value::Int32(-3)], buffer)));
    }
    // Several questions before their answers.
    talk.ask(
        [request(&Request::Start, two), request(&Request::Pause, two), request(&Request::ControllerVersion, two)]
            .concat(),
    );
    talk.answer(reply(&Reply::ControllerVersion { major: 3, minor: 15, bugfix: 8, build: 1 }, two));
    talk.answer(reply(&Reply::Start { accepted: true }, two));
    talk.answer(reply(&Reply::Pause { accepted: false }, two));
    // Back to version 1: the recipe of outputs is gone.
    talk.ask(request(&Request::ProtocolVersion(1), two));
    let values = kinds.map(|kind| chance.value(kind));
    talk.answer(
        [
            written(|buffer| emit::data(Some(1), values, buffer)),
            reply(&Reply::ProtocolVersion { accepted: true }, two),
            written(|buffer| emit::data(Some(1), values, buffer)),
        ]
        .concat(),
    );
    talk.ask(request(&Request::SetupOutputs { frequency_hz: None, names: Names(b"timestamp") }, Version::V1));
    talk.answer(written(|buffer| emit::outputs_reply(None, [ReplyType::Data(DataType::Double)], buffer)));
    talk.answer(written(|buffer| emit::data(None, [Value::Double(0.1)], buffer)));
    // An empty payload where one is needed, and one where none is.
    talk.ask(package(b'V', b""));
    talk.ask(package(b'S', b"xy"));
    talk
}

/// A package of any type and payload.
pub(crate) fn package(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len() + 3).unwrap();
    [&size.to_be_bytes()[..], &[kind], payload].concat()
}

/// Streams that end in what is no RTDE.
fn rtde_that_breaks() -> Talk {
    let mut talk = Talk::on(30004, 40_004);
    talk.ask(request(&Request::ProtocolVersion(2), Version::V1));
    talk.answer(reply(&Reply::ProtocolVersion { accepted: true }, Version::V1));
    talk.ask([0, 0, b'U', 0x5a]);
    talk.answer([0, 9, b'x', 0]);
    talk
}

fn dashboard() -> Talk {
    let mut talk = Talk::on(29999, 40_005);
    talk.answer("Connected: Universal Robots Dashboard Server\n");
    for (line, answer) in [
        ("robotmode\n", "Robotmode: RUNNING\n"),
        ("PolyscopeVersion\r\n", "URSoftware 5.13.0.123 (Jan 01 2023)\r\n"),
        ("load /programs/pick_v4.urp\n", "Loading program: /programs/pick_v4.urp\n"),
        ("load /programs/Fr\u{e4}sen.urp\n", "File not found: /programs/Fr\u{e4}sen.urp\n"),
        ("  BrAkE   ReLeAsE  \n", "Brake releasing\n"),
        ("load installation  a b.installation\n", "Loading installation: a b.installation\n"),
        ("brake\trelease\n", "could not understand: 'brake\trelease'\n"),
        ("load /programs/x.urp;reboot\n", "Error while loading program: /programs/x.urp;reboot\n"),
        ("load /programs/pick.urp\0.attack\n", "\x07\u{85}bell\n"),
        ("\n", "could not understand: ''\n"),
        ("get variable\n", "could not understand: 'get variable'\n"),
        ("shutdown now\n", "Command is not allowed due to safety reasons\n"),
    ] {
        talk.ask(line);
        talk.answer(answer);
    }
    // Several lines at once; an answer that nobody asked for; bytes that are no text; an unfinished line.
    talk.ask("robotmode\nsafetystatus\nis in remote control\n");
    talk.answer("Robotmode: IDLE\nSafetystatus: NORMAL\ntrue\nno question\n");
    talk.ask(b"popup caf\xe9 \xf0\x9f\xa4\x96 \xed\xa0\x80 & <b>\n".to_vec());
    talk.ask("quit");
    talk
}

/// Each command of the table once.
pub(crate) fn every_command() -> Talk {
    let mut talk = Talk::on(29999, 40_006);
    for verb in Verb::all() {
        let argument = match verb.argument {
            Argument::None => "",
            Argument::OneOf(choices) => choices[0],
            Argument::Path | Argument::Text | Argument::Name => "some_thing",
        };
        talk.ask(format!("{} {argument}\n", verb.name));
    }
    talk
}

fn packages(port: u16, opener: u16) -> Talk {
    let mut talk = Talk::on(port, opener);
    let said = |talk: &mut Talk, said: Said<'_>| {
        let message = Message { timestamp_us: 12_345_678_901, source: -2, said };
        talk.answer(written(|buffer| message.emit(buffer)));
    };
    let version = |build| {
        let (project, date) = (&b"URControl"[..], &b"01-01-2023, 00:00:00"[..]);
        Said::Version(ControllerVersion { project, major: 5, minor: 13, bugfix: 1, build, date })
    };
    said(&mut talk, version(Some(108_208)));
    said(&mut talk, version(None));
    let mut number = 0;
    for len in [38, 46, 47, 60, 20] {
        for safety in [1, 3, 7, 20] {
            number += 1;
            let mode = RobotModeData {
                timestamp_us: 1_000_000 * number,
                real_robot_connected: Some(true),
                real_robot_enabled: Some(false),
                power_on: Some(number % 2 == 0),
                emergency_stopped: Some(false),
                protective_stopped: Some(safety == 3),
                program_running: Some(true),
                program_paused: Some(false),
                robot_mode: RobotMode::of(number as i8 % 9 - 1),
                control_mode: Some(ControlMode::Position),
            };
            let (mut data, mut board, joints) = ([0; 100], [0; 70], [0x40; 246]);
            let mode = client_interface::emit::robot_mode(&mode, len, &mut data)
                .unwrap_or(SubPackage { kind: 0, data: &[7; 15] });
            let parts = [
                mode,
                SubPackage { kind: 1, data: &joints },
                client_interface::emit::masterboard(SafetyMode::of(safety), &mut board),
                SubPackage { kind: 4, data: &[0x3f; 96] },
                SubPackage { kind: 4, data: &[0x3f; 48] },
                SubPackage { kind: 8, data: &[1, 0] },
                SubPackage { kind: 77, data: b"later" },
                SubPackage { kind: 9, data: b"" },
            ];
            talk.answer(written(|buffer| client_interface::emit::robot_state(parts, buffer)));
        }
    }
    said(&mut talk, Said::Text(b"a text <of> a program & \"more\""));
    said(&mut talk, Said::Text(b""));
    said(&mut talk, Said::ProgramLabel { id: -7, text: b"line 7" });
    said(&mut talk, Said::Popup { warning: Some(true), error: Some(false), title: b"Title", text: b"Text" });
    said(&mut talk, Said::Popup { warning: None, error: None, title: b"", text: b"old and plain" });
    said(&mut talk, Said::SafetyMode { code: 1, argument: 2, mode: SafetyMode::of(3) });
    said(&mut talk, Said::ErrorCode { code: 204, argument: 3, level: Some(2), text: b"Protective stop" });
    said(&mut talk, Said::ErrorCode { code: 204, argument: 3, level: None, text: b"Protective stop" });
    said(&mut talk, Said::Key { code: 5, argument: 6, title: b"key", text: "caf\u{e9}".as_bytes() });
    said(&mut talk, Said::RequestValue { id: 9, value_type: 4, text: b"How many?" });
    said(&mut talk, Said::RuntimeException { line: 3, column: 4, text: b"compile_error_name_not_found" });
    said(&mut talk, Said::Other { kind: 99, body: b"later" });
    for kind in [-1, 5, 22, 23, 24, 25, 100] {
        let package = Package { kind: PackageType(kind), body: b"bytes of it" };
        talk.answer(written(|buffer| package.emit(buffer)));
    }
    // Parts that do not fill the state, a message that ends too early, then no package at all.
    let states = [(16, &b"\0\0\0\x09\x01ab"[..]), (20, b"\0\0\0\0\0\0\0\x01\xfe\x07\0\0\0\x01\0\0\0\x02\x09key")];
    for (kind, body) in states {
        talk.answer(written(|buffer| Package { kind: PackageType(kind), body }.emit(buffer)));
    }
    talk.answer([0, 0, 0, 2, 16]);
    talk
}

fn records(port: u16, opener: u16) -> Talk {
    let mut talk = Talk::on(port, opener);
    let layouts = [Layout::V3_0, Layout::V3_2, Layout::V3_5, Layout::V3_10, Layout::V3_14, Layout::V5_10];
    for (number, layout) in layouts.into_iter().enumerate() {
        let columns = Columns {
            time_s: 1_234.567_890_123 + number as f64,
            robot_mode: RobotMode::of(number as i8),
            safety_mode: SafetyMode::of(if number == 3 { 3 } else { 1 }),
            program: Some(Program::Playing),
            safety_status: SafetyMode::of(if number == 3 { 5 } else { 1 }),
        };
        talk.answer(written(|buffer| client_interface::emit::record(layout, &columns, buffer)));
    }
    // Of an old version, of a later one, and none.
    for length in [764_u32, 1300] {
        let mut record = length.to_be_bytes().to_vec();
        record.resize(length as usize, 0);
        talk.answer(record);
    }
    talk.answer([0, 0, 0, 3]);
    talk
}

fn scripts(port: u16, opener: u16) -> Talk {
    let mut talk = Talk::on(port, opener);
    talk.ask("popup(\"hi\")\n");
    let mut long = String::from(
        "def long_one():\n  # movep() is only mentioned\n  global a = # on the next line\n0    global b = 1\n",
    );
    for line in 0..60 {
        long += &format!("  if a == {line}:\n    function_{}(a, [1, 2.5e-3, {line}])\n  end\n", line % 9);
    }
    long +=
        "  digital_out[3] = True\n  while (True): movej(p[0,1,2,3,4,5], a=1.4) end\n  thread t():\n    sync()\n  end\n";
    long += "  h = run t()\n  kill h\n  srv = rpc_factory(\"xmlrpc\", \"http://10.0.0.9:40000\")\n  srv.stop(1)\n";
    long += "  textmsg(\"def end ( # no\", 'it is')\n  return f(x)[2]\nend\n";
    talk.ask(long);
    for text in [
        "sec beside():\n  set_digital_out(6, True)\nend\n",
        "\n",
        "   \r\n# a comment\n$ 12 \"Program\"\n",
        "power on\n",
        "Set  Unlock Protective STOP # now\n",
        "set speed 0.5\nset speed fast\n",
        "stop program\r\nrun program\n",
        "digital_out[3]=True\n",
        "socket_open(\"10.0.0.9\", 4000, \"s\") movel(q) movel(q)\n",
        "set_digital_out(\n  7,\n  True)\n",
        "global x =\n5\n",
        "end\n) else\n",
        "x = not\ny\n",
        "if True:\n  halt\nelse:\n  exit_critical\nend\n",
        "1.5 + .5\n",
        "  indented(1)\n",
        "def broken(:\nend extra()\n",
        "textmsg(\"caf\u{e9} \x01\")\n",
    ] {
        talk.ask(text);
    }
    talk.ask("set_digital_out(7, True)");
    talk
}

fn interpreter() -> Talk {
    let mut talk = Talk::on(30020, 40_015);
    for (text, answer) in [
        ("movej(q) textmsg(1)\n", "ack: 1: movej(q) textmsg(1)\n"),
        ("nonsense(\n)\n", "discard: syntax error: nonsense()\r\n"),
        ("skipbuffer\n", "state: 4: skipbuffer\n"),
        (" StateLastExecuted \n\n", "state: 1: statelastexecuted\nanything else\n"),
        ("power on\n", "ack: 2:\n"),
    ] {
        talk.ask(text);
        talk.answer(answer);
    }
    talk
}

fn handed_over() -> Talk {
    let mut talk = Talk::on(50002, 40_016);
    talk.ask("request_program\n");
    talk.answer(
        "# HEADER_BEGIN\nglobal read_timeout = 0.0\ndef read_motion():\n  return socket_read_binary_integer(8, \"reverse\")\n\
         end\nsocket_open(\"10.20.0.21\", 50001, \"reverse\")\nwhile control_mode > -2:\n  record = read_motion()\nend\n",
    );
    talk
}

fn integers(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn reverse() -> Talk {
    let mut talk = Talk::on(50001, 40_017);
    let target = [100_000, -1_500_000, 1_570_796, -1, i32::MAX, i32::MIN];
    let forwards = [
        Trajectory::Cancel,
        Trajectory::Keep,
        Trajectory::Start { points: 12 },
        Trajectory::StreamStart,
        Trajectory::StreamEnd { points: 3 },
        Trajectory::Unknown(9),
    ];
    let freedrives = [Freedrive::Stop, Freedrive::Keep, Freedrive::Start, Freedrive::Unknown(-5)];
    let actions = [Action::Stop, Action::Idle, Action::Unknown(7), Action::Unknown(-1), Action::Unknown(1000)]
        .into_iter()
        .chain(Move::ALL.map(|how| Action::Move(how, target)))
        .chain(forwards.map(Action::Forward))
        .chain(freedrives.map(Action::Freedrive));
    for (number, action) in actions.enumerate() {
        let timeout_ms = [20, 0, 200, -1][number % 4];
        talk.answer(Motion { timeout_ms, action }.emit());
    }
    talk.ask(integers(&[1]));
    talk
}

fn trajectory() -> Talk {
    let mut talk = Talk::on(50003, 40_018);
    for kind in [0, 1, 2, 3, 4, 5, 6, 13, 14, 51, -3] {
        let mut record: Vec<i32> = (0..21).map(|at| (at - 10) * 123_457).collect();
        record[20] = kind;
        talk.answer(integers(&record));
    }
    talk.ask(integers(&[0, 1, 2]));
    talk
}

fn commands() -> Talk {
    let mut talk = Talk::on(50004, 40_019);
    for function in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, -1] {
        let mut record: Vec<i32> = (0..28).map(|at| at * 100_001).collect();
        record[0] = function;
        talk.answer(integers(&record));
    }
    talk.ask(integers(&[1]));
    talk
}

/// Ports that a dissector takes.
const PORTS: [u16; 13] = [29999, 30001, 30002, 30003, 30004, 30011, 30012, 30013, 30020, 50001, 50002, 50003, 50004];

/// Chance bytes, and units of the other conversations with bytes changed, left out and cut, on every port, both ways.
pub(crate) fn garbage(seed: u64) -> Vec<Talk> {
    let mut chance = Chance::new(seed);
    let good = all();
    let mut talks = Vec::new();
    for (number, port) in PORTS.into_iter().cycle().take(PORTS.len() * 8).enumerate() {
        let mut talk = Talk::on(port, 41_000 + number as u16);
        let same_port = || {
            good.iter().filter(|talk| talk.listener.port() == port || (port == 30002 && talk.listener.port() == 30001))
        };
        let model = same_port().nth(number % same_port().count().max(1)).or(good.get(number % good.len())).unwrap();
        for (ask, bytes) in model.pieces.iter().take(30) {
            let mut bytes = bytes[..bytes.len().min(1500)].to_vec();
            match chance.below(5) {
                0 => bytes = (0..chance.below(600) + 1).map(|_| chance.next() as u8).collect(),
                1 => bytes.truncate(chance.below(bytes.len()) + 1),
                2 => {
                    for _ in 0..chance.below(4) + 1 {
                        let at = chance.below(bytes.len());
                        bytes[at] = chance.next() as u8;
                    }
                }
                3 => {
                    // Near the begin, where lengths, types and ids are.
                    let at = chance.below(bytes.len().min(12));
                    bytes[at] = [0, 1, 3, 0x7f, 0x80, 0xff, b'"', b'\n', b'('][chance.below(9)];
                }
                _ => {}
            }
            let ask = if chance.below(8) == 0 { !ask } else { *ask };
            talk.pieces.push((ask, bytes));
        }
        let size = [5, 30, 100, 400, 1460, 60_000][chance.below(6)];
        talks.push(talk.cut(size));
    }
    talks
}

/// A robot state of nothing but empty parts.
fn empty_parts(count: u32) -> Vec<u8> {
    let mut package = (5 + 5 * count).to_be_bytes().to_vec();
    package.push(16);
    package.extend([0, 0, 0, 5, 9].repeat(count as usize));
    package
}

/// A megabyte of the smallest units, by port.
pub(crate) fn megabytes() -> Vec<(u16, Vec<u8>)> {
    const MEGABYTE: usize = 1 << 20;
    vec![
        (29999, vec![b'\n'; MEGABYTE / 4]),
        (30004, package(b'S', b"").repeat(MEGABYTE / 3)),
        (30001, vec![b'\n'; MEGABYTE]),
        (30002, b"def f():\n".iter().chain(b"  g(x)\n".repeat(MEGABYTE / 8).iter()).chain(b"end\n").copied().collect()),
        (30003, vec![b'('; MEGABYTE]),
        (30011, empty_parts(200_000)),
        (50001, integers(&[20, 0, 0, 0, 0, 0, 0, 1]).repeat(MEGABYTE / 32)),
        (50004, vec![0; MEGABYTE]),
    ]
}
