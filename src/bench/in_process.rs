//! The packet path in process: how long the engine has a frame, by protocol.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use dissect::Toward;

use super::traffic::{PLC, ROBOT};
use super::{BenchError, Figures, POLICY, Recorded, Stop};
use crate::command::Service;
use crate::engine::{Actions, Arena, Checksums, Fate, Mode, Pipeline, Rules};
use crate::nic::{Frame, FrameMeta};
use crate::policy::{Asset, Moment, Policy};
use crate::record::Queue;

/// How frames are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playing {
    /// How often all of them, each time in a new memory.
    pub rounds: usize,
    /// Rounds before those that are not measured.
    pub warm_up: usize,
}

/// What the frames of one protocol took.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// The protocol: a service's name, or `other`.
    pub protocol: String,
    /// Frames a round.
    pub frames: usize,
    /// Of those, how many did not pass.
    pub dropped: usize,
    /// Nanoseconds a frame.
    pub figures: Figures,
}

/// Rules that let the built-in capture pass, enforcing.
///
/// # Errors
/// The policy of measurements is wrong, which its test rules out.
pub fn built_in_rules() -> Result<Arc<Rules>, BenchError> {
    let assets = [("robot", ROBOT, true), ("plc", PLC, false)].map(|(name, address, is_robot)| Asset {
        name: name.into(),
        address: address.into(),
        is_robot,
    });
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    let policy = Policy::compile("measurement", POLICY, &assets, 1, moment).map_err(BenchError::of("policy"))?;
    Ok(Arc::new(Rules::of(Mode::Enforce, policy, &assets)))
}

/// Plays frames through the packet path, with timers and records as on the wire, one frame a batch, and times each.
///
/// The clock is read before and after each frame; what that takes by itself is taken off. A protocol's figures are of
/// all its frames in all rounds.
///
/// # Errors
/// The end was asked for.
pub fn play(recorded: &Recorded, rules: &Arc<Rules>, playing: Playing, stop: &Stop) -> Result<Vec<Played>, BenchError> {
    let reading = clock_ns();
    let names: Vec<String> = recorded.iter().map(|(_, _, frame)| protocol_of(frame, rules)).collect();
    let mut protocols: Vec<(String, Vec<u64>, usize)> = Vec::new();
    for name in &names {
        if !protocols.iter().any(|(known, ..)| known == name) {
            protocols.push((name.clone(), Vec::new(), 0));
        }
    }
    let places: Vec<usize> =
        names.iter().filter_map(|name| protocols.iter().position(|(known, ..)| known == name)).collect();
    let (mut actions, queue) = (Actions::new(), Queue::new(4096, 64));
    for round in 0..playing.rounds.saturating_add(playing.warm_up) {
        let mut arena = Arena::boxed(0x5eed);
        let mut pipeline = Pipeline::new(&mut arena, Arc::clone(rules), ());
        let mut now_ns = 1_000_000_000;
        let first_ns = recorded.iter().next().map_or(0, |(_, time_ns, _)| time_ns);
        for ((toward, time_ns, bytes), place) in recorded.iter().zip(&places) {
            stop.check()?;
            now_ns = time_ns.saturating_sub(first_ns).saturating_add(1_000_000_000).max(now_ns);
            let checksum_partial = rules.checksums == Checksums::Ignore;
            let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let frame = Frame { bytes, meta: FrameMeta { received_ns: time_ns, wire_len, checksum_partial } };
            let start = Instant::now();
            let fate = step(&mut pipeline, &frame, toward, now_ns, &mut actions, &queue);
            let taken = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            while queue.pop().is_some() {}
            let Some((_, times, dropped)) = protocols.get_mut(*place) else { continue };
            if round >= playing.warm_up {
                times.push(taken.saturating_sub(reading));
                *dropped = dropped.saturating_add(usize::from(matches!(fate, Fate::Drop(_))));
            }
        }
    }
    let rounds = playing.rounds.max(1);
    let told = protocols.into_iter().filter_map(|(protocol, mut times, dropped)| {
        let frames = times.len().checked_div(rounds)?;
        let dropped = dropped.div_ceil(rounds);
        Some(Played { protocol, frames, dropped, figures: Figures::of(&mut times)? })
    });
    Ok(told.collect())
}

/// What a worker does with one frame.
fn step(
    pipeline: &mut Pipeline<'_>,
    frame: &Frame<'_>,
    toward: Toward,
    now_ns: u64,
    actions: &mut Actions,
    queue: &Queue,
) -> Fate {
    actions.begin(0, toward);
    let fate = pipeline.handle(toward, frame, now_ns, actions);
    pipeline.poll(now_ns, actions);
    for event in actions.events() {
        queue.try_push(event);
    }
    actions.clear();
    fate
}

/// What two readings of the clock take, one after the other: the median of many.
fn clock_ns() -> u64 {
    let mut times: Vec<u64> =
        (0..10_000).map(|_| u64::try_from(Instant::now().elapsed().as_nanos()).unwrap_or(0)).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

fn protocol_of(frame: &[u8], rules: &Rules) -> String {
    let Ok(packet) = link::parse(frame) else { return "other".to_owned() };
    let (Some(tcp), Some((source, _))) = (packet.tcp(), packet.addresses()) else { return "other".to_owned() };
    let is_from = |address: IpAddr| rules.is_robot(address);
    let port = if is_from(source) && Service::of_tcp_port(tcp.source_port).is_dissected() {
        tcp.source_port
    } else {
        tcp.destination_port
    };
    let service = Service::of_tcp_port(port);
    if service.is_dissected() { service.to_string() } else { "other".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_of_the_built_in_capture_passes_and_is_counted_once() {
        let recorded = super::super::built_in(50);
        let playing = Playing { rounds: 2, warm_up: 1 };
        let played = play(&recorded, &built_in_rules().unwrap(), playing, &Stop::default()).unwrap();
        let told: Vec<_> = played.iter().map(|it| (it.protocol.as_str(), it.frames, it.dropped)).collect();
        assert_eq!(told, [("modbus", 104, 0), ("rtde", 112, 0), ("dashboard", 105, 0)]);
        assert!(played.iter().all(|it| it.figures.p50 > 0.0 && it.figures.p99 >= it.figures.p50));
    }

    #[test]
    fn what_the_rules_refuse_is_counted_as_dropped() {
        let recorded = super::super::built_in(50);
        let rules = built_in_rules().unwrap();
        let without =
            Rules { policy: Arc::new(Policy::empty(1)), devices: rules.devices.clone(), pass: Vec::new(), ..*rules };
        let playing = Playing { rounds: 1, warm_up: 0 };
        let played = play(&recorded, &Arc::new(without), playing, &Stop::default()).unwrap();
        assert!(played.iter().all(|it| it.dropped > 0), "{played:?}");
    }

    #[test]
    fn an_asked_for_end_is_one() {
        let stop = Stop::default();
        stop.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let playing = Playing { rounds: 1, warm_up: 0 };
        let outcome = play(&super::super::built_in(1), &built_in_rules().unwrap(), playing, &stop);
        assert!(matches!(outcome, Err(BenchError::Stopped)));
    }
}
