use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::output::table;
use super::replay::{ChecksumChoice, Scene};
use super::{Context, Exit, fail};
use crate::bench::{
    self, BenchError, Ends, Figures, Flooded, Guarded, Lane, Load, Machine, Middle, Played, Playing, Recorded, Stop,
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
    /// Policy to enforce on a capture; without one it is only observed.
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

/// Rounds of the engine at most: its figures are of every frame, and more of them tell nothing new.
const ENGINE_ROUNDS: usize = 5;
/// Frames of captures that are played at most: they are all in memory, some hundred MiB.
const MOST_FRAMES: usize = 200_000;
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
    let absent = if args.in_process { Some("left out by --in-process".to_owned()) } else { refusal(context, args) };
    if let (Some(why), Some(_)) = (&absent, &args.ports) {
        return fail(Exit::Unsafe, why);
    }
    let (recorded, rules) = match traffic(args) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let playing = Playing { rounds: usize::from(args.rounds).min(ENGINE_ROUNDS), warm_up: 1 };
    let played = match bench::play(&recorded, &rules, playing, &stop) {
        Ok(played) => played,
        Err(error) => return fail(Exit::Failed, &error),
    };
    if !context.json {
        print!("\n{}", engine_table(&played));
    }
    let ways = match &absent {
        Some(_) => Vec::new(),
        None => match round_trips(args, &machine, &stop) {
            Ok(ways) => ways,
            Err(error) => return fail(Exit::Failed, &error),
        },
    };
    if context.json {
        return super::print(&as_json(&machine, &played, &ways, absent.as_deref()));
    }
    match absent {
        Some(why) => println!("\nno round trips: {why}"),
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
    let rules = scene.rules(if args.policy.is_some() { Mode::Enforce } else { Mode::Observe }, policy);
    let mut recorded = Recorded::default();
    for path in &args.captures {
        let failed = |error| fail(Exit::Failed, &format!("{}: {error}", path.display()));
        let mut reader = CaptureReader::open(path).map_err(failed)?;
        while let Some(captured) = reader.next_packet().map_err(failed)? {
            if recorded.len() == MOST_FRAMES {
                eprintln!("vambrace: only the first {MOST_FRAMES} frames are played");
                return Ok((recorded, rules));
            }
            recorded.push(direction(captured.bytes, &rules), captured.time_ns, captured.bytes);
        }
    }
    Ok((recorded, rules))
}

/// Why round trips must not, or can't, be measured here.
fn refusal(context: &Context, args: &BenchArgs) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("round trips need root, for network namespaces".to_owned());
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

/// Lengths of the flood's frames, bytes on the wire.
const SIZES: [usize; 2] = [64, 1514];

/// What one round measured on one way.
struct Round {
    round_trip: Figures,
    /// Frames received a second of a flood, for each of [`SIZES`].
    flood: [f64; 2],
}

/// One way's name, and its rounds.
type Way = (String, Vec<Round>);

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
    let pollings: &[&str] = if traffic == worker { &["blocking"] } else { &["busy", "adaptive", "blocking"] };
    let mut ways: Vec<Way> = vec![("kernel bridge".to_owned(), Vec::new())];
    ways.extend(pollings.iter().map(|polling| (format!("vambrace, {polling}"), Vec::new())));
    let count = RATE.saturating_mul(usize::from(args.seconds));
    let load = Load { count, warm_up: RATE / 5, every_ns: EVERY_NS };
    let round = || {
        bench::on_core(traffic, || {
            let mut times = Ends::open(&lane)?.round(load, stop)?;
            let round_trip = Figures::of(&mut times).ok_or(BenchError::Stopped)?;
            let mut flood = [0.0; 2];
            for (rate, size) in flood.iter_mut().zip(SIZES) {
                stop.check()?;
                *rate = Flooded::through(&lane, size, Duration::from_millis(300), None)?.received_rate;
            }
            Ok(Round { round_trip, flood })
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

/// What is told of a way: medians over its rounds, and of each round's ratio to the first way's.
struct Told {
    /// p50, p99, p99.9 and the longest, microseconds.
    times: [f64; 4],
    /// p50 and p99 to the first way's.
    time_ratios: [f64; 2],
    /// Thousand frames a second of a flood.
    rates: [f64; 2],
    rate_ratios: [f64; 2],
}

impl Told {
    fn of((_, own): &Way, ways: &[Way]) -> Self {
        let first = ways.first().map(|(_, rounds)| rounds.as_slice()).unwrap_or_default();
        let median = |figure: &dyn Fn(&Round) -> f64| bench::median(own.iter().map(figure)).unwrap_or(f64::NAN);
        let ratio = |figure: &dyn Fn(&Round) -> f64| {
            bench::median(own.iter().zip(first).map(|(own, first)| figure(own) / figure(first))).unwrap_or(f64::NAN)
        };
        let time = |at: usize| move |round: &Round| round.round_trip.each().get(at).map_or(f64::NAN, |ns| ns / 1000.0);
        let rate = |at: usize| move |round: &Round| round.flood.get(at).map_or(f64::NAN, |rate| rate / 1000.0);
        Self {
            times: [0, 1, 2, 3].map(|at| median(&time(at))),
            time_ratios: [0, 1].map(|at| ratio(&time(at))),
            rates: [0, 1].map(|at| median(&rate(at))),
            rate_ratios: [0, 1].map(|at| ratio(&rate(at))),
        }
    }
}

fn way_table(ways: &[Way]) -> String {
    let heading = ["round trip at 1000/s, us", "p50", "p99", "p99.9", "max", "p50 / bridge", "p99 / bridge"];
    let mut times = vec![heading.map(str::to_owned).to_vec()];
    let heading = ["flood, 1000 frames/s", "64 B", "1514 B", "64 B / bridge", "1514 B / bridge"];
    let mut rates = vec![heading.map(str::to_owned).to_vec()];
    for way in ways {
        let told = Told::of(way, ways);
        let row = |figures: &[f64], ratios: &[f64]| {
            let figures = figures.iter().map(|figure| format!("{figure:.1}"));
            let ratios = ratios.iter().map(|ratio| format!("{ratio:.2}"));
            [way.0.clone()].into_iter().chain(figures).chain(ratios).collect::<Vec<_>>()
        };
        times.push(row(&told.times, &told.time_ratios));
        rates.push(row(&told.rates, &told.rate_ratios));
    }
    format!("{}\n{}", table(&times), table(&rates))
}

fn as_json(machine: &Machine, played: &[Played], ways: &[Way], absent: Option<&str>) -> String {
    let engine = |it: &Played| {
        json!({
            "protocol": it.protocol, "frames": it.frames, "dropped": it.dropped,
            "p50_ns": it.figures.p50, "p99_ns": it.figures.p99, "mean_ns": it.figures.mean,
        })
    };
    let way = |way: &Way| {
        let Told { times: [p50, p99, p999, max], time_ratios, rates, rate_ratios } = Told::of(way, ways);
        json!({
            "way": way.0, "rounds": way.1.len(), "p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": max,
            "p50_to_bridge": time_ratios[0], "p99_to_bridge": time_ratios[1],
            "flood_kfps": { "64": rates[0], "1514": rates[1] },
            "flood_to_bridge": { "64": rate_ratios[0], "1514": rate_ratios[1] },
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
        let round = |us: f64| Round {
            round_trip: Figures { p50: us * 1000.0, p99: us * 2000.0, p999: 0.0, max: 0.0, mean: us },
            flood: [1e6 / us, 5e5],
        };
        let bridge = ("kernel bridge".to_owned(), [1.0, 2.0, 10.0].map(round).into_iter().collect());
        let guarded = ("vambrace, busy".to_owned(), [3.0, 4.0, 10.0].map(round).into_iter().collect());
        let ways: [Way; 2] = [bridge, guarded];
        let told = Told::of(&ways[1], &ways);
        assert_eq!((told.times, told.time_ratios), ([4.0, 8.0, 0.0, 0.0], [2.0, 2.0]));
        assert_eq!((told.rates, told.rate_ratios), ([250.0, 500.0], [0.5, 1.0]));
        let text = way_table(&ways);
        assert!(text.lines().nth(2).unwrap().starts_with("vambrace, busy            4.0  8.0"), "{text}");
    }
}
