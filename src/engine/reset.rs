//! Ending a connection at both ends, with sequence numbers that both accept.

use dissect::Toward;
use link::TcpFlags;
use link::craft::{Segment, Template};

use super::arena::Watched;
use super::scene::Scene;
use crate::flow::Flow;

/// A template for frames of this flow that travel `toward` a side, as if its other end had sent them.
pub(super) fn template(flow: &Flow, toward: Toward) -> Option<Template> {
    let [plant_mac, robot_mac] = flow.macs;
    let macs = match toward {
        Toward::Robot => (plant_mac, robot_mac),
        Toward::Plant => (robot_mac, plant_mac),
    };
    let (source, destination) = (flow.key.source(toward), flow.key.destination(toward));
    Template::new(macs, flow.tags, (source.ip(), source.port), (destination.ip(), destination.port))
}

/// Timestamps for a frame `toward` a side: what its other end sent and echoed last.
pub(super) fn timestamps(flow: &Flow, toward: Toward) -> Option<(u32, u32)> {
    let end = flow.end(toward);
    end.is(crate::flow::End::TIMESTAMPS).then_some((end.timestamp[0], end.timestamp[1]))
}

/// Sends resets to both ends.
///
/// The robot stands at one of the release boundaries that it has not acknowledged yet, so it gets one at each. The
/// client stands where it acknowledged last or, if everything arrived, at the end of what the robot sent. Source:
/// RFC 5961 section 3.2: a receiver takes a reset only at exactly the next expected sequence number.
pub(super) fn both(scene: &mut Scene<'_>, flow: &Flow, watched: Option<&Watched>) {
    let toward_plant = flow.end(Toward::Plant);
    let toward_robot = flow.end(Toward::Robot);
    if let Some(template) = template(flow, Toward::Robot) {
        let stamps = timestamps(flow, Toward::Robot);
        match watched {
            Some(watched) => {
                for seq in watched.gate.boundaries() {
                    send(scene, Toward::Robot, &template, seq, toward_robot.acked, stamps);
                }
            }
            None => {
                send(scene, Toward::Robot, &template, toward_plant.acked, toward_robot.acked, stamps);
                if toward_robot.next != toward_plant.acked {
                    send(scene, Toward::Robot, &template, toward_robot.next, toward_robot.acked, stamps);
                }
            }
        }
    }
    if let Some(template) = template(flow, Toward::Plant) {
        let stamps = timestamps(flow, Toward::Plant);
        send(scene, Toward::Plant, &template, toward_robot.acked, toward_robot.next, stamps);
        if toward_plant.next != toward_robot.acked {
            send(scene, Toward::Plant, &template, toward_plant.next, toward_robot.next, stamps);
        }
    }
}

/// Answers a segment of an ended connection with the one reset that its sender surely takes: at the sequence number
/// that it has just acknowledged.
pub(super) fn answer(scene: &mut Scene<'_>, template: &Template, seq: u32, ack: u32) {
    let toward = scene.toward.reverse();
    send(scene, toward, template, seq, ack, None);
}

fn send(scene: &mut Scene<'_>, toward: Toward, template: &Template, seq: u32, ack: u32, stamps: Option<(u32, u32)>) {
    let segment = Segment {
        seq,
        ack,
        flags: TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0),
        timestamps: stamps,
        ..Segment::default()
    };
    if scene.actions.send(toward, template, &segment) {
        super::counters::Counters::add(&mut scene.counters.crafted, toward);
    }
}
