//! URScript: by kind, hash, the functions that are called and with what, assignments and targets of connections.

use std::collections::{BTreeMap, BTreeSet};

use urscript::{Category, Kind, Signature};

use super::sample::Script;
use super::{Block, Sample, ScriptCuts, Space};
use crate::command::{Class, Service};
use crate::policy::urscript::Digest;

/// Most ways to call one function that are looked at.
const CALLS: usize = 2048;

/// Statements of one script, at most.
const STATEMENTS: usize = 200;

/// Functions that open a connection, with a call of each: `{}` stands for the target.
const CONNECTS: [(&str, &str); 5] = [
    ("socket_open", "socket_open({})"),
    ("modbus_add_signal", "modbus_add_signal({}, 1, 2, 3, \"s\")"),
    ("modbus_add_rw_signal", "modbus_add_rw_signal({}, 1, 2, 3, \"s\")"),
    ("modbus_send_custom_command", "modbus_send_custom_command({}, 1, 2, [3])"),
    ("rpc_factory", "rpc_factory(\"xmlrpc\", {})"),
];

/// One thing that a script can do.
struct Deed {
    statement: String,
    local: Option<String>,
}

/// Adds the units.
pub(super) fn add(space: &mut Space, cuts: &ScriptCuts<'_>) {
    let deeds = deeds(space, cuts);
    let hashes: Vec<Option<[u8; 32]>> =
        std::iter::once(None).chain(cuts.programs.iter().map(Digest::example).map(Some)).collect();
    for kind in [Kind::Program, Kind::Secondary, Kind::Statement, Kind::Interpreter] {
        for hash in &hashes {
            let script = |statements: Vec<String>, locals: Vec<String>| {
                Sample::Script(Script { kind, statements, locals, hash: *hash })
            };
            let what = match hash {
                None => kind.name().to_owned(),
                Some(hash) => format!("{} {}", kind.name(), super::text::brief(hash)),
            };
            let defines = matches!(kind, Kind::Program | Kind::Secondary);
            let fits = deeds.iter().filter(|deed| defines || deed.local.is_none());
            let elements = fits.map(|deed| script(vec![deed.statement.clone()], deed.local.iter().cloned().collect()));
            let mut block = Block::single(Service::UrScript, what.clone(), elements.collect());
            block.most = STATEMENTS;
            space.blocks.push(block);
            let nothing = if defines { Vec::new() } else { vec!["x = 1".to_owned()] };
            space.blocks.push(Block::single(Service::UrScript, what, vec![script(nothing, Vec::new())]));
        }
    }
    let bare = urscript::BARE_COMMANDS.iter().map(|name| if *name == "set speed" { "set speed 0.5" } else { name });
    let one = |kind, text: &str| {
        Sample::Script(Script { kind, statements: vec![text.to_owned()], locals: Vec::new(), hash: None })
    };
    for name in bare {
        space.blocks.push(Block::single(Service::UrScript, name, vec![one(Kind::Bare, name)]));
    }
    for name in urscript::INTERPRETER_CONTROLS {
        space.blocks.push(Block::single(Service::UrScript, *name, vec![one(Kind::Interpreter, name)]));
    }
    space.blocks.push(Block::single(Service::UrScript, "a blank line", vec![one(Kind::Blank, "# nothing")]));
}

fn deeds(space: &mut Space, cuts: &ScriptCuts<'_>) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let mut does = |statement: String| deeds.push(Deed { statement, local: None });
    let bounded: BTreeSet<&str> = cuts.bounds.iter().flat_map(|bounds| bounds.functions()).collect();
    let listed = cuts.functions.iter().filter_map(|name| std::str::from_utf8(name).ok());
    let names: BTreeSet<&str> = listed.chain(bounded.iter().copied()).collect();
    let mut locals = Vec::new();
    for name in &names {
        if name.contains('.') {
            does(format!("{name}()"));
            continue;
        }
        for arguments in calls(space, cuts, name) {
            does(format!("{name}({arguments})"));
        }
        // An index before the bracket: what is called then is not known.
        does(format!("{name}[0]()"));
        if Category::functions().binary_search_by_key(name, |(known, _)| known).is_err() {
            locals.push((*name).to_owned());
        }
    }
    // Of the functions that no rule names, one of each class.
    let mut classes: BTreeMap<Option<Class>, &str> = BTreeMap::new();
    for (name, category) in Category::functions() {
        let is_statement = matches!(*name, "halt" | "run" | "kill" | "join" | "enter_critical" | "exit_critical");
        if !names.contains(name) && !is_statement && !CONNECTS.iter().any(|(function, _)| function == name) {
            classes.entry(Class::of_call(name.as_bytes(), *category)).or_insert(name);
        }
    }
    classes.values().for_each(|name| does(format!("{name}()")));
    let unheard = (0_u32..).map(|number| format!("unheard_of_{number}")).find(|name| !names.contains(name.as_str()));
    unheard.into_iter().for_each(|name| does(format!("{name}()")));
    does("unheard_of.method()".to_owned());
    for target in ["digital_out", "analog_out", "other_list"] {
        if !cuts.assigns.contains(target.as_bytes()) {
            does(format!("{target}[0] = 1"));
        }
    }
    for target in cuts.assigns.iter().filter_map(|target| std::str::from_utf8(target).ok()) {
        does(format!("{target}[0] = 1"));
    }
    if !cuts.targets.is_empty() {
        connections(cuts).into_iter().for_each(does);
    }
    deeds.extend(locals.into_iter().map(|name| Deed { statement: format!("{name}()"), local: Some(name) }));
    deeds
}

/// Calls that connect to what rules name, to something else, and to what no text proves.
fn connections(cuts: &ScriptCuts<'_>) -> Vec<String> {
    let listed: BTreeSet<&str> = cuts.targets.iter().filter_map(|target| std::str::from_utf8(target).ok()).collect();
    let mut hosts: BTreeSet<&str> = listed.clone();
    let mut ports: BTreeSet<&str> = BTreeSet::from(["9"]);
    for target in &listed {
        if let Some((host, port)) = target.rsplit_once(':') {
            hosts.insert(host);
            ports.insert(port);
        }
    }
    hosts.insert("192.0.2.1");
    let mut calls = Vec::new();
    for (function, call) in CONNECTS {
        calls.push(call.replace("{}", "unproven"));
        for host in &hosts {
            if function == "socket_open" {
                calls.push(format!("socket_open(\"{host}\", unproven)"));
                calls.extend(ports.iter().map(|port| format!("socket_open(\"{host}\", {port})")));
            } else {
                calls.push(call.replace("{}", &format!("\"{host}\"")));
            }
        }
    }
    calls
}

/// Arguments of a function, one text for each kind that its bounds tell apart.
fn calls(space: &mut Space, cuts: &ScriptCuts<'_>, name: &str) -> Vec<String> {
    let mut by_place: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for bounds in &cuts.bounds {
        for place in bounds.places(name.as_bytes()) {
            by_place.entry(place).or_default();
        }
    }
    let Some(signature) = Signature::of(name.as_bytes()).filter(|_| !by_place.is_empty()) else {
        return vec![String::new()];
    };
    for (place, texts) in &mut by_place {
        *texts = crate::policy::bounds::texts(&cuts.bounds, name.as_bytes(), *place, CALLS);
        texts.push("unproven".to_owned());
    }
    let total = by_place.values().fold(1_usize, |total, texts| total.saturating_mul(texts.len()));
    let named = |place: usize, text: &str| {
        signature.parameters.get(place).map(|parameter| format!("{}={text}", parameter.name)).unwrap_or_default()
    };
    let mut calls: Vec<Vec<String>> = vec![Vec::new()];
    if total <= CALLS {
        for (place, texts) in &by_place {
            calls = calls
                .iter()
                .flat_map(|call| {
                    texts.iter().map(move |text| call.iter().cloned().chain([named(*place, text)]).collect())
                })
                .collect();
        }
    } else {
        space.limit(&format!("URScript: {name} has too many bounds; not all mixtures of arguments were looked at"));
        let first = |texts: &Vec<String>| texts.first().cloned().unwrap_or_default();
        calls = by_place
            .iter()
            .flat_map(|(varied, texts)| texts.iter().map(move |text| (varied, text)))
            .map(|(varied, text)| {
                let argument = |(place, texts): (&usize, &Vec<String>)| {
                    named(*place, &if place == varied { text.clone() } else { first(texts) })
                };
                by_place.iter().map(argument).collect()
            })
            .collect();
    }
    // A call whose arguments can't be told apart.
    let odd = "1, 2, 3, 4, 5, 6, 7, 8, 9".to_owned();
    calls.into_iter().map(|call| call.join(", ")).chain([odd]).collect()
}
