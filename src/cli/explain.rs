#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

mod allow;
mod capture;

use std::collections::VecDeque;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::events::{brief, directory, for_each};
use super::identity::{Identities, Keyring};
use super::output::{Output, Paint};
use super::{Context, Exit, fail, rule_text, told};
use crate::document::hex;
use crate::record::{evidence, pcapng};

/// Events of the same conversation that are shown before the one in question.
const HISTORY: usize = 8;

/// Bytes of a refused frame that are shown: headers and a whole Modbus unit.
const SHOWN: usize = 320;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  vambrace explain 4711\n  vambrace explain 4711 --allow --until 2h\n  \
    vambrace explain cell.pcapng#208 --policy policy.toml")]
pub(super) struct ExplainArgs {
    /// An event's id, or a frame of a capture as CAPTURE#NUMBER.
    #[arg(value_name = "EVENT-ID|CAPTURE#FRAME")]
    what: String,
    /// Folder of the records; asked of the running appliance where absent.
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Configuration that tells where records lie; for a capture, that gives names their addresses.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For a capture: the policy to judge by; without one every command is refused.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    identities: Identities,
    /// For a capture: the robot, by asset name or address.
    #[arg(long, value_name = "NAME-OR-ADDRESS")]
    robot: Option<String>,
    /// Put the narrowest rule that would allow the event in force on the running appliance.
    #[arg(long)]
    allow: bool,
    /// Until when that rule holds: a time from now (10m, 2h) or a moment (RFC 3339).
    #[arg(long, value_name = "TIME", requires = "allow", value_parser = allow::Until::parse)]
    until: Option<allow::Until>,
}

/// Says what happened, why, and what would have been allowed.
pub(super) fn run(context: &Context, args: &ExplainArgs) -> Exit {
    match args.what.rsplit_once('#') {
        Some((capture, _)) if !capture.is_empty() && args.allow => {
            fail(Exit::Usage, &"--allow is for events of the appliance; a frame of a capture was never refused by it")
        }
        Some((capture, number)) if !capture.is_empty() => match number.parse() {
            Ok(number) => capture::explain(context, args, Path::new(capture), number),
            Err(_) => fail(Exit::Usage, &format!("{number:?} is no frame number; write CAPTURE#NUMBER, from 1")),
        },
        _ => match args.what.trim_start_matches('#').parse() {
            Ok(id) => event(context, args, id),
            Err(_) => {
                let what = format!("{:?} is no event id; write its number, or CAPTURE#FRAME", args.what);
                fail(Exit::Usage, &what)
            }
        },
    }
}

fn event(context: &Context, args: &ExplainArgs, id: u64) -> Exit {
    let directory = match directory(context, args.config.as_deref(), args.records.as_deref()) {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    let keyring = match args.identities.load() {
        Ok(keyring) => keyring,
        Err(exit) => return exit,
    };
    // The conversation is known only once the event is found, so the files are read twice: they are read by people.
    // Evidence reaches farther back than the event files, and takes longer to read.
    let (mut found, mut sealed) = (None, 0);
    for place in [Place::Lines, Place::Evidence] {
        let search = place.read(&directory, &keyring, &mut |line| {
            if told::event_id(&line) == Some(id) {
                found = Some((place, line));
            }
        });
        match search {
            Ok(more) => sealed = more,
            Err(error) => return fail(Exit::Failed, &format!("{}: {error}", directory.display())),
        }
        if found.is_some() {
            break;
        }
    }
    let Some((place, line)) = found else {
        if sealed > 0 {
            return fail(Exit::Failed, &format!("event {id}: {}", keyring.why_sealed(&directory, sealed)));
        }
        let what = format!(
            "event {id} is not in {}; repeats of an allowed command are told of under the id of the last, and old files \
             are removed to keep to record.size_budget",
            directory.display()
        );
        return fail(Exit::Failed, &what);
    };
    let mut around = Around::of(&line);
    if let Err(error) = place.read(&directory, &keyring, &mut |other| around.add(other)) {
        return fail(Exit::Failed, &format!("{}: {error}", directory.display()));
    }
    let frames = frames(&directory, &line, id, &keyring);
    let shown = show(context, &line, &around, &frames);
    if !args.allow {
        return shown;
    }
    if !told::is_refusal(&line) {
        return fail(Exit::Usage, &format!("event {id} was not refused; there is nothing to allow"));
    }
    let rule = rule_text::narrowest(&line);
    allow::apply(context, rule.as_deref().map_err(|why| *why), args.until.as_ref())
}

/// Where events are looked for.
#[derive(Clone, Copy)]
enum Place {
    Lines,
    Evidence,
}

impl Place {
    /// Hands out all events; how many records are encrypted, and were not.
    fn read(self, directory: &Path, keyring: &Keyring, each: &mut dyn FnMut(Value)) -> std::io::Result<u64> {
        match self {
            Self::Lines => for_each(directory, |_, line| each(line)).map(|()| 0),
            Self::Evidence => evidence::events_of_all(
                directory,
                |path| keyring.open(path),
                |text| {
                    if let Ok(line) = serde_json::from_str(text) {
                        each(line);
                    }
                },
            ),
        }
    }
}

/// What else was recorded: the conversation before, and what comes closest among what was allowed.
struct Around {
    id: u64,
    flow: Value,
    service: String,
    ends: (String, String),
    command: Value,
    history: VecDeque<Value>,
    nearest: Option<(u32, Value)>,
}

impl Around {
    fn of(line: &Value) -> Self {
        let (plant, robot) = told::ends(line);
        Self {
            id: told::event_id(line).unwrap_or(0),
            flow: line["flow_id"].clone(),
            service: told::service(line).to_owned(),
            ends: (plant.to_owned(), robot.to_owned()),
            command: told::command(line).cloned().unwrap_or_default(),
            history: VecDeque::new(),
            nearest: None,
        }
    }

    fn add(&mut self, other: Value) {
        let Some(id) = told::event_id(&other) else { return };
        if id == self.id {
            return;
        }
        if told::ours(&other)["action"] == "allowed"
            && told::service(&other) == self.service
            && told::command(&other).is_some()
        {
            let likeness = self.likeness(&other);
            // Of equally near ones the latest.
            if likeness > 0 && self.nearest.as_ref().is_none_or(|(nearest, _)| likeness >= *nearest) {
                self.nearest = Some((likeness, other.clone()));
            }
        }
        if id < self.id && !self.flow.is_null() && other["flow_id"] == self.flow {
            self.history.push_back(other);
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
    }

    /// How much two commands have in common: who, what, where, in this order.
    fn likeness(&self, other: &Value) -> u32 {
        let Some(command) = told::command(other) else { return 0 };
        let same = |key: &str| self.command.get(key).is_some() && self.command[key] == command[key];
        let verb = ["function", "command", "package", "kind"].into_iter().any(same);
        let client = told::ends(other) == (self.ends.0.as_str(), self.ends.1.as_str());
        let detail = ["unit", "write", "read", "values", "variables", "text", "program", "functions", "recipe"];
        let details = detail.into_iter().filter(|key| same(key)).count();
        let weight = |holds: bool, weight: u32| if holds { weight } else { 0 };
        weight(verb, 100).saturating_add(weight(client, 50)).saturating_add(u32::try_from(details).unwrap_or(0))
    }

    /// What the command would have to say instead, by field.
    fn differences(&self) -> Vec<(String, String, String)> {
        let Some((_, nearest)) = &self.nearest else { return Vec::new() };
        let mut differences = Vec::new();
        let (plant, robot) = told::ends(nearest);
        for (name, mine, theirs) in [("client", &self.ends.0, plant), ("robot", &self.ends.1, robot)] {
            if mine != theirs {
                differences.push((name.to_owned(), mine.clone(), theirs.to_owned()));
            }
        }
        let theirs = told::command(nearest).cloned().unwrap_or_default();
        let (Some(mine), Some(theirs)) = (self.command.as_object(), theirs.as_object()) else { return differences };
        let mut keys: Vec<&String> = mine.keys().chain(theirs.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            // Chosen anew for every request, or said in another field already.
            if matches!(key.as_str(), "transaction" | "function_code" | "package_type" | "answer") {
                continue;
            }
            let text =
                |value: Option<&Value>| value.map_or("nothing".to_owned(), |value| told::printable(&value.to_string()));
            if mine.get(key) != theirs.get(key) {
                differences.push((key.clone(), text(mine.get(key)), text(theirs.get(key))));
            }
        }
        differences
    }
}

fn show(context: &Context, line: &Value, around: &Around, frames: &[Vec<u8>]) -> Exit {
    let rule = if told::is_refusal(line) { Some(rule_text::narrowest(line)) } else { None };
    if context.json {
        let differences: Vec<Value> = around
            .differences()
            .into_iter()
            .map(|(field, seen, allowed)| json!({"field": field, "seen": seen, "allowed": allowed}))
            .collect();
        let frames: Vec<String> = frames.iter().map(|frame| hex(frame)).collect();
        let answer = json!({
            "event": line,
            "nearest_allowed": around.nearest.as_ref().map(|(_, nearest)| nearest),
            "differences": differences,
            "history": around.history,
            "frames_hex": frames,
            "rule": rule.as_ref().and_then(|rule| rule.as_ref().ok()),
            "no_rule": rule.as_ref().and_then(|rule| rule.as_ref().err()),
        });
        return super::print(&answer.to_string());
    }
    super::print(&text(line, around, frames, rule.as_ref(), Output::new()))
}

fn text(
    line: &Value,
    around: &Around,
    frames: &[Vec<u8>],
    rule: Option<&Result<String, &'static str>>,
    output: Output,
) -> String {
    let ours = told::ours(line);
    let word = |key: &str| told::printable(ours[key].as_str().unwrap_or_default());
    let mut out = String::new();
    let heading = |out: &mut String, text: &str| {
        let _ = write!(out, "\n{}\n", output.paint(Paint::Bold, text));
    };
    let _ = writeln!(out, "{}", brief(line, output));
    if let Some(sentence) = ours["sentence"].as_str() {
        let _ = writeln!(out, "{}", told::printable(sentence));
    }
    if ours.get("reason").is_some() {
        heading(&mut out, "Verdict");
        let known = crate::event::Reason::ALL.iter().find(|reason| reason.name() == ours["reason"]);
        let sentence = known.map_or("", |reason| reason.sentence());
        let mut rows = vec![vec!["  reason".to_owned(), format!("{}: {sentence}", word("reason"))]];
        let rule = ours["rule"].as_str().map_or("none".to_owned(), told::printable);
        rows.push(vec!["  rule".into(), format!("{rule} (policy generation {})", ours["generation"])]);
        if ours.get("class").is_some() {
            rows.push(vec!["  class".into(), word("class")]);
        }
        let metadata = &line["alert"]["metadata"];
        if let (Some(id), Some(name)) =
            (metadata["mitre_technique_id"][0].as_str(), metadata["mitre_technique_name"][0].as_str())
        {
            rows.push(vec!["  ATT&CK".into(), format!("{id} {name} (ATT&CK for ICS)")]);
        }
        for words in registers(line) {
            rows.push(vec!["  where".into(), words]);
        }
        if let Some(in_use) = told::in_use(line) {
            rows.push(vec!["  in use".into(), told::printable(in_use)]);
        }
        out.push_str(&super::output::table(&rows));
    }
    if told::is_refusal(line) && told::command(line).is_some() {
        heading(&mut out, "Nearest allowed behaviour");
        match &around.nearest {
            Some((_, nearest)) => {
                let _ = writeln!(out, "  {}", brief(nearest, output));
                let rows: Vec<Vec<String>> = around
                    .differences()
                    .into_iter()
                    .map(|(field, seen, allowed)| {
                        vec![format!("  {field}"), format!("seen {seen}"), format!("allowed {allowed}")]
                    })
                    .collect();
                out.push_str(&super::output::table(&rows));
                if rows.is_empty() {
                    out.push_str("  It said the same; what differs is the time, the rate or the robot's state.\n");
                }
            }
            None => out.push_str("  Nothing like it was ever allowed in these records.\n"),
        }
    }
    if !frames.is_empty() {
        heading(&mut out, "Bytes");
        for frame in frames {
            out.push_str(&dump(frame));
        }
    }
    if !around.history.is_empty() {
        heading(&mut out, "Before it on the same connection");
        for earlier in &around.history {
            let _ = writeln!(out, "  {}", brief(earlier, output));
        }
    }
    match rule {
        Some(Ok(rule)) => {
            heading(&mut out, "The narrowest rule that would allow it");
            if matches!(ours["class"].as_str(), Some("safety" | "privilege" | "shutdown")) {
                out.push_str("  # It releases safety, grants rights or stops the plant: be sure.\n");
            }
            for row in rule.lines() {
                let _ = writeln!(out, "  {row}");
            }
        }
        Some(Err(why)) => {
            heading(&mut out, "A rule for it");
            let _ = writeln!(out, "  {why}");
        }
        None => {}
    }
    out
}

/// What the controller has at the addresses of a Modbus command.
fn registers(line: &Value) -> Vec<String> {
    let Some(command) = told::command(line).filter(|_| !told::is_to_device(line)) else { return Vec::new() };
    let words = |key: &str| {
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let function = u8::try_from(command["function_code"].as_u64()?).ok()?;
        let (address, quantity) = (number(&command[key]["address"])?, number(&command[key]["quantity"])?);
        crate::export::register_words(function, address, quantity)
    };
    ["read", "write"].into_iter().filter_map(words).collect()
}

/// The refused frames of an event, from the evidence of its time.
fn frames(directory: &Path, line: &Value, id: u64, keyring: &Keyring) -> Vec<Vec<u8>> {
    let timestamp = line["timestamp"].as_str().unwrap_or_default();
    let Ok(time) = jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", timestamp) else { return Vec::new() };
    let time_ns = u64::try_from(time.as_nanosecond()).unwrap_or(0);
    let paths = evidence::segments_around(directory, time_ns).unwrap_or_default();
    let read = |path: &PathBuf| keyring.open(path).and_then(|file| pcapng::packets_with_id(file, id)).ok();
    let found: Vec<_> = paths.iter().filter_map(read).flatten().collect();
    if found.is_empty() && told::is_refusal(line) {
        let sealed = |path: &PathBuf| keyring.open(path).and_then(|file| evidence::events(file, |_| {})).unwrap_or(0);
        let sealed = paths.iter().map(sealed).fold(0, u64::saturating_add);
        if sealed > 0 {
            eprintln!("vambrace: the refused frames are not shown: {}", keyring.why_sealed(directory, sealed));
        }
    }
    found
}

/// Sixteen bytes a line, with their characters.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    let shown = bytes.get(..bytes.len().min(SHOWN)).unwrap_or_default();
    for (row, chunk) in shown.chunks(16).enumerate() {
        let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let characters: String = chunk
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        let _ = writeln!(out, "  {:04x}  {:<47}  {characters}", row.saturating_mul(16), digits.join(" "));
    }
    if shown.len() < bytes.len() {
        let _ = writeln!(out, "  ... {} bytes in all", bytes.len());
    }
    out
}

#[cfg(test)]
mod tests;
