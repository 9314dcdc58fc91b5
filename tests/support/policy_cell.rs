//! A policy as people write it, asked about commands as dissectors read them from bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

use std::net::IpAddr;

use dissect::{Step, Toward};
use vambrace::command::Command;
use vambrace::event::{Reason, Verdict};
use vambrace::policy::{Ask, Asset, Moment, Policy};
use vambrace::robot::{Connection, Inputs, Rates, State};

/// One rule as people write it.
pub const PLC_REGISTERS: &str = "[[allow]]\nid = \"plc-registers\"\nfrom = \"plc\"\nservice = \"modbus\"\n\
    function = [\"write_single_register\", \"write_multiple_registers\", \"mask_write_register\"]\n\
    unit = [1, 255]\naddress = [\"128..=131\"]\nvalue = \"0..=120\"\n";

pub const SECOND: u64 = 1_000_000_000;

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn assets() -> Vec<Asset> {
    let asset = |name: &str, text, is_robot| Asset { name: name.into(), address: address(text), is_robot };
    vec![
        asset("arm", "10.20.0.40", true),
        asset("plc", "10.20.0.21", false),
        asset("hmi", "10.20.0.22", false),
        asset("remote-io", "10.20.0.30", false),
    ]
}

pub fn try_compile(rules: &str) -> Result<Policy, String> {
    let text = format!("version = 1\nrobot = \"arm\"\n{rules}");
    let moment = Moment { wall_ns: 1_800_000_000 * SECOND, monotonic_ns: 100 * SECOND };
    Policy::compile("policy.toml", &text, &assets(), 7, moment).map_err(|problems| problems.to_string())
}

pub fn compile(rules: &str) -> Policy {
    try_compile(rules).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A policy, and what it is asked with.
pub struct Cell {
    pub policy: Policy,
    pub from: IpAddr,
    pub state: State,
    pub inputs: Box<Inputs>,
    pub rates: Rates,
    pub now_ns: u64,
    /// Number and port of the connection that asks.
    pub connection: u32,
}

impl Cell {
    pub fn new(rules: &str) -> Self {
        let state = State::default();
        let rates = Rates::new();
        Self {
            policy: compile(rules),
            from: address("10.20.0.21"),
            state,
            inputs: Box::new(Inputs::new()),
            rates,
            now_ns: 100 * SECOND,
            connection: 1,
        }
    }

    /// Asks, and where the command passes lets it go to the robot, as the engine does.
    pub fn ask(&mut self, command: &Command<'_>) -> Verdict {
        let client = self.policy.client(self.from);
        let ask = Ask {
            client,
            opened: Toward::Robot,
            command,
            state: &self.state,
            inputs: &self.inputs,
            connection: self.connection,
            now_ns: self.now_ns,
        };
        let verdict = self.policy.decide(&ask, &mut self.rates);
        if let (true, Command::Rtde(request)) = (verdict.is_allowed(), command) {
            self.inputs.went(request, &self.connection());
        }
        verdict
    }

    /// The connection that asks.
    pub fn connection(&self) -> Connection {
        let port = 40_000 + self.connection as u16;
        Connection {
            number: self.connection,
            address: link::Endpoint::new(self.from, 0).address,
            port,
            wall_ns: 43_391 * SECOND,
        }
    }

    pub fn modbus(&mut self, pdu: &[u8]) -> Reason {
        self.modbus_of(255, pdu)
    }

    pub fn modbus_of(&mut self, unit: u8, pdu: &[u8]) -> Reason {
        let mut bytes = vec![0, 1, 0, 0, 0, u8::try_from(pdu.len() + 1).unwrap(), unit];
        bytes.extend_from_slice(pdu);
        let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!("partial") };
        let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
        self.ask(&command).reason
    }

    pub fn line(&mut self, text: &str) -> Reason {
        self.ask(&Command::Dashboard(dashboard::Line::read(text.as_bytes()))).reason
    }

    pub fn script(&mut self, text: &str) -> Reason {
        let text = format!("{text}\n");
        let mut scanner = urscript::Scanner::default();
        let Ok(Step::Whole { unit, len }) = scanner.step(text.as_bytes(), urscript::Dialect::Client) else {
            panic!("no unit: {text}");
        };
        assert_eq!(len, text.len(), "one unit: {text}");
        self.ask(&Command::UrScript(unit)).reason
    }

    pub fn rtde(&mut self, session: &Session, bytes: &[u8]) -> Reason {
        let Step::Whole { unit, .. } = rtde::Package::step(bytes, Toward::Robot).unwrap() else { panic!("partial") };
        let command = Command::Rtde(rtde::Request::read(&unit, &session.0).unwrap());
        self.ask(&command).reason
    }

    pub fn outputs(&mut self, session: &Session, frequency: Option<f64>, names: &[&str]) -> Reason {
        let mut buffer = [0; 2048];
        let len = rtde::emit::setup_outputs(frequency, names.iter().map(|name| name.as_bytes()), &mut buffer).unwrap();
        self.rtde(session, &buffer[..len])
    }

    pub fn inputs(&mut self, session: &Session, names: &[&str]) -> Reason {
        let mut buffer = [0; 2048];
        let len = rtde::emit::setup_inputs(names.iter().map(|name| name.as_bytes()), &mut buffer).unwrap();
        self.rtde(session, &buffer[..len])
    }

    /// Writes values through a recipe of their names.
    pub fn write(&mut self, values: &[(&str, rtde::Value)]) -> Reason {
        let mut session = Session::v2();
        session.recipe(values);
        let mut buffer = [0; 2048];
        let len = rtde::emit::data(Some(1), values.iter().map(|(_, value)| *value), &mut buffer).unwrap();
        self.rtde(&session, &buffer[..len])
    }
}

pub struct Session(pub Box<rtde::Session>);

impl Session {
    pub fn v1() -> Self {
        Self(Box::new(rtde::Session::new()))
    }

    pub fn v2() -> Self {
        let mut session = Self::v1();
        let mut buffer = [0; 16];
        let len = rtde::Request::ProtocolVersion(2).emit(rtde::Version::V1, &mut buffer).unwrap();
        session.pass(&buffer[..len], Toward::Robot);
        let len = rtde::Reply::ProtocolVersion { accepted: true }.emit(rtde::Version::V1, &mut buffer).unwrap();
        session.pass(&buffer[..len], Toward::Plant);
        session
    }

    pub fn pass(&mut self, bytes: &[u8], toward: Toward) {
        let Step::Whole { unit, .. } = rtde::Package::step(bytes, toward).unwrap() else { panic!("partial") };
        match toward {
            Toward::Robot => self.0.request(&unit).unwrap(),
            Toward::Plant => drop(self.0.reply(&unit).unwrap()),
        }
    }

    pub fn recipe(&mut self, values: &[(&str, rtde::Value)]) {
        let mut buffer = [0; 2048];
        let len = rtde::emit::setup_inputs(values.iter().map(|(name, _)| name.as_bytes()), &mut buffer).unwrap();
        self.pass(&buffer[..len], Toward::Robot);
        let types = values.iter().map(|(_, value)| rtde::ReplyType::Data(value.data_type()));
        let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
        self.pass(&buffer[..len], Toward::Plant);
    }
}
