//! Ending a connection at both ends, with sequence numbers that both accept.

use dissect::Toward;
use link::TcpFlags;
use link::craft::{Segment, Template};

use super::arena::Watched;
use super::lines::stamps;
use super::scene::Scene;
use crate::flow::{End, Flow};

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

/// Sends resets to both ends.
///
/// The robot stands at one of the release boundaries that it has not acknowledged yet, so it gets one at each. The
/// client stands where it acknowledged last or, if everything arrived, at the end of what the robot sent. Source:
/// RFC 5961 section 3.2: a receiver takes a reset only at exactly the next expected sequence number.
pub(super) fn both(scene: &mut Scene<'_>, flow: &Flow, watched: Option<&Watched>) {
    let (client, server) = (flow.end(Toward::Robot), flow.end(Toward::Plant));
    match watched {
        Some(watched) => robot(scene, flow, watched),
        None if !client.is(End::ACKED) => {
            // It has not heard of the other end's number, so its own is the only one that counts for it.
            send_all(scene, flow, Toward::Robot, core::iter::once(server.acked), server.next);
        }
        None => {
            let last = (client.next != server.acked).then_some(client.next);
            send_all(scene, flow, Toward::Robot, core::iter::once(server.acked).chain(last), client.acked);
        }
    }
    match watched {
        Some(watched) if watched.gate.is_spliced() => plant(scene, flow, watched),
        _ => {
            let last = (server.next != client.acked).then_some(server.next);
            send_all(scene, flow, Toward::Plant, core::iter::once(client.acked).chain(last), client.next);
        }
    }
}

/// Sends resets to the robot alone.
pub(super) fn robot(scene: &mut Scene<'_>, flow: &Flow, watched: &Watched) {
    let client = flow.end(Toward::Robot);
    let fast = if client.is(End::ACKED) { client.acked } else { flow.end(Toward::Plant).next };
    let ack = watched.gate.spliced_numbers().map_or(fast, |numbers| numbers.robot_received);
    send_all(scene, flow, Toward::Robot, watched.gate.robot_stands_at(), ack);
}

/// Sends resets to the client of a spliced connection alone.
pub(super) fn plant(scene: &mut Scene<'_>, flow: &Flow, watched: &Watched) {
    let Some(numbers) = watched.gate.spliced_numbers() else { return };
    let [first, last] = numbers.plant_at;
    let last = (last != first).then_some(last);
    send_all(scene, flow, Toward::Plant, core::iter::once(first).chain(last), numbers.plant_received);
}

fn send_all(scene: &mut Scene<'_>, flow: &Flow, toward: Toward, numbers: impl Iterator<Item = u32>, ack: u32) {
    let Some(template) = template(flow, toward) else { return };
    let stamps = stamps(flow, toward);
    for seq in numbers {
        send(scene, toward, &template, seq, ack, stamps);
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
    scene.send(toward, template, &segment);
}
