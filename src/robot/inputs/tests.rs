#![allow(clippy::indexing_slicing)]

use std::net::Ipv4Addr;

use super::*;

fn input(name: &str) -> Variable {
    Variable::named(name.as_bytes())
}

fn connection(number: u32) -> Connection {
    let last = u8::try_from(number).unwrap();
    Connection {
        number,
        address: Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets(),
        port: 40_000,
        wall_ns: 43_391_000_000_000,
    }
}

/// A package that writes these, through a recipe of their names.
fn write(inputs: &mut Inputs, values: &[(&str, Value)]) {
    let mut session = rtde::Session::new();
    let mut buffer = [0; 512];
    let step = |bytes: &[u8], toward| match rtde::Package::step(bytes, toward) {
        Ok(dissect::Step::Whole { len, .. }) => len,
        other => panic!("{other:?}"),
    };
    let len = rtde::emit::setup_inputs(values.iter().map(|(name, _)| name.as_bytes()), &mut buffer).unwrap();
    assert_eq!(step(&buffer[..len], dissect::Toward::Robot), len);
    let Ok(dissect::Step::Whole { unit, .. }) = rtde::Package::step(&buffer[..len], dissect::Toward::Robot) else {
        panic!("partial")
    };
    session.request(&unit).unwrap();
    let types = values.iter().map(|(_, value)| rtde::ReplyType::Data(value.data_type()));
    let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
    let Ok(dissect::Step::Whole { unit, .. }) = rtde::Package::step(&buffer[..len], dissect::Toward::Plant) else {
        panic!("partial")
    };
    session.reply(&unit).unwrap();
    let len = rtde::emit::data(Some(1), values.iter().map(|(_, value)| *value), &mut buffer).unwrap();
    let Ok(dissect::Step::Whole { unit, .. }) = rtde::Package::step(&buffer[..len], dissect::Toward::Robot) else {
        panic!("partial")
    };
    inputs.went(&Request::read(&unit, &session).unwrap(), &connection(1));
}

#[test]
fn a_value_counts_from_when_it_went() {
    let mut inputs = Inputs::new();
    let register = input("input_int_register_24");
    assert_eq!(inputs.reference(register, 0), None);
    assert!(inputs.changes(register, &Value::Int32(0)), "the first one changes it");
    write(&mut inputs, &[("input_int_register_24", Value::Int32(-7))]);
    assert_eq!(inputs.reference(register, 0), Some(-7.0));
    assert!(!inputs.changes(register, &Value::Int32(-7)) && inputs.changes(register, &Value::Int32(7)));
    assert_eq!(inputs.reference(register, 1), None, "it has one component");
    assert_eq!(inputs.reference(Variable::UNKNOWN, 0), None);
}

#[test]
fn what_is_no_number_moves_nothing() {
    let mut inputs = Inputs::new();
    let force = input("external_force_torque");
    write(&mut inputs, &[("external_force_torque", Value::Vector6d([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))]);
    let odd = Value::Vector6d([f64::NAN, 2.5, f64::INFINITY, 4.0, 5.0, -6.0]);
    assert!(inputs.changes(force, &odd));
    write(&mut inputs, &[("external_force_torque", odd)]);
    let last: Vec<_> = (0..6).map(|at| inputs.reference(force, at).unwrap()).collect();
    assert_eq!(last, [1.0, 2.5, 3.0, 4.0, 5.0, -6.0]);
}

/// With its mask off a value waits in the robot: the one that it acts on stays what later ones are compared with.
#[test]
fn a_masked_value_does_not_move_what_the_robot_acts_on() {
    let mut inputs = Inputs::new();
    let fraction = input("speed_slider_fraction");
    let both = |mask, fraction| {
        [("speed_slider_fraction", Value::Double(fraction)), ("speed_slider_mask", Value::Uint32(mask))]
    };
    write(&mut inputs, &[("speed_slider_fraction", Value::Double(0.9))]);
    assert_eq!(inputs.reference(fraction, 0), Some(0.9), "better than nothing: its mask was never seen");
    write(&mut inputs, &both(1, 0.1));
    write(&mut inputs, &both(0, 0.2));
    write(&mut inputs, &both(0, 0.3));
    assert_eq!(inputs.reference(fraction, 0), Some(0.1));
    write(&mut inputs, &[("speed_slider_mask", Value::Uint32(1))]);
    assert_eq!(inputs.reference(fraction, 0), Some(0.3), "the mask alone makes the robot act on what it has");
    // Two analog outputs share a mask.
    let one = |at: u32| input(&format!("standard_analog_output_{at}"));
    write(
        &mut inputs,
        &[
            ("standard_analog_output_mask", Value::Uint8(3)),
            ("standard_analog_output_0", Value::Double(0.5)),
            ("standard_analog_output_1", Value::Double(0.5)),
        ],
    );
    write(
        &mut inputs,
        &[
            ("standard_analog_output_mask", Value::Uint8(2)),
            ("standard_analog_output_0", Value::Double(0.6)),
            ("standard_analog_output_1", Value::Double(0.6)),
        ],
    );
    assert_eq!((inputs.reference(one(0), 0), inputs.reference(one(1), 0)), (Some(0.5), Some(0.6)));
}

#[test]
fn an_owner_is_told_as_people_read_it() {
    let mut inputs = Inputs::new();
    inputs.accepted(input("speed_slider_mask"), &Connection { port: 40_112, ..connection(21) });
    let owned: Vec<_> = inputs.owned().map(|owned| owned.to_string()).collect();
    assert_eq!(owned, ["speed_slider_mask is owned by 10.0.0.21:40112 since 12:03:11 UTC"]);
}

#[test]
fn inputs_are_claimed_accepted_and_freed() {
    let mut inputs = Inputs::new();
    let (slider, mask) = (input("speed_slider_fraction"), input("speed_slider_mask"));
    let other = |inputs: &Inputs, variable, number| inputs.other_owner(variable, number).is_some();
    let names = Request::SetupInputs { names: rtde::Names(b"speed_slider_fraction,speed_slider_mask,no_such,") };
    inputs.went(&names, &connection(1));
    assert!(other(&inputs, slider, 2) && !other(&inputs, slider, 1), "claimed while its answer is under way");
    assert_eq!(inputs.owned().count(), 0, "and not yet owned");
    inputs.went(&names, &connection(2));
    inputs.accepted(slider, &connection(1));
    inputs.not_accepted(mask, 1);
    assert!(other(&inputs, slider, 2) && !other(&inputs, mask, 2));
    inputs.not_accepted(slider, 1);
    assert!(other(&inputs, slider, 2), "what an earlier set-up gave stays");
    inputs.not_accepted(slider, 2);
    assert!(other(&inputs, slider, 2), "another's refusal frees nothing");
    inputs.accepted(slider, &connection(2));
    assert!(other(&inputs, slider, 1) && !other(&inputs, slider, 2), "the robot knows best");
    inputs.ended(1);
    assert_eq!(inputs.owned().count(), 1);
    inputs.ended(2);
    assert_eq!(inputs.owned().count(), 0);
    assert!(!other(&inputs, slider, 1));
}
