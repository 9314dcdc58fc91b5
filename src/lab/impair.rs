//! A bad cable between two interfaces: what a kernel without netem lacks.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dissect::Toward;

use super::LabError;
use crate::nic::impairment::{Arrival, Impairment, Rates, Share};
use crate::nic::{AfPacket, BATCH, FramePort, Geometry, PortError, wait};

/// Longest sleep, so that an asked-for end comes soon.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Shares are percentages of frames such as `5%` or `0.1%`; times are such as `500us`, `2ms` or `1s`.
#[derive(Debug, clap::Args)]
pub struct ImpairArgs {
    /// Interface toward the plant.
    #[arg(long, value_name = "INTERFACE")]
    plant: String,
    /// Interface toward the robot.
    #[arg(long, value_name = "INTERFACE")]
    robot: String,
    /// Decides which frames are hit; the same seed and the same frames give the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames that vanish.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    loss: Share,
    /// Frames that arrive twice.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    duplicate: Share,
    /// Frames that 1 to 4 later ones overtake.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    reorder: Share,
    /// IPv4 packets with one bit turned over.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    corrupt: Share,
    /// TCP segments that become two.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    split: Share,
    /// TCP segments that wait for the next to become one with it.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    merge: Share,
    /// IPv4 packets that become two fragments.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    fragment: Share,
    /// What every frame takes.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time_ns)]
    delay: u64,
    /// What it takes beyond that at most.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time_ns)]
    jitter: u64,
}

/// Nanoseconds of a time such as `500us`; at most a minute, since every delayed frame is kept.
fn time_ns(text: &str) -> Result<u64, String> {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    units
        .into_iter()
        .find_map(|(unit, ns)| text.strip_suffix(unit)?.parse::<u32>().ok().map(|number| u64::from(number) * ns))
        .filter(|ns| *ns <= 60_000_000_000)
        .ok_or_else(|| format!("\"{text}\" is no time up to a minute; write 500us, 2ms or 1s"))
}

/// Joins the two interfaces until the process is asked to end, then prints what was done to the frames.
pub(super) fn run(args: &ImpairArgs) -> Result<(), LabError> {
    if args.plant == args.robot {
        return Err(LabError::Said(format!("--plant and --robot are both {}; a cable has two ends", args.plant)));
    }
    let rates = Rates {
        loss: args.loss,
        duplicate: args.duplicate,
        reorder: args.reorder,
        corrupt: args.corrupt,
        split: args.split,
        merge: args.merge,
        fragment: args.fragment,
        delay_ns: args.delay,
        jitter_ns: args.jitter,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(LabError::io("signal handler"))?;
    }
    // Room for a full frame with two tags.
    let open = |name: &str| AfPacket::open(name, Geometry::for_mtu(1508)).map_err(failed);
    let mut bridge = Bridge {
        plant: open(&args.plant)?,
        robot: open(&args.robot)?,
        cable: Impairment::new(rates, args.seed),
        started: Instant::now(),
        partial: 0,
        due: Vec::new(),
    };
    println!("{} and {} are joined; Ctrl-C ends it", args.plant, args.robot);
    while !stop.load(Ordering::Relaxed) {
        bridge.turn()?;
    }
    print!("{}", bridge.summary());
    Ok(())
}

fn failed(error: PortError) -> LabError {
    LabError::Said(error.to_string())
}

struct Bridge {
    plant: AfPacket,
    robot: AfPacket,
    cable: Impairment,
    started: Instant,
    /// Frames whose checksum an offload was to fill in: nobody will.
    partial: u64,
    due: Vec<Arrival>,
}

impl Bridge {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Sleeps until a frame has come or is due, and moves what there is.
    fn turn(&mut self) -> Result<(), LabError> {
        let sleep = self.cable.next_deadline().map(|at| Duration::from_nanos(at.saturating_sub(self.now_ns())));
        let sleep = sleep.map_or(LONGEST_SLEEP, |sleep| sleep.min(LONGEST_SLEEP));
        wait(&[&self.plant, &self.robot], sleep).map_err(LabError::io("poll"))?;
        let now_ns = self.now_ns();
        for (port, toward) in [(&mut self.plant, Toward::Robot), (&mut self.robot, Toward::Plant)] {
            for index in 0..port.receive().map_err(failed)? {
                let frame = port.frame(index);
                self.partial += u64::from(frame.meta.checksum_partial);
                self.cable.offer(toward, frame.bytes, now_ns);
            }
            port.release();
        }
        let now_ns = self.now_ns();
        loop {
            self.due.extend(std::iter::from_fn(|| self.cable.due(now_ns)).take(BATCH));
            if self.due.is_empty() {
                return Ok(());
            }
            for (port, toward) in [(&mut self.robot, Toward::Robot), (&mut self.plant, Toward::Plant)] {
                let mut frames = [&[][..]; BATCH];
                let mut count = 0;
                for arrival in self.due.iter().filter(|arrival| arrival.toward == toward) {
                    frames[count] = &arrival.bytes;
                    count += 1;
                }
                port.transmit(&frames[..count]).map_err(failed)?;
            }
            self.due.drain(..).for_each(|arrival| self.cable.recycle(arrival.bytes));
        }
    }

    fn summary(&mut self) -> String {
        let counts = *self.cable.counts();
        let mut text = String::new();
        for (at, side) in [(0, "robot"), (1, "plant")] {
            let _ = writeln!(text, "toward the {side}: {} in, {} out", counts.offered[at], counts.delivered[at]);
        }
        for (count, what) in [
            (counts.lost, "lost"),
            (counts.duplicated, "doubled"),
            (counts.reordered, "overtaken"),
            (counts.corrupted, "damaged"),
            (counts.split, "split in two segments"),
            (counts.merged, "merged with the one before"),
            (counts.fragmented, "cut in two fragments"),
            (counts.overflowed, "without room on the cable"),
        ] {
            let _ = writeln!(text, "{count:10} {what}");
        }
        for port in [&mut self.plant, &mut self.robot] {
            let counters = port.counters();
            let unwanted = counters.kernel_drops + counters.refused_full + counters.refused_size + counters.truncated;
            if unwanted != 0 {
                let _ = writeln!(text, "{unwanted:10} lost by {} itself, unasked", port.name());
            }
        }
        if self.partial != 0 {
            let advice = "without checksum; run `ethtool -K INTERFACE tx off` where they are sent";
            let _ = writeln!(text, "{:10} {advice}", self.partial);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, ns) in [("0ms", 0), ("500us", 500_000), ("2ms", 2_000_000), ("60s", 60_000_000_000)] {
            assert_eq!(time_ns(text), Ok(ns));
        }
        for text in ["", "5", "ms", "-1ms", "1.5ms", "61s", "5 ms", "9999999999s"] {
            assert!(time_ns(text).unwrap_err().starts_with(&format!("\"{text}\" is no time")), "{text}");
        }
    }
}
