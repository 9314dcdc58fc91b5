use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use super::observe::{Behaviour, Count, Group, Observations, Row, Values};
use crate::command::Service;

/// What a proposal is written with.
#[derive(Clone, Debug, Default)]
pub struct ProposalOptions {
    /// The robot as the policy names it.
    pub robot: String,
    /// Names of addresses.
    pub assets: Vec<(String, IpAddr)>,
    /// Whether dangerous commands are proposed enabled.
    pub trust: bool,
    /// Copies of frames that the learner did not get.
    pub lost_frames: u64,
    /// Who made it from what, for the first line.
    pub made: String,
}

/// One rule to be written.
#[derive(Default)]
struct Rule {
    keys: Vec<String>,
    tables: Vec<String>,
    notes: Vec<String>,
    count: Count,
    dangerous: bool,
}

impl Observations {
    /// The policy that allows what was seen, as TOML for people to review.
    #[must_use]
    pub fn propose(&self, options: &ProposalOptions) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# Proposed by {}. Review every rule before it is applied.", comment(&options.made));
        if options.lost_frames > 0 {
            let _ = writeln!(out, "# {} frames were not seen: the proposal may be incomplete.", options.lost_frames);
        }
        if self.dropped > 0 {
            let _ = writeln!(out, "# {} observations of further clients found no room: was this a scan?", self.dropped);
        }
        out += "#\n# Coverage (Good-Turing): the share of commands whose behaviour was seen more than once. Below 0.99, learn longer.\n";
        for ((peer, egress, service), group) in &self.groups {
            if group.commands.count > 0 {
                let who = options.name(*peer, *egress);
                let once = group.rows.values().filter(|row| row.count.count == 1).count();
                let total = group.rows.values().fold(0_u64, |sum, row| sum.saturating_add(row.count.count)).max(1);
                let _ = writeln!(
                    out,
                    "#   {service} from {who}: {} commands, {} behaviours, coverage {:.3}{}",
                    group.commands.count,
                    group.rows.len(),
                    coverage(once, total),
                    if group.dropped > 0 { ", more than could be kept" } else { "" }
                );
            }
        }
        let _ = writeln!(out, "\nversion = 1\nrobot = {}", quoted(&options.robot));
        let mut ids = BTreeSet::new();
        let mut off = String::new();
        for ((peer, egress, service), group) in &self.groups {
            for rule in rules(*service, *egress, group) {
                let text = options.rule(&rule, *peer, *egress, *service, &mut ids);
                if rule.dangerous && !options.trust {
                    for line in text.lines() {
                        let _ = writeln!(off, "# {line}");
                    }
                    off.push('\n');
                } else {
                    out.push('\n');
                    out += &text;
                }
            }
            for line in odd(group) {
                let _ = writeln!(off, "# {service} from {}: {line}", options.name(*peer, *egress));
            }
        }
        if !off.is_empty() {
            out += "\n# Seen, but switched off: commands that release safety, grant rights, stop the plant or have no known effect,\n";
            out += "# and texts that no rule can allow. Take the # away only where the robot's work needs it.\n#\n";
            out += &off;
        }
        out
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, three digits")]
fn coverage(once: usize, total: u64) -> f64 {
    1.0 - once as f64 / total as f64
}

impl ProposalOptions {
    fn name(&self, address: IpAddr, egress: bool) -> String {
        let named = self.assets.iter().find(|(_, known)| *known == address).map(|(name, _)| name.clone());
        let name = named.unwrap_or_else(|| address.to_string());
        if egress { format!("the robot to {name}") } else { name }
    }

    fn rule(&self, rule: &Rule, peer: IpAddr, egress: bool, service: Service, ids: &mut BTreeSet<String>) -> String {
        let who = self.name(peer, false);
        let base =
            format!("{}{who}-{service}", if egress { "robot-to-" } else { "" }).replace(['/', ' ', '.', ':'], "-");
        let id = (1_u32..).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
        let id = id.into_iter().find(|id| !ids.contains(id)).unwrap_or(base);
        let mut text = String::new();
        for note in &rule.notes {
            let _ = writeln!(text, "# {note}");
        }
        let _ = writeln!(text, "[[allow]]\nid = {}", quoted(&id));
        if egress {
            let _ = writeln!(text, "from = {}\nto = {}", quoted(&self.robot), quoted(&who));
        } else {
            let _ = writeln!(text, "from = {}", quoted(&who));
        }
        let _ = writeln!(text, "service = {}", quoted(&service.to_string()));
        rule.keys.iter().for_each(|key| text += &format!("{key}\n"));
        let Count { count, first_ns, last_ns } = rule.count;
        let _ = writeln!(
            text,
            "seen = {{ count = {count}, first = \"{}\", last = \"{}\" }}",
            time(first_ns),
            time(last_ns)
        );
        rule.tables.iter().for_each(|table| text += &format!("{table}\n"));
        ids.insert(id);
        text
    }
}

fn time(wall_ns: u64) -> String {
    let second = i64::try_from(wall_ns.checked_div(1_000_000_000).unwrap_or(0)).unwrap_or(0);
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// A TOML string of any text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quoted_bytes(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(bytes))
}

/// Text inside a comment: one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn rules(service: Service, egress: bool, group: &Group) -> Vec<Rule> {
    if egress || !service.is_dissected() {
        let count = group.rows.values().fold(Count::default(), |all, row| all.with(row.count));
        return vec![Rule { count, ..Rule::default() }];
    }
    match service {
        Service::Modbus => modbus(group),
        Service::Rtde => rtde(group),
        Service::Dashboard => dashboard(group),
        _ => urscript(group),
    }
}

/// One rule a function and sub-function, over the addresses and values seen with it.
fn modbus(group: &Group) -> Vec<Rule> {
    #[derive(Default)]
    struct Shape {
        rule: Rule,
        units: BTreeSet<u8>,
        reads: Vec<(u16, u16)>,
        writes: Vec<(u16, u16)>,
        values: Values,
        rows: u64,
    }
    let mut shapes: BTreeMap<(u8, Option<u16>), Shape> = BTreeMap::new();
    for (behaviour, row) in &group.rows {
        let Behaviour::Modbus { function, unit, sub_function, read, write } = behaviour else { continue };
        let shape = shapes.entry((*function, *sub_function)).or_default();
        shape.rule.count = shape.rule.count.with(row.count);
        shape.rule.dangerous |= row.dangerous;
        shape.units.insert(*unit);
        shape.reads.extend(read);
        shape.writes.extend(write);
        shape.values.join(&row.values);
        shape.rows = shape.rows.saturating_add(1);
    }
    let finish = |((function, sub_function), shape): ((u8, Option<u16>), Shape)| {
        let Shape { mut rule, units, reads, writes, values, rows, .. } = shape;
        let name = modbus::FunctionCode(function).name();
        rule.keys.push(format!("function = [{}]", quoted(name)));
        rule.keys.extend(sub_function.map(|code| format!("sub_function = [{code}]")));
        rule.keys.push(format!("unit = {}", list(units.iter().map(ToString::to_string))));
        let spans = |spans: Vec<(u16, u16)>| list(merged(spans).into_iter().map(|(a, b)| format!("\"{a}..={b}\"")));
        match (reads.is_empty(), writes.is_empty()) {
            (false, false) => {
                rule.keys.push(format!("read_address = {}", spans(reads)));
                rule.keys.push(format!("write_address = {}", spans(writes)));
            }
            (false, true) => rule.keys.push(format!("address = {}", spans(reads))),
            (true, false) => rule.keys.push(format!("address = {}", spans(writes))),
            (true, true) => {}
        }
        let mask = modbus::FunctionCode(function) == modbus::FunctionCode::MASK_WRITE_REGISTER;
        if let Some((low, high)) = values.range {
            if values.many || mask {
                rule.keys.push(format!("value = \"{low}..={high}\""));
                rule.notes
                    .push("value: covers more than was seen, the whole range between the least and the most.".into());
            } else {
                rule.keys.push(format!("value = {}", list(values.listed.iter().map(ToString::to_string))));
            }
        }
        if rows > 1 {
            rule.notes
                .push(format!("{rows} different requests; covers their addresses and values in any combination."));
        }
        rule
    };
    shapes.into_iter().map(finish).collect()
}

/// Ranges put together where they touch or overlap.
fn merged(mut spans: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    spans.sort_unstable();
    let mut all: Vec<(u16, u16)> = Vec::new();
    for (first, last) in spans {
        match all.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => all.push((first, last)),
        }
    }
    all
}

/// One rule of the commands without argument, and one a command with its arguments.
fn dashboard(group: &Group) -> Vec<Rule> {
    let mut plain: [Rule; 2] = Default::default();
    let mut with: BTreeMap<&str, (Rule, Vec<String>)> = BTreeMap::new();
    let mut names: [Vec<String>; 2] = Default::default();
    for (behaviour, row) in &group.rows {
        let Behaviour::Dashboard { verb, argument } = behaviour else { continue };
        if argument.is_empty() {
            let place = usize::from(row.dangerous);
            if let (Some(rule), Some(names)) = (plain.get_mut(place), names.get_mut(place)) {
                rule.count = rule.count.with(row.count);
                rule.dangerous = row.dangerous;
                names.push(quoted(verb));
            }
        } else {
            let (rule, arguments) = with.entry(verb).or_default();
            rule.count = rule.count.with(row.count);
            rule.dangerous |= row.dangerous;
            arguments.push(quoted_bytes(argument));
        }
    }
    let mut all = Vec::new();
    for (mut rule, names) in plain.into_iter().zip(names) {
        if !names.is_empty() {
            rule.keys.push(format!("command = {}", list(names)));
            all.push(rule);
        }
    }
    for (verb, (mut rule, arguments)) in with {
        rule.keys.push(format!("command = [{}]", quoted(verb)));
        rule.keys.push(format!("argument = {}", list(arguments)));
        all.push(rule);
    }
    all
}

/// One rule: what is read, how often, what is written.
fn rtde(group: &Group) -> Vec<Rule> {
    let mut rule = Rule { count: group.commands, ..Rule::default() };
    let mut outputs = Vec::new();
    let mut inputs = Vec::new();
    for (behaviour, row) in &group.rows {
        match behaviour {
            Behaviour::RtdeOutput(name) => outputs.push(quoted_bytes(name)),
            Behaviour::RtdeInput(name) if rtde::Variable::named(name).is_input() => {
                inputs.push(input(name, row, &mut rule))
            }
            _ => {}
        }
    }
    rule.keys.push(format!("outputs = {}", list(outputs)));
    if let Some((low, high)) = group.frequency.range {
        rule.keys.push(format!("frequency = \"{low:?}..={high:?}\""));
    }
    if !inputs.is_empty() {
        rule.tables.push("[allow.inputs]".into());
        rule.tables.extend(inputs);
        let drives =
            group.rows.keys().any(|row| matches!(row, Behaviour::RtdeInput(name) if name.starts_with(b"input_")));
        if drives {
            rule.notes.push(
                "Registers written here steer the program that runs: what they do is the program's business.".into(),
            );
        }
    } else {
        rule.tables.push("[allow.inputs]".into());
    }
    vec![rule]
}

fn input(name: &[u8], row: &Row, rule: &mut Rule) -> String {
    let name = String::from_utf8_lossy(name);
    let Some((low, high)) = row.values.range else {
        // Set up and never written.
        return format!("{name} = {{ value = [] }}");
    };
    if row.values.many {
        rule.notes.push(format!("{name}: covers more than was seen, the whole range between the least and the most."));
        return format!("{name} = {{ value = \"{low:?}..={high:?}\" }}");
    }
    let whole = row.values.listed.iter().all(|value| value.fract() == 0.0 && value.abs() < 1e15);
    let show = |value: &f64| if whole { format!("{value}") } else { format!("{value:?}") };
    format!("{name} = {{ value = {} }}", list(row.values.listed.iter().map(show)))
}

/// Programs by hash, statements by what they call, bare commands by name.
fn urscript(group: &Group) -> Vec<Rule> {
    #[derive(Default)]
    struct Of {
        rule: Rule,
        hashes: Vec<String>,
        functions: Vec<String>,
        assigns: Vec<String>,
        bare: Vec<String>,
    }
    let mut kinds: BTreeMap<(&str, bool, bool), Of> = BTreeMap::new();
    for (behaviour, row) in &group.rows {
        let (kind, hashed) = match behaviour {
            Behaviour::Script { kind, .. } => (*kind, true),
            Behaviour::Function { kind, .. } | Behaviour::Assign { kind, .. } => (*kind, false),
            Behaviour::Bare(_) => ("bare", false),
            _ => continue,
        };
        let of = kinds.entry((kind, hashed, row.dangerous)).or_default();
        of.rule.count = of.rule.count.with(row.count);
        of.rule.dangerous = row.dangerous;
        match behaviour {
            Behaviour::Script { hash, name, .. } => {
                let text = String::from_utf8_lossy(name);
                of.rule.notes.push(format!("{}: {}", crate::policy::hash_text(hash), comment(&text)));
                of.hashes.push(quoted(&crate::policy::hash_text(hash)));
            }
            Behaviour::Function { name, .. } => of.functions.push(quoted_bytes(name)),
            Behaviour::Assign { target, .. } => of.assigns.push(quoted_bytes(target)),
            Behaviour::Bare(name) => of.bare.push(quoted(name)),
            _ => {}
        }
    }
    let finish = |((kind, hashed, _), of): ((&str, bool, bool), Of)| {
        let Of { mut rule, hashes, functions, assigns, bare } = of;
        rule.keys.push(format!("kind = [{}]", quoted(kind)));
        if hashed {
            rule.keys.push(format!("program = {}", list(hashes)));
        } else if kind == "bare" {
            rule.keys.push(format!("bare = {}", list(bare)));
        } else {
            rule.keys.push(format!("function = {}", list(functions)));
            rule.keys.push(format!("assign = {}", list(assigns)));
            rule.notes.push("covers these functions with any arguments: more than was seen.".into());
        }
        rule
    };
    kinds.into_iter().map(finish).collect()
}

/// What was seen and can't be allowed by any rule.
fn odd(group: &Group) -> Vec<String> {
    let line = |(behaviour, row): (&Behaviour, &Row)| {
        let count = row.count.count;
        let text = |bytes: &[u8]| comment(&String::from_utf8_lossy(bytes));
        match behaviour {
            Behaviour::DashboardOdd(line) => Some(format!("{count} times a line outside the grammar: {}", text(line))),
            Behaviour::ScriptOdd(line) => Some(format!("{count} times a text with two readings: {}", text(line))),
            Behaviour::RtdeUnknownData => Some(format!("{count} data packages of a recipe whose set-up was not seen")),
            Behaviour::RtdeMessage => Some(format!("{count} text messages")),
            Behaviour::RtdeInput(name) if !rtde::Variable::named(name).is_input() => {
                Some(format!("{count} times an input in no table: {}", text(name)))
            }
            _ => None,
        }
    };
    group.rows.iter().filter_map(line).collect()
}
