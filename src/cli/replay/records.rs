//! Recorded commands judged again: what the policy given would have said to them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use dissect::Toward;
use serde_json::{Value, json};

use super::units::Units;
use super::{Exit, ReplayArgs, Scene, fail, mistakes};
use crate::cli::identity::Keyring;
use crate::cli::output::Output;
use crate::cli::question::read_lines;
use crate::cli::{Context, events};
use crate::command::Service;
use crate::document::{Problems, unhex};
use crate::engine::again::{Again, Ends, Recorded, Untold};
use crate::engine::{Checksums, Mode, Rules};
use crate::event::{Reason, RobotContext};
use crate::export::told;
use crate::policy::{Asset, Moment, Policy};
use crate::record::evidence;

/// Lines that are held back, so that they come in the order of their events: records wait some seconds for answers.
const HELD: usize = 16_384;

/// Differences that are shown to people; all of them with `--json`.
const SHOWN: usize = 100;

/// Monotonic time of the first record: there is time before it.
const BEGIN_NS: u64 = 1_000_000_000;

/// Whether a path names records: a folder, a file of event lines, or a segment of evidence.
pub(super) fn is_records(path: &Path) -> bool {
    let lines = path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl");
    lines || path.is_dir() || evidence::is_segment(path)
}

/// Judges every recorded command by the policy given, and tells where it says something else.
pub(super) fn run(context: &Context, args: &ReplayArgs) -> Exit {
    let Some(policy) = &args.policy else {
        let what = "records hold their verdicts; name the policy that shall judge them again with --policy FILE";
        return fail(Exit::Usage, &what);
    };
    let keyring = match args.identities.load() {
        Ok(keyring) => keyring,
        Err(exit) => return exit,
    };
    let mut seen = Seen::default();
    for path in &args.captures {
        match for_each(path, &keyring, &mut |line| seen.see(&line)) {
            Ok(0) => {}
            Ok(sealed) => return fail(Exit::Failed, &keyring.why_sealed(path, sealed)),
            Err(error) => return fail(Exit::Failed, &format!("{}: {error}", path.display())),
        }
    }
    let rules = match seen.rules(args, policy) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    let mut judging = Judging::new(context.json, &seen, rules);
    let mut held = BinaryHeap::new();
    for path in &args.captures {
        let read = for_each(path, &keyring, &mut |line| {
            held.push(Reverse(Held { id: order(&line), line }));
            if held.len() > HELD
                && let Some(Reverse(first)) = held.pop()
            {
                judging.line(&first.line);
            }
        });
        if let Err(error) = read {
            return fail(Exit::Failed, &format!("{}: {error}; what came before was judged", path.display()));
        }
    }
    while let Some(Reverse(next)) = held.pop() {
        judging.line(&next.line);
    }
    judging.finish()
}

/// Every event line of a folder or file: of a folder with evidence from that, as it reaches farther back. Returns how many
/// records are encrypted, and were not read.
fn for_each(path: &Path, keyring: &Keyring, each: &mut impl FnMut(Value)) -> io::Result<u64> {
    if !path.is_dir() && !evidence::is_segment(path) {
        return read_lines(File::open(path)?, 0, u64::MAX, |_, _, line| each(line.clone())).map(|_| 0);
    }
    let line = |text: &str| {
        if let Ok(line) = serde_json::from_str(text) {
            each(line);
        }
    };
    if evidence::is_segment(path) {
        return evidence::events(keyring.open(path)?, line);
    }
    if evidence::segment_files(path)?.is_empty() {
        return events::for_each(path, |_, line| each(line)).map(|()| 0);
    }
    evidence::events_of_all(path, |path| keyring.open(path), line)
}

/// A line that waits for those before it.
struct Held {
    id: u64,
    line: Value,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

/// The number by which lines are put in order; one without goes first.
fn order(line: &Value) -> u64 {
    told::event_id(line).unwrap_or(0)
}

/// What a first look at the records tells.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, (IpAddr, bool)>,
    /// A name that stood for two addresses.
    moved: Option<String>,
    first_ns: Option<u64>,
    commands: u64,
}

impl Seen {
    fn see(&mut self, line: &Value) {
        let ours = told::ours(line);
        if !is_command(line) {
            return;
        }
        self.commands = self.commands.saturating_add(1);
        if let Some(time) = time_ns(line) {
            self.first_ns = Some(self.first_ns.map_or(time, |first| first.min(time)));
        }
        let Some((ends, _)) = ends(line) else { return };
        for (name, address, is_robot) in [("client", ends.plant.ip(), false), ("robot", ends.robot.ip(), true)] {
            let Some(name) = ours[name].as_str() else { continue };
            match self.names.get(name) {
                Some((known, _)) if *known != address => self.moved = Some(name.to_owned()),
                Some(_) => {}
                None => {
                    self.names.insert(name.to_owned(), (address, is_robot));
                }
            }
        }
    }

    /// The rules to judge by; names are the configuration's, else the records' own.
    fn rules(&self, args: &ReplayArgs, policy: &Path) -> Result<Arc<Rules>, Exit> {
        if self.commands == 0 {
            return Err(fail(Exit::Failed, &"no commands in these records"));
        }
        let (mut assets, mut robot_api, mut pack) = (Vec::new(), false, None);
        if let Some(path) = &args.config {
            let config = crate::config::Config::load(path).map_err(|problems| mistakes(&problems))?;
            assets = crate::appliance::assets(&config);
            robot_api = crate::appliance::has_robot_api(&config);
            let loaded = crate::appliance::patches::Loaded::of(&config);
            pack = Some(loaded.map_err(|failure| crate::cli::run::report(&failure))?);
        } else if let Some(name) = &self.moved {
            let what =
                format!("\"{name}\" had two addresses in these records; name the configuration with --config FILE");
            return Err(fail(Exit::Failed, &what));
        }
        let is_known = |assets: &[Asset], name: &str| assets.iter().any(|asset| asset.name == *name);
        for (name, (address, is_robot)) in &self.names {
            if !is_known(&assets, name) {
                assets.push(Asset { name: name.clone(), address: *address, is_robot: *is_robot });
            }
        }
        let file = policy.display().to_string();
        let text = Problems::text(policy, std::fs::read(policy)).map_err(|problems| mistakes(&problems))?;
        let named = args.robot.as_deref().and_then(|robot| robot.parse().ok());
        let address = named.or_else(|| assets.iter().find(|asset| asset.is_robot).map(|asset| asset.address));
        if let (Some(name), Some(address)) = (super::policy_robot(&text), address)
            && !is_known(&assets, &name)
        {
            assets.push(Asset { name, address, is_robot: true });
        }
        let moment = Moment { wall_ns: self.first_ns.unwrap_or(0), monotonic_ns: BEGIN_NS };
        let policy = Policy::compile(&file, &text, &assets, 1, moment).map_err(|problems| mistakes(&problems))?;
        let policy = match &pack {
            Some(pack) => pack.tighten(&policy, None, 1, moment),
            None => policy,
        };
        let robot = address.unwrap_or(IpAddr::from([0; 4]));
        let scene =
            Scene { assets, robot, robot_name: String::new(), checksums: Checksums::Ignore, robot_api, pack: None };
        Ok(scene.rules(Mode::Shadow, policy))
    }
}

/// Whether the line tells of a command, or of a connection that is judged as one.
fn is_command(line: &Value) -> bool {
    let ours = told::ours(line);
    ours["service"].is_string() && ours["action"].is_string() && line["event_type"] != "drop"
}

/// Nanoseconds since 1970 of a line.
fn time_ns(line: &Value) -> Option<u64> {
    let text = line["timestamp"].as_str()?;
    let time = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?.to_timestamp().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

fn service(line: &Value) -> Option<Service> {
    let port = |text: &str| text.parse().ok();
    Some(match told::ours(line)["service"].as_str()? {
        "modbus" => Service::Modbus,
        "rtde" => Service::Rtde,
        "dashboard" => Service::Dashboard,
        "urscript" => Service::UrScript,
        "external_control" => Service::ExternalControl,
        "icmp" => Service::Icmp,
        other => match other.split_once('/')? {
            ("tcp", number) => Service::Tcp(port(number)?),
            ("udp", number) => Service::Udp(port(number)?),
            _ => return None,
        },
    })
}

/// Both ends on their own sides of the box, and who opened the connection: a line's ends run from who opened it.
fn ends(line: &Value) -> Option<(Ends, Toward)> {
    let opened = match service(line) {
        Some(Service::ExternalControl) => Toward::Plant,
        _ if told::is_to_device(line) => Toward::Plant,
        _ => Toward::Robot,
    };
    let end = |address: &str, number: &str| {
        let port = u16::try_from(line[number].as_u64().unwrap_or(0)).ok()?;
        Some(SocketAddr::new(line[address].as_str()?.parse().ok()?, port))
    };
    let (source, destination) = (end("src_ip", "src_port")?, end("dest_ip", "dest_port")?);
    let (plant, robot) = if opened == Toward::Robot { (source, destination) } else { (destination, source) };
    let protocol = match line["proto"].as_str()? {
        "TCP" => 6,
        "UDP" => 17,
        other => other.parse().ok()?,
    };
    Some((Ends { plant, robot, protocol }, opened))
}

/// What was found, for a sentence and a summary.
struct Judging {
    json: bool,
    rules: Arc<Rules>,
    names: Vec<String>,
    again: Again,
    units: Units,
    first_ns: u64,
    now_ns: u64,
    shown: usize,
    /// Whether a line so far stood for several commands.
    folded: bool,
    /// Commands, and of those: allowed now, refused now, as recorded, newly refused, newly allowed.
    commands: u64,
    allowed: u64,
    refused: u64,
    same: u64,
    newly_refused: u64,
    newly_allowed: u64,
    untold: BTreeMap<&'static str, u64>,
}

/// Whether a line stands for commands that wrote different values.
fn varies(line: &Value, ours: &Value) -> bool {
    let differs = |range: &Value| range[0] != range[1];
    [&ours["repeats"], &line["repeats"]].into_iter().any(|repeats| {
        repeats["written"].as_array().into_iter().flatten().any(differs)
            || repeats["numbers"].as_object().into_iter().flatten().any(|(_, range)| differs(range))
    })
}

/// Why the others of such a line can't be judged again.
const VARIED: &str = "only the last of the values told of together is in the records";

/// Why a line that nobody wrote like this can't be judged again.
const UNREADABLE: &str = "the line's service, addresses or ports can't be read";

/// Why a refusal can't be judged again by a policy.
const NOT_BY_POLICY: &str = "it was refused for something that no policy decides";

impl Judging {
    fn new(json: bool, seen: &Seen, rules: Arc<Rules>) -> Self {
        let first_ns = seen.first_ns.unwrap_or(0);
        Self {
            json,
            names: rules.policy.rule_ids().map(str::to_owned).collect(),
            rules,
            again: Again::default(),
            units: Units::default(),
            first_ns,
            now_ns: BEGIN_NS,
            shown: 0,
            folded: false,
            commands: 0,
            allowed: 0,
            refused: 0,
            same: 0,
            newly_refused: 0,
            newly_allowed: 0,
            untold: BTreeMap::new(),
        }
    }

    fn line(&mut self, line: &Value) {
        if line["event_type"] == "unit" {
            self.units.take(&line["unit"]);
            return;
        }
        if line["event_type"] == "flow" {
            // A flow line does not say who opened: both ways are forgotten.
            if let Some((ends, _)) = ends(line) {
                self.again.ended(&ends);
                self.again.ended(&Ends { plant: ends.robot, robot: ends.plant, ..ends });
            }
            return;
        }
        if !is_command(line) {
            return;
        }
        let (Some(service), Some((ends, opened))) = (service(line), ends(line)) else {
            self.count(told::ours(line)["action"] == "allowed", Err(UNREADABLE), 1);
            self.tell(line, Err(UNREADABLE));
            return;
        };
        let ours = told::ours(line);
        let command = told::command(line).unwrap_or(&Value::Null);
        let answer = [&ours["answer"], &command["answer"], &line["answer"]].into_iter().find(|it| it.is_object());
        let wall_ns = time_ns(line).unwrap_or(self.first_ns);
        self.now_ns = wall_ns.saturating_sub(self.first_ns).saturating_add(BEGIN_NS).max(self.now_ns);
        let beginning = ours["unit_hex"].as_str().and_then(unhex);
        let unit = match ours["unit_cut"].is_null() {
            true => beginning.as_deref(),
            false => ours["unit_sha256"].as_str().and_then(|hash| self.units.whole(hash)),
        };
        let text = (service == Service::ExternalControl).then(|| {
            let digest = unhex(command["program"].as_str()?.strip_prefix("sha256:")?)?;
            Some((digest.try_into().ok()?, u32::try_from(command["bytes"].as_u64()?).ok()?))
        });
        let repeats = [&ours["repeats"], &line["repeats"]].into_iter().find_map(|it| it["count"].as_u64());
        let states = ours["robot_state"].as_object().into_iter().flatten();
        let action = ours["action"].as_str().unwrap_or_default();
        let recipe = answer.filter(|answer| answer["text_cut"].is_null()).and_then(|answer| {
            let id = u8::try_from(answer["recipe"].as_u64()?).ok()?;
            Some((id, answer["text"].as_str()?.as_bytes()))
        });
        let reason = ours["reason"].as_str().and_then(Reason::named);
        let recorded = Recorded {
            ends,
            opened,
            service,
            unit,
            text: text.flatten(),
            robot: RobotContext::of_names(states.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))),
            went_on: action != "refused",
            reason,
            recipe,
            wall_ns,
        };
        let verdict = self.again.judge(&self.rules, &recorded, self.now_ns).map_err(Untold::why);
        let was_allowed = action == "allowed";
        let by_policy = was_allowed || reason.is_none_or(Reason::is_of_policy);
        let verdict = verdict.and_then(|verdict| if by_policy { Ok(verdict) } else { Err(NOT_BY_POLICY) });
        let count = repeats.unwrap_or(1).max(1);
        self.folded |= count > 1;
        // Between the lines are commands that took tokens and made steps.
        let looks_back =
            |verdict: &crate::event::Verdict| verdict.is_allowed() && self.rules.policy.looks_back(verdict);
        let verdict = match verdict {
            Ok(verdict) if self.folded && looks_back(&verdict) => Err(Untold::Between.why()),
            other => other,
        };
        let allowed = verdict.as_ref().map(|it| it.is_allowed()).map_err(|why| *why);
        if varies(line, ours) {
            // The line has the values of the last one alone.
            self.count(was_allowed, Err(VARIED), count.saturating_sub(1));
            self.count(was_allowed, allowed, 1);
        } else {
            self.count(was_allowed, allowed, count);
        }
        self.tell(line, verdict.as_ref().map_err(|why| *why));
    }

    fn count(&mut self, was_allowed: bool, now: Result<bool, &'static str>, times: u64) {
        if times == 0 {
            return;
        }
        let add = |count: &mut u64| *count = count.saturating_add(times);
        add(&mut self.commands);
        match now {
            Err(why) => add(self.untold.entry(why).or_default()),
            Ok(allowed) => {
                add(if allowed { &mut self.allowed } else { &mut self.refused });
                add(match (was_allowed, allowed) {
                    (true, false) => &mut self.newly_refused,
                    (false, true) => &mut self.newly_allowed,
                    _ => &mut self.same,
                });
            }
        }
    }

    fn tell(&mut self, line: &Value, verdict: Result<&crate::event::Verdict, &'static str>) {
        let ours = told::ours(line);
        let was_allowed = ours["action"] == "allowed";
        let rule = |verdict: &crate::event::Verdict| {
            usize::from(verdict.rule.0).checked_sub(1).and_then(|place| self.names.get(place)).cloned()
        };
        if self.json {
            let now = match verdict {
                Ok(verdict) => json!({
                    "action": if verdict.is_allowed() { "allowed" } else { "refused" },
                    "reason": verdict.reason.name(),
                    "rule": rule(verdict),
                }),
                Err(why) => json!({"untold": why}),
            };
            let same = verdict.map(|verdict| verdict.is_allowed() == was_allowed).ok();
            crate::cli::print(
                &json!({
                    "event_type": "judged_again",
                    "timestamp": line["timestamp"],
                    "event_id": told::event_id(line),
                    "recorded": {
                        "action": ours["action"],
                        "reason": ours["reason"],
                        "rule": ours["rule"],
                        "generation": ours["generation"],
                    },
                    "now": now,
                    "same": same,
                })
                .to_string(),
            );
            return;
        }
        let Ok(verdict) = verdict else { return };
        if verdict.is_allowed() == was_allowed {
            return;
        }
        self.shown = self.shown.saturating_add(1);
        if self.shown > SHOWN {
            return;
        }
        let by = rule(verdict).map_or(String::new(), |rule| format!(" by rule {rule}"));
        let now = if verdict.is_allowed() {
            format!("would pass{by}")
        } else {
            format!("would be refused{by}: {}", verdict.reason.sentence())
        };
        crate::cli::print(&format!("{}\n    {now}", events::brief(line, Output::new())));
    }

    fn finish(self) -> Exit {
        if self.json {
            crate::cli::print(
                &json!({
                    "event_type": "summary",
                    "commands": self.commands,
                    "allowed": self.allowed,
                    "refused": self.refused,
                    "same": self.same,
                    "newly_refused": self.newly_refused,
                    "newly_allowed": self.newly_allowed,
                    "untold": self.untold,
                })
                .to_string(),
            );
        } else {
            if self.shown > SHOWN {
                let more = self.shown.saturating_sub(SHOWN);
                crate::cli::print(&format!("... and {more} more; --json tells of all"));
            }
            crate::cli::print(&format!(
                "{} commands: {} as recorded, {} that passed would be refused, {} that were refused would pass",
                self.commands, self.same, self.newly_refused, self.newly_allowed
            ));
            for (why, count) in &self.untold {
                crate::cli::print(&format!("{count} can't be judged again: {why}"));
            }
        }
        if self.refused > 0 { Exit::Findings } else { Exit::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_digits() {
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
        for wrong in ["0", "+f", "0g", "\u{e9}"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_counted() {
        let policy = Policy::empty(1);
        let scene = Scene {
            assets: Vec::new(),
            robot: IpAddr::from([10, 0, 0, 40]),
            robot_name: String::new(),
            checksums: Checksums::Ignore,
            robot_api: false,
            pack: None,
        };
        let mut judging = Judging::new(true, &Seen::default(), scene.rules(Mode::Shadow, policy));
        let line = |service: &str, port: u32| {
            json!({
                "event_type": "alert", "src_ip": "10.0.0.1", "src_port": port, "dest_ip": "10.0.0.40",
                "dest_port": 502, "proto": "TCP",
                "alert": {"context": {"service": service, "action": "refused", "reason": "no_rule"}},
            })
        };
        judging.line(&line("modbus", 99_999));
        judging.line(&line("tcp/x", 40_000));
        assert_eq!((judging.commands, judging.untold.get(UNREADABLE)), (2, Some(&2)));
    }
}
