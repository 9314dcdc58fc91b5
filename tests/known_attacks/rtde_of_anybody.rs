//! CVE-2020-10264 (RVD#1444): RTDE lets anybody read the robot's data and write registers, outputs and the speed slider.

use dissect::Toward;
use vambrace::control::PatchState;
use vambrace::event::Reason;

use crate::{CELL, Guard, PANEL, PLC, STRANGER, WIDE, state};

#[test]
fn rtde_of_anybody() {
    let version = ([0, 5, b'V', 0, 2], [0, 4, b'V', 1]);
    let package = |kind: u8, payload: &[u8]| {
        let len = u16::try_from(payload.len() + 3).unwrap().to_be_bytes();
        [&len[..], &[kind], payload].concat()
    };
    let setup = package(b'I', b"speed_slider_mask,speed_slider_fraction");
    let types = package(b'I', b"\x01UINT32,DOUBLE");
    let (start, started) = (package(b'S', b""), package(b'S', b"\x01"));
    let write = package(b'U', &[&[1_u8][..], &1_u32.to_be_bytes(), &1.0_f64.to_be_bytes()].concat());
    let (robot, plant) = (Toward::Robot, Toward::Plant);
    let steps: [(Toward, &[u8]); 7] = [
        (robot, &version.0),
        (plant, &version.1),
        (robot, &setup),
        (plant, &types),
        (robot, &start),
        (plant, &started),
        (robot, &write),
    ];
    let cell = Guard::new(CELL, None);
    for from in [STRANGER, PANEL, PLC] {
        assert_eq!(cell.exchange(from, 30_004, &steps).arrived, 0);
    }
    assert_eq!(cell.exchange(PLC, 30_004, &steps[..3]).reason(), Some(Reason::VariableNotAllowed));
    let recipe = package(b'O', &[&125.0_f64.to_be_bytes()[..], b"timestamp,actual_TCP_force"].concat());
    let reads = [steps[0], steps[1], (robot, &recipe[..])];
    assert_eq!(cell.exchange(PLC, 30_004, &reads).reason(), Some(Reason::VariableNotAllowed));
    let recipe = package(b'O', &[&125.0_f64.to_be_bytes()[..], b"timestamp,actual_q"].concat());
    assert!(cell.exchange(PLC, 30_004, &[steps[0], steps[1], (robot, &recipe[..])]).whole);
    assert!(Guard::new(WIDE, None).exchange(PLC, 30_004, &steps).whole, "the exchange itself is sound");
    assert_eq!(state(WIDE, "CVE-2020-10264"), PatchState::NotProtected);
}
