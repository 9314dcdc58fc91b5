//! Captures through the same engine: what the box would have done with traffic that was recorded.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use dissect::Toward;
use link::{Checksum, Packet};

use super::actions::Actions;
use super::arena::Arena;
use super::judge::Observer;
use super::pipeline::{Fate, Pipeline};
use super::rules::{Checksums, Rules};
use crate::command::Service;
use crate::event::Event;
use crate::nic::replay::{CaptureError, CaptureReader};
use crate::nic::{Frame, FrameMeta};

/// Frames that are looked at before a capture is judged: enough to tell an offload from noise.
const LOOK: usize = 2000;

/// What a first look at a capture tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// TCP segments looked at.
    pub segments: usize,
    /// Those whose checksum was unfinished or wrong.
    pub bad_checksums: usize,
    /// Addresses that serve robot ports, with the number of segments to them, most first.
    pub robots: Vec<(IpAddr, usize)>,
}

impl Survey {
    /// Looks at the first frames of a capture.
    ///
    /// # Errors
    /// The file can't be read as a capture at all. One that ends early is judged as far as it goes.
    pub fn of(path: &Path) -> Result<Self, CaptureError> {
        let mut reader = CaptureReader::open(path)?;
        let mut survey = Self::default();
        for _ in 0..LOOK {
            let Ok(Some(captured)) = reader.next_packet() else { break };
            let Ok(packet) = link::parse(captured.bytes) else { continue };
            survey.see(&packet);
        }
        survey.robots.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(survey)
    }

    fn see(&mut self, packet: &Packet<'_>) {
        let (Some(tcp), Some((_, destination))) = (packet.tcp(), packet.addresses()) else { return };
        self.segments = self.segments.saturating_add(1);
        if matches!(packet.transport_checksum(), Some(Checksum::Partial | Checksum::Invalid)) {
            self.bad_checksums = self.bad_checksums.saturating_add(1);
        }
        if Service::of_tcp_port(tcp.destination_port).is_dissected() {
            match self.robots.iter_mut().find(|(address, _)| *address == destination) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => self.robots.push((destination, 1)),
            }
        }
    }

    /// What is to be done about checksums: ignored where most are unfinished, as loopback and offloads leave them.
    #[must_use]
    pub fn checksums(&self) -> Checksums {
        if self.bad_checksums.saturating_mul(2) > self.segments { Checksums::Ignore } else { Checksums::Verify }
    }
}

/// What became of one frame, for the caller's own counting.
pub trait Sink {
    /// A frame was judged; `number` counts from 1 over all captures.
    fn frame(&mut self, number: u64, fate: Fate);

    /// Something was recorded.
    fn event(&mut self, event: &Event);

    /// So many bytes of the current capture are read.
    fn progress(&mut self, bytes: u64);
}

/// Takes every frame of `captures` through the engine.
///
/// Time is the frames' own. Captures are one after another in one history: a connection may go on from one to the next.
///
/// # Errors
/// A capture that can't be read, or ends in the middle of a frame: what was whole before is judged and reported first.
pub fn run<O: Observer>(
    captures: &[&Path],
    rules: &Arc<Rules>,
    observer: O,
    sink: &mut impl Sink,
) -> Result<O, (String, CaptureError)> {
    let mut arena = Arena::boxed(SEED);
    let mut pipeline = Pipeline::new(&mut arena, Arc::clone(rules), observer);
    let mut actions = Actions::new();
    let mut number = 0_u64;
    let mut first_ns = None;
    let mut now_ns = 1;
    let mut failure = None;
    for path in captures {
        let name = path.display().to_string();
        let mut reader = match CaptureReader::open(path) {
            Ok(reader) => reader,
            Err(error) => {
                failure = Some((name, error));
                break;
            }
        };
        loop {
            let captured = match reader.next_packet() {
                Ok(Some(captured)) => captured,
                Ok(None) => break,
                Err(error) => {
                    failure = Some((name.clone(), error));
                    break;
                }
            };
            number = number.saturating_add(1);
            // Monotonic time: starts at one second, never goes back.
            let first = *first_ns.get_or_insert(captured.time_ns);
            let age = captured.time_ns.saturating_sub(first).saturating_add(1_000_000_000);
            now_ns = age.max(now_ns);
            let meta = FrameMeta {
                received_ns: captured.time_ns,
                wire_len: captured.wire_len,
                checksum_partial: rules.checksums == Checksums::Ignore,
            };
            let toward = direction(captured.bytes, rules);
            pipeline.poll(now_ns, &mut actions);
            actions.begin(0, toward);
            let fate = pipeline.handle(toward, &Frame { bytes: captured.bytes, meta }, now_ns, &mut actions);
            sink.frame(number, fate);
            actions.events().iter().for_each(|event| sink.event(event));
            actions.clear();
            if number.is_multiple_of(256) {
                sink.progress(reader.position());
            }
        }
        if failure.is_some() {
            break;
        }
    }
    pipeline.finish(now_ns, &mut actions, |actions| actions.events().iter().for_each(|event| sink.event(event)));
    match failure {
        Some(failure) => Err(failure),
        None => Ok(pipeline.into_observer()),
    }
}

/// Any seed does where nobody chooses keys against it.
const SEED: u64 = 0x7661_6d62_7261_6365;

/// The side that a captured frame travelled to: told by the robot's address or, where both ends have the same one (as on
/// loopback), by the port of the service. What tells nothing is taken for the plant's side.
#[must_use]
pub fn direction(bytes: &[u8], rules: &Rules) -> Toward {
    let Ok(packet) = Packet::link(bytes).and_then(|_| link::parse(bytes)) else { return Toward::Robot };
    let Some((source, destination)) = packet.addresses() else { return Toward::Robot };
    match (rules.is_robot(source), rules.is_robot(destination)) {
        (true, false) => Toward::Plant,
        (false, _) => Toward::Robot,
        (true, true) => match packet.tcp() {
            // The computer's sockets of external control: what the robot sends goes to that port.
            Some(tcp) if rules.socket(Toward::Plant, tcp.destination_port).is_some() => Toward::Plant,
            Some(tcp) if rules.socket(Toward::Plant, tcp.source_port).is_some() => Toward::Robot,
            Some(tcp) => {
                let to_service = Service::of_tcp_port(tcp.destination_port).is_dissected();
                let from_service = Service::of_tcp_port(tcp.source_port).is_dissected();
                let to_robot = to_service || (!from_service && tcp.destination_port < tcp.source_port);
                if to_robot { Toward::Robot } else { Toward::Plant }
            }
            None => Toward::Robot,
        },
    }
}
