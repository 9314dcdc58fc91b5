use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::mode::parse_time;
use super::{Context, Exit, fail};
use crate::control::{Captured, Client, ControlError, Request, Response};
use crate::record::SNAP_LEN;

mod blocks;
pub(super) mod extcap;

use blocks::Blocks;

/// How long a box that went away is waited for: its packet process is replaced within a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is tried meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// How long the last packets may take after the end was asked for.
const ENDING: Duration = Duration::from_secs(3);

/// Arguments of `capture`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  vambrace capture - | wireshark -k -i -\n  \
    vambrace capture --only dropped --for 10m refused.pcapng\n  vambrace --box cell4.plant.example capture - | tshark -r -\n\n\
    Interfaces: `plant` and `robot` show frames as the port received them, and frames of the box's own (marked as \
    outbound) on the port that they leave by; `plant.dropped` and `robot.dropped` show what was refused, with the \
    sentence as comment, the event's number as packet id and the reason as verdict.")]
pub(super) struct CaptureArgs {
    /// File to write, `-` for standard output.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// Only frames that are refused, or outside enforcement would be.
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Option<Only>,
    /// Most bytes of a frame.
    #[arg(long, value_name = "BYTES", default_value_t = LONGEST, value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST)))]
    snap: u32,
    /// End after this time: 10s, 5m, 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    r#for: Option<Duration>,
}

/// Most bytes of a frame that the box shows.
#[expect(clippy::cast_possible_truncation, reason = "two kilobytes")]
const LONGEST: u32 = SNAP_LEN as u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Refused frames.
    Dropped,
}

/// What is captured, until when.
struct Wanted {
    only_dropped: bool,
    snap: u32,
    time: Option<Duration>,
}

/// Writes what passes the running box.
pub(super) fn run(context: &Context, args: &CaptureArgs) -> Exit {
    let wanted = Wanted { only_dropped: args.only.is_some(), snap: args.snap, time: args.r#for };
    if args.to == Path::new("-") {
        let out = io::stdout();
        if out.is_terminal() {
            let what = "a capture is no text for a terminal; name a file, or `vambrace capture - | wireshark -k -i -`";
            return fail(Exit::Usage, &what);
        }
        return capture(&|| context.connect(), &wanted, &mut out.lock(), context.quiet);
    }
    match File::create(&args.to) {
        Ok(mut file) => capture(&|| context.connect(), &wanted, &mut file, context.quiet),
        Err(error) => fail(Exit::Failed, &format!("{}: {error}", args.to.display())),
    }
}

/// Reaches the box that is meant.
type Connect<'c> = dyn Fn() -> Result<Client, ControlError> + 'c;

/// Why capturing ended before its time.
enum Ended {
    /// Whoever reads our output has had enough.
    NotRead,
    /// Nothing can be written.
    Output(io::Error),
    /// The box is gone for good, or refuses.
    Box(Exit),
}

/// Captures until the time is over, somebody ends it, or the box does not come back.
fn capture(connect: &Connect<'_>, wanted: &Wanted, out: &mut impl Write, quiet: bool) -> Exit {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            return fail(Exit::Failed, &format!("signal handlers: {error}"));
        }
    }
    let until = wanted.time.and_then(|time| Instant::now().checked_add(time));
    let over = || stop.load(Ordering::Relaxed) || until.is_some_and(|until| Instant::now() >= until);
    let mut blocks = Blocks::default();
    let ended = follow(connect, wanted, &mut blocks, out, &over);
    let was_refused = matches!(ended, Err(Ended::Box(_))) && blocks.is_empty();
    if !quiet && !was_refused {
        eprintln!("vambrace: {}", blocks.summary());
    }
    match ended {
        Ok(()) | Err(Ended::NotRead) => Exit::Fine,
        Err(Ended::Output(error)) => fail(Exit::Failed, &format!("what was captured can't be written: {error}")),
        Err(Ended::Box(exit)) => exit,
    }
}

/// One connection after the other: a packet process that is replaced ends one, and its successor takes the next.
fn follow(
    connect: &Connect<'_>,
    wanted: &Wanted,
    blocks: &mut Blocks,
    out: &mut impl Write,
    over: &impl Fn() -> bool,
) -> Result<(), Ended> {
    let mut stream = open(connect, wanted).map_err(|refused| Ended::Box(refused.say()))?;
    loop {
        if one(stream, blocks, out, over)? {
            return Ok(());
        }
        eprintln!(
            "vambrace: the box closed the capture; waiting for it to come back; what passes meanwhile is missing"
        );
        let gone = Instant::now();
        stream = loop {
            std::thread::sleep(RETRY);
            match open(connect, wanted) {
                _ if over() => return Ok(()),
                Ok(stream) => break stream,
                Err(refused) if gone.elapsed() > PATIENCE => return Err(Ended::Box(refused.say())),
                Err(_) => {}
            }
        };
        blocks.reconnected();
    }
}

/// Reads one connection to its end; says whether it ended because its time was over.
fn one(
    mut stream: Captured,
    blocks: &mut Blocks,
    out: &mut impl Write,
    over: &impl Fn() -> bool,
) -> Result<bool, Ended> {
    let output = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ended::NotRead,
        _ => Ended::Output(error),
    };
    let mut ending: Option<Instant> = None;
    let mut whole = Vec::new();
    loop {
        if ending.is_none() && over() {
            stream.end();
            ending = Some(Instant::now());
        }
        if ending.is_some_and(|since| since.elapsed() > ENDING) {
            return Ok(true);
        }
        // A connection that breaks is one that the other end closed without a word: what came whole counts.
        let more = stream.read(blocks.incoming()).unwrap_or(false);
        whole.clear();
        blocks.take_whole(&mut whole);
        if !whole.is_empty() {
            out.write_all(&whole).and_then(|()| out.flush()).map_err(output)?;
        }
        if !more {
            return Ok(ending.is_some());
        }
    }
}

/// Why there is no stream.
enum Refused {
    Unreachable(ControlError),
    Said(Response),
}

impl Refused {
    fn say(self) -> Exit {
        match self {
            Self::Unreachable(error) => fail(super::unreachable_or_failed(&error), &error),
            Self::Said(Response::Failed { kind, messages }) => super::failed(kind, &messages),
            Self::Said(_) => fail(Exit::Failed, &"the appliance answered something else"),
        }
    }
}

fn open(connect: &Connect<'_>, wanted: &Wanted) -> Result<Captured, Refused> {
    let request = Request::Capture { only_dropped: wanted.only_dropped, snap: wanted.snap };
    let answer = connect().and_then(|client| client.capture(&request));
    answer.map_err(Refused::Unreachable)?.map_err(Refused::Said)
}
