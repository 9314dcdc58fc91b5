//! What the keys of a policy mean, key by key: each test compiles a policy as people write it and asks it about commands
//! as dissectors read them from bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::net::IpAddr;

use dissect::{Step, Toward};
use vambrace::command::{Command, Service};
use vambrace::event::{Action, Reason, Verdict};
use vambrace::policy::{Ask, Asset, Moment, Policy};
use vambrace::robot::{Program, Rates, State};

const SECOND: u64 = 1_000_000_000;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn assets() -> Vec<Asset> {
    let asset = |name: &str, text, is_robot| Asset { name: name.into(), address: address(text), is_robot };
    vec![
        asset("arm", "10.20.0.40", true),
        asset("plc", "10.20.0.21", false),
        asset("hmi", "10.20.0.22", false),
        asset("remote-io", "10.20.0.30", false),
    ]
}

fn try_compile(rules: &str) -> Result<Policy, String> {
    let text = format!("version = 1\nrobot = \"arm\"\n{rules}");
    let moment = Moment { wall_ns: 1_800_000_000 * SECOND, monotonic_ns: 100 * SECOND };
    Policy::compile("policy.toml", &text, &assets(), 7, moment).map_err(|problems| problems.to_string())
}

fn compile(rules: &str) -> Policy {
    try_compile(rules).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A policy, and what it is asked with.
struct Cell {
    policy: Policy,
    from: IpAddr,
    state: State,
    rates: Rates,
    now_ns: u64,
}

impl Cell {
    fn new(rules: &str) -> Self {
        let state = State::default();
        let rates = Rates::new();
        Self { policy: compile(rules), from: address("10.20.0.21"), state, rates, now_ns: 100 * SECOND }
    }

    fn ask(&mut self, command: &Command<'_>) -> Verdict {
        let client = self.policy.client(self.from);
        let ask = Ask {
            client,
            opened: Toward::Robot,
            command,
            state: &self.state,
            inputs: &self.inputs,
            connection: 1,
            now_ns: self.now_ns,
        };
        self.policy.decide(&ask, &mut self.rates)
    }

    fn modbus(&mut self, pdu: &[u8]) -> Reason {
        self.modbus_of(255, pdu)
    }

    fn modbus_of(&mut self, unit: u8, pdu: &[u8]) -> Reason {
        let mut bytes = vec![0, 1, 0, 0, 0, u8::try_from(pdu.len() + 1).unwrap(), unit];
        bytes.extend_from_slice(pdu);
        let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!("partial") };
        let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
        self.ask(&command).reason
    }

    fn line(&mut self, text: &str) -> Reason {
        self.ask(&Command::Dashboard(dashboard::Line::read(text.as_bytes()))).reason
    }

    fn script(&mut self, text: &str) -> Reason {
        let text = format!("{text}\n");
        let mut scanner = urscript::Scanner::default();
        let Ok(Step::Whole { unit, len }) = scanner.step(text.as_bytes(), urscript::Dialect::Client) else {
            panic!("no unit: {text}");
        };
        assert_eq!(len, text.len(), "one unit: {text}");
        self.ask(&Command::UrScript(unit)).reason
    }

    fn rtde(&mut self, session: &Session, bytes: &[u8]) -> Reason {
        let Step::Whole { unit, .. } = rtde::Package::step(bytes, Toward::Robot).unwrap() else { panic!("partial") };
        let command = Command::Rtde(rtde::Request::read(&unit, &session.0).unwrap());
        self.ask(&command).reason
    }

    fn outputs(&mut self, session: &Session, frequency: Option<f64>, names: &[&str]) -> Reason {
        let mut buffer = [0; 2048];
        let len = rtde::emit::setup_outputs(frequency, names.iter().map(|name| name.as_bytes()), &mut buffer).unwrap();
        self.rtde(session, &buffer[..len])
    }

    fn inputs(&mut self, session: &Session, names: &[&str]) -> Reason {
        let mut buffer = [0; 2048];
        let len = rtde::emit::setup_inputs(names.iter().map(|name| name.as_bytes()), &mut buffer).unwrap();
        self.rtde(session, &buffer[..len])
    }

    /// Writes values through a recipe of their names.
    fn write(&mut self, values: &[(&str, rtde::Value)]) -> Reason {
        let mut session = Session::v2();
        session.recipe(values);
        let mut buffer = [0; 2048];
        let len = rtde::emit::data(Some(1), values.iter().map(|(_, value)| *value), &mut buffer).unwrap();
        self.rtde(&session, &buffer[..len])
    }
}

struct Session(Box<rtde::Session>);

impl Session {
    fn v1() -> Self {
        Self(Box::new(rtde::Session::new()))
    }

    fn v2() -> Self {
        let mut session = Self::v1();
        let mut buffer = [0; 16];
        let len = rtde::Request::ProtocolVersion(2).emit(rtde::Version::V1, &mut buffer).unwrap();
        session.pass(&buffer[..len], Toward::Robot);
        let len = rtde::Reply::ProtocolVersion { accepted: true }.emit(rtde::Version::V1, &mut buffer).unwrap();
        session.pass(&buffer[..len], Toward::Plant);
        session
    }

    fn pass(&mut self, bytes: &[u8], toward: Toward) {
        let Step::Whole { unit, .. } = rtde::Package::step(bytes, toward).unwrap() else { panic!("partial") };
        match toward {
            Toward::Robot => self.0.request(&unit).unwrap(),
            Toward::Plant => drop(self.0.reply(&unit).unwrap()),
        }
    }

    fn recipe(&mut self, values: &[(&str, rtde::Value)]) {
        let mut buffer = [0; 2048];
        let len = rtde::emit::setup_inputs(values.iter().map(|(name, _)| name.as_bytes()), &mut buffer).unwrap();
        self.pass(&buffer[..len], Toward::Robot);
        let types = values.iter().map(|(_, value)| rtde::ReplyType::Data(value.data_type()));
        let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
        self.pass(&buffer[..len], Toward::Plant);
    }
}

#[test]
fn an_empty_policy_refuses_everything() {
    let mut cell = Cell::new("");
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 1]), Reason::NoRuleForClient);
    assert_eq!(cell.line("robotmode"), Reason::NoRuleForClient);
    for service in [Service::Modbus, Service::Tcp(22), Service::Icmp] {
        let client = cell.policy.client(cell.from);
        assert!(!cell.policy.admit(client, service, Toward::Robot, 0).is_allowed());
        assert!(!cell.policy.admit(client, service, Toward::Plant, 0).is_allowed());
    }
}

#[test]
fn one_rule_must_cover_a_whole_request() {
    let mut cell = Cell::new(
        "[[allow]]\nid = \"a\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = \"0..=9\"\n\
         [[allow]]\nid = \"b\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = \"10..=19\"\n",
    );
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 10]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 10, 0, 10]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 5, 0, 10]), Reason::AddressNotAllowed, "two rules together cover nothing");
    let mut cell =
        Cell::new("[[allow]]\nid = \"a\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = [\"0..=9\", \"10..=19\"]\n");
    assert_eq!(cell.modbus(&[3, 0, 5, 0, 10]), Reason::Allowed, "a list is any of its ranges together");
    assert_eq!(cell.modbus(&[3, 0, 15, 0, 6]), Reason::AddressNotAllowed);
}

const PLC_REGISTERS: &str = "[[allow]]\nid = \"plc-registers\"\nfrom = \"plc\"\nservice = \"modbus\"\n\
    function = [\"write_single_register\", \"write_multiple_registers\", \"mask_write_register\"]\n\
    unit = [1, 255]\naddress = [\"128..=131\"]\nvalue = \"0..=120\"\n";

#[test]
fn every_key_of_a_modbus_rule_is_told_apart() {
    let mut cell = Cell::new(PLC_REGISTERS);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 120]), Reason::Allowed);
    assert_eq!(cell.modbus_of(1, &[6, 0, 131, 0, 0]), Reason::Allowed);
    assert_eq!(cell.modbus(&[16, 0, 128, 0, 2, 4, 0, 1, 0, 120]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 128, 0, 1]), Reason::NoRule, "no rule has the function at all");
    assert_eq!(cell.modbus_of(2, &[6, 0, 128, 0, 1]), Reason::UnitNotAllowed);
    assert_eq!(cell.modbus(&[6, 0, 127, 0, 1]), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&[16, 0, 131, 0, 2, 4, 0, 1, 0, 1]), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 121]), Reason::ValueNotAllowed);
    assert_eq!(cell.modbus(&[16, 0, 128, 0, 2, 4, 0, 1, 0, 121]), Reason::ValueNotAllowed, "every register counts");
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nquantity = \"..=4\"\n");
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 4]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 5]), Reason::QuantityNotAllowed);
}

#[test]
fn a_mask_write_matches_only_if_its_masks_prove_the_value() {
    let mut cell = Cell::new(PLC_REGISTERS);
    // new = (current & and) | (or & !and)
    assert_eq!(cell.modbus(&[22, 0, 128, 0, 0, 0, 100]), Reason::Allowed, "100 whatever it was");
    assert_eq!(cell.modbus(&[22, 0, 128, 0, 0x0f, 0, 0x10]), Reason::Allowed, "16 to 31");
    assert_eq!(cell.modbus(&[22, 0, 128, 0xff, 0xff, 0, 0]), Reason::ValueNotAllowed, "unchanged may be anything");
    assert_eq!(cell.modbus(&[22, 0, 128, 0, 0x7f, 0, 0]), Reason::ValueNotAllowed, "up to 127");
}

#[test]
fn both_spans_of_a_read_and_write_are_judged() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"read_write_multiple_registers\"]\n\
         read_address = [\"0..=33\"]\nwrite_address = [\"128..=131\"]\n",
    );
    let request = |read: u8, quantity: u8, write: u8| [23, 0, read, 0, quantity, 0, write, 0, 1, 2, 0, 5];
    assert_eq!(cell.modbus(&request(0, 34, 128)), Reason::Allowed);
    assert_eq!(cell.modbus(&request(0, 35, 128)), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&request(0, 1, 132)), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&request(128, 1, 0)), Reason::AddressNotAllowed, "the spans are not exchanged");
}

#[test]
fn what_has_no_known_effect_must_be_named() {
    let all = "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n";
    let mut cell = Cell::new(all);
    assert_eq!(cell.modbus(&[6, 0, 1, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[0x5a, 0, 0x41]), Reason::UnsupportedFunction);
    assert_eq!(cell.modbus(&[66, 1, 2]), Reason::UnsupportedFunction);
    assert_eq!(cell.modbus(&[0x2b, 0x0d, 1]), Reason::UnsupportedFunction, "CANopen may do anything");
    assert_eq!(cell.modbus(&[0x2b, 0x0e, 1, 0]), Reason::Allowed);
    for named in ["function = [\"umas\"]", "function = [90]", "class = [\"unknown\"]"] {
        assert_eq!(Cell::new(&format!("{all}{named}\n")).modbus(&[0x5a, 0, 0x41]), Reason::Allowed, "{named}");
    }
    // A bounded address says nothing of what writes elsewhere than to addresses.
    let mut cell = Cell::new(&format!("{all}address = \"0..=65535\"\n"));
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 1]), Reason::Allowed);
    let mut cell = Cell::new(&format!("{all}function = [\"diagnostics\"]\nsub_function = 0\n"));
    assert_eq!(cell.modbus(&[8, 0, 0, 1, 2]), Reason::Allowed);
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::CommandNotAllowed, "loopback is not listen-only mode");
}

#[test]
fn classes_and_functions_are_named_together() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nclass = [\"read\"]\nfunction = [\"write_single_coil\"]\n",
    );
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[5, 0, 16, 0xff, 0]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::CommandNotAllowed);
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nclass = [\"register\"]\n");
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 1, 0, 1]), Reason::ClassNotAllowed, "register 1 is the digital outputs");
}

#[test]
fn deny_wins_and_touches_any_part() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n\
         [[deny]]\nid = \"no\"\nservice = \"modbus\"\nclass = [\"register\", \"io\"]\naddress = \"100..=103\"\nvalue = 7\n",
    );
    assert_eq!(cell.modbus(&[6, 0, 100, 0, 7]), Reason::DeniedByRule);
    assert_eq!(cell.modbus(&[16, 0, 99, 0, 2, 4, 0, 7, 0, 1]), Reason::DeniedByRule, "any register of the value");
    assert_eq!(cell.modbus(&[16, 0, 99, 0, 2, 4, 0, 8, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 99, 0, 7]), Reason::Allowed);
    assert_eq!(cell.modbus(&[22, 0, 101, 0xff, 0xff, 0, 0]), Reason::DeniedByRule, "may become 7");
    assert_eq!(cell.modbus(&[3, 0, 100, 0, 1]), Reason::Allowed, "a read writes no value");
}

#[test]
fn a_denied_class_is_denied_on_every_service() {
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\n[[deny]]\nclass = [\"safety\", \"shutdown\"]\n");
    assert_eq!(cell.line("robotmode"), Reason::Allowed);
    assert_eq!(cell.line("brake release"), Reason::DeniedByRule);
    assert_eq!(cell.script("set unlock protective stop"), Reason::DeniedByRule);
    assert_eq!(cell.script("powerdown()"), Reason::DeniedByRule);
    assert_eq!(cell.script("stop program"), Reason::Allowed);
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::DeniedByRule);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
}

#[test]
fn dashboard_commands_arguments_and_session_words() {
    let mut cell = Cell::new(
        "[[allow]]\nid = \"panel-load\"\nfrom = \"plc\"\nservice = \"dashboard\"\nclass = [\"read\"]\n\
         command = [\"load\"]\nargument = [\"/programs/pick_v4.urp\"]\n",
    );
    assert_eq!(cell.line("load /programs/pick_v4.urp"), Reason::Allowed);
    assert_eq!(cell.line("LOAD   /programs/pick_v4.urp"), Reason::Allowed);
    assert_eq!(cell.line("load /programs/Pick_v4.urp"), Reason::ArgumentNotAllowed, "files differ by case");
    assert_eq!(cell.line("load installation x.installation"), Reason::CommandNotAllowed);
    assert_eq!(cell.line("programState"), Reason::Allowed);
    assert_eq!(cell.line("get variable x"), Reason::ArgumentNotAllowed);
    assert_eq!(cell.line("quit"), Reason::SessionWord);
    assert_eq!(cell.line("play"), Reason::CommandNotAllowed);
    assert_eq!(cell.line("make coffee"), Reason::UnknownCommand);
    assert_eq!(cell.line("popup $(reboot)"), Reason::ShellMetacharacter);
}

#[test]
fn text_outside_the_grammar_is_never_allowed() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\n[[allow]]\nfrom = \"plc\"\nservice = \"dashboard\"\nclass = [\"unknown\", \"interface\"]\n",
    );
    assert_eq!(cell.line("make coffee"), Reason::Allowed, "named as unknown");
    assert_eq!(cell.line("popup `reboot`"), Reason::ShellMetacharacter);
    assert_eq!(cell.line("popup a\tb"), Reason::Malformed);
    assert_eq!(cell.line("play now"), Reason::Malformed);
}

const RTDE: &str = "[[allow]]\nid = \"rtde-1\"\nfrom = \"plc\"\nservice = \"rtde\"\n\
    outputs = [\"timestamp\", \"actual_q\"]\nfrequency = \"1..=125\"\n[allow.inputs]\n\
    speed_slider_mask = { value = [0, 1] }\nspeed_slider_fraction = { value = \"0.0..=0.8\" }\n\
    standard_digital_output = { bits = [0, 1] }\ninput_int_register_24 = { value = \"0..=3\" }\n\
    input_int_register_25 = { value = [] }\ninput_int_register_26 = {}\n";

#[test]
fn rtde_outputs_and_frequency() {
    let mut cell = Cell::new(RTDE);
    let (v1, v2) = (Session::v1(), Session::v2());
    assert_eq!(cell.outputs(&v2, Some(125.0), &["timestamp", "actual_q"]), Reason::Allowed);
    assert_eq!(cell.outputs(&v2, Some(125.0), &["actual_q", ""]), Reason::Allowed, "a trailing comma names nothing");
    assert_eq!(cell.outputs(&v2, Some(500.0), &["timestamp"]), Reason::FrequencyNotAllowed);
    assert_eq!(cell.outputs(&v2, Some(0.0), &["timestamp"]), Reason::FrequencyNotAllowed);
    assert_eq!(cell.outputs(&v1, None, &["timestamp"]), Reason::FrequencyNotAllowed, "version 1 takes the fastest");
    assert_eq!(cell.outputs(&v2, Some(1.0), &["timestamp", "robot_mode"]), Reason::VariableNotAllowed);
    for word in [rtde::Request::ProtocolVersion(1), rtde::Request::ControllerVersion, rtde::Request::Start] {
        let mut buffer = [0; 16];
        let len = word.emit(rtde::Version::V2, &mut buffer).unwrap();
        assert_eq!(cell.rtde(&v2, &buffer[..len]), Reason::SessionWord);
    }
}

#[test]
fn rtde_inputs_by_value_and_bits() {
    use rtde::Value::{Double, Int32, Uint8, Uint32};
    let mut cell = Cell::new(RTDE);
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(0.8))]),
        Reason::Allowed
    );
    assert_eq!(cell.write(&[("speed_slider_fraction", Double(0.81))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("speed_slider_fraction", Double(f64::NAN))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("input_int_register_24", Int32(3))]), Reason::Allowed);
    assert_eq!(cell.write(&[("input_int_register_24", Int32(-1))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("input_int_register_26", Int32(-1))]), Reason::Allowed);
    assert_eq!(cell.write(&[("input_int_register_27", Int32(0))]), Reason::VariableNotAllowed);
    assert_eq!(
        cell.write(&[("input_int_register_24", Int32(0)), ("input_int_register_27", Int32(0))]),
        Reason::VariableNotAllowed
    );
    assert_eq!(cell.write(&[("standard_digital_output", Uint8(3))]), Reason::Allowed);
    assert_eq!(cell.write(&[("standard_digital_output", Uint8(4))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("standard_digital_output_mask", Uint8(2))]), Reason::Allowed, "the mask goes with it");
    assert_eq!(cell.write(&[("standard_digital_output_mask", Uint8(0xff))]), Reason::ValueNotAllowed);
    assert_eq!(
        cell.write(&[("input_int_register_25", Int32(0))]),
        Reason::ValueNotAllowed,
        "an empty list is no value"
    );
    assert_eq!(cell.inputs(&Session::v2(), &["input_int_register_25"]), Reason::Allowed, "set up, never written");
    assert_eq!(cell.inputs(&Session::v2(), &["external_force_torque"]), Reason::VariableNotAllowed);
    assert_eq!(cell.rtde(&Session::v2(), &[0, 8, b'U', 1, 0, 0, 0, 0]), Reason::RecipeUnknown);
}

#[test]
fn a_rule_that_speaks_of_reading_covers_no_writing() {
    use rtde::Value::Int32;
    for rule in ["outputs = [\"timestamp\"]", "frequency = \"..=500\"", "class = [\"read\"]"] {
        let mut cell = Cell::new(&format!("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n{rule}\n"));
        assert_eq!(cell.outputs(&Session::v2(), Some(125.0), &["timestamp"]), Reason::Allowed, "{rule}");
        assert_eq!(cell.write(&[("input_int_register_24", Int32(0))]), Reason::VariableNotAllowed, "{rule}");
    }
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\nclass = [\"register\"]\n");
    assert_eq!(cell.write(&[("input_int_register_24", Int32(0))]), Reason::Allowed);
    assert_eq!(cell.write(&[("tool_digital_output", rtde::Value::Uint8(0))]), Reason::VariableNotAllowed);
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n");
    assert_eq!(cell.write(&[("tool_digital_output", rtde::Value::Uint8(0))]), Reason::Allowed);
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\n");
    assert_eq!(cell.rtde(&Session::v2(), &[0, 8, b'U', 1, 0, 0, 0, 0]), Reason::RecipeUnknown);
}

#[test]
fn rtde_deny_touches_one_field_of_many() {
    use rtde::Value::{Double, Uint32};
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n\
         [[deny]]\nservice = \"rtde\"\n[deny.inputs]\nspeed_slider_fraction = { value = \"0.9..\" }\n",
    );
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(0.5))]),
        Reason::Allowed
    );
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(1.0))]),
        Reason::DeniedByRule
    );
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(f64::NAN))]),
        Reason::DeniedByRule,
        "what can't be compared counts against it"
    );
}

const SCRIPT: &str = "[[allow]]\nid = \"urs\"\nfrom = \"plc\"\nservice = \"urscript\"\nkind = [\"secondary\", \"statement\"]\n\
    function = [\"movej\", \"set_digital_out\", \"socket_open\"]\nconnect_to = [\"10.20.0.30:4000\"]\n";

#[test]
fn script_functions_assignments_and_targets() {
    let mut cell = Cell::new(SCRIPT);
    assert_eq!(cell.script("movej([0,0,0,0,0,0], a=1.0)"), Reason::Allowed);
    assert_eq!(cell.script("sec io():\n  set_digital_out(1, True)\nend"), Reason::Allowed);
    assert_eq!(cell.script("def p():\n  movej([0,0,0,0,0,0])\nend"), Reason::KindNotAllowed);
    assert_eq!(cell.script("movel(p[0,0,0,0,0,0])"), Reason::CommandNotAllowed);
    assert_eq!(cell.script("movej(get_inverse_kin(p[0,0,0,0,0,0]))"), Reason::CommandNotAllowed, "calls inside calls");
    assert_eq!(cell.script("digital_out[3]=True"), Reason::CommandNotAllowed);
    assert_eq!(cell.script("power on"), Reason::KindNotAllowed);
    assert_eq!(cell.script("socket_open(\"10.20.0.30\", 4000)"), Reason::Allowed);
    assert_eq!(cell.script("socket_open(\"10.20.0.30\", 4001)"), Reason::TargetNotAllowed);
    assert_eq!(cell.script("socket_open(\"10.20.0.31\", 4000)"), Reason::TargetNotAllowed);
    assert_eq!(cell.script("socket_open(where, 4000)"), Reason::Unproven);
    assert_eq!(cell.script("socket_open(\"10.20.0.30\", 4000 + x)"), Reason::Unproven);
}

#[test]
fn a_list_of_functions_covers_no_bare_command() {
    let rules = "[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nfunction = [\"movej\"]\n";
    let mut cell = Cell::new(rules);
    for command in ["power on", "set unlock protective stop", "set robotmode run", "stop program", "set speed 1"] {
        assert_eq!(cell.script(command), Reason::CommandNotAllowed, "{command}");
    }
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nbare = [\"stop program\"]\n");
    assert_eq!(cell.script("stop program"), Reason::Allowed);
    assert_eq!(cell.script("power on"), Reason::CommandNotAllowed);
    assert_eq!(cell.script("movej([0,0,0,0,0,0])"), Reason::KindNotAllowed);
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nfunction = [\"movej\"]\nassign = [\"digital_out\"]\n",
    );
    assert_eq!(cell.script("digital_out[3]=True"), Reason::Allowed);
    assert_eq!(cell.script("analog_out[0]=1"), Reason::CommandNotAllowed);
}

#[test]
fn programs_by_hash() {
    let program = |comment: &str| format!("def p():\n  unheard_of(1){comment}\nend");
    let hash = |text: &str| {
        let text = format!("{text}\n");
        let mut scanner = urscript::Scanner::default();
        let Ok(Step::Whole { unit, .. }) = scanner.step(text.as_bytes(), urscript::Dialect::Client) else { panic!() };
        unit.token_hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let full = hash(&program(""));
    for digits in [&full[..], &full[..16]] {
        let rules = format!("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nprogram = [\"sha256:{digits}\"]\n");
        let mut cell = Cell::new(&rules);
        assert_eq!(cell.script(&program("")), Reason::Allowed);
        assert_eq!(cell.script(&program(" # note")), Reason::Allowed, "comments are no tokens");
        assert_eq!(cell.script(&program("+1")), Reason::ProgramNotAllowed);
        assert_eq!(cell.script("power on"), Reason::CommandNotAllowed);
    }
    let problems = try_compile("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nprogram = [\"sha256:9f3c\"]\n");
    assert!(problems.unwrap_err().contains("16 to 64 hexadecimal digits"));
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\n");
    assert_eq!(cell.script(&program("")), Reason::CommandNotAllowed, "an unknown function is not covered by silence");
}

#[test]
fn rules_hold_only_in_their_state() {
    let mut cell =
        Cell::new(&format!("[state]\nmax_age = \"500ms\"\n{PLC_REGISTERS}when = {{ program = [\"stopped\"] }}\n"));
    let write = [6, 0, 128, 0, 1];
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "never seen");
    cell.state.program = Program::Stopped as u8;
    cell.state.program_at_ns = cell.now_ns;
    assert_eq!(cell.modbus(&write), Reason::Allowed);
    cell.now_ns += SECOND / 2;
    assert_eq!(cell.modbus(&write), Reason::Allowed);
    cell.now_ns += 1;
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "too old");
    cell.state.program = Program::Playing as u8;
    cell.state.program_at_ns = cell.now_ns;
    assert_eq!(cell.modbus(&write), Reason::StateMismatch);
}

#[test]
fn a_deny_rule_counts_an_unknown_state_against_the_command() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n\
         [[deny]]\nservice = \"modbus\"\nclass = [\"register\"]\nwhen = { program = [\"playing\"] }\n",
    );
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::DeniedByRule);
    cell.state.program = Program::Stopped as u8;
    cell.state.program_at_ns = cell.now_ns;
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
}

#[test]
fn rates_fill_again_whatever_the_rhythm() {
    let rules = format!("{PLC_REGISTERS}rate = {{ per_second = 10, burst = 5 }}\n");
    // However often a client asks, it gets its burst and then ten a second, not less and not more.
    for step in [999_983, 1_900_000, 49_999_999, 100_000_000] {
        let mut cell = Cell::new(&rules);
        let start = cell.now_ns;
        let mut allowed = 0_u32;
        while cell.now_ns < start + 10 * SECOND {
            allowed += u32::from(cell.modbus(&[6, 0, 128, 0, 1]) == Reason::Allowed);
            cell.now_ns += step;
        }
        assert!((103..=105).contains(&allowed) || step == 100_000_000 && allowed == 100, "{step}: {allowed}");
    }
}

#[test]
fn a_refused_command_takes_no_tokens() {
    let mut cell = Cell::new(&format!("{PLC_REGISTERS}rate = {{ per_second = 1, burst = 1 }}\n"));
    for _ in 0..5 {
        assert_eq!(cell.modbus(&[6, 0, 128, 0, 121]), Reason::ValueNotAllowed);
    }
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::RateExceeded);
}

#[test]
fn until_ends_a_rule_and_its_connections() {
    // Wall clock 1_800_000_000 is 2027-01-15T08:00:00Z and 100 s on the monotonic clock.
    let mut cell = Cell::new(&format!("{PLC_REGISTERS}until = 2027-01-15T09:00:10+01:00\n"));
    let client = cell.policy.client(cell.from);
    cell.now_ns = 110 * SECOND;
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
    assert!(cell.policy.admit(client, Service::Modbus, Toward::Robot, cell.now_ns).is_allowed());
    cell.now_ns += 1;
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Expired);
    assert_eq!(cell.policy.admit(client, Service::Modbus, Toward::Robot, cell.now_ns).reason, Reason::Expired);
    let problems = try_compile(&format!("{PLC_REGISTERS}until = 2027-01-15T09:00:10\n")).unwrap_err();
    assert!(problems.contains("offset"), "{problems}");
}

#[test]
fn addresses_networks_and_everybody() {
    let rules = "[[allow]]\nid = \"net\"\nfrom = \"10.20.0.0/24\"\nservice = \"modbus\"\nclass = [\"read\"]\n\
                 [[allow]]\nid = \"one\"\nfrom = [\"10.20.0.22\", \"fd00::5\"]\nservice = \"modbus\"\nclass = [\"register\"]\n\
                 [[allow]]\nid = \"all\"\nservice = \"icmp\"\n";
    let mut cell = Cell::new(rules);
    let mut ask = |from: &str| {
        cell.from = address(from);
        (cell.modbus(&[3, 0, 0, 0, 1]), cell.modbus(&[6, 0, 128, 0, 1]))
    };
    assert_eq!(ask("10.20.0.99"), (Reason::Allowed, Reason::ClassNotAllowed));
    assert_eq!(ask("10.20.0.22"), (Reason::Allowed, Reason::Allowed));
    assert_eq!(ask("fd00::5"), (Reason::ClassNotAllowed, Reason::Allowed));
    assert!(!matches!(ask("10.20.1.22"), (Reason::Allowed, _) | (_, Reason::Allowed)));
    let admitted = |from: &str, service, opened| {
        cell.policy.admit(cell.policy.client(address(from)), service, opened, 0).is_allowed()
    };
    assert!(admitted("192.0.2.1", Service::Icmp, Toward::Robot));
    assert!(!admitted("192.0.2.1", Service::Icmp, Toward::Plant));
    assert!(!admitted("192.0.2.1", Service::Modbus, Toward::Robot));
    assert!(admitted("10.20.0.7", Service::Modbus, Toward::Robot));
}

#[test]
fn ports_and_connections_that_the_robot_opens() {
    let policy = compile(
        "[[allow]]\nid = \"ssh\"\nfrom = \"hmi\"\nservice = \"tcp/22\"\n\
         [[allow]]\nid = \"out\"\nfrom = \"arm\"\nto = \"remote-io\"\nservice = \"tcp/5000\"\n\
         [[allow]]\nid = \"plc\"\nfrom = \"plc\"\n[[deny]]\nid = \"no-web\"\nservice = \"tcp/80\"\n\
         [[deny]]\nid = \"no-panel\"\nfrom = \"plc\"\nservice = \"dashboard\"\n",
    );
    let admit = |from: &str, service, opened| {
        let from = assets().iter().find(|asset| asset.name == from).unwrap().address;
        policy.admit(policy.client(from), service, opened, 0).reason
    };
    assert_eq!(admit("hmi", Service::Tcp(22), Toward::Robot), Reason::Allowed);
    assert_eq!(admit("hmi", Service::Tcp(23), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("hmi", Service::Udp(22), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("hmi", Service::Tcp(22), Toward::Plant), Reason::EgressNotAllowed);
    assert_eq!(admit("remote-io", Service::Tcp(5000), Toward::Plant), Reason::Allowed);
    assert_eq!(admit("remote-io", Service::Tcp(5000), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("plc", Service::Tcp(5900), Toward::Robot), Reason::Allowed);
    assert_eq!(admit("plc", Service::Tcp(80), Toward::Robot), Reason::DeniedByRule);
    assert_eq!(admit("plc", Service::Dashboard, Toward::Robot), Reason::DeniedByRule, "denied as a whole");
    assert_eq!(admit("plc", Service::Rtde, Toward::Robot), Reason::Allowed);
}

#[test]
fn the_strictest_refusal_of_a_client_and_service_counts() {
    const ESCALATE: &str = "[refusal]\nescalate = { refusals = 0, within = \"10s\", quarantine = \"5m\" }\n";
    let allow = |from: &str, address: u16, refusal: &str| {
        let refusal = if refusal.is_empty() { String::new() } else { format!("refusal = \"{refusal}\"\n") };
        format!("[[allow]]\nfrom = \"{from}\"\nservice = \"modbus\"\naddress = {address}\n{refusal}")
    };
    let refused = |refusal: &str, rules: [String; 2]| {
        let mut cell = Cell::new(&format!("{ESCALATE}{refusal}{}", rules.concat()));
        cell.from = address("10.20.0.21");
        let bytes = [0, 1, 0, 0, 0, 6, 255, 3, 0, 9, 0, 1];
        let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!() };
        let verdict = cell.ask(&Command::Modbus(modbus::Request::read(&unit).unwrap()));
        assert_eq!(verdict.generation, 7);
        verdict.action
    };
    // The default of each service is to refuse the one command.
    assert_eq!(refused("", [allow("plc", 1, ""), allow("hmi", 2, "drop")]), Action::Refuse);
    assert_eq!(refused("modbus = \"reset\"\n", [allow("plc", 1, ""), allow("hmi", 2, "drop")]), Action::Reset);
    assert_eq!(refused("modbus = \"drop\"\n", [allow("plc", 1, ""), allow("plc", 2, "")]), Action::Drop);
    // Of the client's own rules the strictest counts, whatever the default.
    assert_eq!(refused("modbus = \"reset\"\n", [allow("plc", 1, ""), allow("plc", 2, "drop")]), Action::Drop);
    assert_eq!(refused("modbus = \"drop\"\n", [allow("plc", 1, "refuse"), allow("plc", 2, "")]), Action::Refuse);
    for (first, second, strictest) in [
        ("refuse", "reset", Action::Reset),
        ("reset", "refuse", Action::Reset),
        ("reset", "drop", Action::Drop),
        ("drop", "refuse", Action::Drop),
        ("refuse", "refuse", Action::Refuse),
    ] {
        assert_eq!(refused("", [allow("plc", 1, first), allow("plc", 2, second)]), strictest, "{first} {second}");
    }
}

#[test]
fn every_dissected_service_refuses_by_default_and_takes_the_three_words() {
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"any\"\nclass = [\"read\"]\n");
    cell.from = address("10.20.0.21");
    let Step::Whole { unit, .. } = modbus::Adu::step(&[0, 1, 0, 0, 0, 6, 255, 6, 0, 9, 0, 1]).unwrap() else {
        panic!()
    };
    let modbus = cell.ask(&Command::Modbus(modbus::Request::read(&unit).unwrap()));
    let rtde = cell.ask(&Command::Rtde(rtde::Request::SetupInputs { names: rtde::Names(b"speed_slider_mask") }));
    let dashboard = cell.ask(&Command::Dashboard(dashboard::Line::read(b"shutdown")));
    let mut scanner = urscript::Scanner::default();
    let Step::Whole { unit, .. } = scanner.step(b"powerdown()\n", urscript::Dialect::Client).unwrap() else { panic!() };
    let urscript = cell.ask(&Command::UrScript(unit));
    for verdict in [modbus, rtde, dashboard, urscript] {
        assert_eq!(verdict.action, Action::Refuse, "{verdict:?}");
    }
    for service in ["modbus", "rtde", "dashboard", "urscript"] {
        for word in ["refuse", "reset", "drop"] {
            compile(&format!("[refusal]\n{service} = \"{word}\"\n"));
        }
    }
}

#[test]
fn the_nearest_rule_and_its_key_are_explained() {
    let mut cell = Cell::new(&format!(
        "[[allow]]\nid = \"reads\"\nfrom = \"plc\"\nservice = \"modbus\"\nclass = [\"read\"]\n{PLC_REGISTERS}"
    ));
    let bytes = [0, 1, 0, 0, 0, 6, 255, 6, 0, 130, 0, 200];
    let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!() };
    let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
    let verdict = cell.ask(&command);
    let nearest = cell.policy.nearest(&command, &verdict).unwrap();
    assert_eq!((nearest.rule.as_str(), nearest.key), ("plc-registers", "value"));
    assert_eq!((nearest.found.as_str(), nearest.allowed.as_str()), ("200", "\"0..=120\""));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = "version = 2\nrobto = \"arm\"\n[refusal]\nmodbus = \"hold\"\n[[allow]]\nfrom = \"pcl\"\nservice = \"modbuss\"\n\
                [[allow]]\nid = \"x\"\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"write_singel_register\"]\nvalue = \"9..=1\"\n\
                [[allow]]\nid = \"x\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"actual_p\"]\n[allow.inputs]\n\
                speed_slider_fraktion = {}\ninput_int_register_0 = { step = 1 }\n[[deny]]\ncommand = \"unlock\"\nservice = \"dashboard\"\n";
    let moment = Moment { wall_ns: 0, monotonic_ns: 0 };
    let problems = Policy::compile("p.toml", text, &assets(), 1, moment).unwrap_err().to_string();
    let lines: Vec<_> = problems.lines().map(|line| line.strip_prefix("p.toml:").unwrap()).collect();
    for (place, what) in [
        ("1:11: ", "write 1"),
        ("2:1: ", "write `robot`"),
        (
            "4:10: ",
            "\"hold\" is for external control, which is not read in this version; write \"refuse\", \"reset\" or \"drop\"",
        ),
        ("6:8: ", "\"plc\""),
        ("7:11: ", "\"modbus\""),
        ("12:13: ", "\"write_single_register\""),
        ("13:9: ", "holds nothing"),
        ("14:1: ", "a second rule has the id \"x\""),
        ("18:12: ", "write \"actual_q\""),
        ("20:1: ", "write `speed_slider_fraction`"),
        ("21:26: ", "`step` comes with a later version"),
        ("23:11: ", "unlock protective stop"),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(place) && line.contains(what)), "{place}{what}\n{problems}");
    }
}

#[test]
fn tests_of_the_file_are_run() {
    let policy = compile(
        "[[allow]]\nid = \"panel\"\nfrom = \"hmi\"\nservice = \"dashboard\"\ncommand = [\"load\"]\nargument = [\"/programs/a.urp\"]\n\
         [[allow]]\nid = \"io\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"timestamp\"]\n\
         [allow.inputs]\ninput_int_register_24 = { value = \"0..=3\" }\n\
         [[test]]\nname = \"panel never shuts down\"\nfrom = \"hmi\"\nservice = \"dashboard\"\ncommand = \"shutdown\"\nexpect = \"refused\"\n\
         [[test]]\nname = \"panel loads\"\nfrom = \"hmi\"\nservice = \"dashboard\"\ncommand = \"load\"\nargument = \"/programs/a.urp\"\nexpect = \"allowed\"\n\
         [[test]]\nname = \"plc reads\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"timestamp\"]\nexpect = \"allowed\"\n\
         [[test]]\nname = \"plc writes 3\"\nfrom = \"plc\"\nservice = \"rtde\"\ninput = \"input_int_register_24\"\nvalue = 3\nexpect = \"allowed\"\n\
         [[test]]\nname = \"wrong on purpose\"\nfrom = \"plc\"\nservice = \"rtde\"\ninput = \"input_int_register_24\"\nvalue = 4\nexpect = \"allowed\"\n",
    );
    let outcomes = policy.run_tests();
    let passed: Vec<_> = outcomes.iter().map(|outcome| outcome.passed).collect();
    assert_eq!(passed, [true, true, true, true, false]);
    assert_eq!(outcomes[4].reason, Reason::ValueNotAllowed);
    assert_eq!(outcomes[4].rule.as_deref(), Some("io"));
}
