//! What the appliance's updater asks of the guard: whether this version is sound, and whether the robot stands still.

use std::path::PathBuf;

use crate::appliance;
use crate::appliance::patches::{Limits, Loaded, try_all};
use crate::cli::{Context, Exit, ask, fail};
use crate::config::Config;
use crate::control::{Request, Response, RobotStatus, Status};
use crate::policy::Policy;

/// Most milliseconds since something was heard of the robot's state, for it to be known.
const FRESH: u64 = 5_000;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HealthArgs {
    /// Most microseconds that a frame may be in the box, at 99 %.
    #[arg(long, value_name = "N")]
    latency_us: u32,
    /// The configuration that the box runs with.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Have every dissector read attacks and harmless traffic as well.
    #[arg(long)]
    self_test: bool,
}

/// Exit 0 where everything holds; else a line for each thing that does not, and exit 10.
pub(super) fn health(context: &Context, args: &HealthArgs) -> Result<Exit, Exit> {
    let mut unmet = wire(&status(context)?, f64::from(args.latency_us));
    if args.self_test {
        let config = Config::load(&args.config).map_err(|problems| crate::cli::mistakes(&problems))?;
        unmet.extend(self_test(&config));
    }
    unmet.iter().for_each(|sentence| eprintln!("{sentence}"));
    Ok(if unmet.is_empty() { Exit::Fine } else { Exit::Degraded })
}

/// Exit 0 where every robot is known to run no program.
pub(super) fn idle(context: &Context) -> Result<Exit, Exit> {
    match status(context)?.robots.iter().find_map(busy) {
        Some(sentence) => {
            eprintln!("{sentence}");
            Ok(Exit::Unsafe)
        }
        None => Ok(Exit::Fine),
    }
}

fn status(context: &Context) -> Result<Status, Exit> {
    match ask(context, &Request::Status)? {
        Response::Status(status) => Ok(*status),
        _ => Err(fail(Exit::Failed, &"the appliance answered something else")),
    }
}

/// What the wire lacks.
fn wire(status: &Status, latency_us: f64) -> Vec<String> {
    let mut unmet = Vec::new();
    if status.ports.len() < 2 {
        unmet.push("the packet process has no ports".to_owned());
    }
    for port in &status.ports {
        if !port.up {
            unmet.push(format!("the {} port has no link", port.role));
        } else if port.sent == 0 {
            unmet.push(format!("no frame went out of the {} port yet", port.role));
        }
    }
    let p99 = status.traffic.p99_us;
    if p99 > latency_us {
        unmet.push(format!("frames are in the box for {p99:.0} us at 99 %, at most {latency_us:.0} are allowed"));
    }
    if let Some(error) = &status.records.error {
        unmet.push(format!("records can't be written: {error}"));
    }
    if status.bypassed {
        unmet.push("frames go past the box".to_owned());
    }
    unmet
}

/// Known attacks of every protocol against a policy that allows nothing, and harmless traffic against one that allows
/// everything: what a dissector misreads shows in one of the two.
fn self_test(config: &Config) -> Option<String> {
    let (loaded, moment) = (Loaded::built_in(), appliance::now());
    let policy = loaded.tighten(&Policy::empty(1), None, 1, moment);
    let report = try_all(config, &loaded, &policy, None, moment, Limits { deadline: None });
    let tried = report.patches.iter().any(|patch| patch.tried > 0 && patch.harmless > 0);
    (!tried || report.has_findings()).then(|| format!("the dissectors' self-test: {}", report.summary()))
}

/// Why a restart of the box would come between the robot and its work.
fn busy(robot: &RobotStatus) -> Option<String> {
    let known = robot.age_ms.is_some_and(|age| age <= FRESH);
    match robot.program.as_str() {
        "stopped" if known => None,
        program if known && program != "unknown" => {
            Some(format!("a program is {program} on {}; stop it, or say --now", robot.name))
        }
        _ => Some(format!("the box does not know whether a program runs on {}; look there, and say --now", robot.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::PortStatus;

    fn robot(program: &str, age_ms: Option<u64>) -> RobotStatus {
        RobotStatus { name: "r".into(), program: program.into(), age_ms, ..RobotStatus::default() }
    }

    #[test]
    fn only_a_robot_that_is_known_to_stand_is_idle() {
        assert_eq!(busy(&robot("stopped", Some(100))), None);
        assert!(busy(&robot("playing", Some(100))).unwrap().contains("is playing on r"));
        assert!(busy(&robot("paused", Some(100))).unwrap().contains("is paused on r"));
        for unknown in [robot("stopped", None), robot("stopped", Some(FRESH + 1)), robot("unknown", Some(1))] {
            assert!(busy(&unknown).unwrap().contains("does not know"), "{unknown:?}");
        }
    }

    #[test]
    fn everything_that_the_wire_lacks_is_named() {
        let port = |role: &str| PortStatus { role: role.into(), up: true, sent: 1, ..PortStatus::default() };
        let mut status = Status { ports: vec![port("plant"), port("robot")], ..Status::default() };
        status.traffic.p99_us = 50.0;
        assert_eq!(wire(&status, 100.0), Vec::<String>::new());
        status.ports[0].up = false;
        status.ports[1].sent = 0;
        status.traffic.p99_us = 101.0;
        status.records.error = Some("full".into());
        status.bypassed = true;
        assert_eq!(wire(&status, 100.0).len(), 5, "{:?}", wire(&status, 100.0));
        assert_eq!(wire(&Status::default(), 100.0), ["the packet process has no ports"]);
    }

    #[test]
    fn the_dissectors_pass_their_own_test() {
        let text = "mode = \"learn\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
             [[asset]]\nname = \"robot\"\nip = \"10.0.0.1\"\nside = \"robot\"\n";
        assert_eq!(self_test(&Config::parse("test", text).unwrap()), None);
    }
}
