//! Frames of the box's own on a spliced connection: addressed and stamped as the other end would have sent them.

use dissect::Toward;
use link::TcpFlags;
use link::craft::{Segment, Template};

use super::reset;
use super::scene::Scene;
use crate::flow::{End, Flow};
use crate::gate::SpliceOut;

/// How frames toward either side look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    lines: [Option<Line>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Line {
    template: Template,
    stamps: Option<(u32, u32)>,
    /// Shift of the window field.
    shift: u8,
    /// Whether the receiver understands selective acknowledgements.
    sack: bool,
}

impl Lines {
    /// Those of a connection.
    pub(super) fn of(flow: &Flow) -> Self {
        let line = |toward: Toward| {
            let template = reset::template(flow, toward)?;
            let sack = flow.both(End::SACK);
            Some(Line { template, stamps: stamps(flow, toward), shift: flow.window_shift(toward), sack })
        };
        Self { lines: [line(Toward::Robot), line(Toward::Plant)] }
    }

    /// Sends what the gate says.
    pub(super) fn send(&self, scene: &mut Scene<'_>, out: &SpliceOut<'_>) {
        let [robot, plant] = &self.lines;
        let line = if out.toward == Toward::Robot { robot } else { plant };
        let Some(Line { template, stamps, shift, sack }) = line else { return };
        let mut flags = TcpFlags::ACK.0;
        if !out.payload.is_empty() {
            flags |= TcpFlags::PSH.0;
        }
        if out.fin {
            flags |= TcpFlags::FIN.0;
        }
        // Beside timestamps, three ranges fill the header.
        let sack = if *sack { out.sack.as_slice() } else { &[] };
        let segment = Segment {
            seq: out.seq,
            ack: out.ack,
            flags: TcpFlags(flags),
            window: u16::try_from(out.window.checked_shr(u32::from(*shift)).unwrap_or(0)).unwrap_or(u16::MAX),
            timestamps: *stamps,
            sack,
            payload: out.payload,
            ..Segment::default()
        };
        scene.send(out.toward, template, &segment);
    }
}

/// Timestamps for a frame `toward` a side: the newest value of the end in whose name it goes, and the newest of the end
/// that gets it. Source: RFC 7323 section 4.3; without the newest value a robot's stream stops.
pub(super) fn stamps(flow: &Flow, toward: Toward) -> Option<(u32, u32)> {
    let (name, receiver) = (flow.end(toward), flow.end(toward.reverse()));
    flow.both(End::TIMESTAMPS).then_some((name.timestamp[0], receiver.timestamp[0]))
}
