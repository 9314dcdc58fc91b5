use std::net::IpAddr;

use super::super::observe::Count;

/// Longest line of a list; longer ones get a line an item.
const LINE: usize = 110;

/// A TOML string of any text, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

pub(super) fn quoted_bytes(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(bytes))
}

/// Text inside a comment: one line.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// An element of a list with how often it was seen and what else is to be said of it.
pub(super) struct Item {
    pub(super) text: String,
    pub(super) count: u64,
    pub(super) remark: String,
}

impl Item {
    pub(super) fn new(text: String, count: u64) -> Self {
        Self { text, count, remark: String::new() }
    }
}

/// `key = [...]`; with a line an item where some were seen once among others seen more often, or need a remark.
pub(super) fn counted(key: &str, items: &[Item]) -> String {
    let often = items.iter().any(|item| item.count > 1);
    let remark = |item: &Item| match (often && item.count == 1, item.remark.is_empty()) {
        (true, true) => "seen once".to_owned(),
        (true, false) => format!("seen once; {}", item.remark),
        (false, _) => item.remark.clone(),
    };
    let line = format!("{key} = {}", list(items.iter().map(|item| item.text.clone())));
    if line.len() <= LINE && items.iter().all(|item| remark(item).is_empty()) {
        return line;
    }
    let mut text = format!("{key} = [\n");
    for item in items {
        let remark = remark(item);
        let remark = if remark.is_empty() { remark } else { format!("  # {}", comment(&remark)) };
        text += &format!("  {},{remark}\n", item.text);
    }
    text + "]"
}

/// `key = [...]` over as many lines as it takes, counts aside.
pub(super) fn wrapped(key: &str, items: &[String]) -> String {
    let line = format!("{key} = {}", list(items.iter().cloned()));
    if line.len() <= LINE {
        return line;
    }
    let mut lines = vec![String::from(" ")];
    for item in items {
        match lines.last_mut() {
            Some(line) if line.len().saturating_add(item.len()) < LINE => *line += &format!(" {item},"),
            _ => lines.push(format!("  {item},")),
        }
    }
    format!("{key} = [\n{}\n]", lines.join("\n"))
}

/// The same for numbers: a range alone needs no list.
pub(super) fn numbers(key: &str, items: &[Item]) -> String {
    match items {
        [only] if only.text.starts_with('"') => format!("{key} = {}", only.text),
        _ => counted(key, items),
    }
}

pub(super) fn time(wall_ns: u64) -> String {
    let second = i64::try_from(wall_ns.checked_div(1_000_000_000).unwrap_or(0)).unwrap_or(0);
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// One rule to be written.
#[derive(Default)]
pub(super) struct Rule {
    pub(super) keys: Vec<String>,
    pub(super) tables: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) count: Count,
    /// Whether it is written switched off.
    pub(super) off: bool,
}

impl Rule {
    /// The rule as TOML; `ends` are the keys that say who talks to whom.
    pub(super) fn text(&self, id: &str, ends: &str, service: &str) -> String {
        let mut text = "[[allow]]\n".to_owned();
        self.notes.iter().for_each(|note| text += &format!("# {}\n", comment(note)));
        text += &format!("id = {}\n{ends}service = {}\n", quoted(id), quoted(service));
        self.keys.iter().for_each(|key| text += &format!("{key}\n"));
        let Count { count, first_ns, last_ns } = self.count;
        if count > 0 {
            let (first, last) = (time(first_ns), time(last_ns));
            text += &format!("seen = {{ count = {count}, first = \"{first}\", last = \"{last}\" }}\n");
        }
        self.tables.iter().for_each(|table| text += &format!("{table}\n"));
        text
    }
}

/// What is wrong with a rule of these keys, if the policy would not take it.
pub(super) fn problem(rule: &Rule, service: &str, egress: bool) -> Option<String> {
    use crate::policy::{Moment, Policy};
    // Any two addresses: the documentation range of RFC 5737.
    let (robot, peer) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let ends = if egress { format!("from = \"{robot}\"\nto = \"{peer}\"\n") } else { format!("from = \"{peer}\"\n") };
    let text = format!("version = 1\nrobot = \"{robot}\"\n{}", rule.text("rule", &ends, service));
    let moment = Moment { wall_ns: 0, monotonic_ns: 0 };
    Policy::compile("rule", &text, &[], 0, moment).err().map(|problems| comment(&problems.to_string()))
}
