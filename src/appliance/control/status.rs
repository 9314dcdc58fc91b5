//! What the running box says of itself.

use std::sync::PoisonError;
use std::time::Duration;

use dissect::Toward;

use super::{Orders, SAID, policy_text, seconds_now};
use crate::appliance::plan;
use crate::appliance::pulse::Bypass;
use crate::config::{Config, Side};
use crate::control::{
    InputStatus, PortStatus, QuarantineStatus, RecordStatus, RobotStatus, Status, TrafficStatus, WitnessStatus,
};
use crate::engine::{Held, Rules};
use crate::event::Shed;
use crate::record::evidence::WitnessState;

impl Orders {
    /// The answer to `status`.
    pub(super) fn status(&self) -> Status {
        let rules = self.rules();
        let state = self.state();
        let snapshot = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counters = &snapshot.counters;
        let sum = |pair: [u64; 2]| pair.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        let port = |role: &str, name: &str, from: Toward, up: bool| PortStatus {
            role: role.to_owned(),
            name: name.to_owned(),
            up,
            received: counters.received.get(from as usize).copied().unwrap_or(0),
            sent: [counters.forwarded, counters.crafted]
                .iter()
                .filter_map(|pair| pair.get(from.reverse() as usize))
                .fold(0, |total, count| total.saturating_add(*count)),
            kernel_drops: snapshot.kernel_drops.get(from as usize).copied().unwrap_or(0),
            refused: snapshot.refused_by_port.get(from.reverse() as usize).copied().unwrap_or(0),
        };
        let mut degraded = Vec::new();
        for (up, role) in snapshot.up.into_iter().zip(["robot", "plant"]) {
            if !up {
                degraded.push(format!("the {role} port does not work; see `vambrace doctor`"));
            }
        }
        if let Some(error) = self.records.error() {
            degraded.push(format!("records can't be written: {error}"));
        }
        degraded.extend(self.scribe.trouble(SLOW_DISK));
        let witnesses = self.records.witnesses();
        degraded.extend(witnesses.iter().filter_map(|witness| late(witness)));
        if self.pulse.bypass() == Bypass::Failed {
            degraded.push("the bypass does not obey its driver; see the log of `vambrace run`".to_owned());
        }
        let said = self.console_troubles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, sentences)) = said.filter(|(at, _)| at.elapsed() < SAID) {
            degraded.extend(sentences);
        }
        let loaded = self.patches.loaded();
        degraded.extend(loaded.trouble.clone());
        let report = self.patches.report(rules.mode);
        let outcome = report.map_or_else(|| "being tried".to_owned(), |report| report.summary());
        let patches = Some(format!("pack {} ({}): {outcome}", loaded.pack.version(), loaded.source));
        let wall_ns = plan::now().wall_ns;
        let exemptions = state.own.exemptions().iter().map(|it| {
            let ends = if it.lasts(wall_ns) { "until" } else { "ended at" };
            format!("{} {ends} {}: {}", it.patch, it.until, it.reason)
        });
        let exemptions = exemptions.collect();
        let [robot_up, plant_up] = snapshot.up;
        let [plant, robot] = &self.ports;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            mode: rules.mode.name().to_owned(),
            mode_ends_in_seconds: state
                .standing
                .mode_until
                .as_ref()
                .map(|(_, until)| until.saturating_sub(seconds_now())),
            degraded,
            bypassed: self.pulse.bypass() == Bypass::On,
            clock_synchronised: crate::sys::clock::synchronised().ok(),
            uptime_seconds: self.begun.elapsed().as_secs(),
            restarts: state.standing.restarts,
            polling: self.config.fast_path.polling.name().to_owned(),
            slept_ms: self.pulse.slept_ns().saturating_sub(self.slept_before_ns) / 1_000_000,
            openings: self.pulse.openings().1,
            policy: (!state.standing.policy_text.is_empty())
                .then(|| policy_text(&state.standing, &rules.policy, false)),
            ports: vec![port("plant", plant, Toward::Robot, plant_up), port("robot", robot, Toward::Plant, robot_up)],
            traffic: TrafficStatus {
                frames: sum(counters.received),
                forwarded: sum(counters.forwarded).saturating_add(sum(counters.absorbed)),
                dropped: counters.dropped.iter().fold(0, |total, count| total.saturating_add(*count)),
                dropped_by: counters
                    .dropped_by_reason()
                    .map(|(reason, count)| (reason.name().to_owned(), count))
                    .collect(),
                shed: Shed::ALL
                    .into_iter()
                    .zip(snapshot.shed)
                    .filter(|(_, count)| *count > 0)
                    .map(|(shed, count)| (shed.name().to_owned(), count))
                    .collect(),
                allowed: counters.commands[0],
                refused: counters.commands[1],
                flows: u64::try_from(snapshot.flows).unwrap_or(0),
                flow_room: u64::try_from(crate::flow::CAPACITY).unwrap_or(0),
                p50_us: microseconds(snapshot.residence_ns[0]),
                p99_us: microseconds(snapshot.residence_ns[1]),
                longest_us: microseconds(snapshot.residence_ns[2]),
            },
            robots: self
                .config
                .assets
                .iter()
                .filter(|asset| asset.side == Side::Robot)
                .map(|asset| robot_status(&asset.name, asset.ip, &snapshot))
                .collect(),
            inputs: snapshot
                .inputs
                .iter()
                .map(|owned| InputStatus {
                    input: owned.input.to_owned(),
                    client: std::net::SocketAddr::new(owned.address, owned.port).to_string(),
                    since: jiff::Timestamp::from_nanosecond(owned.since_ns.into())
                        .unwrap_or_default()
                        .strftime("%Y-%m-%dT%H:%M:%SZ")
                        .to_string(),
                    sentence: owned.to_string(),
                })
                .collect(),
            quarantine: snapshot
                .quarantine
                .iter()
                .map(|held| quarantined(&self.config, held, &rules, snapshot.now_ns))
                .collect(),
            patches,
            exemptions,
            records: RecordStatus {
                directory: self.config.record.directory.display().to_string(),
                written: self.records.written(),
                lost: self.records.lost(),
                frames_lost: self.records.frames_lost(),
                evidence_lost: self.records.evidence_lost(),
                frames_around: self.records.frames_around(),
                frames_missed: self.records.frames_missed(),
                witnesses: witnesses.iter().map(|witness| witness_status(witness)).collect(),
                bytes: self.records.bytes(),
                budget: self.config.record.size_budget.0,
                error: self.records.error(),
            },
            conversations: crate::appliance::conversations::all(&snapshot, &self.names),
            late: crate::appliance::conversations::late(&snapshot.late, true),
            late_alarms: snapshot.late_alarms,
        }
    }
}

/// How long standing orders may wait for the disk before it is told of.
const SLOW_DISK: Duration = Duration::from_secs(1);

/// Longest time that a witness may be without a checkpoint before it is told of: five of them were due.
const WITNESS_LATE: Duration = Duration::from_secs(60);

fn late(witness: &WitnessState) -> Option<String> {
    let (path, lag) = (witness.path().display(), witness.lag());
    let why = witness.error().unwrap_or_else(|| "its medium hangs".to_owned());
    (lag >= WITNESS_LATE).then(|| format!("the witness {path} has taken no checkpoint for {} s: {why}", lag.as_secs()))
}

fn witness_status(witness: &WitnessState) -> WitnessStatus {
    WitnessStatus {
        path: witness.path().display().to_string(),
        took_one_seconds_ago: witness.took_one_ago().map(|ago| ago.as_secs()),
        error: witness.error(),
    }
}

/// A sender that is kept out, for people. Other rules let everybody in, so those in force are those that led to it.
fn quarantined(config: &Config, held: &Held, rules: &Rules, now_ns: u64) -> QuarantineStatus {
    let lasts = rules.policy.escalation().map_or(0, |escalation| escalation.quarantine_ns);
    let left_ns = held.until_ns.saturating_sub(now_ns);
    let wall_ns = i128::from(plan::now().wall_ns);
    let time = |ns: i128| {
        let time = jiff::Timestamp::from_nanosecond(ns).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let until = wall_ns.saturating_add(left_ns.into());
    let (since, until) = (time(until.saturating_sub(lasts.into())), time(until));
    let asset = config.assets.iter().find(|asset| asset.ip == held.address);
    let client = asset.map_or_else(|| held.address.to_string(), |asset| asset.name.clone());
    let (address, mac, refusals) = (held.address.to_string(), held.mac.to_string(), held.refusals);
    let sentence = format!(
        "{client} ({address}, {mac}) is kept out since {since} after {refusals} refused commands, until {until}."
    );
    let seconds_left = left_ns.div_ceil(1_000_000_000);
    QuarantineStatus { client, address, mac, since, until, seconds_left, refusals, sentence }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below a second, for people")]
pub(in crate::appliance) fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

fn robot_status(name: &str, ip: std::net::IpAddr, snapshot: &crate::engine::Snapshot) -> RobotStatus {
    let state = &snapshot.robot;
    let parts = [state.program_at_ns, state.robot_mode_at_ns, state.safety_mode_at_ns, state.control_at_ns];
    let latest = parts.into_iter().max().unwrap_or(0);
    let number = |at: u64, number: i64| if at == 0 { "unknown".to_owned() } else { number.to_string() };
    RobotStatus {
        name: name.to_owned(),
        ip: ip.to_string(),
        program: match state.program {
            1 => "stopped",
            2 => "playing",
            3 => "paused",
            _ => "unknown",
        }
        .to_owned(),
        robot_mode: number(state.robot_mode_at_ns, state.robot_mode.into()),
        safety: number(state.safety_mode_at_ns, state.safety_mode.into()),
        control: match state.control {
            1 => "remote",
            2 => "local",
            _ => "unknown",
        }
        .to_owned(),
        version: (state.version_at_ns != 0).then(|| format!("{}.{}.{}", state.major, state.minor, state.bugfix)),
        age_ms: (latest != 0).then(|| snapshot.now_ns.saturating_sub(latest) / 1_000_000),
    }
}
