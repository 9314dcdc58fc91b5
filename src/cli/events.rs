#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::filter::Filter;
use super::output::{Output, Paint, time_of_day};
use super::{Context, Exit, fail, mistakes, told};
use crate::config::Config;
use crate::control::{Client, Request, Response};
use crate::export::{Batch, Cursor, event_files, read_after};

/// How often a followed file is looked at: what a person takes for at once.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes of event files that are read at once.
const PAGE: usize = 1 << 20;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  vambrace events --where 'event_type = alert and client = hmi'\n  \
    vambrace events --follow --where 'reason != allowed or class = safety'\n  \
    vambrace events --where 'timestamp > 2026-11-23T13 and values > 100' --json | jq .")]
pub(super) struct EventsArgs {
    /// Go on with new events as they are written.
    #[arg(short, long)]
    follow: bool,
    /// Only events for which this holds: FIELD = != < <= > >= ~ VALUE, and, or, not, parentheses.
    ///
    /// A field is a path in the event (`alert.signature_id`); event_id, reason, rule, class, client, robot, service and
    /// what a command said (function, values, text) are found wherever they stand. ~ means contains. Of an array any
    /// item will do. A field alone asks whether it is there.
    #[arg(long, value_name = "EXPR")]
    r#where: Option<String>,
    /// Only the last N events that are there.
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
    /// Folder of the event files; asked of the running appliance where absent.
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Configuration that tells where records lie.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints events.
pub(super) fn run(context: &Context, args: &EventsArgs) -> Exit {
    let filter = match args.r#where.as_deref().map(Filter::parse).transpose() {
        Ok(filter) => filter,
        Err(error) => return fail(Exit::Usage, &error),
    };
    let printer = Printer { json: context.json, filter, output: Output::new() };
    if context.remote.is_some() && args.records.is_none() && args.config.is_none() {
        let mut client = match context.connect() {
            Ok(client) => client,
            Err(error) => return fail(super::unreachable_or_failed(&error), &error),
        };
        let mut caught_up = false;
        let mut pages = |cursor: &Cursor| {
            let batch = page(&mut client, cursor, caught_up && args.follow)?;
            caught_up |= batch.lines.is_empty();
            Ok(batch)
        };
        return print_all(&mut pages, args, &printer).err().unwrap_or(Exit::Fine);
    }
    let directory = match directory(context, args.config.as_deref(), args.records.as_deref()) {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    let mut pages = |cursor: &Cursor| {
        let read = read_after(&directory, cursor, PAGE);
        read.map_err(|error| fail(Exit::Failed, &format!("{}: {error}", directory.display())))
    };
    print_all(&mut pages, args, &printer).err().unwrap_or(Exit::Fine)
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
        for line in BufReader::new(file).lines() {
            let line = line?;
            if let Ok(value) = serde_json::from_str(&line) {
                each(&line, value);
            }
        }
    }
    Ok(())
}

struct Printer {
    json: bool,
    filter: Option<Filter>,
    output: Output,
}

impl Printer {
    /// The line as it is printed; `None` where it is no event or not asked for.
    fn shown(&self, line: &str) -> Option<String> {
        let value = serde_json::from_str(line).ok()?;
        let asked = self.filter.as_ref().is_none_or(|filter| filter.matches(&value));
        asked.then(|| if self.json { line.to_owned() } else { brief(&value, self.output) })
    }
}

/// Event lines after a place, from a folder or from a box.
type Pages<'a> = dyn FnMut(&Cursor) -> Result<Batch, Exit> + 'a;

fn print_all(pages: &mut Pages<'_>, args: &EventsArgs, printer: &Printer) -> Result<(), Exit> {
    let (mut cursor, mut last) = (Cursor::default(), std::collections::VecDeque::new());
    let mut caught_up = false;
    loop {
        let batch = pages(&cursor)?;
        if batch.removed {
            eprintln!(
                "vambrace: old event files were removed while they were read: up to {} events are missing",
                batch.lost
            );
        }
        let at_end = batch.lines.is_empty();
        for line in &batch.lines {
            let Some(shown) = printer.shown(line) else { continue };
            match args.tail.filter(|_| !caught_up) {
                None => {
                    super::print(&shown);
                }
                Some(count) => {
                    last.push_back(shown);
                    if last.len() > count {
                        last.pop_front();
                    }
                }
            }
        }
        cursor = batch.after;
        if at_end {
            caught_up = true;
            last.drain(..).for_each(|shown| {
                super::print(&shown);
            });
            if !args.follow {
                return Ok(());
            }
            std::thread::sleep(LOOK);
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
