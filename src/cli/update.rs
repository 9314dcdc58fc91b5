//! Another version of the appliance image: handed over, ordered, watched.

mod health;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Context, Exit, ask, fail, failed, unreachable_or_failed};
use crate::control::{Client, Request, Response, UpdateOrder, UpdateResult, UpdateState, UpdateStatus, UpdateStep};
use crate::update::{LARGEST, Spool};

/// Bytes of a part: in base64 they are four thirds of it, below the longest line.
const PART: usize = 512 << 10;

/// How long checking a bundle and writing a slot may take, on a slow disk.
const PATIENCE: Duration = Duration::from_secs(600);

/// Time between two looks how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// What `update` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum UpdateCommand {
    /// Hands a bundle over and has it tried: the box starts again, and keeps it only if it is sound.
    Apply {
        /// The bundle, as the build of the image makes it.
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
        #[command(flatten)]
        word: Word,
    },
    /// What runs, what the other slot holds, and what became of updates.
    Status,
    /// Keeps the version that is on trial, whatever was not shown yet.
    Confirm,
    /// Goes back to the version in the other slot, which is tried like an update.
    Rollback {
        #[command(flatten)]
        word: Word,
    },
    /// Whether this version is sound; for the appliance's updater.
    #[command(hide = true)]
    Health(health::HealthArgs),
    /// Whether the robot is known to run no program; for the appliance's updater.
    #[command(hide = true)]
    Idle,
    /// Records a step of an update; for the appliance's updater.
    #[command(hide = true)]
    Record(RecordArgs),
}

/// An operator's word.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Word {
    /// Although a program runs on the robot, or the box does not know: its connections end when the box starts again.
    #[arg(long)]
    now: bool,
}

/// A step.
#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    #[arg(long)]
    step: String,
    #[arg(long)]
    from: String,
    #[arg(long)]
    to: String,
    #[arg(long)]
    who: String,
    #[arg(long)]
    why: String,
}

/// Runs one of them.
pub(super) fn run(context: &Context, command: &UpdateCommand) -> Exit {
    let done = match command {
        UpdateCommand::Apply { bundle, word } => apply(context, bundle, word.now),
        UpdateCommand::Status => Way::to(context).and_then(|mut way| way.status()).map(|status| show(context, &status)),
        UpdateCommand::Confirm => order(context, UpdateOrder::Confirm, false),
        UpdateCommand::Rollback { word } => order(context, UpdateOrder::Rollback, word.now),
        UpdateCommand::Health(args) => health::health(context, args),
        UpdateCommand::Idle => health::idle(context),
        UpdateCommand::Record(args) => record(context, args),
    };
    done.unwrap_or_else(|exit| exit)
}

/// How the updater is reached: over a box's remote API, or on the box by its folder.
enum Way {
    Afar(Client),
    Here(Spool),
}

fn unusable(error: &dyn std::fmt::Display) -> Exit {
    fail(Exit::Failed, error)
}

impl Way {
    fn to(context: &Context) -> Result<Self, Exit> {
        if context.remote.is_none() {
            return Ok(Self::Here(Spool::default()));
        }
        context.connect().map(Self::Afar).map_err(|error| fail(unreachable_or_failed(&error), &error))
    }

    fn ask(client: &mut Client, request: &Request) -> Result<Response, Exit> {
        match client.ask(request) {
            Ok(Response::Failed { kind, messages }) => Err(failed(kind, &messages)),
            Ok(response) => Ok(response),
            Err(error) => Err(fail(unreachable_or_failed(&error), &error)),
        }
    }

    fn status(&mut self) -> Result<UpdateStatus, Exit> {
        match self {
            Self::Here(spool) => spool.status().map_err(|error| unusable(&error)),
            Self::Afar(client) => match Self::ask(client, &Request::UpdateStatus)? {
                Response::Update(status) => Ok(*status),
                _ => Err(fail(Exit::Failed, &"the box answered something else")),
            },
        }
    }

    /// Hands a bundle over, a part at a time.
    fn hand_over(&mut self, file: &mut File, progress: &indicatif::ProgressBar) -> Result<(), Exit> {
        let mut buffer = vec![0_u8; PART];
        let mut upload = match self {
            Self::Here(spool) => Some(spool.begin().map_err(|error| unusable(&error))?),
            Self::Afar(_) => None,
        };
        let mut from = 0_u64;
        loop {
            let mut filled = 0;
            while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
                match file.read(room) {
                    Ok(0) => break,
                    Ok(got) => filled = filled.saturating_add(got),
                    Err(error) => return Err(fail(Exit::Failed, &error)),
                }
            }
            let part = buffer.get(..filled).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            match (&mut upload, &mut *self) {
                (Some(upload), _) => upload.write(from, part).map_err(|error| unusable(&error))?,
                (None, Self::Afar(client)) => {
                    let request = Request::UpdatePart { from, base64: STANDARD.encode(part) };
                    Self::ask(client, &request)?;
                }
                (None, Self::Here(_)) => {}
            }
            from = from.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            progress.set_position(from);
        }
        upload.map_or(Ok(()), |upload| upload.finish().map_err(|error| unusable(&error)))
    }

    fn order(&mut self, order: UpdateOrder, now: bool) -> Result<String, Exit> {
        match self {
            Self::Here(spool) => {
                let who = format!("uid {} at the box", rustix::process::getuid().as_raw());
                spool.order(order, now, &who).map_err(|error| unusable(&error))
            }
            Self::Afar(client) => match Self::ask(client, &Request::Update { order, now })? {
                Response::UpdateOrdered { mark } => Ok(mark),
                _ => Err(fail(Exit::Failed, &"the box answered something else")),
            },
        }
    }
}

fn apply(context: &Context, bundle: &Path, now: bool) -> Result<Exit, Exit> {
    let named = |what: &dyn std::fmt::Display| fail(Exit::Usage, &format!("{}: {what}", bundle.display()));
    let mut file = File::open(bundle).map_err(|error| named(&error))?;
    let length = file.metadata().map_err(|error| named(&error))?.len();
    if length > LARGEST {
        return Err(named(&format!("{length} bytes; an update bundle has {LARGEST} at most")));
    }
    let mut way = Way::to(context)?;
    let progress = super::progress(length);
    way.hand_over(&mut file, &progress)?;
    progress.finish_and_clear();
    carried_out(context, way, UpdateOrder::Apply, now)
}

fn order(context: &Context, order: UpdateOrder, now: bool) -> Result<Exit, Exit> {
    carried_out(context, Way::to(context)?, order, now)
}

/// Leaves an order and waits until the updater has carried it out or refused it.
fn carried_out(context: &Context, mut way: Way, order: UpdateOrder, now: bool) -> Result<Exit, Exit> {
    let mark = way.order(order, now)?;
    let asked = Instant::now();
    loop {
        let status = way.status()?;
        if status.order == mark && status.result != UpdateResult::Pending {
            return Ok(told(context, &status));
        }
        if asked.elapsed() > PATIENCE {
            let what = "the updater has not carried it out yet; ask `vambrace update status`";
            return Err(fail(Exit::Failed, &what));
        }
        std::thread::sleep(LOOK);
    }
}

fn told(context: &Context, status: &UpdateStatus) -> Exit {
    if status.result == UpdateResult::Done {
        if context.json {
            return super::print(&serde_json::json!({"result": "done", "outcome": status.outcome}).to_string());
        }
        return super::print(&status.outcome);
    }
    fail(if status.result == UpdateResult::Unsafe { Exit::Unsafe } else { Exit::Failed }, &status.outcome)
}

fn show(context: &Context, status: &UpdateStatus) -> Exit {
    if context.json {
        return match serde_json::to_string(status) {
            Ok(line) => super::print(&line),
            Err(error) => fail(Exit::Failed, &error),
        };
    }
    let first = if status.first == status.slot {
        "which starts first".to_owned()
    } else {
        format!("while {} starts first", status.first)
    };
    let mut text = format!("version    {} in {}, {first}\nother slot {}\n", status.version, status.slot, status.other);
    text += &format!("epoch      {}; nothing below it is taken\n", status.epoch);
    text += &match status.state {
        UpdateState::Idle => "state      no update is on its way\n".to_owned(),
        UpdateState::Busy => "state      a bundle is being checked and written\n".to_owned(),
        UpdateState::Restarting => "state      the box starts again\n".to_owned(),
        UpdateState::Trial => {
            let (held, hold, left) = (status.held_seconds, status.hold_seconds, status.left_seconds);
            format!("state      on trial: everything has held for {held} of {hold} s; goes back in {left} s\n")
        }
    };
    for sentence in &status.unmet {
        text += &format!("           {sentence}\n");
    }
    for step in &status.steps {
        text += &format!("{}\n", line(step));
    }
    super::print(&text)
}

fn line(step: &UpdateStep) -> String {
    let at = i64::try_from(step.at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok()).unwrap_or_default();
    let to = if step.to.is_empty() { "?" } else { &step.to };
    let why = if step.why.is_empty() { String::new() } else { format!(": {}", step.why) };
    format!("{} {} {} -> {to}, {}{why}", at.strftime("%Y-%m-%dT%H:%M:%SZ"), step.step, step.from, step.who)
}

fn record(context: &Context, args: &RecordArgs) -> Result<Exit, Exit> {
    let RecordArgs { step, from, to, who, why } = args;
    let (step, from, to, who, why) = (step.clone(), from.clone(), to.clone(), who.clone(), why.clone());
    let request = Request::UpdateStep(UpdateStep { at: 0, step, from, to, who, why });
    ask(context, &request).map(|_| Exit::Fine)
}
