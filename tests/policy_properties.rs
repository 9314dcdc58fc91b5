//! Policies of many rules against a model that looks at every rule and every address, and their size and speed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use dissect::{Step, Toward};
use proptest::prelude::*;
use vambrace::command::Command;
use vambrace::event::{Reason, RuleId};
use vambrace::policy::{Ask, Asset, Moment, Policy};
use vambrace::robot::{Inputs, Rates, State};

const ROBOT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn compile(rules: &str) -> Result<Policy, String> {
    let assets = [Asset { name: "arm".into(), address: ROBOT, is_robot: true }];
    let text = format!("version = 1\nrobot = \"arm\"\n{rules}");
    Policy::compile("p", &text, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }).map_err(|error| error.to_string())
}

fn decide(policy: &Policy, from: IpAddr, bytes: &[u8]) -> (Reason, RuleId) {
    let Step::Whole { unit, .. } = modbus::Adu::step(bytes).unwrap() else { panic!("partial") };
    let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
    let (state, inputs, client) = (State::default(), Inputs::new(), policy.client(from));
    let ask = Ask {
        client,
        opened: Toward::Robot,
        command: &command,
        state: &state,
        inputs: &inputs,
        connection: 1,
        now_ns: 1,
    };
    let verdict = policy.decide(&ask, &mut Rates::new());
    (verdict.reason, verdict.rule)
}

/// One rule of the model.
#[derive(Clone, Debug)]
struct Rule {
    deny: bool,
    /// Last octet of the client; none = everybody.
    from: Option<u8>,
    functions: Vec<u8>,
    addresses: Vec<(u16, u16)>,
    unit: Option<u8>,
    values: Option<(u16, u16)>,
}

/// One request of the model: function, unit, spans read and written, values written.
#[derive(Clone, Debug)]
struct Request {
    function: u8,
    unit: u8,
    first: u16,
    quantity: u16,
    write_first: u16,
    values: Vec<u16>,
}

impl Rule {
    fn text(&self) -> String {
        let mut text = format!("[[{}]]\nservice = \"modbus\"\n", if self.deny { "deny" } else { "allow" });
        if let Some(from) = self.from {
            let _ = writeln!(text, "from = \"10.0.1.{from}\"");
        }
        if !self.functions.is_empty() {
            let _ = writeln!(text, "function = {:?}", self.functions);
        }
        if !self.addresses.is_empty() {
            let ranges: Vec<_> = self.addresses.iter().map(|(first, last)| format!("\"{first}..={last}\"")).collect();
            let _ = writeln!(text, "address = [{}]", ranges.join(", "));
        }
        if let Some(unit) = self.unit {
            let _ = writeln!(text, "unit = {unit}");
        }
        if let Some((first, last)) = self.values {
            let _ = writeln!(text, "value = \"{first}..={last}\"");
        }
        text
    }

    fn is_for(&self, from: u8, request: &Request) -> bool {
        self.from.is_none_or(|own| own == from)
            && (self.functions.is_empty() || self.functions.contains(&request.function))
            && self.unit.is_none_or(|own| own == request.unit)
    }

    fn has(&self, address: &u16) -> bool {
        self.addresses.iter().any(|(first, last)| (first..=last).contains(&address))
    }

    fn matches(&self, from: u8, request: &Request) -> bool {
        let mut touched = request.addresses();
        let mut values = request.written().iter();
        let in_values = |value: &u16| self.values.is_none_or(|(first, last)| (first..=last).contains(value));
        self.is_for(from, request)
            && if self.deny {
                (self.addresses.is_empty() || touched.any(|address| self.has(&address)))
                    && (self.values.is_none() || values.any(in_values))
            } else {
                (self.addresses.is_empty() || touched.all(|address| self.has(&address))) && values.all(in_values)
            }
    }
}

impl Request {
    fn reads(&self) -> bool {
        matches!(self.function, 1 | 3 | 23)
    }

    fn written(&self) -> &[u16] {
        match self.function {
            6 => &self.values[..1],
            16 | 23 => &self.values,
            _ => &[],
        }
    }

    fn addresses(&self) -> impl Iterator<Item = u16> {
        let read = if self.reads() { self.quantity } else { 0 };
        let write = if self.function == 6 { 1 } else { self.written().len() as u16 };
        (self.first..self.first + read).chain(self.write_first..self.write_first + write)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut buffer = [0; modbus::MAX_ADU];
        let mbap = modbus::Mbap::new(1, modbus::UnitId(self.unit));
        let function = modbus::FunctionCode(self.function);
        match self.function {
            6 => mbap.write_single_register(&mut buffer, self.write_first, self.values[0]),
            16 => mbap.write_multiple_registers(&mut buffer, self.write_first, &self.values),
            23 => mbap.read_write_multiple_registers(
                &mut buffer,
                (self.first, self.quantity),
                self.write_first,
                &self.values,
            ),
            _ => mbap.read(&mut buffer, function, self.first, self.quantity),
        }
        .unwrap()
        .to_vec()
    }
}

fn rule(deny: f64) -> impl Strategy<Value = Rule> {
    let addresses = proptest::collection::vec((0u16..200, 0u16..40), 0..3);
    let values = proptest::option::of((0u16..8, 0u16..8));
    let functions = proptest::sample::subsequence(vec![1, 3, 6, 16, 23], 0..3);
    let from = proptest::option::weighted(0.8, 1u8..4);
    (proptest::bool::weighted(deny), from, functions, addresses, proptest::option::weighted(0.2, 1u8..3), values)
        .prop_map(|(deny, from, functions, addresses, unit, values)| Rule {
            deny,
            from,
            functions,
            addresses: addresses.into_iter().map(|(first, len)| (first, first + len)).collect(),
            unit,
            values: values.map(|(first, len)| (first, first + len)),
        })
}

fn request() -> impl Strategy<Value = Request> {
    let function = proptest::sample::select(vec![1u8, 3, 6, 16, 23]);
    (function, 1u8..3, 0u16..230, 1u16..30, 0u16..230, proptest::collection::vec(0u16..12, 1..6)).prop_map(
        |(function, unit, first, quantity, write_first, values)| Request {
            function,
            unit,
            first,
            quantity,
            write_first,
            values,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Enough rules that they are found by address, few enough that some requests are allowed.
    #[test]
    fn many_rules_decide_as_if_each_was_looked_at(
        rules in prop_oneof![proptest::collection::vec(rule(0.15), 0..60), proptest::collection::vec(rule(0.8), 30..60)], requests in proptest::collection::vec(request(), 40),
    ) {
        let text = rules.iter().map(Rule::text).collect::<String>();
        let policy = compile(&text).unwrap();
        for (request, from) in requests.iter().zip([1u8, 2, 3, 4].into_iter().cycle()) {
            let denies = rules.iter().any(|rule| rule.deny && rule.matches(from, request));
            let allows = rules.iter().any(|rule| !rule.deny && rule.matches(from, request));
            let (reason, named) = decide(&policy, IpAddr::from([10, 0, 1, from]), &request.bytes());
            prop_assert_eq!(reason == Reason::Allowed, allows && !denies, "{:?} {:?}\n{}", reason, request, text);
            if let Some(place) = usize::from(named.0).checked_sub(1) {
                let named = &rules[place];
                prop_assert!(named.from.is_none_or(|own| own == from));
                match reason {
                    Reason::Allowed => prop_assert!(!named.deny && named.matches(from, request)),
                    Reason::DeniedByRule => prop_assert!(named.deny && named.matches(from, request)),
                    _ => prop_assert!(!named.deny && !named.matches(from, request)),
                }
            }
        }
    }

    /// Whatever stands in the file, the compiler says what is wrong or takes it; a problem's place is in the file.
    #[test]
    fn no_text_breaks_the_compiler(text in "(\\[\\[(allow|deny|test)\\]\\]\n|(from|to|service|class|function|address|value|until|when|rate|outputs|inputs|bare|program|kind|refusal|command) ?= ?(\"[a-z/.0-9=]{0,12}\"|[0-9]{1,6}|\\[[0-9, ]{0,6}\\]|\\{ ?[a-z]{0,4} ?=? ?1 ?\\})\n|\\PC{0,12}\n){0,12}") {
        let assets = [Asset { name: "arm".into(), address: ROBOT, is_robot: true }];
        if let Err(problems) = Policy::compile("p", &text, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }) {
            prop_assert!(!problems.is_empty());
            for problem in problems.list {
                prop_assert!(problem.line <= text.split('\n').count() && problem.column >= 1);
                prop_assert!(!problem.what.is_empty() && !problem.mend.is_empty() && !problem.what.contains('\n'));
            }
        }
    }
}

/// Ten thousand rules of one client, each for one register.
fn ten_thousand() -> String {
    (0..10_000_u32).fold(String::new(), |mut text, at| {
        let _ = write!(
            text,
            "[[allow]]\nid = \"r{at}\"\nfrom = \"10.0.1.2\"\nservice = \"modbus\"\nfunction = [\"write_single_register\"]\n\
             unit = 1\naddress = {}\nvalue = \"0..=7\"\n",
            at * 6
        );
        text
    })
}

#[test]
fn ten_thousand_rules_name_the_right_one() {
    let policy = compile(&ten_thousand()).unwrap();
    assert_eq!(policy.rules(), 10_000);
    let client = IpAddr::from([10, 0, 1, 2]);
    let write = |address: u16, value: u16| {
        let mut buffer = [0; modbus::MAX_ADU];
        let mbap = modbus::Mbap::new(1, modbus::UnitId(1));
        let bytes = mbap.write_single_register(&mut buffer, address, value).unwrap().to_vec();
        decide(&policy, client, &bytes)
    };
    for at in [0_u16, 1, 4_999, 9_999] {
        assert_eq!(write(at * 6, 7), (Reason::Allowed, RuleId(at + 1)));
        assert_eq!(write(at * 6, 8), (Reason::ValueNotAllowed, RuleId(at + 1)));
        assert_eq!(write(at * 6 + 1, 7), (Reason::AddressNotAllowed, RuleId(at + 1)), "the nearer neighbour");
    }
    assert_eq!(write(5, 7), (Reason::AddressNotAllowed, RuleId(2)));
    assert_eq!(
        decide(&policy, IpAddr::from([10, 0, 1, 3]), &[0, 1, 0, 0, 0, 6, 1, 6, 0, 0, 0, 7]).0,
        Reason::NoRuleForClient
    );
}

/// Ten thousand clients of one rule each, and two rules for everybody.
#[test]
fn ten_thousand_clients_keep_their_rules_apart() {
    let mut text = "[[deny]]\nid = \"d\"\nservice = \"modbus\"\naddress = 9\n".to_owned();
    for at in 0..10_000_u32 {
        let _ = write!(
            text,
            "[[allow]]\nid = \"c{at}\"\nfrom = \"10.1.{}.{}\"\nservice = \"modbus\"\nvalue = {}\n",
            at >> 8,
            at & 255,
            at % 100
        );
    }
    let policy = compile(&text).unwrap();
    for at in [0_u16, 255, 256, 9_999] {
        let from = IpAddr::from([10, 1, (at >> 8) as u8, at as u8]);
        let write =
            |address: u8, value: u16| decide(&policy, from, &[0, 1, 0, 0, 0, 6, 1, 6, 0, address, 0, value as u8]).0;
        assert_eq!(write(8, at % 100), Reason::Allowed);
        assert_eq!(write(8, at % 100 + 1), Reason::ValueNotAllowed);
        assert_eq!(write(9, at % 100), Reason::DeniedByRule);
    }
}

/// Figures for people: `cargo test --release --test policy_properties -- --ignored --nocapture`.
#[test]
#[ignore = "measures; run it alone, in release"]
fn how_long_it_takes() {
    let text = ten_thousand();
    let start = std::time::Instant::now();
    let policy = compile(&text).unwrap();
    println!("compile 10,000 rules: {:?}", start.elapsed());
    let ten = compile(&text.split("[[allow]]").take(11).collect::<Vec<_>>().join("[[allow]]")).unwrap();
    let (state, inputs, mut rates) = (State::default(), Inputs::new(), Rates::new());
    for (name, policy) in [("10 rules", &ten), ("10,000 rules", &policy)] {
        let bytes = [0, 1, 0, 0, 0, 6, 1, 6, 0, 54, 0, 7];
        let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!("partial") };
        let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
        let client = policy.client(IpAddr::from([10, 0, 1, 2]));
        let ask = Ask {
            client,
            opened: Toward::Robot,
            command: &command,
            state: &state,
            inputs: &inputs,
            connection: 1,
            now_ns: 1,
        };
        let start = std::time::Instant::now();
        for _ in 0..10_000_000 {
            assert!(policy.decide(std::hint::black_box(&ask), &mut rates).is_allowed());
        }
        println!("decide, {name}: {:.1} ns", start.elapsed().as_secs_f64() * 100.0);
    }
}
