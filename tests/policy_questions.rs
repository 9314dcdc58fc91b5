//! What a policy says about all commands, against trying every command of small universes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use dissect::{Step, Toward};
use proptest::prelude::*;
use vambrace::command::Command;
use vambrace::policy::{Answer, Ask, Asset, Effect, Moment, Policy, Question, Wanted, Warning, compare};
use vambrace::robot::{Inputs, Program, Rates, State};

const ROBOT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const NOW: u64 = 1_000_000_000;

fn assets() -> Vec<Asset> {
    vec![Asset { name: "arm".into(), address: ROBOT, is_robot: true }]
}

fn compile(rules: &str) -> Policy {
    let text = format!("version = 1\nrobot = \"arm\"\n{rules}");
    let moment = Moment { wall_ns: 1_800_000_000 * NOW, monotonic_ns: NOW };
    Policy::compile("p", &text, &assets(), 1, moment).unwrap_or_else(|problems| panic!("{problems}\n{rules}"))
}

fn peer(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, last])
}

fn states() -> Vec<State> {
    let mut states = vec![State::default()];
    for program in [Program::Stopped, Program::Playing, Program::Paused] {
        let mut state = State::default();
        state.see_program(program, NOW + 1);
        states.push(state);
    }
    states
}

fn allowed(policy: &Policy, from: u8, command: &Command<'_>, state: &State) -> bool {
    let inputs = Inputs::new();
    let ask = Ask {
        client: policy.client(peer(from)),
        opened: Toward::Robot,
        command,
        state,
        inputs: &inputs,
        connection: 0,
        now_ns: NOW + 1,
    };
    policy.decide(&ask, &mut Rates::new()).is_allowed()
}

/// Hands over what the bytes say.
fn modbus<R>(pdu: &[u8], unit: u8, then: impl FnOnce(&Command<'_>) -> R) -> R {
    let mut bytes = vec![0, 1, 0, 0, 0, u8::try_from(pdu.len() + 1).unwrap(), unit];
    bytes.extend_from_slice(pdu);
    let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!("partial") };
    then(&Command::Modbus(modbus::Request::read(&unit).unwrap()))
}

/// Every request of the small universe: units 0 to 2, registers 120 to 127, values 0 to 4.
fn requests() -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    let base = 120_u8;
    for unit in 0..3_u8 {
        for at in 0..8_u8 {
            for quantity in 1..=4_u8.min(8 - at) {
                all.push((unit, vec![3, 0, base + at, 0, quantity]));
            }
            for value in 0..5_u8 {
                all.push((unit, vec![6, 0, base + at, 0, value]));
                all.push((unit, vec![16, 0, base + at, 0, 1, 2, 0, value]));
                for other in 0..5_u8 {
                    all.push((unit, vec![22, 0, base + at, 0, value, 0, other]));
                    if at < 7 {
                        all.push((unit, vec![16, 0, base + at, 0, 2, 4, 0, value, 0, other]));
                    }
                    if at < 6 {
                        all.push((unit, vec![16, 0, base + at, 0, 3, 6, 0, value, 0, other, 0, 4 - value]));
                    }
                }
                all.push((unit, vec![23, 0, base + 7 - at, 0, 1, 0, base + at, 0, 1, 2, 0, value]));
            }
        }
        all.extend([vec![8, 0, 0, 0, 0], vec![8, 0, 1, 0, 0], vec![7], vec![66, 1]].map(|pdu| (unit, pdu)));
    }
    all
}

fn range(least: u16, most: u16) -> impl Strategy<Value = String> {
    (least..=most, 0u16..4).prop_map(move |(first, len)| format!("\"{first}..={}\"", (first + len).min(most)))
}

/// A key that may be absent.
fn maybe(key: &'static str, value: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    proptest::option::weighted(0.5, value)
        .prop_map(move |value| value.map(|value| format!("{key} = {value}\n")).unwrap_or_default())
        .boxed()
}

fn listed(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::subsequence(words, 0..=words.len().min(3)).prop_map(|words| format!("{words:?}"))
}

fn from() -> BoxedStrategy<String> {
    maybe(
        "from",
        proptest::sample::select(vec!["\"10.0.1.1\"", "\"10.0.1.2\"", "\"10.0.1.0/30\""]).prop_map(str::to_owned),
    )
}

fn when() -> BoxedStrategy<String> {
    proptest::option::weighted(0.25, proptest::sample::select(vec!["playing", "stopped"]))
        .prop_map(|when| when.map(|when| format!("when = {{ program = [\"{when}\"] }}\n")).unwrap_or_default())
        .boxed()
}

fn rules(service: &'static str, keys: BoxedStrategy<String>, most: usize) -> BoxedStrategy<Vec<String>> {
    let service = proptest::sample::select(vec![service, service, service, service, service, service, "any"]);
    let rule =
        (proptest::bool::weighted(0.3), from(), when(), service, keys).prop_map(|(deny, from, when, service, keys)| {
            let head = if deny { "deny" } else { "allow" };
            let keys = if service == "any" { String::new() } else { keys };
            format!("[[{head}]]\n{from}{when}service = \"{service}\"\n{keys}")
        });
    proptest::collection::vec(rule, 0..=most).boxed()
}

fn modbus_keys() -> BoxedStrategy<String> {
    let functions = listed(&[
        "read_holding_registers",
        "write_single_register",
        "write_multiple_registers",
        "mask_write_register",
        "read_only",
        "read_write",
    ]);
    (
        maybe("function", functions),
        maybe("address", range(120, 127)),
        maybe("value", range(0, 4)),
        maybe("quantity", range(1, 4)),
        maybe("unit", range(1, 2)),
    )
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
        .boxed()
}

fn single_keys() -> BoxedStrategy<String> {
    (maybe("address", range(120, 127)), maybe("value", range(0, 4)), maybe("unit", range(1, 2)))
        .prop_map(|(a, b, c)| format!("function = [\"write_single_register\"]\n{a}{b}{c}"))
        .boxed()
}

fn dashboard_keys() -> BoxedStrategy<String> {
    (
        maybe("command", listed(&["load", "play", "popup", "brake release"])),
        maybe("class", listed(&["read", "safety", "program", "unknown"])),
        maybe("argument", listed(&["/a.urp", "/b.urp", "hello"])),
    )
        .prop_map(|(a, b, c)| [a, b, c].concat())
        .boxed()
}

/// With the ids that the compiler would give them.
fn with_ids(rules: &[String]) -> Vec<String> {
    let named = |(at, rule): (usize, &String)| rule.replacen("]]\n", &format!("]]\nid = \"r{at}\"\n"), 1);
    rules.iter().enumerate().map(named).collect()
}

/// The peers of whom `compare` tells that they may do more or less.
fn told(before: &Policy, after: &Policy) -> BTreeSet<String> {
    let found = compare(before, after, &assets(), NOW + 1);
    assert!(found.limits.is_empty(), "{:?}", found.limits);
    let differs = found.differences.into_iter().filter(|found| matches!(found.effect, Effect::Gained | Effect::Lost));
    differs.flat_map(|found| found.peers).collect()
}

/// What `compare` calls the peers of the model.
fn names(told: &BTreeSet<String>, last: u8) -> bool {
    let own = peer(last).to_string();
    let rest = if last < 4 { ["10.0.1.0/30", "the rest of 10.0.1.0/30"] } else { ["", ""] };
    told.contains(&own) || told.contains("any other IPv4 address") || rest.iter().any(|name| told.contains(*name))
}

fn answer(policy: &Policy, text: &str, wanted: &Wanted) -> Answer {
    policy.answer(text, &assets(), &Question::read(wanted, &assets()).unwrap(), NOW + 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn modbus_differences_are_those_that_trying_all_finds(
        before in rules("modbus", modbus_keys(), 4), after in rules("modbus", modbus_keys(), 4), same in any::<bool>(),
    ) {
        // Most random policies differ a lot; some only in one rule.
        let after = if same && !before.is_empty() { [&before[1..], &after[..after.len().min(1)]].concat() } else { after };
        let (old, new) = (compile(&before.concat()), compile(&after.concat()));
        let told = told(&old, &new);
        let mut differs = false;
        for (unit, pdu) in requests() {
            modbus(&pdu, unit, |command| for state in states() {
                for from in [1_u8, 2, 3, 9] {
                    if allowed(&old, from, command, &state) != allowed(&new, from, command, &state) {
                        differs = true;
                        assert!(names(&told, from), "{from} {pdu:?} {told:?}\n{}\n---\n{}", before.concat(), after.concat());
                    }
                }
            });
        }
        prop_assert!(!differs || !told.is_empty());
    }

    #[test]
    fn writes_of_single_registers_are_answered_exactly(
        rules in rules("modbus", single_keys(), 6), at in 119u16..129, value in 0u16..6,
    ) {
        let rules = with_ids(&rules);
        let text = rules.concat();
        let policy = compile(&text);
        let wanted = Wanted {
            function: Some("write_single_register".into()),
            address: Some(at.to_string()),
            value: Some(value.into()),
            ..Wanted::default()
        };
        let pdu = [6, 0, at as u8, 0, value as u8];
        let denies: String = rules.iter().filter(|rule| rule.starts_with("[[deny")).map(String::as_str).collect();
        for from in [1_u8, 2, 3, 9] {
            let wanted = Wanted { from: Some(peer(from).to_string()), ..wanted.clone() };
            let answer = answer(&policy, &text, &wanted);
            let granted: BTreeSet<&str> = answer.peers.iter().flat_map(|peer| peer.grants.iter().map(|grant| grant.rule.as_str())).collect();
            for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.starts_with("[[allow")) {
                let alone = compile(&format!("{rule}{denies}"));
                let may = (0..3_u8).any(|unit| modbus(&pdu, unit, |command| states().iter().any(|state| allowed(&alone, from, command, state))));
                prop_assert_eq!(granted.contains(format!("r{at}").as_str()), may, "{} from {}\n{}\n{}", rule, from, text, answer);
            }
        }
    }

    #[test]
    fn warnings_are_those_that_trying_all_finds(rules in rules("modbus", single_keys(), 5)) {
        let rules: Vec<String> = with_ids(&rules).into_iter().filter(|rule| !rule.contains("\"any\"")).collect();
        let text = rules.concat();
        let warnings = compile(&text).warnings(NOW + 1);
        let everyone = "[[allow]]\nid = \"all\"\nservice = \"modbus\"\n";
        let peers = [1_u8, 2, 3, 9];
        let mut universe = Vec::new();
        for (unit, at, value) in (0..4_u8).flat_map(|unit| (118..130_u8).flat_map(move |at| (0..7_u8).map(move |value| (unit, at, value)))) {
            universe.push((unit, [6, 0, at, 0, value]));
        }
        // Where each rule alone takes what: peer, command, state.
        let taken: Vec<BTreeSet<(u8, usize, usize)>> = rules.iter().map(|rule| {
            let deny = rule.starts_with("[[deny");
            let alone = compile(&if deny { format!("{rule}{everyone}") } else { rule.clone() });
            let mut taken = BTreeSet::new();
            for (number, (unit, pdu)) in universe.iter().enumerate() {
                modbus(pdu, *unit, |command| for (state_number, state) in states().iter().enumerate() {
                    for from in peers {
                        if allowed(&alone, from, command, state) != deny {
                            taken.insert((from, number, state_number));
                        }
                    }
                });
            }
            taken
        }).collect();
        let id = |rule: &str| rule.split('"').nth(1).unwrap().to_owned();
        let is_deny = |at: usize| rules[at].starts_with("[[deny");
        for (at, rule) in rules.iter().enumerate() {
            let own = id(rule);
            let is = |kind: &str| warnings.iter().filter(|warning| warning.kind() == kind).any(|warning| match warning {
                Warning::Never { rule } | Warning::Denied { rule, .. } | Warning::Covered { rule, .. } => *rule == own,
                Warning::Conflict { allow, .. } => *allow == own,
                _ => false,
            });
            let never = taken[at].is_empty();
            prop_assert_eq!(is("never"), never, "{}\n{}", text, rule);
            let others = |deny: bool| (0..rules.len()).filter(move |other| *other != at && is_deny(*other) == deny);
            if is_deny(at) {
                let by = others(true).any(|other| taken[at].is_subset(&taken[other]) && (other < at || !taken[other].is_subset(&taken[at])));
                prop_assert_eq!(is("covered"), by && !never, "{}\n{} {:?}", text, rule, warnings);
                continue;
            }
            let denied = others(true).filter(|other| taken[*other].intersection(&taken[at]).next().is_some()).collect::<Vec<_>>();
            let left = taken[at].iter().any(|one| !denied.iter().any(|other| taken[*other].contains(one)));
            // Said of rules whose peers all are those of the deny rules.
            prop_assert!(!is("denied") || (!left && !never), "{}\n{} {:?}", text, rule, warnings);
            if !never && left {
                prop_assert_eq!(is("conflict"), !denied.is_empty(), "{}\n{} {:?}", text, rule, warnings);
                let by = others(false).any(|other| taken[at].is_subset(&taken[other]) && (other < at || !taken[other].is_subset(&taken[at])));
                prop_assert_eq!(is("covered"), by, "{}\n{} {:?}", text, rule, warnings);
            }
        }
    }

    #[test]
    fn dashboard_differences_are_those_that_trying_all_finds(
        before in rules("dashboard", dashboard_keys(), 4), after in rules("dashboard", dashboard_keys(), 4), same in any::<bool>(),
    ) {
        let after = if same && !before.is_empty() { [&before[1..], &after[..after.len().min(1)]].concat() } else { after };
        let (old, new) = (compile(&before.concat()), compile(&after.concat()));
        let told = told(&old, &new);
        let arguments = ["", " /a.urp", " /b.urp", " /c.urp", " hello", " world", " system", " none"];
        let verbs = dashboard::Verb::all().iter().map(|verb| verb.name).chain(["make coffee"]);
        for line in verbs.flat_map(|verb| arguments.map(|argument| format!("{verb}{argument}"))) {
            let command = Command::Dashboard(dashboard::Line::read(line.as_bytes()));
            for state in states() {
                for from in [1_u8, 2, 3, 9] {
                    let same = allowed(&old, from, &command, &state) == allowed(&new, from, &command, &state);
                    prop_assert!(same || names(&told, from), "{} {}\n{}\n---\n{}", from, line, before.concat(), after.concat());
                }
            }
        }
    }
}

fn script_keys() -> BoxedStrategy<String> {
    let bound = proptest::sample::select(vec!["\"0.0..=1.0\"", "\"..=1.5\"", "2.0"]);
    (
        maybe("kind", listed(&["program", "secondary", "statement", "bare"])),
        maybe("function", listed(&["movej", "textmsg", "unheard"])),
        maybe("class", listed(&["read", "motion", "program", "interface", "unknown"])),
        maybe("assign", listed(&["digital_out"])),
        maybe("connect_to", listed(&["10.0.0.9", "10.0.0.9:80"])),
        proptest::option::weighted(0.4, bound),
    )
        .prop_filter_map("no bounds of what is not named", |(kind, function, class, assign, connect, bound)| {
            let bound = bound.map(|bound| format!("bounds = {{ \"movej.a\" = {bound} }}\n"));
            let fits = class.is_empty() && (function.is_empty() || function.contains("movej"));
            let bound = bound.filter(|_| fits).unwrap_or_default();
            Some([kind, function, class, assign, connect, bound].concat())
        })
        .boxed()
}

fn rtde_keys() -> BoxedStrategy<String> {
    let value =
        proptest::sample::select(vec!["{ value = \"0..=3\" }", "{ value = \"2..=5\" }", "{ bits = [0, 1] }", "{}"]);
    let inputs = proptest::option::weighted(0.6, (value.clone(), value)).prop_map(|inputs| match inputs {
        Some((a, b)) => format!("inputs = {{ standard_digital_output = {a}, input_int_register_24 = {b} }}\n"),
        None => String::new(),
    });
    (
        maybe("outputs", listed(&["timestamp", "actual_q", "robot_mode"])),
        maybe("frequency", proptest::sample::select(vec!["\"1..=125\"", "\"..=10\"", "500"]).prop_map(str::to_owned)),
        maybe("class", listed(&["read", "register", "io"])),
        inputs,
    )
        .prop_map(|(a, b, c, d)| [a, b, c, d].concat())
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn script_differences_are_those_that_trying_all_finds(
        before in rules("urscript", script_keys(), 3), after in rules("urscript", script_keys(), 3),
    ) {
        let (old, new) = (compile(&before.concat()), compile(&after.concat()));
        let told = told(&old, &new);
        let deeds = [
            "movej(q, a=0.5)", "movej(q, a=1.2)", "movej(q, a=2.0)", "movej(q, a=x)", "movej(q, a=0.5, t=1)", "movel(q)",
            "textmsg(\"x\")", "unheard()", "other()", "digital_out[1] = 1", "mine[1] = 2", "socket_open(\"10.0.0.9\", 80)",
            "socket_open(\"10.0.0.9\", 81)", "socket_open(\"10.0.0.8\", 80)", "socket_open(host, 80)", "sleep(1)",
        ];
        let mut texts: Vec<String> = ["power on", "stop program", "brake release"].map(|text| format!("{text}\n")).into();
        for one in deeds {
            texts.push(format!("{one}\n"));
            for head in ["def", "sec"] {
                texts.extend(deeds.iter().map(|other| format!("{head} p():\n {one}\n {other}\nend\n")));
            }
        }
        for text in texts {
            let mut scanner = urscript::Scanner::default();
            let Ok(Step::Whole { unit, .. }) = scanner.step(text.as_bytes(), urscript::Dialect::Client) else { panic!("{text}") };
            let command = Command::UrScript(unit);
            for state in states() {
                for from in [1_u8, 9] {
                    let same = allowed(&old, from, &command, &state) == allowed(&new, from, &command, &state);
                    prop_assert!(same || names(&told, from), "{} {}\n{}\n---\n{}", from, text, before.concat(), after.concat());
                }
            }
        }
    }

    #[test]
    fn rtde_differences_are_those_that_trying_all_finds(
        before in rules("rtde", rtde_keys(), 3), after in rules("rtde", rtde_keys(), 3),
    ) {
        let (old, new) = (compile(&before.concat()), compile(&after.concat()));
        let told = told(&old, &new);
        let check = |request: rtde::Request<'_>| {
            let command = Command::Rtde(request);
            for state in states() {
                for from in [1_u8, 9] {
                    let same = allowed(&old, from, &command, &state) == allowed(&new, from, &command, &state);
                    assert!(same || names(&told, from), "{from} {request:?}\n{}\n---\n{}", before.concat(), after.concat());
                }
            }
        };
        check(rtde::Request::Start);
        let outputs = ["timestamp", "actual_q", "robot_mode", "actual_qd", ""];
        for list in outputs.iter().flat_map(|one| outputs.map(|other| format!("{one},{other}"))) {
            for frequency_hz in [Some(1.0), Some(10.5), Some(125.0), Some(126.0), Some(500.0), None] {
                check(rtde::Request::SetupOutputs { frequency_hz, names: rtde::Names(list.as_bytes()) });
            }
        }
        let inputs = ["standard_digital_output", "standard_digital_output_mask", "input_int_register_24", "speed_slider_mask", "no_input"];
        for list in inputs.iter().flat_map(|one| inputs.map(|other| format!("{one},{other}"))) {
            check(rtde::Request::SetupInputs { names: rtde::Names(list.as_bytes()) });
        }
        let mut session = Session::new(&["standard_digital_output", "input_int_register_24"]);
        for (bits, number) in (0..8_u8).flat_map(|bits| (-1..8_i32).map(move |number| (bits, number))) {
            session.write(&[rtde::Value::Uint8(bits), rtde::Value::Int32(number)], check);
        }
        let mut session = Session::new(&["standard_digital_output"]);
        (0..8_u8).for_each(|bits| session.write(&[rtde::Value::Uint8(bits)], check));
    }
}

/// A session with one recipe of inputs.
struct Session(Box<rtde::Session>);

impl Session {
    fn new(inputs: &[&str]) -> Self {
        let mut own = Self(Box::new(rtde::Session::new()));
        let mut buffer = [0; 2048];
        let len = rtde::Request::ProtocolVersion(2).emit(rtde::Version::V1, &mut buffer).unwrap();
        own.pass(&buffer[..len], Toward::Robot);
        let len = rtde::Reply::ProtocolVersion { accepted: true }.emit(rtde::Version::V1, &mut buffer).unwrap();
        own.pass(&buffer[..len], Toward::Plant);
        let len = rtde::emit::setup_inputs(inputs.iter().map(|name| name.as_bytes()), &mut buffer).unwrap();
        own.pass(&buffer[..len], Toward::Robot);
        let types = inputs
            .iter()
            .map(|name| rtde::ReplyType::Data(rtde::Variable::named(name.as_bytes()).data_type().unwrap()));
        let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
        own.pass(&buffer[..len], Toward::Plant);
        own
    }

    fn pass(&mut self, bytes: &[u8], toward: Toward) {
        let Step::Whole { unit, .. } = rtde::Package::step(bytes, toward).unwrap() else { panic!("partial") };
        match toward {
            Toward::Robot => self.0.request(&unit).unwrap(),
            Toward::Plant => drop(self.0.reply(&unit).unwrap()),
        }
    }

    fn write(&mut self, values: &[rtde::Value], then: impl Fn(rtde::Request<'_>)) {
        let mut buffer = [0; 2048];
        let len = rtde::emit::data(Some(1), values.iter().copied(), &mut buffer).unwrap();
        let Step::Whole { unit, .. } = rtde::Package::step(&buffer[..len], Toward::Robot).unwrap() else {
            panic!("partial")
        };
        then(rtde::Request::read(&unit, &self.0).unwrap());
    }
}
