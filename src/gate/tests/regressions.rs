//! Faults that were found, each as the smallest case that shows it.

use super::bench::{Ended, Sent};
use super::examples::{fast, units};
use super::toy::*;
use super::*;

#[test]
fn the_robot_is_acknowledged_what_passed_when_the_connection_is_spliced() {
    let mut bench = fast([100, 7]);
    bench.robot(0, &said(NEWS, 3), 0);
    let out = bench.client(0, &units(&[(REFUSE, 4)]));
    let toward_robot = out.frames.iter().find(|frame| frame.toward == Toward::Robot);
    assert_eq!(toward_robot.map(|frame| frame.ack), Some(7 + said(NEWS, 3).len() as u32));
}
