//! `evidence`: what was recorded, verified, listed and handed on.

mod decrypt;
mod export;
mod fetch;
mod keygen;
mod told;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::identity::Identities;
use super::output::table;
use super::{Context, Exit, ask, events, fail, print, unreachable_or_failed};
use crate::control::{Client, Request, Response};
use crate::verify::{self, Export, Folder, Key, Question, Segment, Store};

/// Subcommands of `evidence`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum EvidenceCommand {
    /// Whether anything was altered or is missing, and up to when that can be said.
    Verify(VerifyArgs),
    /// The segments: from when to when, and what stands in them.
    List(ListArgs),
    /// One file for whoever is to look at it.
    Export(export::ExportArgs),
    /// A pair of keys for an auditor, to whom a box encrypts its evidence.
    Keygen(keygen::KeygenArgs),
    /// Encrypted evidence as a capture in the clear.
    Decrypt(decrypt::DecryptArgs),
    /// Keep the frames that the running appliance remembers: those of the last seconds, both directions, and of the
    /// moment after.
    Keep,
}

/// What is looked at.
#[derive(Debug, clap::Args)]
struct Place {
    /// Record directory or export; the record directory of the running appliance where absent.
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Configuration that tells where records lie.
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    config: Option<PathBuf>,
}

/// Arguments of `evidence verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Exit codes: 0 sound, 1 can't be read, 2 usage, 4 not sound: altered, or something is \
    missing.\n\nExamples:\n  vambrace evidence verify cell4.tar --key cell4.pub\n  \
    vambrace evidence verify /var/lib/vambrace/evidence --key cell4.pub --witness station.notes --counter 12")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    /// The box's public key, as its owner hands it out; without it the store's own is used, and the answer says so.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Checkpoints that a witness keeps; may be given several times.
    #[arg(long, value_name = "FILE")]
    witness: Vec<PathBuf>,
    /// How often the store was opened, as its counter outside of the store says.
    #[arg(long, value_name = "N")]
    counter: Option<u64>,
    #[command(flatten)]
    identities: Identities,
}

/// Arguments of `evidence list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,
}

/// Runs one of them.
pub(super) fn run(context: &Context, command: &EvidenceCommand) -> Exit {
    let answer = match command {
        EvidenceCommand::Verify(args) => verify_all(context, args),
        EvidenceCommand::List(args) => list_all(context, args),
        EvidenceCommand::Export(args) => export::run(context, args),
        EvidenceCommand::Keygen(args) => keygen::run(context, args),
        EvidenceCommand::Decrypt(args) => decrypt::run(context, args),
        EvidenceCommand::Keep => keep(context),
    };
    answer.unwrap_or_else(|exit| exit)
}

/// The folder or export that is meant.
fn open(context: &Context, place: &Place) -> Result<(PathBuf, Box<dyn Store>), Exit> {
    let path = match &place.path {
        Some(path) => path.clone(),
        None if context.remote.is_some() => {
            if place.config.is_some() {
                let what = "--config names a folder of this machine; with --box the box's own records are meant";
                return Err(fail(Exit::Usage, &what));
            }
            let remote = fetch::Remote::open(context)?;
            let name = context.remote.as_ref().map_or_else(PathBuf::new, |remote| PathBuf::from(&remote.address));
            return Ok((name, Box::new(remote)));
        }
        None => directory(context, place.config.as_deref())?,
    };
    let store = if path.is_dir() {
        Folder::open(&path).map(|store| Box::new(store) as Box<dyn Store>)
    } else {
        Export::open(&path).map(|store| Box::new(store) as Box<dyn Store>)
    };
    store.map_err(|error| fail(Exit::Failed, &at(&path, &error))).map(|store| (path, store))
}

/// The record directory that a configuration names, or the running appliance.
fn directory(context: &Context, config: Option<&Path>) -> Result<PathBuf, Exit> {
    if config.is_some() {
        return events::directory(context, config, None);
    }
    match Client::connect(&context.socket).and_then(|mut client| client.ask(&Request::Events)) {
        Ok(Response::Events { directory }) => Ok(PathBuf::from(directory)),
        Ok(_) => Err(fail(Exit::Failed, &"the appliance answered something else")),
        Err(error) => {
            let what = format!("{error}; name a record directory or an export to look at one without the appliance");
            Err(fail(unreachable_or_failed(&error), &what))
        }
    }
}

fn at(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

/// Reads the line of a key.
fn read_key(path: &Path) -> Result<Key, Exit> {
    /// Longer than any line of a key, in bytes.
    const ROOM: u64 = 64 << 10;
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| std::io::Read::read_to_string(&mut std::io::Read::take(file, ROOM), &mut text));
    read.map_err(|error| fail(Exit::Failed, &at(path, &error)))?;
    Key::parse(text.trim()).map_err(|what| {
        fail(Exit::Failed, &at(path, &format!("{what}; it should hold the line of the box's evidence.pub")))
    })
}

/// Bytes of all segments.
fn bytes(store: &dyn Store) -> u64 {
    store.entries().iter().filter(|entry| entry.segment().is_some()).map(|entry| entry.bytes).sum()
}

/// A bar over the segments of `store`, on standard error when it is a terminal.
fn bar(store: &dyn Store) -> ProgressBar {
    super::progress(bytes(store))
}

fn keep(context: &Context) -> Result<Exit, Exit> {
    match ask(context, &Request::KeepFrames)? {
        Response::Done if context.json => println!("{}", serde_json::json!({"kept": true})),
        Response::Done => {
            println!("kept; within two seconds the frames stand in the evidence, beside a record of who asked")
        }
        _ => return Err(fail(Exit::Failed, &"the appliance answered something else")),
    }
    Ok(Exit::Fine)
}

fn verify_all(context: &Context, args: &VerifyArgs) -> Result<Exit, Exit> {
    let key = args.key.as_deref().map(read_key).transpose()?;
    let identities = args.identities.load()?.0;
    let (path, store) = open(context, &args.place)?;
    let unread = |error: verify::Error| match error {
        verify::Error::NoSegments | verify::Error::NoKey => fail(Exit::Failed, &at(&path, &error)),
        _ => fail(Exit::Failed, &error),
    };
    let mut witnesses = Vec::new();
    if !args.witness.is_empty() {
        let own = verify::own_key(store.as_ref()).map_err(unread)?.and_then(Result::ok);
        let Some(key) = key.clone().or(own) else { return Err(unread(verify::Error::NoKey)) };
        for witness in &args.witness {
            let file = File::open(witness).map_err(|error| fail(Exit::Failed, &at(witness, &error)))?;
            let name = witness.display().to_string();
            let mut passed_over = 0_u64;
            let mut first = None;
            let tell = |line, what| {
                passed_over = passed_over.saturating_add(1);
                first.get_or_insert((line, what));
            };
            let held = verify::read_witness_telling(&name, BufReader::new(file), &key, tell).map_err(unread)?;
            witnesses.extend(held);
            if let Some((line, what)) = first {
                eprintln!(
                    "vambrace: {name}:{line}: {what}; {passed_over} notes there prove nothing and are passed over"
                );
            }
        }
    }
    let question = Question { key, witnesses, counter: args.counter, identities };
    let bar = bar(store.as_ref());
    let report = verify::verify(store.as_ref(), &question, |bytes| bar.inc(bytes)).map_err(unread)?;
    bar.finish_and_clear();
    let exit = if report.sound { Exit::Fine } else { Exit::Unsound };
    let text = if context.json { told::json(&report) } else { told::text(&path.display().to_string(), &report) };
    match print(&text) {
        Exit::Fine => Ok(exit),
        failed => Err(failed),
    }
}

/// The segments of a store, with what stands before each.
fn segments(path: &Path, store: &dyn Store) -> Result<Vec<Segment>, Exit> {
    let failed = |what: &dyn std::fmt::Display| fail(Exit::Failed, &at(path, what));
    let base = verify::base(store).map_err(|error| failed(&error))?.map_err(|finding| {
        fail(Exit::Unsound, &at(path, &format!("{finding}; `vambrace evidence verify` says more")))
    })?;
    let bar = bar(store);
    let segments = verify::list(store, base, |bytes| bar.inc(bytes)).map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    Ok(segments)
}

fn list_all(context: &Context, args: &ListArgs) -> Result<Exit, Exit> {
    let (path, store) = open(context, &args.place)?;
    let segments = segments(&path, store.as_ref())?;
    if context.json {
        let lines: Vec<String> = segments.iter().filter_map(|segment| serde_json::to_string(segment).ok()).collect();
        return Ok(print(&lines.join("\n")));
    }
    let mut heading = vec!["segment", "from", "to", "records", "packets", "bytes", "signed up to"];
    let is_encrypted = segments.iter().any(|segment| !segment.encrypted_to.is_empty());
    heading.extend(is_encrypted.then_some("encrypted to"));
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let time = |ns: Option<u64>| ns.map_or("-".to_owned(), told::time);
    for segment in &segments {
        let mut row = vec![
            segment.number.to_string(),
            time(segment.from_ns),
            time(segment.to_ns),
            segment.records.to_string(),
            segment.packets.to_string(),
            segment.bytes.to_string(),
            time(segment.signed_ns),
        ];
        row.extend(is_encrypted.then(|| segment.encrypted_to.join(" ")));
        rows.push(row);
    }
    Ok(print(&format!(
        "{}Nothing of this is checked; `vambrace evidence verify` does that.\n{}",
        table(&rows),
        verify::NOT_SEEN
    )))
}
