//! RVD#15, IOActive 2017: traffic in the clear between robots lets somebody in between read and change it. The way in
//! between is ARP.

use dissect::Toward;
use vambrace::appliance::now;
use vambrace::engine::trial::{Attempt, Medium, attempt};
use vambrace::event::Reason;

use crate::{PLC, ROBOT, both};

#[test]
fn somebody_in_the_middle_by_arp() {
    for guard in both() {
        for claimed in [ROBOT.0, PLC.0] {
            let medium = Medium::Arp(claimed);
            let arp = Attempt {
                client: PLC,
                robot: ROBOT,
                opened: Toward::Robot,
                medium,
                begin_ns: now().monotonic_ns,
                steps: &[],
            };
            let outcome = attempt(&guard.rules, &arp);
            assert_eq!((outcome.arrived, outcome.reason()), (0, Some(Reason::ArpConflict)), "{claimed}");
        }
    }
}
