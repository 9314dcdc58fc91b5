//! The same capture through each program that reads captures: frames a second, without what a program's start takes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use sawp::parser::{Direction, Parse};
use vambrace::bench::{self, BenchError, Playing, Stop};

use super::{Load, Options, Report, ways};

/// Frames of each protocol's talk: two an exchange.
const EXCHANGES: u16 = 30_000;

/// Replays a built-in capture, in turn through each.
pub fn measure(options: &Options, directory: &Path, report: &mut Report, stop: &Stop) -> Result<(), BenchError> {
    let exchanges = (f64::from(EXCHANGES) * options.seconds).clamp(100.0, 65_000.0) as u16;
    let (recorded, few) = (bench::built_in_modbus(exchanges), bench::built_in_modbus(10));
    let [capture, start] = [("all.pcap", &recorded), ("few.pcap", &few)].map(|(name, frames)| {
        let path = directory.join(name);
        std::fs::write(&path, frames.pcap()).map(|()| path)
    });
    let (capture, start) = (capture.map_err(BenchError::of("capture"))?, start.map_err(BenchError::of("capture"))?);
    let policy = directory.join("replay.toml");
    std::fs::write(&policy, POLICY).map_err(BenchError::of("policy"))?;
    let frames = recorded.len() as f64;

    let vambrace = super::vambrace();
    let replay = |format: &'static str| {
        let (vambrace, policy) = (&vambrace, &policy);
        move |capture: &Path| {
            let mut command = Command::new(vambrace);
            command.args(["replay", "--format", format, "--robot", "10.20.0.40", "--policy"]).arg(policy).arg(capture);
            command
        }
    };
    let tshark = |capture: &Path| {
        let mut command = Command::new("tshark");
        // Dissected whole, as for a filter; nothing printed but what fits it.
        command.args(["-n", "-Y", "modbus.func_code == 99", "-r"]).arg(capture);
        command
    };
    let suricata = ways::suricata();
    let config = directory.join("offline.yaml");
    let rules = directory.join("offline.rules");
    std::fs::write(&rules, include_str!("../suricata.rules")).map_err(BenchError::of("rules"))?;
    let run_suricata = |capture: &Path| {
        let mut command = Command::new(suricata.as_deref().unwrap_or(Path::new("suricata")));
        command.arg("-c").arg(&config).arg("-S").arg(&rules).arg("-l").arg(directory).arg("-r").arg(capture);
        command.args(["--runmode", "single"]);
        command
    };
    let has_tshark = works("tshark");
    if !has_tshark {
        report.absent("tshark", "the command tshark is missing");
    }
    if suricata.is_none() {
        report.absent("Suricata, offline", "VAMBRACE_SURICATA names no binary");
    }
    for _ in 0..options.rounds {
        let per_second = |command: &dyn Fn(&Path) -> Command| -> Result<f64, BenchError> {
            stop.check()?;
            let beginning = time(command(&start))?;
            let taken = time(command(&capture))? - beginning;
            // A capture that took no longer than the start varies by tells no rate.
            Ok(if taken > beginning / 20.0 { frames / taken / 1000.0 } else { f64::NAN })
        };
        let column = |rate: f64| vec![("k/s".to_owned(), rate)];
        report.add(Load::Offline, "vambrace replay", column(per_second(&replay("text"))?));
        report.add(Load::Offline, "vambrace replay, all events", column(per_second(&replay("eve"))?));
        report.add(Load::Offline, "vambrace engine in process", column(in_process(&recorded, stop)?));
        report.add(Load::Offline, "sawp-modbus, parsing alone", column(sawp(exchanges)));
        if has_tshark {
            report.add(Load::Offline, "tshark", column(per_second(&tshark)?));
        }
        if let Some(binary) = &suricata {
            for (log, what) in [(false, "rules"), (true, "rules and log")] {
                std::fs::write(&config, ways::configuration(1, log)).map_err(BenchError::of("configuration"))?;
                let name = format!("{}, {what}", ways::version(binary));
                report.add(Load::Offline, &name, column(per_second(&run_suricata)?));
            }
        }
    }
    Ok(())
}

/// What the capture's client may do.
const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "any"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["0..=199"]
value = "0..=255"
"#;

pub fn works(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}

/// Seconds until a command has ended well.
fn time(mut command: Command) -> Result<f64, BenchError> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(BenchError::of(format!("{:?}", command.get_program())))?;
    let taken = start.elapsed().as_secs_f64();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(BenchError::Said(format!("{:?}: {}: {}", command.get_program(), output.status, said.trim())));
    }
    Ok(taken)
}

fn in_process(recorded: &bench::Recorded, stop: &Stop) -> Result<f64, BenchError> {
    let played = bench::play(recorded, &bench::built_in_rules()?, Playing { rounds: 1, warm_up: 0 }, stop)?;
    let ns: f64 = played.iter().map(|it| it.figures.mean * it.frames as f64).sum();
    let frames: usize = played.iter().map(|it| it.frames).sum();
    Ok(frames as f64 / ns * 1e6)
}

fn sawp(exchanges: u16) -> f64 {
    let units: Vec<_> = (0..exchanges).map(bench::modbus_exchange).collect();
    let parser = sawp_modbus::Modbus::default();
    let start = Instant::now();
    for (request, answer) in &units {
        for (unit, direction) in [(&request[..], Direction::ToServer), (answer.as_slice(), Direction::ToClient)] {
            let parsed = parser.parse(std::hint::black_box(unit), direction).unwrap();
            assert!(std::hint::black_box(parsed).1.is_some());
        }
    }
    units.len() as f64 * 2.0 / start.elapsed().as_secs_f64() / 1000.0
}
