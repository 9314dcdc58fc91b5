use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{Context, Exit, fail};
use crate::console::diagnostics::{text, without_secrets};
use crate::control::{Client, Request, Response};
use crate::record::Cursor;

/// Bytes of event lines that are told: some hours of a cell.
const EVENTS: usize = 512 * 1024;

/// Arguments of `diagnostics`.
#[derive(Debug, Subcommand)]
pub(super) enum DiagnosticsCommand {
    /// Writes a file for those who help: state, policy, configuration, log and the last events, without keys and secrets.
    #[command(
        after_long_help = "Examples:\n  vambrace diagnostics export -o help.tar\n  vambrace --box HOST diagnostics \
                                 export -o help.tar\n\nLook into it before you hand it on: it names the plant's \
                                 addresses, programs and users."
    )]
    Export {
        /// The file.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Configuration to take along; of a box far away its own is taken.
        #[arg(long, value_name = "FILE", default_value = "/etc/vambrace/vambrace.toml")]
        config: PathBuf,
    },
}

/// What the file says of itself.
#[derive(Serialize)]
struct About {
    version: &'static str,
    made: String,
    of: String,
    /// What could not be had, and why.
    missing: Vec<String>,
}

/// Gathers, and writes what it got: a box that is half dead is what this is for.
pub(super) fn run(context: &Context, command: &DiagnosticsCommand) -> Exit {
    let DiagnosticsCommand::Export { output, config } = command;
    let mut gathered = Gathered::default();
    for (name, request) in [
        ("status", Request::Status),
        ("policy", Request::PolicyShow),
        ("learning", Request::LearnStatus),
        ("patches", Request::Patches { again: false }),
    ] {
        gathered.ask(context, name, &request);
    }
    if context.remote.is_some() {
        gathered.ask(context, "texts", &Request::Diagnostics);
    } else {
        match text("vambrace.toml", config) {
            Some(it) => gathered.files.push((it.name, it.text)),
            None => gathered.missing.push(format!("configuration: {} can't be read", config.display())),
        }
        let kernel = text("kernel.txt", Path::new("/proc/version")).map_or_else(String::new, |it| it.text);
        gathered.files.push(("kernel.txt".to_owned(), kernel));
    }
    if let Err(why) = gathered.events(context) {
        gathered.missing.push(format!("events: {why}"));
    }
    let of = context.remote.as_ref().map_or_else(|| "this machine".to_owned(), |remote| remote.address.clone());
    let made = jiff::Timestamp::now().to_string();
    let Gathered { files, missing } = gathered;
    for line in &missing {
        eprintln!("vambrace: left out: {line}");
    }
    // What this machine's kernel is says nothing of a box.
    if files.iter().all(|(name, text)| name == "kernel.txt" || text.is_empty()) {
        return fail(Exit::Unreachable, &"nothing could be had of the box; no file was written");
    }
    let about = About { version: env!("CARGO_PKG_VERSION"), made, of, missing };
    match write(output, &about, &files) {
        Ok(()) => {
            eprintln!("vambrace: {} holds {} texts", output.display(), files.len());
            Exit::Fine
        }
        Err(error) => fail(Exit::Failed, &format!("{}: {error}", output.display())),
    }
}

#[derive(Default)]
struct Gathered {
    files: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Gathered {
    fn ask(&mut self, context: &Context, name: &str, request: &Request) {
        match context.connect().and_then(|mut client| client.ask(request)) {
            Ok(Response::Diagnostics { texts }) => {
                self.files.extend(texts.into_iter().map(|it| (it.name, it.text)));
            }
            Ok(Response::Failed { messages, .. }) => self.missing.push(format!("{name}: {}", messages.join("; "))),
            Ok(Response::Policy(policy)) => self.files.push(("policy.toml".to_owned(), policy.text)),
            Ok(response) => match serde_json::to_string_pretty(&response) {
                Ok(text) => self.files.push((format!("{name}.json"), text + "\n")),
                Err(error) => self.missing.push(format!("{name}: {error}")),
            },
            Err(error) => self.missing.push(format!("{name}: {error}")),
        }
    }

    /// The last event lines.
    fn events(&mut self, context: &Context) -> Result<(), String> {
        let mut last = std::collections::VecDeque::new();
        let mut bytes = 0_usize;
        let mut take = |lines: Vec<String>| {
            for line in lines {
                bytes = bytes.saturating_add(line.len());
                last.push_back(line);
                while bytes > EVENTS {
                    let Some(oldest) = last.pop_front() else { break };
                    bytes = bytes.saturating_sub(oldest.len());
                }
            }
        };
        let mut client = context.connect().map_err(|error| error.to_string())?;
        if context.remote.is_some() {
            remote_lines(&mut client, &mut take)?;
        } else {
            local_lines(&mut client, &mut take)?;
        }
        let mut text = String::with_capacity(bytes);
        for line in last {
            text.push_str(&line);
            text.push('\n');
        }
        self.files.push(("events.json".to_owned(), text));
        Ok(())
    }
}

fn remote_lines(client: &mut Client, take: &mut dyn FnMut(Vec<String>)) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let request = Request::EventLines { after: after.clone(), wait: false };
        match client.ask(&request).map_err(|error| error.to_string())? {
            Response::EventLines { lines, .. } if lines.is_empty() => return Ok(()),
            Response::EventLines { lines, after: next, .. } => {
                take(lines);
                after = next;
            }
            Response::Failed { messages, .. } => return Err(messages.join("; ")),
            _ => return Err("the box answered something else".to_owned()),
        }
    }
}

fn local_lines(client: &mut Client, take: &mut dyn FnMut(Vec<String>)) -> Result<(), String> {
    let directory = match client.ask(&Request::Events).map_err(|error| error.to_string())? {
        Response::Events { directory } => PathBuf::from(directory),
        Response::Failed { messages, .. } => return Err(messages.join("; ")),
        _ => return Err("the appliance answered something else".to_owned()),
    };
    let mut cursor = Cursor::default();
    loop {
        let batch = crate::record::read_after(&directory, &cursor, EVENTS).map_err(|error| error.to_string())?;
        if batch.lines.is_empty() {
            return Ok(());
        }
        take(batch.lines);
        cursor = batch.after;
    }
}

/// Everything goes through the same sieve, wherever it came from.
fn write(path: &Path, about: &About, files: &[(String, String)]) -> std::io::Result<()> {
    let fresh = path.with_extension("part");
    let mut file = std::fs::File::create(&fresh)?;
    let mut tar = tar::Builder::new(&mut file);
    let about = ("about.json".to_owned(), serde_json::to_string_pretty(about)? + "\n");
    for (name, text) in std::iter::once(&about).chain(files) {
        let text = without_secrets(text);
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        tar.append_data(&mut header, format!("diagnostics/{name}"), text.as_bytes())?;
    }
    tar.finish()?;
    drop(tar);
    file.flush()?;
    file.sync_all()?;
    std::fs::rename(fresh, path)
}
