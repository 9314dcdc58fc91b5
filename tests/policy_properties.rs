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

/// What an argument of a script is.
#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    Number(f64),
    Flag(bool),
    List(Vec<f64>),
    Pose(Vec<f64>),
    Variable,
}

/// What is wrong with the form of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    Repeated,
    UnknownName,
    PlaceAfterName,
    Empty,
    TooMany,
}

/// A call: the argument at each place, how many of them stand in their places, in which order the others are named.
#[derive(Clone, Debug)]
struct Call {
    function: usize,
    given: Vec<Option<Meaning>>,
    in_place: usize,
    order: Vec<u8>,
    flaw: Option<Flaw>,
}

/// Name, whether only whole numbers prove anything, default.
type Parameter = (&'static str, bool, Option<f64>);

/// Functions of the model with their parameters.
const FUNCTIONS: [(&str, &[Parameter]); 3] = [
    (
        "movej",
        &[("q", false, None), ("a", false, None), ("v", false, None), ("t", false, Some(0.0)), ("r", false, Some(0.0))],
    ),
    ("movep", &[("pose", false, None), ("a", false, None), ("v", false, None), ("r", false, Some(0.0))]),
    ("set_digital_out", &[("n", true, None), ("b", false, None)]),
];

/// Bounds of the model: by function and place, the ranges of a number, of joints or of the first axes of a pose.
#[derive(Clone, Debug)]
enum Bound {
    Number(f64, f64),
    Joints(Vec<(f64, f64)>),
    Pose(Vec<(f64, f64)>),
}

type Bounds = std::collections::BTreeMap<(usize, usize), Bound>;

/// What a text proves: inside, outside, or nothing.
fn proof(bound: &Bound, meaning: &Meaning, whole: bool) -> Option<bool> {
    let inside = |value: f64, (low, high): (f64, f64)| low <= value && value <= high;
    let each = |values: &[f64], ranges: &[(f64, f64)]| (0..ranges.len()).all(|at| inside(values[at], ranges[at]));
    match (bound, meaning) {
        (Bound::Number(low, high), Meaning::Number(value)) if !whole || value.fract() == 0.0 => {
            Some(inside(*value, (*low, *high)))
        }
        (Bound::Number(low, high), Meaning::Flag(flag)) => Some(inside(if *flag { 1.0 } else { 0.0 }, (*low, *high))),
        (Bound::Joints(ranges), Meaning::List(values)) if values.len() == 6 => Some(each(values, ranges)),
        (Bound::Pose(ranges), Meaning::Pose(values)) if values.len() == 6 => Some(each(values, ranges)),
        _ => None,
    }
}

impl Call {
    fn value(&self, place: usize) -> Option<Meaning> {
        self.given[place].clone().or(FUNCTIONS[self.function].1[place].2.map(Meaning::Number))
    }

    /// What each bound of the function proves; `t` of a `movej` with bounds on `a` or `v` alone comes last.
    fn proofs(&self, bounds: &Bounds) -> Vec<(usize, Option<bool>)> {
        let own = bounds.iter().filter(|((function, _), _)| *function == self.function);
        own.map(|((_, place), bound)| {
            let value = self.value(*place).filter(|_| self.flaw.is_none());
            (*place, value.and_then(|value| proof(bound, &value, FUNCTIONS[self.function].1[*place].1)))
        })
        .collect()
    }

    /// What it proves that no move in time makes `a` and `v` void.
    fn untimed(&self, bounds: &Bounds) -> Option<bool> {
        let has = |place| bounds.contains_key(&(0, place));
        if self.function != 0 || has(3) || !(has(1) || has(2)) {
            return Some(true);
        }
        let time = self.value(3).filter(|_| self.flaw.is_none())?;
        proof(&Bound::Number(0.0, 0.0), &time, false)
    }

    fn text(&self, style: &mut impl Iterator<Item = u8>) -> String {
        let (name, parameters) = FUNCTIONS[self.function];
        let mut blank = || ["", "", " ", "\t", "  "][usize::from(style.next().unwrap() % 5)];
        let mut parts = Vec::new();
        let mut named: Vec<usize> = (self.in_place..parameters.len()).collect();
        named.sort_by_key(|place| self.order[*place]);
        for (index, place) in (0..self.in_place).chain(named).enumerate() {
            let Some(meaning) = &self.given[place] else { continue };
            let label = if index < self.in_place {
                String::new()
            } else {
                format!("{}{}={}", parameters[place].0, blank(), blank())
            };
            let value = meaning.text(&mut blank);
            parts.push(format!("{}{label}{value}{}", blank(), blank()));
        }
        match self.flaw {
            None => {}
            Some(Flaw::Repeated) => parts.extend(["r=1", "r=1"].map(str::to_owned)),
            Some(Flaw::UnknownName) => parts.push("acceleration=1".into()),
            Some(Flaw::PlaceAfterName) => parts.extend([format!("{}=1", parameters[0].0), "1".into()]),
            Some(Flaw::Empty) => parts.push(" ".into()),
            Some(Flaw::TooMany) => parts = vec!["1".into(); parameters.len() + 1],
        }
        if self.flaw == Some(Flaw::Empty) {
            parts.push(" ".into());
        }
        format!("{name}{}({})", blank(), parts.join(","))
    }
}

impl Meaning {
    fn text(&self, blank: &mut impl FnMut() -> &'static str) -> String {
        let mut list = |values: &[f64]| {
            let items = values
                .iter()
                .map(|value| format!("{}{}{}", blank(), spelled(*value, blank().len() + blank().len()), blank()));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        };
        match self {
            Self::Number(value) => spelled(*value, blank().len() + 2 * blank().len()),
            Self::Flag(true) => "True".into(),
            Self::Flag(false) => "False".into(),
            Self::List(values) => list(values),
            Self::Pose(values) => format!("p{}", list(values)),
            Self::Variable => {
                ["x", "1+1", "d2r(90)", "[1]", "p[1]", "\"1\""][blank().len() + 2 * (blank().len() % 2)].into()
            }
        }
    }
}

/// One of many ways to write a number of halves.
fn spelled(value: f64, style: usize) -> String {
    let (sign, size) = (if value.is_sign_negative() { "-" } else { "" }, value.abs());
    match style % 7 {
        0 => format!("{value:?}"),
        1 => format!("{sign} {size:?}"),
        2 if sign.is_empty() => format!("+{size:?}"),
        3 => format!("{value:e}"),
        4 => format!("{sign}{}e-1", size * 10.0),
        5 if size < 1.0 => format!("{sign}{}", format!("{size:?}").trim_start_matches('0')),
        6 if size.fract() == 0.0 => format!("{sign}{size}."),
        _ => format!("{value}"),
    }
}

fn bounds_text(bounds: &Bounds) -> String {
    let range = |(low, high): &(f64, f64)| format!("\"{low:?}..={high:?}\"");
    bounds.iter().fold(String::new(), |mut text, ((function, place), bound)| {
        let (name, parameters) = FUNCTIONS[*function];
        // By name or by place: both mean the same.
        let argument = if place % 2 == 0 { parameters[*place].0.to_owned() } else { place.to_string() };
        let value = match bound {
            Bound::Number(low, high) => range(&(*low, *high)),
            Bound::Joints(ranges) => {
                format!("{{ joint_rad = [{}] }}", ranges.iter().map(range).collect::<Vec<_>>().join(", "))
            }
            Bound::Pose(ranges) => {
                let axes = ["x", "y", "z", "rx", "ry", "rz"].iter().zip(ranges);
                format!(
                    "{{ {} }}",
                    axes.map(|(axis, of)| format!("{axis} = {}", range(of))).collect::<Vec<_>>().join(", ")
                )
            }
        };
        let _ = writeln!(text, "\"{name}.{argument}\" = {value}");
        text
    })
}

fn halves(from: i8, to: i8) -> impl Strategy<Value = f64> {
    (from..to).prop_map(|half| f64::from(half) / 2.0)
}

fn meaning(place: usize, function: usize) -> impl Strategy<Value = Meaning> {
    let target = place == 0 && function != 2;
    let six = |list: bool| {
        proptest::collection::vec(halves(-3, 4), if list { 5..8 } else { 6..7 })
            .prop_map(move |values| if list { Meaning::List(values) } else { Meaning::Pose(values) })
    };
    let (scalar, vector) = if target { (1, 6) } else { (9, 1) };
    prop_oneof![
        scalar => halves(-4, 9).prop_map(Meaning::Number),
        1 => any::<bool>().prop_map(Meaning::Flag),
        vector => six(true),
        vector => six(false),
        2 => Just(Meaning::Variable),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    (0..FUNCTIONS.len()).prop_flat_map(|function| {
        let places = FUNCTIONS[function].1.len();
        let given: Vec<_> =
            (0..places).map(|place| proptest::option::weighted(0.8, meaning(place, function))).collect();
        let flaw = proptest::sample::select(vec![
            Flaw::Repeated,
            Flaw::UnknownName,
            Flaw::PlaceAfterName,
            Flaw::Empty,
            Flaw::TooMany,
        ]);
        let order = proptest::collection::vec(any::<u8>(), places);
        (given, 0..=places, order, proptest::option::weighted(0.1, flaw)).prop_map(
            move |(given, in_place, order, flaw)| {
                let in_place = given.iter().take(in_place).take_while(|value| value.is_some()).count();
                Call { function, given, in_place, order, flaw }
            },
        )
    })
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let range = || (halves(-4, 3), halves(0, 8)).prop_map(|(low, len)| (low, low + len));
    let place = (0..FUNCTIONS.len()).prop_flat_map(|function| (Just(function), 0..FUNCTIONS[function].1.len()));
    let bound = (place, range(), proptest::collection::vec(range(), 6), 1usize..7, any::<bool>());
    proptest::collection::vec(bound, 1..5).prop_map(|bounds| {
        let bound = |((function, place), (low, high), ranges, axes, joints): (_, _, Vec<_>, usize, bool)| {
            let target = place == 0 && function != 2;
            let bound = match (target, joints) {
                (false, _) => Bound::Number(low, high),
                (true, true) => Bound::Joints(ranges),
                (true, false) => Bound::Pose(ranges.into_iter().take(axes).collect()),
            };
            ((function, place), bound)
        };
        bounds.into_iter().map(bound).collect()
    })
}

fn script(policy: &Policy, text: &str) -> Reason {
    let step = urscript::Scanner::default().step(text.as_bytes(), urscript::Dialect::Client).unwrap();
    let Step::Whole { unit, len } = step else { panic!("partial") };
    assert_eq!(len, text.len(), "{text}");
    let (command, state) = (Command::UrScript(unit), State::default());
    let client = policy.client(IpAddr::from([10, 0, 1, 2]));
    let ask = Ask {
        client,
        opened: Toward::Robot,
        command: &command,
        state: &state,
        inputs: &vambrace::robot::Inputs::new(),
        connection: 1,
        now_ns: 1,
    };
    policy.decide(&ask, &mut Rates::new()).reason
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// However it is spelled, a program is judged as the model judges the calls that it is made of.
    #[test]
    fn bounds_decide_as_if_each_call_was_looked_at(
        bounds in bounds(), calls in proptest::collection::vec(call(), 1..4),
        styles in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 64), 2),
    ) {
        let keys = bounds_text(&bounds);
        let allow = "[[allow]]\nservice = \"urscript\"\n";
        let strict = compile(&format!("{allow}[allow.bounds]\n{keys}")).unwrap();
        let lax = compile(&format!("{allow}unproven = \"allow\"\n[allow.bounds]\n{keys}")).unwrap();
        let deny = compile(&format!("{allow}[[deny]]\nservice = \"urscript\"\n[deny.bounds]\n{keys}")).unwrap();

        let all = |call: &Call| {
            let mut proofs: Vec<_> = call.proofs(&bounds).into_iter().map(|(_, proof)| proof).collect();
            proofs.extend((!proofs.is_empty()).then(|| call.untimed(&bounds)));
            proofs
        };
        let inside = calls.iter().flat_map(all).all(|proof| proof == Some(true));
        let outside = calls.iter().flat_map(all).any(|proof| proof == Some(false));
        let denied = calls.iter().any(|call| {
            let timed = call.untimed(&bounds) != Some(true);
            let proofs = call.proofs(&bounds);
            let counts = |place: usize| !(timed && call.function == 0 && (place == 1 || place == 2));
            !proofs.is_empty() && proofs.iter().all(|(place, proof)| !counts(*place) || *proof != Some(false))
        });

        for style in &styles {
            let mut style = style.iter().copied().cycle();
            let lines: Vec<_> = calls.iter().map(|call| call.text(&mut style)).collect();
            let comment = ["", " # movej(q, a=99)", "\n\n"][usize::from(style.next().unwrap() % 3)];
            let text = format!("def p():\n {}{comment}\nend\n", lines.join("\n"));
            let verdict = script(&strict, &text);
            prop_assert_eq!(verdict == Reason::Allowed, inside, "{:?}\n{}\n{}", verdict, text, keys);
            let verdict = script(&lax, &text);
            prop_assert_eq!(verdict == Reason::Allowed, !outside, "{:?}\n{}\n{}", verdict, text, keys);
            let verdict = script(&deny, &text);
            prop_assert_eq!(verdict == Reason::DeniedByRule, denied, "{:?}\n{}\n{}", verdict, text, keys);
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

/// What it is about stays told exactly, however many rules are the same in both.
#[test]
fn one_change_among_ten_thousand_rules_is_told_and_nothing_else() {
    let text = ten_thousand();
    let wider = text.replacen("address = 792\nvalue = \"0..=7\"", "address = 792\nvalue = \"0..=9\"", 1);
    let gone = text.replacen("id = \"r5000\"", "id = \"other\"", 1).replacen("address = 30000", "address = 30001", 1);
    let assets = [Asset { name: "arm".into(), address: ROBOT, is_robot: true }];
    let told = |before: &str, after: &str| {
        let found = vambrace::policy::compare(&compile(before).unwrap(), &compile(after).unwrap(), &assets, 0);
        assert_eq!(found.limits, [] as [String; 0]);
        found.differences.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(&text, &text), [] as [&str; 0]);
    assert_eq!(
        told(&text, &wider),
        ["+ 10.0.1.2 may now send modbus: write_single_register, unit 1, writes register 792 = 8"]
    );
    let (gained, lost) = ("writes register 30001 = 0", "writes register 30000 = 0");
    assert_eq!(
        told(&text, &gone),
        [
            format!("+ 10.0.1.2 may now send modbus: write_single_register, unit 1, {gained}"),
            format!("- 10.0.1.2 may no longer send modbus: write_single_register, unit 1, {lost}"),
        ]
    );
    // What an unchanged rule allows as well is no difference, whichever of ten thousand it is.
    let twice = format!(
        "{text}[[allow]]\nid = \"again\"\nfrom = \"10.0.1.2\"\nservice = \"modbus\"\nfunction = [6]\nunit = 1\naddress = 6000\nvalue = 5\n"
    );
    assert_eq!(told(&text, &twice), [] as [&str; 0]);
    let denied = format!(
        "{text}[[deny]]\nid = \"not\"\nfrom = \"10.0.1.2\"\nservice = \"modbus\"\naddress = \"6000..=6006\"\nvalue = 5\n"
    );
    let lost = told(&text, &denied);
    assert!(lost.len() == 1 && lost[0].contains("6000 = 5") && lost[0].contains("6006 = 5"), "{lost:?}");
}

/// A question about all registers of thousands of rules is answered wholly.
#[test]
fn a_question_about_thousands_of_rules_names_each() {
    let text = first(2_000);
    let policy = compile(&text).unwrap();
    let wanted = vambrace::policy::Wanted { service: Some("modbus".into()), ..Default::default() };
    let assets = [Asset { name: "arm".into(), address: ROBOT, is_robot: true }];
    let question = vambrace::policy::Question::read(&wanted, &assets).unwrap();
    let answer = policy.answer(&text, &assets, &question, 0);
    assert_eq!(answer.limits, [] as [String; 0]);
    assert_eq!(answer.peers.iter().map(|peer| peer.grants.len()).collect::<Vec<_>>(), [2_000]);
}

/// The shortest of some rounds: what other work on the machine adds is not counted.
fn shortest(mut round: impl FnMut()) -> f64 {
    let time = |round: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        round();
        start.elapsed().as_secs_f64()
    };
    (0..15).map(|_| time(&mut round)).fold(f64::INFINITY, f64::min)
}

/// The first rules of [`ten_thousand`].
fn first(rules: usize) -> String {
    let text = ten_thousand();
    text.split_inclusive("value = \"0..=7\"\n").take(rules).collect()
}

#[test]
fn a_decision_costs_the_same_among_ten_thousand_rules() {
    let policies = [10, 10_000].map(|rules| compile(&first(rules)).unwrap());
    let (state, inputs) = (State::default(), Inputs::new());
    let bytes = [0, 1, 0, 0, 0, 6, 1, 6, 0, 54, 0, 7];
    let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!("partial") };
    let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
    let [few, many] = policies.each_ref().map(|policy| {
        let client = policy.client(IpAddr::from([10, 0, 1, 2]));
        let (opened, now_ns) = (Toward::Robot, 1);
        let ask = Ask { client, opened, command: &command, state: &state, inputs: &inputs, connection: 1, now_ns };
        let mut rates = Rates::new();
        shortest(|| {
            (0..2_000).for_each(|_| assert!(policy.decide(std::hint::black_box(&ask), &mut rates).is_allowed()))
        })
    });
    // A look at each rule would make it a thousand times.
    assert!(many < few * 4.0, "{many} s among 10,000 rules, {few} s among 10");
}

#[test]
fn compiling_grows_with_the_rules_and_no_faster() {
    let texts = [500, 5_000].map(first);
    let [few, many] = texts.each_ref().map(|text| shortest(|| drop(compile(text).unwrap())));
    // Ten times the text; rules that are compared with each other would make it a hundred.
    assert!(many < few * 20.0, "{many} s for 5,000 rules, {few} s for 500");
}

/// Figures for people: `cargo test --release --test policy_properties -- --ignored --nocapture`.
#[test]
#[ignore = "measures; run it alone, in release"]
fn how_long_it_takes() {
    let text = ten_thousand();
    let start = std::time::Instant::now();
    let policy = compile(&text).unwrap();
    println!("compile 10,000 rules: {:?}", start.elapsed());
    let assets = [Asset { name: "arm".into(), address: ROBOT, is_robot: true }];
    let changed = compile(&text.replacen("\"0..=7\"", "\"0..=9\"", 1)).unwrap();
    for (name, before) in [("one of 10,000 rules changed", &policy), ("10,000 rules against none", &Policy::empty(1))] {
        let start = std::time::Instant::now();
        let found = vambrace::policy::compare(before, &changed, &assets, 0);
        println!("diff, {name}: {:?}, {} told, limits {:?}", start.elapsed(), found.differences.len(), found.limits);
    }
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
