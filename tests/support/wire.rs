//! A box between two outsides, and the comparison of what went in with what came out.
//!
//! ```text
//! outside namespace            box namespace             outside namespace
//!   plant_side ────── veth ────── plant   robot ────── veth ────── robot_side
//! ```
//! What runs in the box namespace is the caller's: a forwarding thread or a whole process.

use std::time::Duration;

use super::corpus::Named;
use super::netns::Netns;
use super::raw::RawSocket;

/// Interface name of the box's port toward the plant.
pub const PLANT: &str = "plant";
/// Interface name of the box's port toward the robot.
pub const ROBOT: &str = "robot";
/// The wire's end on the plant's side.
pub const PLANT_SIDE: &str = "plant_side";
/// The wire's end on the robot's side.
pub const ROBOT_SIDE: &str = "robot_side";

/// Which way frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From plant_side to robot_side.
    TowardRobot,
    /// From robot_side to plant_side.
    TowardPlant,
}

/// A wire with a gap for the box.
#[derive(Debug)]
pub struct Wire {
    /// Where the box runs.
    pub inside: Netns,
    /// Where both ends are.
    pub outside: Netns,
}

/// What one frame became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Came out byte for byte as it went in.
    Same,
    /// Came out otherwise.
    Changed(Vec<u8>),
    /// Did not come out.
    Lost,
}

impl Wire {
    /// Both veth pairs with this MTU, all offloads off.
    pub fn new(tag: &str, mtu: u32) -> Self {
        Self::with_mtu(tag, mtu, mtu)
    }

    /// The same with the outer ends' own MTU, for senders that may send more than the box's ports are set to.
    pub fn with_mtu(tag: &str, outside_mtu: u32, inside_mtu: u32) -> Self {
        let (inside, outside) = (Netns::new(&format!("{tag}-in")), Netns::new(&format!("{tag}-out")));
        outside.join(PLANT_SIDE, &inside, PLANT, outside_mtu);
        outside.join(ROBOT_SIDE, &inside, ROBOT, outside_mtu);
        for port in [PLANT, ROBOT] {
            inside.run(&["ip", "link", "set", port, "mtu", &inside_mtu.to_string()]);
        }
        Self { inside, outside }
    }

    /// Waits until the box forwards both ways, for up to `patience`; sends a frame of an experimental type each 20 ms.
    pub fn wait_for_box(&self, patience: Duration) -> bool {
        let probe = [&[0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[0x5a; 46]].concat();
        let probe = [Named { name: "probe", bytes: probe }];
        let started = std::time::Instant::now();
        while started.elapsed() < patience {
            let both = [Way::TowardRobot, Way::TowardPlant];
            if both.iter().all(|&way| self.pass_within(&probe, way, Duration::from_millis(20))[0].1 == Outcome::Same) {
                return true;
            }
        }
        false
    }

    /// Sends each frame in turn and says what became of it, in the order given.
    pub fn pass(&self, frames: &[Named], way: Way) -> Vec<(&'static str, Outcome)> {
        self.pass_within(frames, way, Duration::from_millis(400))
    }

    fn pass_within(&self, frames: &[Named], way: Way, patience: Duration) -> Vec<(&'static str, Outcome)> {
        let (from, to) = match way {
            Way::TowardRobot => (PLANT_SIDE, ROBOT_SIDE),
            Way::TowardPlant => (ROBOT_SIDE, PLANT_SIDE),
        };
        let (sender, receiver) = self.outside.enter(|| (RawSocket::open(from).unwrap(), RawSocket::open(to).unwrap()));
        let outcome = |frame: &Named| {
            sender.send(&frame.bytes).unwrap_or_else(|error| panic!("{} can't be sent: {error}", frame.name));
            match receiver.receive(patience).unwrap() {
                None => Outcome::Lost,
                Some(bytes) if bytes == frame.bytes => Outcome::Same,
                Some(bytes) => Outcome::Changed(bytes),
            }
        };
        frames.iter().map(|frame| (frame.name, outcome(frame))).collect()
    }

    /// Panics with the list of frames that were changed or lost, both ways.
    pub fn assert_transparent(&self, frames: &[Named]) {
        let mut wrong = Vec::new();
        for way in [Way::TowardRobot, Way::TowardPlant] {
            let outcomes = self.pass(frames, way);
            wrong.extend(outcomes.into_iter().filter(|(_, outcome)| *outcome != Outcome::Same).map(|it| (way, it)));
        }
        assert!(wrong.is_empty(), "{} of {} frames differ: {wrong:02x?}", wrong.len(), frames.len() * 2);
    }
}
