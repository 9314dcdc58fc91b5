//! Traffic of a robot cell, made by hand: the capture that is built in.

use std::net::{IpAddr, Ipv4Addr};

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tags, TcpFlags};
use rtde::{DataType, Reply, ReplyType, Request, Value, Version};

/// The address that asks.
pub(super) const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
/// The robot's.
pub(super) const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);

/// Frames in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    bytes: Vec<u8>,
    each: Vec<(Toward, u64, usize)>,
}

impl Recorded {
    /// Adds a frame that travelled to a side at a time in nanoseconds.
    pub fn push(&mut self, toward: Toward, time_ns: u64, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.each.push((toward, time_ns, self.bytes.len()));
    }

    /// All of them, each with where it goes and its time.
    pub fn iter(&self) -> impl Iterator<Item = (Toward, u64, &[u8])> {
        self.each.iter().scan(0, |start, &(toward, time_ns, end)| {
            let frame = self.bytes.get(*start..end)?;
            *start = end;
            Some((toward, time_ns, frame))
        })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// All of them as a classic capture, microseconds, Ethernet. Source: draft-ietf-opsawg-pcap.
    #[must_use]
    pub fn pcap(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let words = |out: &mut Vec<u8>, words: &[u32]| {
            words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        };
        // Magic number, version 2.4, no time zone, longest frame, link type 1.
        words(&mut out, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
        for (_, time_ns, frame) in self.iter() {
            let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            words(&mut out, &[part(time_ns / 1_000_000_000), part(time_ns % 1_000_000_000 / 1000), len, len]);
            out.extend_from_slice(frame);
        }
        out
    }
}

/// Writes both ends of a TCP connection, a frame each ten microseconds.
struct Talk<'r> {
    template: Template,
    /// What each end sends next, the client first.
    next: [u32; 2],
    now_ns: u64,
    recorded: &'r mut Recorded,
}

impl<'r> Talk<'r> {
    fn open(recorded: &'r mut Recorded, client_port: u16, port: u16) -> Option<Self> {
        let macs = (Mac([2, 0, 0, 0, 0, 21]), Mac([2, 0, 0, 0, 0, 40]));
        let ends = ((IpAddr::from(PLC), client_port), (IpAddr::from(ROBOT), port));
        let template = Template::new(macs, Tags::default(), ends.0, ends.1)?;
        let now_ns = recorded.each.last().map_or(1_700_000_000_000_000_000, |(_, time_ns, _)| *time_ns);
        let mut talk = Self { template, next: [1000, 5000], now_ns, recorded };
        let synchronise = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        talk.segment(Toward::Robot, TcpFlags::SYN, &[])?;
        talk.segment(Toward::Plant, synchronise, &[])?;
        talk.segment(Toward::Robot, TcpFlags::ACK, &[])?;
        Some(talk)
    }

    fn segment(&mut self, toward: Toward, flags: TcpFlags, payload: &[u8]) -> Option<()> {
        let [client, server] = self.next;
        let (template, seq, ack) = match toward {
            Toward::Robot => (self.template, client, server),
            Toward::Plant => (self.template.reversed(), server, client),
        };
        let maximum_segment_size = flags.syn().then_some(1460);
        let timestamps = Some((77, 78));
        let segment = Segment {
            seq,
            ack,
            flags,
            window: 64_000,
            maximum_segment_size,
            timestamps,
            payload,
            ..Segment::default()
        };
        let mut out = [0; 2048];
        let len = craft::emit_tcp(&template, &segment, &mut out).ok()?;
        let taken = u32::try_from(payload.len()).ok()?.wrapping_add(u32::from(flags.syn()));
        let [client, server] = &mut self.next;
        let sender = if toward == Toward::Robot { client } else { server };
        *sender = sender.wrapping_add(taken);
        self.now_ns = self.now_ns.saturating_add(10_000);
        self.recorded.push(toward, self.now_ns, out.get(..len)?);
        Some(())
    }

    fn send(&mut self, toward: Toward, payload: &[u8]) -> Option<()> {
        self.segment(toward, TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0), payload)
    }

    fn reset(&mut self) -> Option<()> {
        self.segment(Toward::Robot, TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0), &[])
    }
}

/// One connection each of Modbus, RTDE and Dashboard, with so many exchanges, all of which the policy of measurements
/// allows.
#[must_use]
pub fn built_in(exchanges: u16) -> Recorded {
    let mut recorded = Recorded::default();
    // Absent only where a frame had no room in 2 KiB; the test holds that none is.
    let _ = modbus_talk(&mut recorded, exchanges);
    let _ = rtde_talk(&mut recorded, exchanges);
    let _ = dashboard_talk(&mut recorded, exchanges);
    recorded
}

/// The Modbus part of [`built_in`] alone.
#[must_use]
pub fn built_in_modbus(exchanges: u16) -> Recorded {
    let mut recorded = Recorded::default();
    let _ = modbus_talk(&mut recorded, exchanges);
    recorded
}

fn modbus_talk(recorded: &mut Recorded, exchanges: u16) -> Option<()> {
    let mut talk = Talk::open(recorded, 40_000, modbus::PORT)?;
    for n in 0..exchanges {
        let (request, answer) = super::modbus_exchange(n);
        talk.send(Toward::Robot, &request)?;
        talk.send(Toward::Plant, &answer)?;
    }
    talk.reset()
}

/// Inputs toward the robot and outputs toward the plant, as in a control loop.
fn rtde_talk(recorded: &mut Recorded, exchanges: u16) -> Option<()> {
    let mut talk = Talk::open(recorded, 40_001, rtde::PORT)?;
    for (toward, unit) in rtde_opening()? {
        talk.send(toward, &unit)?;
    }
    for n in 0..exchanges {
        for (toward, unit) in rtde_cycle(n)? {
            talk.send(toward, &unit)?;
        }
    }
    talk.reset()
}

/// What a client and a controller say before the first data: two recipes, 500 Hz.
#[must_use]
pub fn rtde_opening() -> Option<Vec<(Toward, Vec<u8>)>> {
    let outputs: [&[u8]; 5] = [b"timestamp", b"actual_q", b"robot_mode", b"safety_mode", b"runtime_state"];
    let output_types = [DataType::Double, DataType::Vector6d, DataType::Int32, DataType::Int32, DataType::Uint32];
    let inputs: [&[u8]; 2] = [b"speed_slider_mask", b"speed_slider_fraction"];
    let input_types = [DataType::Uint32, DataType::Double];
    let (robot, plant) = (Toward::Robot, Toward::Plant);
    Some(vec![
        (robot, unit(|out| Request::ProtocolVersion(2).emit(Version::V1, out))?),
        (plant, unit(|out| Reply::ProtocolVersion { accepted: true }.emit(Version::V1, out))?),
        (robot, unit(|out| rtde::emit::setup_outputs(Some(500.0), outputs, out))?),
        (plant, unit(|out| rtde::emit::outputs_reply(Some(1), output_types.map(ReplyType::Data), out))?),
        (robot, unit(|out| rtde::emit::setup_inputs(inputs, out))?),
        (plant, unit(|out| rtde::emit::inputs_reply(1, input_types.map(ReplyType::Data), out))?),
        (robot, unit(|out| Request::Start.emit(Version::V2, out))?),
        (plant, unit(|out| Reply::Start { accepted: true }.emit(Version::V2, out))?),
    ])
}

/// One cycle of 500: a package of inputs toward the robot and one of outputs toward the plant.
#[must_use]
pub fn rtde_cycle(n: u16) -> Option<[(Toward, Vec<u8>); 2]> {
    let x = f64::from(n);
    let inputs = [Value::Uint32(1), Value::Double(x / 65_536.0)];
    let outputs = [
        Value::Double(x * 0.002),
        Value::Vector6d([x.sin(), x.cos(), 0.1, -1.2, 0.7, x / 100.0]),
        Value::Int32(7),
        Value::Int32(1),
        Value::Uint32(2),
    ];
    Some([
        (Toward::Robot, unit(|out| rtde::emit::data(Some(1), inputs, out))?),
        (Toward::Plant, unit(|out| rtde::emit::data(Some(1), outputs, out))?),
    ])
}

fn unit(emit: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 512];
    let len = emit(&mut buffer)?;
    buffer.truncate(len);
    Some(buffer)
}

fn dashboard_talk(recorded: &mut Recorded, exchanges: u16) -> Option<()> {
    let mut talk = Talk::open(recorded, 40_002, dashboard::PORT)?;
    talk.send(Toward::Plant, b"Connected: Universal Robots Dashboard Server\n")?;
    for _ in 0..exchanges {
        talk.send(Toward::Robot, b"robotmode\n")?;
        talk.send(Toward::Plant, b"Robotmode: RUNNING\n")?;
    }
    talk.reset()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nic::replay::CaptureReader;

    #[test]
    fn the_built_in_capture_is_whole_and_reads_back_as_it_was_made() {
        let recorded = built_in(10);
        // Three openings of three, three resets, eight units of RTDE's opening, one greeting, 2 x 10 units each.
        assert_eq!(recorded.len(), 3 * 4 + 8 + 1 + 3 * 20);
        let bytes = recorded.pcap();
        let mut reader = CaptureReader::new(&bytes[..]).unwrap();
        for (_, time_ns, frame) in recorded.iter() {
            let captured = reader.next_packet().unwrap().unwrap();
            assert_eq!((captured.bytes, captured.time_ns), (frame, time_ns));
        }
        assert!(reader.next_packet().unwrap().is_none());
    }
}
