#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::filter::{Filter, Operator};
use super::identity::Identities;
use super::output::{Output, Paint, time_of_day};
use super::question::{Question, Seen, UseIndex, read_lines};
use super::{Context, Exit, fail, mistakes, when};
use crate::config::Config;
use crate::control::{Client, Request, Response};
use crate::export::told;
use crate::record::{Batch, Cursor, event_files, evidence, read_after};

/// How often a followed file is looked at: what a person takes for at once.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes of event files that are read at once.
const PAGE: usize = 1 << 20;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  vambrace events --where 'event_type = alert and client = hmi'\n  \
    vambrace events --follow --where 'reason != allowed or class = safety'\n  \
    vambrace events --where 'timestamp > 2026-11-23T13 and values > 100' --json | jq .\n  \
    vambrace events --where 'writes = 135' --since 2026-11-23T06:00 --until 2026-11-23T14:00   who wrote register 135\n  \
    vambrace events --where loads --since 7d   which programs were loaded, by whom\n  \
    vambrace events --changes --since yesterday   what changed")]
pub(super) struct EventsArgs {
    /// Go on with new events as they are written.
    #[arg(short, long)]
    follow: bool,
    /// Only events for which this holds: FIELD = != < <= > >= ~ VALUE, and, or, not, parentheses.
    ///
    /// A field is a path in the event (`alert.signature_id`); event_id, reason, rule, class, client, robot, service and
    /// what a command said (function, values, text) are found wherever they stand. ~ means contains. Of an array any
    /// item will do. A field alone asks whether it is there. Two fields are made of others: writes, each register or coil
    /// that a Modbus command writes; loads, the program that a command brings or loads.
    #[arg(long, value_name = "EXPR")]
    r#where: Option<String>,
    /// Only events from this time on: yesterday, today, 2h or 7d ago, 2026-11-23, 2026-11-23T13:58 (local), with Z (UTC).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what changed: modes, policies, patches, ports; and what somebody did that no event before tells of.
    #[arg(long)]
    changes: bool,
    /// Whether an index beside the event files (or in the user's cache) answers the question; the answer is the same.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    index: UseIndex,
    /// Only the last N events that are there.
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
    /// Folder of the event files; asked of the running appliance where absent.
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Configuration that tells where records lie.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    identities: Identities,
}

/// Prints events.
pub(super) fn run(context: &Context, args: &EventsArgs) -> Exit {
    let question = match question(args) {
        Ok(question) => question,
        Err(line) => return fail(Exit::Usage, &line),
    };
    if !args.identities.is_empty() && (args.follow || context.remote.is_some()) {
        let what = "--identity reads evidence that lies here, once: leave out --follow and --box";
        return fail(Exit::Usage, &what);
    }
    let printer = Printer { json: context.json, question, output: Output::new() };
    let done = if context.remote.is_some() && args.records.is_none() && args.config.is_none() {
        remote(context, args, &printer)
    } else {
        directory(context, args.config.as_deref(), args.records.as_deref())
            .and_then(|directory| local(&directory, args, &printer))
    };
    done.err().unwrap_or(Exit::Fine)
}

/// Events of a box, as its management process hands them out.
fn remote(context: &Context, args: &EventsArgs, printer: &Printer) -> Result<(), Exit> {
    let mut client = context.connect().map_err(|error| fail(super::unreachable_or_failed(&error), &error))?;
    let mut tail = Tail::new(args.tail);
    let (mut cursor, mut seen) = (Cursor::default(), Seen::default());
    loop {
        let batch = page(&mut client, &cursor, false)?;
        if batch.lines.is_empty() {
            tail.end();
            if !args.follow {
                return Ok(());
            }
            return printer.follow(batch.after, seen, &mut |cursor| page(&mut client, cursor, true));
        }
        warn_of_removed(&batch);
        printer.take(&batch.lines, &mut seen, &mut |shown| tail.take(shown));
        cursor = batch.after;
    }
}

/// Whether events are read from the evidence: where an auditor's key is given, or where `record.event_lines` is off.
fn wants_evidence(directory: &Path, args: &EventsArgs) -> std::io::Result<bool> {
    if !args.identities.is_empty() {
        return Ok(true);
    }
    let is_written = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.len() > 0);
    Ok(!event_files(directory)?.iter().any(is_written) && !evidence::segment_files(directory)?.is_empty())
}

/// Events of a folder, from its evidence.
fn from_evidence(directory: &Path, args: &EventsArgs, printer: &Printer) -> Result<(), Exit> {
    let keyring = args.identities.load()?;
    let (mut tail, mut seen) = (Tail::new(args.tail), Seen::default());
    let each = |text: &str| {
        if let Ok(value) = serde_json::from_str(text)
            && printer.question.asks_for(&value, &mut seen)
        {
            tail.take(printer.shown(text, &value));
        }
    };
    let sealed = evidence::events_of_all(directory, |path| keyring.open(path), each)
        .map_err(|error| fail(Exit::Failed, &format!("{}: {error}", directory.display())))?;
    tail.end();
    if sealed > 0 { Err(fail(Exit::Failed, &keyring.why_sealed(directory, sealed))) } else { Ok(()) }
}

/// Events of a folder, by its index where that is faster.
fn local(directory: &Path, args: &EventsArgs, printer: &Printer) -> Result<(), Exit> {
    let failed = |error: std::io::Error| fail(Exit::Failed, &format!("{}: {error}", directory.display()));
    if !args.follow && wants_evidence(directory, args).map_err(failed)? {
        return from_evidence(directory, args, printer);
    }
    // Taken before the files are read: what is written meanwhile is followed, not missed.
    let end = args.follow.then(|| Cursor::end_of(directory)).transpose().map_err(failed)?;
    let limit = end.as_ref().map(|(_, limit)| *limit);
    // Who follows changes has to know all that was done before.
    let index = if args.follow && args.changes { UseIndex::Never } else { args.index };
    let mut tail = Tail::new(args.tail);
    let each = |line: &str, value: &Value| tail.take(printer.shown(line, value));
    let seen = printer.question.answer(directory, index, limit, each).map_err(failed)?;
    tail.end();
    let Some((cursor, _)) = end else { return Ok(()) };
    printer.follow(cursor, seen, &mut |cursor| read_after(directory, cursor, PAGE).map_err(failed))
}

/// What the arguments ask.
fn question(args: &EventsArgs) -> Result<Question, String> {
    let mut filter = args.r#where.as_deref().map(Filter::parse).transpose().map_err(|error| error.to_string())?;
    let now = jiff::Zoned::now();
    for (option, text, operator) in
        [("--since", &args.since, Operator::AtLeast), ("--until", &args.until, Operator::Less)]
    {
        let Some(text) = text else { continue };
        let time = when::said(text, &now).map_err(|error| format!("{option}: {error}"))?;
        let bound = Filter::time_is(operator, when::written(time));
        filter = Some(match filter {
            Some(filter) => filter.and(bound),
            None => bound,
        });
    }
    Ok(Question { filter, changes: args.changes })
}

/// Event lines of a box, as its management process hands them out.
fn page(client: &mut Client, cursor: &Cursor, wait: bool) -> Result<Batch, Exit> {
    let request = Request::EventLines { after: cursor.to_string(), wait };
    match client.ask(&request).map_err(|error| fail(super::unreachable_or_failed(&error), &error))? {
        Response::EventLines { lines, after, lost } => {
            let after = after.parse().map_err(|error| fail(Exit::Failed, &error))?;
            Ok(Batch { lines, after, removed: lost.is_some(), lost: lost.unwrap_or(0) })
        }
        Response::Failed { kind, messages } => Err(super::failed(kind, &messages)),
        _ => Err(fail(Exit::Failed, &"the box answered something else")),
    }
}

/// The folder of the event files.
pub(super) fn directory(context: &Context, config: Option<&Path>, named: Option<&Path>) -> Result<PathBuf, Exit> {
    let directory = match (named, config) {
        (Some(directory), _) => directory.to_owned(),
        (None, Some(config)) => match Config::load(config) {
            Ok(config) => config.record.directory,
            Err(problems) => return Err(mistakes(&problems)),
        },
        (None, None) if context.remote.is_some() => {
            let what = "this works on event files at hand: copy them, or those of `vambrace --box HOST --json events` as \
                        eve.json, and name their folder with --records DIR";
            return Err(fail(Exit::Usage, &what));
        }
        (None, None) => match Client::connect(&context.socket).and_then(|mut client| client.ask(&Request::Events)) {
            Ok(Response::Events { directory }) => PathBuf::from(directory),
            Ok(_) => return Err(fail(Exit::Failed, &"the appliance answered something else")),
            Err(error) => {
                let what = format!("{error}; `--records DIR` reads a folder without the appliance");
                return Err(fail(super::unreachable_or_failed(&error), &what));
            }
        },
    };
    if directory.is_dir() {
        return Ok(directory);
    }
    let what = format!("{}: no such folder; name the record directory with --records DIR", directory.display());
    Err(fail(Exit::Failed, &what))
}

/// Every line of `directory` in order of writing.
pub(super) fn for_each(directory: &Path, mut each: impl FnMut(&str, Value)) -> std::io::Result<()> {
    for path in event_files(directory)? {
        let file = match File::open(&path) {
            Ok(file) => file,
            // Removed meanwhile, to keep to the budget.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        read_lines(file, 0, u64::MAX, |_, line, value| each(line, value.clone()))?;
    }
    Ok(())
}

fn warn_of_removed(batch: &Batch) {
    if batch.removed {
        let lost = batch.lost;
        eprintln!("vambrace: old event files were removed while they were read: up to {lost} events are missing");
    }
}

struct Printer {
    json: bool,
    question: Question,
    output: Output,
}

impl Printer {
    /// The line as it is printed.
    fn shown(&self, line: &str, value: &Value) -> String {
        if self.json { line.to_owned() } else { brief(value, self.output) }
    }

    /// Hands out those of these lines that are asked for.
    fn take(&self, lines: &[String], seen: &mut Seen, each: &mut dyn FnMut(String)) {
        for line in lines {
            if let Ok(value) = serde_json::from_str(line)
                && self.question.asks_for(&value, seen)
            {
                each(self.shown(line, &value));
            }
        }
    }

    /// Prints what is written from now on.
    fn follow(
        &self,
        mut cursor: Cursor,
        mut seen: Seen,
        pages: &mut dyn FnMut(&Cursor) -> Result<Batch, Exit>,
    ) -> Result<(), Exit> {
        loop {
            let batch = pages(&cursor)?;
            warn_of_removed(&batch);
            self.take(&batch.lines, &mut seen, &mut |shown| {
                super::print(&shown);
            });
            cursor = batch.after;
            if batch.lines.is_empty() {
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Prints all that it takes, or at its end the last of it.
struct Tail {
    most: Option<usize>,
    last: std::collections::VecDeque<String>,
}

impl Tail {
    fn new(most: Option<usize>) -> Self {
        Self { most, last: std::collections::VecDeque::new() }
    }

    fn take(&mut self, shown: String) {
        let Some(most) = self.most else {
            super::print(&shown);
            return;
        };
        self.last.push_back(shown);
        if self.last.len() > most {
            self.last.pop_front();
        }
    }

    fn end(self) {
        for shown in self.last {
            super::print(&shown);
        }
    }
}

/// One line for people: time, id, what became of it, who and what.
pub(super) fn brief(line: &Value, output: Output) -> String {
    let ours = told::ours(line);
    let time = time_of_day(line["timestamp"].as_str().unwrap_or_default()).to_owned();
    let id = told::event_id(line).map_or(String::new(), |id| format!("#{id}"));
    let kind = line["event_type"].as_str().unwrap_or_default();
    let name = |ours_key: &str, line_key: &str| {
        let named = ours[ours_key].as_str().or_else(|| line[line_key].as_str());
        told::printable(named.unwrap_or_default())
    };
    let what = match kind {
        "notice" | "robot_message" => told::printable(ours["sentence"].as_str().unwrap_or_default()),
        "flow" => format!(
            "{} -> {} {} {}, {} allowed, {} refused",
            name("", "src_ip"),
            name("", "dest_ip"),
            told::service(line),
            ours["end"].as_str().unwrap_or_default(),
            ours["commands_allowed"],
            ours["commands_refused"]
        ),
        "drop" => told::printable(ours["sentence"].as_str().unwrap_or_default()),
        "anomaly" => {
            let what = told::printable(line["anomaly"]["event"].as_str().unwrap_or_default());
            format!("{} -> {} {what}", name("", "src_ip"), name("", "dest_ip"))
        }
        "stats" => format!("{} frames, {} dropped", line["stats"]["decoder"]["pkts"], line["stats"]["ips"]["blocked"]),
        _ => {
            let (plant, robot) = told::ends(line);
            let who = ours["client"].as_str().unwrap_or(plant);
            let whom = ours["robot"].as_str().unwrap_or(robot);
            let times = ours["repeats"]["count"].as_u64().or_else(|| line["repeats"]["count"].as_u64());
            let times = times.map_or(String::new(), |count| format!(" ({count} times)"));
            format!("{who} -> {whom} {} {}{times}", told::service(line), told::brief(line))
        }
    };
    let action = match ours["action"].as_str() {
        Some("allowed") => output.paint(Paint::Good, "allowed"),
        Some("refused") => {
            output.paint(Paint::Bad, &format!("REFUSED {}", ours["reason"].as_str().unwrap_or_default()))
        }
        Some("would_refuse") => {
            output.paint(Paint::Bad, &format!("would refuse {}", ours["reason"].as_str().unwrap_or_default()))
        }
        _ => output.paint(Paint::Dim, kind),
    };
    format!("{} {id:<6} {action} {what}", output.paint(Paint::Dim, &time))
}
