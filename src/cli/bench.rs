use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::output::table;
use super::replay::{ChecksumChoice, Scene};
use super::{Context, Exit, fail};
use crate::bench::{
    self, BenchError, Ends, Figures, Guarded, Lane, Load, Machine, Middle, Played, Playing, Recorded, Stop,
};
use crate::engine::offline::direction;
use crate::engine::{Mode, Rules};
use crate::nic::replay::CaptureReader;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Traffic for the engine, pcap or pcapng; without one a built-in talk of Modbus, RTDE and Dashboard.
    #[arg(value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// Policy to judge a capture by, enforcing; without one every command is judged and all frames pass.
    #[arg(long, value_name = "FILE", requires = "captures")]
    policy: Option<PathBuf>,
    /// Configuration that gives a policy's names their addresses.
    #[arg(long, value_name = "FILE", requires = "captures")]
    config: Option<PathBuf>,
    /// The robot of a capture, by asset name or address; told from the capture where absent.
    #[arg(long, value_name = "NAME-OR-ADDRESS", requires = "captures")]
    robot: Option<String>,
    /// The engine alone: no round trips, no root.
    #[arg(long, conflicts_with = "ports")]
    in_process: bool,
    /// Two ports with one cable between them, which the round trips are to cross; used by nothing else, and given back.
    #[arg(long, num_args = 2, value_names = ["PORT", "PORT"])]
    ports: Option<Vec<String>>,
    /// Rounds; the figures are medians over them.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Seconds of round trips for each way and round.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: u8,
}

/// Round trips a second: a client that asks each millisecond, faster than controllers answer (500 Hz).
const RATE: usize = 1000;
/// The time between two.
const EVERY_NS: u64 = 1_000_000;

/// Measures the engine in process, and round trips through the box against the kernel bridge.
pub(super) fn run(context: &Context, args: &BenchArgs) -> Exit {
    let machine = Machine::now();
    if !context.json {
        println!("{machine}");
    }
    if let Some(warning) = machine.warning() {
        eprintln!("vambrace: {warning}");
    }
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => return fail(Exit::Failed, &error),
    };
    let (recorded, rules) = match traffic(args) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let rounds = usize::from(args.rounds);
    let played = match bench::play(&recorded, &rules, Playing { rounds, warm_up: 1 }, &stop) {
        Ok(played) => played,
        Err(error) => return fail(Exit::Failed, &error),
    };
    if !context.json {
        print!("\n{}", engine_table(&played));
    }
    let absent = if args.in_process { Some("left out by --in-process".to_owned()) } else { refusal(context, args) };
    let ways = match (&absent, args.in_process) {
        (Some(why), false) if args.ports.is_some() => return fail(Exit::Unsafe, why),
        (Some(_), _) => Vec::new(),
        (None, _) => match round_trips(args, &machine, &stop) {
            Ok(ways) => ways,
            Err(error) => return fail(Exit::Failed, &error),
        },
    };
    if context.json {
        return super::print(&as_json(&machine, &played, &ways, absent.as_deref()));
    }
    match absent {
        Some(why) => println!("\nround trips: {why}"),
        None => print!("\n{}", way_table(&ways)),
    }
    Exit::Fine
}

/// The frames for the engine and the rules that they are judged by.
fn traffic(args: &BenchArgs) -> Result<(Recorded, Arc<Rules>), Exit> {
    if args.captures.is_empty() {
        let rules = bench::built_in_rules().map_err(|error| fail(Exit::Failed, &error))?;
        return Ok((bench::built_in(2000), rules));
    }
    let scene = Scene::of(&args.captures, args.config.as_deref(), args.robot.as_deref(), ChecksumChoice::Auto)?;
    let policy = scene.policy(args.policy.as_deref(), &args.captures)?;
    let rules = scene.rules(if args.policy.is_some() { Mode::Enforce } else { Mode::Shadow }, policy);
    let mut recorded = Recorded::default();
    for path in &args.captures {
        let failed = |error| fail(Exit::Failed, &format!("{}: {error}", path.display()));
        let mut reader = CaptureReader::open(path).map_err(failed)?;
        while let Some(captured) = reader.next_packet().map_err(failed)? {
            recorded.push(direction(captured.bytes, &rules), captured.time_ns, captured.bytes);
        }
    }
    Ok((recorded, rules))
}

/// Why round trips must not, or can't, be measured here.
fn refusal(context: &Context, args: &BenchArgs) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("they need root, for network namespaces".to_owned());
    }
    // It would have to share its core with what is measured.
    if context.connect().is_ok() || bench::box_runs_here() {
        return Some("a box runs on this machine and would be disturbed; stop it first".to_owned());
    }
    match args.ports.as_deref() {
        Some([first, second]) => bench::in_use(&[first.clone(), second.clone()]),
        _ => None,
    }
}

/// One way's name, and the figures of its rounds.
type Way = (String, Vec<Figures>);

/// Alternates between the kernel bridge and the box on one lane.
fn round_trips(args: &BenchArgs, machine: &Machine, stop: &Stop) -> Result<Vec<Way>, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::of("this program's own file"))?;
    bench::remove_left_behind();
    let middle = match args.ports.as_deref() {
        Some([box_side, robot_side]) => Middle::Cable([box_side.clone(), robot_side.clone()]),
        _ => Middle::Box,
    };
    let directory = Scratch::new()?;
    let lane = Lane::new(1, middle)?;
    let [traffic, worker] = machine.cores_of_both();
    // Where both share a core, a box that never sleeps would leave the traffic none.
    let pollings: &[&str] = if traffic == worker { &["blocking"] } else { &["busy", "blocking"] };
    let mut ways: Vec<Way> = vec![("kernel bridge".to_owned(), Vec::new())];
    ways.extend(pollings.iter().map(|polling| (format!("vambrace, {polling}"), Vec::new())));
    let count = RATE.saturating_mul(usize::from(args.seconds));
    let load = Load { count, warm_up: RATE / 5, every_ns: EVERY_NS };
    let round = || {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _ = crate::sys::pin_to(traffic);
                let mut times = Ends::open(&lane)?.round(load, stop)?;
                Figures::of(&mut times).ok_or(BenchError::Stopped)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    };
    for at in 0..usize::from(args.rounds) {
        // Each begins as often as the others.
        let mut order: Vec<usize> = (0..ways.len()).collect();
        order.rotate_left(at.checked_rem(ways.len()).unwrap_or(0));
        for way in order {
            let figures = match way.checked_sub(1).and_then(|at| pollings.get(at)) {
                None => {
                    lane.bridge()?;
                    let figures = round();
                    lane.no_bridge()?;
                    figures?
                }
                Some(polling) => {
                    let _guarded = Guarded::start(&program, &lane, &directory.0, polling, worker)?;
                    round()?
                }
            };
            if let Some((_, rounds)) = ways.get_mut(way) {
                rounds.push(figures);
            }
        }
    }
    Ok(ways)
}

/// A folder for the box's files that nobody else may enter; removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, BenchError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("vambrace-bench-{}", std::process::id()));
        // One that is there already is somebody else's.
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(BenchError::of(path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

fn engine_table(played: &[Played]) -> String {
    let heading = ["engine, ns a frame", "frames", "dropped", "p50", "p99", "mean"].map(str::to_owned).to_vec();
    let row = |it: &Played| {
        let Figures { p50, p99, mean, .. } = it.figures;
        let mut row = vec![it.protocol.clone(), it.frames.to_string(), it.dropped.to_string()];
        row.extend([p50, p99, mean].map(|ns| format!("{ns:.0}")));
        row
    };
    table(&[heading].into_iter().chain(played.iter().map(row)).collect::<Vec<_>>())
}

/// The medians over rounds of p50, p99, p99.9 and the longest, in microseconds; then p50 and p99 as ratios to the first
/// way's, round by round.
fn medians(way: &Way, ways: &[Way]) -> ([f64; 4], [f64; 2]) {
    let median = |figures: &mut dyn Iterator<Item = f64>| bench::median(figures).unwrap_or(f64::NAN);
    let [p50, p99, p999, max] =
        [0, 1, 2, 3].map(|at| median(&mut way.1.iter().filter_map(|round| round.each().get(at).map(|ns| ns / 1000.0))));
    let first = ways.first().map(|(_, rounds)| rounds.as_slice()).unwrap_or_default();
    let both = || way.1.iter().zip(first);
    let ratio50 = median(&mut both().map(|(own, bridge)| own.p50 / bridge.p50));
    let ratio99 = median(&mut both().map(|(own, bridge)| own.p99 / bridge.p99));
    ([p50, p99, p999, max], [ratio50, ratio99])
}

fn way_table(ways: &[Way]) -> String {
    let heading = ["round trip at 1000/s, us", "p50", "p99", "p99.9", "max", "p50 / bridge", "p99 / bridge"];
    let row = |way: &Way| {
        let (times, ratios) = medians(way, ways);
        let mut row = vec![way.0.clone()];
        row.extend(times.iter().map(|us| format!("{us:.1}")));
        row.extend(ratios.iter().map(|ratio| format!("{ratio:.2}")));
        row
    };
    table(&[heading.map(str::to_owned).to_vec()].into_iter().chain(ways.iter().map(row)).collect::<Vec<_>>())
}

fn as_json(machine: &Machine, played: &[Played], ways: &[Way], absent: Option<&str>) -> String {
    let engine = |it: &Played| {
        json!({
            "protocol": it.protocol, "frames": it.frames, "dropped": it.dropped,
            "p50_ns": it.figures.p50, "p99_ns": it.figures.p99, "mean_ns": it.figures.mean,
        })
    };
    let way = |way: &Way| {
        let ([p50, p99, p999, max], [ratio50, ratio99]) = medians(way, ways);
        json!({
            "way": way.0, "rounds": way.1.len(), "p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": max,
            "p50_to_bridge": ratio50, "p99_to_bridge": ratio99,
        })
    };
    json!({
        "machine": { "processor": machine.processor, "cores": machine.cores, "kernel": machine.kernel, "load": machine.load },
        "engine": played.iter().map(engine).collect::<Vec<_>>(),
        "round_trips": ways.iter().map(way).collect::<Vec<_>>(),
        "round_trips_absent": absent,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let round = |p50: f64| Figures { p50, p99: p50 * 2.0, p999: 0.0, max: 0.0, mean: p50 };
        let bridge = ("kernel bridge".to_owned(), [1000.0, 2000.0, 9000.0].map(round).to_vec());
        let guarded = ("vambrace, busy".to_owned(), [3000.0, 4000.0, 9000.0].map(round).to_vec());
        let ways = [bridge, guarded];
        let ([p50, p99, ..], ratios) = medians(&ways[1], &ways);
        assert_eq!((p50, p99, ratios), (4.0, 8.0, [2.0, 2.0]));
        let text = way_table(&ways);
        assert!(text.lines().nth(2).unwrap().starts_with("vambrace, busy            4.0  8.0"), "{text}");
    }
}
