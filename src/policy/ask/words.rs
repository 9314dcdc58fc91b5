//! The words that a question can be made of: names out of the tables of every protocol, and what people call things.

use external_control::Function;
use modbus::{FunctionCode, Preset, Table, ur};
use rtde::Variable;
use urscript::Category;

use super::filter::Filter;
use crate::command::{Class, Service};
use crate::policy::ranges::Ranges;

/// What people say, and the names that they mean by it: everything that causes the same.
/// Source: the command tables; which bare command does what a verb of the Dashboard does is told by their words alone.
const CONCEPTS: [(&[&str], &[&str]); 12] = [
    (
        &["brake release", "release brakes", "release the brakes", "brakes", "release the brake"],
        &["dashboard brake release", "bare brake release", "bare set robotmode run"],
    ),
    (
        &["unlock protective stop", "unlock", "unlock the protective stop", "release protective stop"],
        &["dashboard unlock protective stop", "bare set unlock protective stop"],
    ),
    (&["restart safety", "safety restart", "reset safety"], &["dashboard restart safety", "bare restart safetyboard"]),
    (&["power on", "switch on"], &["dashboard power on", "bare power on", "bare set robotmode run"]),
    (&["power off", "switch off"], &["dashboard power off", "bare power off"]),
    (&["play", "start program", "run program"], &["dashboard play", "bare run program", "bare resume program"]),
    (&["move", "move the arm", "move the robot", "moves", "motion"], &["class motion"]),
    (&["outputs", "digital outputs", "set outputs", "io"], &["class io"]),
    (
        &["speed", "speed slider", "set speed"],
        &["input speed_slider_fraction", "input speed_slider_mask", "bare set speed"],
    ),
    (&["shut down", "shutdown", "powerdown"], &["class shutdown"]),
    (&["load program", "load a program", "change the program", "run a program"], &["class program"]),
    (&["anything", "everything", "at all"], &[]),
];

/// Modes that external control has.
const MODES: [&str; 9] = ["stop", "idle", "servoj", "speedj", "forward", "speedl", "pose", "freedrive", "torque"];

/// Ports that people call by a name. Source: IANA.
const PORTS: [(&str, Service); 8] = [
    ("ssh", Service::Tcp(22)),
    ("sftp", Service::Tcp(22)),
    ("ftp", Service::Tcp(21)),
    ("http", Service::Tcp(80)),
    ("https", Service::Tcp(443)),
    ("vnc", Service::Tcp(5900)),
    ("ntp", Service::Udp(123)),
    ("ethernet/ip", Service::Tcp(44_818)),
];

/// Lower case, single blanks, no underscores or hyphens: so that names compare as people say them.
pub(super) fn plain(text: &str) -> String {
    let blank = |c: char| if c == '_' || c == '-' { ' ' } else { c.to_ascii_lowercase() };
    text.chars().map(blank).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every name with the table that it stands in and the commands that it means.
pub(super) fn names() -> Vec<(&'static str, String, Filter)> {
    let none = Filter::default;
    let mut names: Vec<(&'static str, String, Filter)> = Vec::new();
    for service in super::DISSECTED {
        names.push(("service", service.to_string(), Filter { service: Some(service), ..none() }));
    }
    for class in Class::ALL {
        names.push(("class", class.name().to_owned(), Filter { class: Some(class), ..none() }));
    }
    for verb in dashboard::Verb::all() {
        let filter = Filter { service: Some(Service::Dashboard), verb: Some(verb.name), ..none() };
        names.push(("dashboard", verb.name.to_owned(), filter));
    }
    for bare in urscript::BARE_COMMANDS {
        names.push((
            "bare",
            (*bare).to_owned(),
            Filter { service: Some(Service::UrScript), bare: Some(bare), ..none() },
        ));
    }
    let modbus = || Filter { service: Some(Service::Modbus), ..none() };
    for code in (1..=127).map(FunctionCode).filter(|code| FunctionCode::names().any(|name| name == code.name())) {
        names.push(("modbus", code.name().to_owned(), Filter { functions: Some(1 << code.0), ..modbus() }));
    }
    for preset in Preset::ALL {
        let codes =
            (1..=127_u8).filter(|code| preset.has(FunctionCode(*code))).fold(0, |set, code| set | 1_u128 << code);
        names.push(("modbus", preset.name().to_owned(), Filter { functions: Some(codes), ..modbus() }));
    }
    for (table, registers) in [(Table::HoldingRegisters, true), (Table::Coils, false)] {
        for (name, range) in ur::names(table).filter_map(|name| Some((name, ur::addresses(table, name)?))) {
            let address = Some(Ranges::new(vec![range]));
            names.push(("register", name.to_owned(), Filter { address, registers: Some(registers), ..modbus() }));
        }
    }
    let rtde = || Filter { service: Some(Service::Rtde), ..none() };
    for variable in Variable::all() {
        if variable.is_input() {
            names.push(("input", variable.name().to_owned(), Filter { input: Some(variable), ..rtde() }));
        }
        if variable.is_output() {
            let output = Some(variable.name().to_owned());
            names.push(("output", variable.name().to_owned(), Filter { output, ..rtde() }));
        }
    }
    for (function, _) in Category::functions() {
        names.push(("urscript", (*function).to_owned(), Filter { call: Some((*function).to_owned()), ..none() }));
    }
    let external = || Filter { service: Some(Service::ExternalControl), ..none() };
    for mode in MODES {
        names.push(("mode", mode.to_owned(), Filter { mode: Some(mode), ..external() }));
    }
    for order in Function::ALL {
        names.push(("external_control", order.name().to_owned(), Filter { order: Some(order), ..external() }));
    }
    for (name, port) in PORTS {
        names.push(("port", name.to_owned(), Filter { port: Some(port), ..none() }));
    }
    names
}

/// The commands that some words mean.
///
/// # Errors
/// None do: with the names that are nearest.
pub(super) fn meant(words: &str) -> Result<Vec<Filter>, String> {
    let asked = bare_words(words);
    let names = names();
    let by_name = |wanted: &str| {
        names.iter().filter(|(_, name, _)| plain(name) == wanted).map(|(.., filter)| filter.clone()).collect::<Vec<_>>()
    };
    let mut found = by_name(&asked);
    if let Some((_, means)) = CONCEPTS.iter().find(|(said, _)| said.contains(&asked.as_str())) {
        if means.is_empty() {
            return Ok(vec![Filter::default()]);
        }
        for (table, name) in means.iter().filter_map(|name| name.split_once(' ')) {
            found.extend(
                names
                    .iter()
                    .filter(|(own, known, _)| *own == table && known == name)
                    .map(|(.., filter)| filter.clone()),
            );
        }
    }
    if let Some(port) = port(&asked) {
        found.push(Filter { port: Some(port), ..Filter::default() });
    }
    let mut distinct: Vec<Filter> = Vec::new();
    for filter in found {
        if !distinct.contains(&filter) {
            distinct.push(filter);
        }
    }
    if distinct.is_empty() { Err(unknown(&asked, None)) } else { Ok(distinct) }
}

/// A question without what makes it one: `who can ever cause brake release?` asks about `brake release`.
fn bare_words(words: &str) -> String {
    let mut asked = plain(words.trim_end_matches(['?', '.', '!', ' ']));
    for head in ["who can", "who could", "who may", "who", "ever", "cause", "send", "call", "write", "a", "an", "the"] {
        if let Some(rest) = asked.strip_prefix(head).and_then(|rest| rest.strip_prefix(' ')) {
            asked = rest.to_owned();
        }
    }
    asked
}

/// `tcp/22`, `udp/123`, `port 22`.
pub(super) fn port(text: &str) -> Option<Service> {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    if text == "icmp" {
        return Some(Service::Icmp);
    }
    if let Some(rest) = text.strip_prefix("udp/") {
        return number(rest).map(Service::Udp);
    }
    let rest = text.strip_prefix("tcp/").or_else(|| text.strip_prefix("port ")).unwrap_or("");
    number(rest).map(Service::Tcp)
}

/// What is said where no name of a table (or of any) is meant.
pub(super) fn unknown(asked: &str, tables: Option<&[&str]>) -> String {
    let names = names();
    let listed = names.iter().filter(|(table, ..)| tables.is_none_or(|tables| tables.contains(table)));
    let mut known: Vec<&str> = listed.map(|(_, name, _)| name.as_str()).collect();
    if tables.is_none() {
        known.extend(CONCEPTS.iter().flat_map(|(said, _)| said.iter().copied()));
    }
    let asked = plain(asked);
    let score = |name: &str| {
        let name = plain(name);
        let holds = asked.len() > 2 && (name.contains(&asked) || asked.split(' ').all(|word| name.contains(word)));
        strsim::jaro_winkler(&asked, &name) + if holds { 1.0 } else { 0.0 }
    };
    let mut scored: Vec<(f64, &str)> = known.into_iter().map(|name| (score(name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    let near: Vec<String> =
        scored.into_iter().take(3).filter(|(score, _)| *score >= 0.6).map(|(_, name)| format!("\"{name}\"")).collect();
    let mend = if near.is_empty() {
        "name a command, a class, a register or a function".to_owned()
    } else {
        format!("the nearest are {}", near.join(", "))
    };
    format!("nothing is called \"{asked}\"; {mend}")
}
