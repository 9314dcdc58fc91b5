//! What a policy says of RTDE: outputs and inputs by name, value and bits, and what depends on what went before: steps,
//! rates and owners of inputs.
#![allow(clippy::arithmetic_side_effects, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "support/policy_cell.rs"]
mod policy_cell;

use policy_cell::{Cell, SECOND, Session, try_compile};
use proptest::prelude::*;
use rtde::Value::{Double, Int32, Uint8, Uint32, Vector6d};
use vambrace::command::Command;
use vambrace::event::Reason;

const RTDE: &str = "[[allow]]\nid = \"rtde-1\"\nfrom = \"plc\"\nservice = \"rtde\"\n\
    outputs = [\"timestamp\", \"actual_q\"]\nfrequency = \"1..=125\"\n[allow.inputs]\n\
    speed_slider_mask = { value = [0, 1] }\nspeed_slider_fraction = { value = \"0.0..=0.8\" }\n\
    standard_digital_output = { bits = [0, 1] }\ninput_int_register_24 = { value = \"0..=3\" }\n\
    input_int_register_25 = { value = [] }\ninput_int_register_26 = {}\n";

#[test]
fn rtde_outputs_and_frequency() {
    let mut cell = Cell::new(RTDE);
    let (v1, v2) = (Session::v1(), Session::v2());
    assert_eq!(cell.outputs(&v2, Some(125.0), &["timestamp", "actual_q"]), Reason::Allowed);
    assert_eq!(cell.outputs(&v2, Some(125.0), &["actual_q", ""]), Reason::Allowed, "a trailing comma names nothing");
    assert_eq!(cell.outputs(&v2, Some(500.0), &["timestamp"]), Reason::FrequencyNotAllowed);
    assert_eq!(cell.outputs(&v2, Some(0.0), &["timestamp"]), Reason::FrequencyNotAllowed);
    assert_eq!(cell.outputs(&v1, None, &["timestamp"]), Reason::FrequencyNotAllowed, "version 1 takes the fastest");
    assert_eq!(cell.outputs(&v2, Some(1.0), &["timestamp", "robot_mode"]), Reason::VariableNotAllowed);
    for word in [rtde::Request::ProtocolVersion(1), rtde::Request::ControllerVersion, rtde::Request::Start] {
        let mut buffer = [0; 16];
        let len = word.emit(rtde::Version::V2, &mut buffer).unwrap();
        assert_eq!(cell.rtde(&v2, &buffer[..len]), Reason::SessionWord);
    }
}

#[test]
fn rtde_inputs_by_value_and_bits() {
    let mut cell = Cell::new(RTDE);
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(0.8))]),
        Reason::Allowed
    );
    assert_eq!(cell.write(&[("speed_slider_fraction", Double(0.81))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("speed_slider_fraction", Double(f64::NAN))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("input_int_register_24", Int32(3))]), Reason::Allowed);
    assert_eq!(cell.write(&[("input_int_register_24", Int32(-1))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("input_int_register_26", Int32(-1))]), Reason::Allowed);
    assert_eq!(cell.write(&[("input_int_register_27", Int32(0))]), Reason::VariableNotAllowed);
    assert_eq!(
        cell.write(&[("input_int_register_24", Int32(0)), ("input_int_register_27", Int32(0))]),
        Reason::VariableNotAllowed
    );
    assert_eq!(cell.write(&[("standard_digital_output", Uint8(3))]), Reason::Allowed);
    assert_eq!(cell.write(&[("standard_digital_output", Uint8(4))]), Reason::ValueNotAllowed);
    assert_eq!(cell.write(&[("standard_digital_output_mask", Uint8(2))]), Reason::Allowed, "the mask goes with it");
    assert_eq!(cell.write(&[("standard_digital_output_mask", Uint8(0xff))]), Reason::ValueNotAllowed);
    assert_eq!(
        cell.write(&[("input_int_register_25", Int32(0))]),
        Reason::ValueNotAllowed,
        "an empty list is no value"
    );
    assert_eq!(cell.inputs(&Session::v2(), &["input_int_register_25"]), Reason::Allowed, "set up, never written");
    assert_eq!(cell.inputs(&Session::v2(), &["external_force_torque"]), Reason::VariableNotAllowed);
    assert_eq!(cell.rtde(&Session::v2(), &[0, 8, b'U', 1, 0, 0, 0, 0]), Reason::RecipeUnknown);
}

#[test]
fn a_rule_that_speaks_of_reading_covers_no_writing() {
    for rule in ["outputs = [\"timestamp\"]", "frequency = \"..=500\"", "class = [\"read\"]"] {
        let mut cell = Cell::new(&format!("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n{rule}\n"));
        assert_eq!(cell.outputs(&Session::v2(), Some(125.0), &["timestamp"]), Reason::Allowed, "{rule}");
        assert_eq!(cell.write(&[("input_int_register_24", Int32(0))]), Reason::VariableNotAllowed, "{rule}");
    }
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\nclass = [\"register\"]\n");
    assert_eq!(cell.write(&[("input_int_register_24", Int32(0))]), Reason::Allowed);
    assert_eq!(cell.write(&[("tool_digital_output", rtde::Value::Uint8(0))]), Reason::VariableNotAllowed);
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n");
    assert_eq!(cell.write(&[("tool_digital_output", rtde::Value::Uint8(0))]), Reason::Allowed);
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\n");
    assert_eq!(cell.rtde(&Session::v2(), &[0, 8, b'U', 1, 0, 0, 0, 0]), Reason::RecipeUnknown);
}

#[test]
fn rtde_deny_touches_one_field_of_many() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n\
         [[deny]]\nservice = \"rtde\"\n[deny.inputs]\nspeed_slider_fraction = { value = \"0.9..\" }\n",
    );
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(0.5))]),
        Reason::Allowed
    );
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(1.0))]),
        Reason::DeniedByRule
    );
    assert_eq!(
        cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(f64::NAN))]),
        Reason::DeniedByRule,
        "what can't be compared counts against it"
    );
}

fn inputs(keys: &str) -> Cell {
    Cell::new(&format!("[[allow]]\nid = \"a\"\nfrom = \"plc\"\nservice = \"rtde\"\n[allow.inputs]\n{keys}\n"))
}

fn register(cell: &mut Cell, value: i32) -> Reason {
    cell.write(&[("input_int_register_24", Int32(value))])
}

fn slider(cell: &mut Cell, fraction: f64) -> Reason {
    cell.write(&[("speed_slider_mask", Uint32(1)), ("speed_slider_fraction", Double(fraction))])
}

const SLIDER: &str = "speed_slider_mask = { value = [0, 1] }\n\
    speed_slider_fraction = { value = \"0.0..=1.0\", step = \"..=0.1\" }";

#[test]
fn a_step_is_measured_from_the_last_value_that_went_to_the_robot() {
    let mut cell = inputs(SLIDER);
    assert_eq!(slider(&mut cell, 0.5), Reason::Allowed, "the first one: by its value alone");
    assert_eq!(slider(&mut cell, 0.7), Reason::StepNotAllowed);
    assert_eq!(slider(&mut cell, 0.3), Reason::StepNotAllowed, "either way");
    assert_eq!(slider(&mut cell, 0.6), Reason::Allowed);
    for refused in [0.8, 1.0, 1.5, f64::NAN] {
        assert_ne!(slider(&mut cell, refused), Reason::Allowed, "{refused}");
        assert_eq!(slider(&mut cell, 0.75), Reason::StepNotAllowed, "a refused value moves nothing");
    }
    assert_eq!(slider(&mut cell, 0.7), Reason::Allowed);
    assert_eq!(slider(&mut cell, 0.8), Reason::Allowed, "rounding is no step: 0.8 - 0.7 is a little more than 0.1");
    cell.connection = 2;
    assert_eq!(slider(&mut cell, 0.1), Reason::StepNotAllowed, "another connection begins where the robot is");
}

/// Allowed by design: a step bounds one write. What bounds many is `value` and `rate`.
#[test]
fn many_steps_below_the_bound_creep_as_far_as_value_lets_them_and_as_fast_as_rate_does() {
    let keys = "speed_slider_mask = {}\nspeed_slider_fraction = { value = \"0.0..=0.8\", step = \"..=0.1\", \
                rate = { per_second = 1, burst = 3 } }";
    let mut cell = inputs(keys);
    let creep: Vec<_> = (1..6).map(|step| slider(&mut cell, 0.1 * f64::from(step))).collect();
    assert_eq!(creep[..3], [Reason::Allowed; 3]);
    assert_eq!(
        creep[3..],
        [Reason::RateExceeded, Reason::StepNotAllowed],
        "what is refused for its rate moves nothing"
    );
    for tenth in 4..=8 {
        cell.now_ns += SECOND;
        assert_eq!(slider(&mut cell, 0.1 * f64::from(tenth)), Reason::Allowed, "{tenth}");
    }
    cell.now_ns += SECOND;
    assert_eq!(slider(&mut cell, 0.9), Reason::ValueNotAllowed);
}

#[test]
fn two_clients_that_alternate_share_one_last_value() {
    let mut cell = Cell::new(
        &["plc", "hmi"]
            .map(|from| {
                format!(
                    "[[allow]]\nfrom = \"{from}\"\nservice = \"rtde\"\n[allow.inputs]\n\
                 input_int_register_24 = {{ step = \"..=1\" }}\n"
                )
            })
            .concat(),
    );
    let (plc, hmi) = (cell.from, policy_cell::address("10.20.0.22"));
    for (from, value, reason) in [
        (plc, 5, Reason::Allowed),
        (hmi, 9, Reason::StepNotAllowed),
        (hmi, 6, Reason::Allowed),
        (plc, 5, Reason::Allowed),
        (plc, 7, Reason::StepNotAllowed),
        (hmi, 4, Reason::Allowed),
        (plc, 6, Reason::StepNotAllowed),
    ] {
        cell.from = from;
        assert_eq!(register(&mut cell, value), reason, "{from} {value}");
    }
}

#[test]
fn every_component_of_a_vector_is_held_to_the_step() {
    let mut cell = inputs("external_force_torque = { step = \"..=2\" }");
    let mut write = |values| cell.write(&[("external_force_torque", Vector6d(values))]);
    assert_eq!(write([0.0; 6]), Reason::Allowed);
    for at in 0..6 {
        let mut jump = [0.0; 6];
        jump[at] = -2.5;
        assert_eq!(write(jump), Reason::StepNotAllowed, "{at}");
        jump[at] = f64::NAN;
        assert_eq!(write(jump), Reason::StepNotAllowed, "{at}");
    }
    assert_eq!(write([2.0; 6]), Reason::Allowed);
}

/// With the mask off a client may not walk the value to where the mask then makes the robot jump.
#[test]
fn a_value_behind_its_mask_does_not_creep() {
    let mut cell = inputs(SLIDER);
    let write = |cell: &mut Cell, mask, fraction| {
        cell.write(&[("speed_slider_fraction", Double(fraction)), ("speed_slider_mask", Uint32(mask))])
    };
    assert_eq!(write(&mut cell, 1, 0.1), Reason::Allowed);
    assert_eq!(write(&mut cell, 0, 0.2), Reason::Allowed);
    assert_eq!(write(&mut cell, 0, 0.3), Reason::StepNotAllowed, "the robot is still at 0.1");
    assert_eq!(cell.write(&[("speed_slider_mask", Uint32(1))]), Reason::Allowed);
    assert_eq!(write(&mut cell, 1, 0.3), Reason::Allowed, "now it is at 0.2");
}

#[test]
fn the_same_input_twice_in_a_package_has_no_order_to_be_judged_in() {
    let twice = [("input_int_register_24", Int32(1)), ("input_int_register_24", Int32(1))];
    for keys in ["{ step = \"..=1\" }", "{ rate = { per_second = 1, burst = 9 } }"] {
        let mut cell = inputs(&format!("input_int_register_24 = {keys}"));
        assert_eq!(cell.write(&twice), Reason::StepNotAllowed, "{keys}");
    }
    assert_eq!(inputs("input_int_register_24 = {}").write(&twice), Reason::Allowed);
}

#[test]
fn a_rate_of_an_input_counts_changes_and_a_refused_package_takes_no_tokens() {
    let mut cell = inputs(
        "input_int_register_24 = { value = \"0..=9\", rate = { per_second = 1, burst = 2 } }\n\
         input_int_register_25 = { rate = { per_second = 1, burst = 1 } }\ninput_int_register_26 = {}",
    );
    assert_eq!(register(&mut cell, 1), Reason::Allowed);
    for _ in 0..50 {
        assert_eq!(register(&mut cell, 1), Reason::Allowed, "the same value in every cycle is no change");
    }
    assert_eq!(register(&mut cell, 10), Reason::ValueNotAllowed);
    assert_eq!(register(&mut cell, 2), Reason::Allowed);
    assert_eq!(register(&mut cell, 1), Reason::RateExceeded);
    let both =
        |cell: &mut Cell, a, b| cell.write(&[("input_int_register_25", Int32(b)), ("input_int_register_24", Int32(a))]);
    assert_eq!(both(&mut cell, 1, 7), Reason::RateExceeded);
    assert_eq!(both(&mut cell, 2, 7), Reason::Allowed, "the other input's token was not taken by the refused one");
    assert_eq!(both(&mut cell, 2, 8), Reason::RateExceeded);
    assert_eq!(cell.write(&[("input_int_register_26", Int32(4))]), Reason::Allowed, "no rate of its own");
    cell.now_ns += SECOND;
    assert_eq!(both(&mut cell, 1, 8), Reason::Allowed);
}

const EXCLUSIVE: &str = "[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n[allow.inputs]\n\
    speed_slider_fraction = { owner = \"exclusive\" }\nspeed_slider_mask = {}\ninput_int_register_24 = {}\n\
    [[allow]]\nfrom = \"hmi\"\n";

#[test]
fn an_exclusive_input_is_refused_to_a_second_connection_until_the_first_ends() {
    let mut cell = Cell::new(EXCLUSIVE);
    let session = Session::v2();
    let (fraction, mask) = ("speed_slider_fraction", "speed_slider_mask");
    let variable = |name: &str| rtde::Variable::named(name.as_bytes());
    assert_eq!(cell.inputs(&session, &[fraction, mask]), Reason::Allowed);
    let first = cell.connection();
    cell.connection = 2;
    assert_eq!(cell.inputs(&session, &[fraction]), Reason::InputInUse, "while the first one's answer is under way");
    for name in [fraction, mask] {
        cell.inputs.accepted(variable(name), &first);
    }
    assert_eq!(cell.inputs(&session, &[fraction]), Reason::InputInUse);
    assert_eq!(cell.inputs(&session, &["input_int_register_24", mask]), Reason::InputInUse, "its mask goes with it");
    assert_eq!(cell.inputs(&session, &["input_int_register_24"]), Reason::Allowed);
    assert_eq!(cell.write(&[(fraction, Double(0.5))]), Reason::InputInUse, "nor is it written");
    cell.from = policy_cell::address("10.20.0.22");
    assert_eq!(cell.inputs(&session, &[fraction]), Reason::InputInUse, "whichever rule would let it");
    let in_use = cell.policy.in_use(
        &rtde::Request::SetupInputs { names: rtde::Names(b"input_int_register_24,speed_slider_mask") },
        &cell.inputs,
        2,
    );
    assert_eq!(in_use.unwrap().to_string(), "speed_slider_mask is owned by 10.20.0.21:40001 since 12:03:11 UTC");
    cell.inputs.ended(1);
    assert_eq!(cell.inputs(&session, &[fraction]), Reason::Allowed);
}

#[test]
fn a_set_up_that_the_robot_refused_owns_nothing() {
    let mut cell = Cell::new(EXCLUSIVE);
    let session = Session::v2();
    assert_eq!(cell.inputs(&session, &["speed_slider_fraction"]), Reason::Allowed);
    cell.inputs.not_accepted(rtde::Variable::named(b"speed_slider_fraction"), 1);
    cell.connection = 2;
    assert_eq!(cell.inputs(&session, &["speed_slider_fraction"]), Reason::Allowed);
}

#[test]
fn inputs_that_are_not_exclusive_are_left_to_the_robot() {
    let mut cell = inputs("input_int_register_24 = { owner = \"any\" }");
    let session = Session::v2();
    for connection in [1, 2] {
        cell.connection = connection;
        assert_eq!(cell.inputs(&session, &["input_int_register_24"]), Reason::Allowed);
    }
}

#[test]
fn a_step_is_explained() {
    let mut cell = inputs(SLIDER);
    slider(&mut cell, 0.1);
    let mut session = Session::v2();
    session.recipe(&[("speed_slider_fraction", Double(0.0))]);
    let mut buffer = [0; 64];
    let len = rtde::emit::data(Some(1), [Double(0.9)], &mut buffer).unwrap();
    let Ok(dissect::Step::Whole { unit, .. }) = rtde::Package::step(&buffer[..len], dissect::Toward::Robot) else {
        panic!("partial")
    };
    let command = Command::Rtde(rtde::Request::read(&unit, &session.0).unwrap());
    let verdict = cell.ask(&command);
    let nearest = cell.policy.nearest(&command, &verdict).unwrap();
    assert_eq!(
        (nearest.rule.as_str(), nearest.key, nearest.found.as_str()),
        ("a", "step", "speed_slider_fraction = 0.9")
    );
    assert_eq!(nearest.allowed, "speed_slider_fraction within 0.1 of its last value, once a package");
}

#[test]
fn mistakes_in_steps_rates_and_owners_are_told() {
    let told = |kind: &str, keys: &str| {
        let rules = format!(
            "[[{kind}]]\nfrom = \"plc\"\nservice = \"rtde\"\n[{kind}.inputs]\ninput_int_register_24 = {keys}\n"
        );
        try_compile(&rules).unwrap_err()
    };
    for step in ["0.1", "\"0.1..=0.2\"", "\"..=-1\"", "[\"..=1\", \"5..=6\"]", "\"\""] {
        let problems = told("allow", &format!("{{ step = {step} }}"));
        assert!(problems.contains("step") || problems.contains("no number and no range"), "{problems}");
    }
    assert!(told("allow", "{ owner = \"exclusiv\" }").contains("\"exclusive\""));
    assert!(told("allow", "{ rate = { per_second = 1 } }").contains("`burst` is missing"));
    assert!(told("allow", "{ stpe = \"..=1\" }").contains("write `step`"));
    assert!(told("deny", "{ step = \"..=1\" }").contains("a deny rule can't have a step or an owner"));
    assert!(told("deny", "{ rate = { per_second = 1, burst = 1 } }").contains("a deny rule can't have a rate"));
    let many: String = (0..48)
        .flat_map(|at| ["int", "double"].map(|kind| format!("input_{kind}_register_{at}")))
        .map(|name| format!("{name} = {{ rate = {{ per_second = 1, burst = 1 }} }}\n"))
        .collect();
    let rules = format!("[[allow]]\nfrom = \"plc\"\nservice = \"rtde\"\n[allow.inputs]\n{many}");
    assert!(try_compile(&rules).unwrap_err().contains("more than 64 rules and inputs have a rate"));
}

/// One write of the model: by which client, with the mask on, off or left out, and the value in thousandths.
fn writes() -> impl Strategy<Value = Vec<(bool, Option<bool>, i32)>> {
    proptest::collection::vec((any::<bool>(), proptest::option::of(any::<bool>()), 0_i32..=1000), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A robot that is told only what passes never moves by more than the step, whoever writes and whatever the mask,
    /// but for the first value that it acts on; and what a plain reading of the rule allows is not refused.
    #[test]
    fn the_robot_never_jumps(writes in writes()) {
        let mut cell = inputs("speed_slider_mask = {}\nspeed_slider_fraction = { step = \"..=0.1\" }");
        // The robot: its mask, the value that it holds, and the one that it acts on.
        let (mut on, mut held, mut acts): (Option<bool>, Option<f64>, Option<f64>) = (None, None, None);
        for (client, mask, value) in writes {
            cell.connection = 1 + u32::from(client);
            let value = f64::from(value) / 1000.0;
            let mut package = vec![("speed_slider_fraction", Double(value))];
            package.extend(mask.map(|mask| ("speed_slider_mask", Uint32(mask.into()))));
            let near = acts.or(held).is_none_or(|at: f64| (value - at).abs() <= 0.1 + 1e-12);
            let reason = cell.write(&package);
            prop_assert_eq!(reason == Reason::Allowed, near, "{:?} at {:?}, holding {:?}", package, acts, held);
            if reason == Reason::Allowed {
                held = Some(value);
                on = mask.or(on);
                if on == Some(true) {
                    if let Some(before) = acts {
                        prop_assert!((value - before).abs() <= 0.1 + 1e-12, "from {before} to {value}");
                    }
                    acts = held;
                }
            }
        }
    }
}
