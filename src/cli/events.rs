#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::filter::{Filter, Operator};
use super::output::{Output, Paint, time_of_day};
use super::question::{Question, Seen, UseIndex, read_lines};
use super::{Context, Exit, fail, mistakes, told, when};
use crate::config::Config;
use crate::control::{Client, Request, Response};
use crate::record::{EVENT_FILE, event_files};

/// How often a followed file is looked at: what a person takes for at once.
const LOOK: Duration = Duration::from_millis(200);

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
}

/// Prints events.
pub(super) fn run(context: &Context, args: &EventsArgs) -> Exit {
    let question = match question(args) {
        Ok(question) => question,
        Err(line) => return fail(Exit::Usage, &line),
    };
    let directory = match directory(context, args.config.as_deref(), args.records.as_deref()) {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    let printer = Printer { json: context.json, output: Output::new() };
    match print_all(&directory, args, &question, &printer) {
        Ok(()) => Exit::Fine,
        Err(error) => fail(Exit::Failed, &format!("{}: {error}", directory.display())),
    }
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

/// The folder of the event files.
pub(super) fn directory(context: &Context, config: Option<&Path>, named: Option<&Path>) -> Result<PathBuf, Exit> {
    let directory = match (named, config) {
        (Some(directory), _) => directory.to_owned(),
        (None, Some(config)) => match Config::load(config) {
            Ok(config) => config.record.directory,
            Err(problems) => return Err(mistakes(&problems)),
        },
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

struct Printer {
    json: bool,
    output: Output,
}

impl Printer {
    /// The line as it is printed.
    fn shown(&self, line: &str, value: &Value) -> String {
        if self.json { line.to_owned() } else { brief(value, self.output) }
    }
}

fn print_all(directory: &Path, args: &EventsArgs, question: &Question, printer: &Printer) -> std::io::Result<()> {
    // Taken before the files are read: what is written meanwhile is followed, not missed.
    let growing = directory.join(EVENT_FILE);
    let followed = args.follow.then(|| Followed::end_of(&growing));
    let limit = followed.as_ref().map(|followed| (followed.inode, followed.position));
    // Who follows changes has to know all that was done before.
    let index = if args.follow && args.changes { UseIndex::Never } else { args.index };
    let mut last = std::collections::VecDeque::new();
    let seen = question.answer(directory, index, limit, |line, value| {
        let shown = printer.shown(line, value);
        match args.tail {
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
    })?;
    for shown in &last {
        super::print(shown);
    }
    let Some(followed) = followed else { return Ok(()) };
    follow(followed, &growing, seen, question, printer)
}

/// Prints what is written from now on.
fn follow(
    mut followed: Followed,
    growing: &Path,
    mut seen: Seen,
    question: &Question,
    printer: &Printer,
) -> std::io::Result<()> {
    loop {
        followed.read(growing, |line| {
            if let Ok(value) = serde_json::from_str(line)
                && question.asks_for(&value, &mut seen)
            {
                super::print(&printer.shown(line, &value));
            }
        })?;
        std::thread::sleep(LOOK);
    }
}

/// How far a growing file was read.
struct Followed {
    inode: u64,
    position: u64,
    file: Option<File>,
}

impl Followed {
    fn end_of(path: &Path) -> Self {
        let file = File::open(path).ok();
        let meta = file.as_ref().and_then(|file| file.metadata().ok());
        let (inode, position) = meta.map_or((0, 0), |meta| (meta.ino(), whole(path, meta.len())));
        Self { inode, position, file }
    }

    /// Hands out whole lines that were written since; goes on with the next file when this one was turned over.
    fn read(&mut self, path: &Path, mut each: impl FnMut(&str)) -> std::io::Result<()> {
        loop {
            // Looked at before reading: a file that was turned over after the last read is read to its end first.
            let current = std::fs::metadata(path).map_or(0, |meta| meta.ino());
            if let Some(file) = &mut self.file {
                file.seek(SeekFrom::Start(self.position))?;
                let mut reader = BufReader::new(file);
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n') {
                    self.position = self.position.saturating_add(u64::try_from(line.len()).unwrap_or(0));
                    each(String::from_utf8_lossy(&line).trim_end());
                    line.clear();
                }
            }
            if current == 0 || current == self.inode {
                return Ok(());
            }
            (self.inode, self.position, self.file) = (current, 0, File::open(path).ok());
        }
    }
}

/// Length of the whole lines among the first `len` bytes.
fn whole(path: &Path, len: u64) -> u64 {
    let Ok(file) = File::open(path) else { return 0 };
    let mut reader = BufReader::new(std::io::Read::take(file, len));
    let (mut position, mut line) = (0_u64, Vec::new());
    while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 && line.last() == Some(&b'\n') {
        position = position.saturating_add(u64::try_from(line.len()).unwrap_or(0));
        line.clear();
    }
    position
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    #[test]
    fn following_goes_on_over_a_turned_file() {
        let directory = std::env::temp_dir().join(format!("vambrace-follow-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(EVENT_FILE);
        fs::write(&path, "{\"n\":1}\n{\"n\"").unwrap();
        let mut followed = Followed::end_of(&path);
        let mut before = Vec::new();
        let all = Question { filter: None, changes: false };
        let limit = Some((followed.inode, followed.position));
        all.answer(&directory, UseIndex::Never, limit, |line, _| before.push(line.to_owned())).unwrap();
        assert_eq!(before, ["{\"n\":1}"]);
        let read = |followed: &mut Followed| {
            let mut lines = Vec::new();
            followed.read(&path, |line| lines.push(line.to_owned())).unwrap();
            lines
        };
        assert!(read(&mut followed).is_empty());
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b":2}\n{\"n\":3}\n").unwrap();
        assert_eq!(read(&mut followed), ["{\"n\":2}", "{\"n\":3}"]);
        file.write_all(b"{\"n\":4}\n").unwrap();
        fs::rename(&path, directory.join("eve-00000001-x.json")).unwrap();
        fs::write(&path, "{\"n\":5}\n").unwrap();
        assert_eq!(read(&mut followed), ["{\"n\":4}", "{\"n\":5}"]);
        let mut all = Vec::new();
        for_each(&directory, |line, _| all.push(line.to_owned())).unwrap();
        assert_eq!(all.len(), 5);
        fs::remove_dir_all(&directory).unwrap();
    }
}
