//! The Modbus server of a Universal Robots controller: names of its registers and coils.
//!
//! It answers 01 to 06, 0F and 10; holding and input registers are the same table; all values are unsigned.
//!
//! Source: Universal Robots, "Modbus Server" (support article 16377), and public programs that use it. Registers 0 to
//! 33, 128 to 258, 260, 262, 270, 280, 300, 320 and 400 to 405 are confirmed by at least one of them; 261, 263 to 265,
//! 290, 310, 410 to 425, 450 and 768 follow the article's layout only. Nothing here can release brakes, power on or
//! unlock a protective stop, but outputs move grippers and the general purpose registers steer running programs.

/// The name of a register, in snake case; indexed ones end in their index (joint 0 is the base), the general purpose
/// registers share one name. `None` where the map has nothing.
#[must_use]
pub fn register_name(address: u16) -> Option<&'static str> {
    Some(match address {
        0 => "digital_inputs",
        1 => "digital_outputs",
        2 => "digital_outputs_set_mask",
        3 => "digital_outputs_clear_mask",
        4 => "analog_input_0",
        5 => "analog_input_0_domain",
        6 => "analog_input_1",
        7 => "analog_input_1_domain",
        8 => "tool_analog_input_0",
        9 => "tool_analog_input_0_domain",
        10 => "tool_analog_input_1",
        11 => "tool_analog_input_1_domain",
        16 => "analog_output_0",
        17 => "analog_output_0_domain",
        18 => "analog_output_1",
        19 => "analog_output_1_domain",
        20 => "tool_output_voltage",
        21 => "tool_digital_inputs",
        22 => "tool_digital_outputs",
        24 => "euromap67_inputs_0",
        25 => "euromap67_inputs_1",
        26 => "euromap67_outputs_0",
        27 => "euromap67_outputs_1",
        28 => "euromap67_24v_voltage",
        29 => "euromap67_24v_current",
        30 => "configurable_inputs",
        31 => "configurable_outputs",
        32 => "configurable_outputs_set_mask",
        33 => "configurable_outputs_clear_mask",
        128..=255 => "general_purpose",
        256 => "controller_version_high",
        257 => "controller_version_low",
        258 => "robot_mode",
        260..=265 => return state_name(address),
        270..=275 => return joint(address, 270, &JOINT_ANGLE),
        280..=285 => return joint(address, 280, &JOINT_SPEED),
        290..=295 => return joint(address, 290, &JOINT_CURRENT),
        300..=305 => return joint(address, 300, &JOINT_TEMPERATURE),
        310..=315 => return joint(address, 310, &JOINT_MODE),
        320..=325 => return joint(address, 320, &JOINT_REVOLUTIONS),
        400..=405 => return joint(address, 400, &TCP_POSE),
        410..=415 => return joint(address, 410, &TCP_SPEED),
        420..=425 => return joint(address, 420, &TCP_OFFSET),
        450 => "robot_current",
        451 => "io_current",
        768 => "tool_state",
        769 => "tool_temperature",
        770 => "tool_current",
        _ => return None,
    })
}

/// Whether a write to the register has an effect.
///
/// 22 (tool digital outputs) is readable only in one source and an output in others: it counts as writable, the worse
/// case.
#[must_use]
pub const fn is_writable(address: u16) -> bool {
    matches!(address, 1..=3 | 5 | 7 | 9 | 11 | 16..=20 | 22 | 31..=33 | 128..=255)
}

/// The name of a coil, in snake case: 0 to 15 the digital inputs, 16 to 31 the digital outputs, 260 to 265 the states
/// that are registers too. `None` where the map has nothing.
#[must_use]
pub fn coil_name(address: u16) -> Option<&'static str> {
    match address {
        0..=15 => Some("digital_input"),
        16..=31 => Some("digital_output"),
        260..=265 => state_name(address),
        _ => None,
    }
}

/// Whether a write to the coil has an effect: the digital outputs.
#[must_use]
pub const fn is_coil_writable(address: u16) -> bool {
    matches!(address, 16..=31)
}

fn state_name(address: u16) -> Option<&'static str> {
    Some(match address {
        260 => "is_power_on",
        261 => "is_protective_stopped",
        262 => "is_emergency_stopped",
        263 => "is_teach_button_pressed",
        264 => "is_power_button_pressed",
        265 => "is_safety_signal_stopped",
        _ => return None,
    })
}

fn joint(address: u16, first: u16, names: &'static [&'static str; 6]) -> Option<&'static str> {
    names.get(usize::from(address.checked_sub(first)?)).copied()
}

const JOINT_ANGLE: [&str; 6] =
    ["joint_angle_0", "joint_angle_1", "joint_angle_2", "joint_angle_3", "joint_angle_4", "joint_angle_5"];
const JOINT_SPEED: [&str; 6] =
    ["joint_speed_0", "joint_speed_1", "joint_speed_2", "joint_speed_3", "joint_speed_4", "joint_speed_5"];
const JOINT_CURRENT: [&str; 6] =
    ["joint_current_0", "joint_current_1", "joint_current_2", "joint_current_3", "joint_current_4", "joint_current_5"];
const JOINT_TEMPERATURE: [&str; 6] = [
    "joint_temperature_0",
    "joint_temperature_1",
    "joint_temperature_2",
    "joint_temperature_3",
    "joint_temperature_4",
    "joint_temperature_5",
];
const JOINT_MODE: [&str; 6] =
    ["joint_mode_0", "joint_mode_1", "joint_mode_2", "joint_mode_3", "joint_mode_4", "joint_mode_5"];
const JOINT_REVOLUTIONS: [&str; 6] = [
    "joint_revolutions_0",
    "joint_revolutions_1",
    "joint_revolutions_2",
    "joint_revolutions_3",
    "joint_revolutions_4",
    "joint_revolutions_5",
];
const TCP_POSE: [&str; 6] = ["tcp_x", "tcp_y", "tcp_z", "tcp_rx", "tcp_ry", "tcp_rz"];
const TCP_SPEED: [&str; 6] =
    ["tcp_speed_x", "tcp_speed_y", "tcp_speed_z", "tcp_speed_rx", "tcp_speed_ry", "tcp_speed_rz"];
const TCP_OFFSET: [&str; 6] =
    ["tcp_offset_x", "tcp_offset_y", "tcp_offset_z", "tcp_offset_rx", "tcp_offset_ry", "tcp_offset_rz"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_the_map_has_them() {
        assert_eq!(register_name(0), Some("digital_inputs"));
        assert_eq!(register_name(128), register_name(255));
        assert_eq!(register_name(258), Some("robot_mode"));
        assert_eq!(register_name(275), Some("joint_angle_5"));
        assert_eq!(register_name(325), Some("joint_revolutions_5"));
        assert_eq!(register_name(402), Some("tcp_z"));
        assert_eq!([12, 23, 34, 259, 266, 276, 406, 771].map(register_name), [None; 8]);
        assert_eq!(coil_name(265), Some("is_safety_signal_stopped"));
        assert_eq!([32, 259, 266].map(coil_name), [None; 3]);
    }

    #[test]
    fn what_is_writable_has_a_name() {
        let writable: Vec<u16> = (0..=u16::MAX).filter(|address| is_writable(*address)).collect();
        assert_eq!(writable.len(), 144);
        assert!(writable.iter().all(|address| register_name(*address).is_some()));
        assert!((0..=u16::MAX).filter(|address| is_coil_writable(*address)).all(|coil| coil_name(coil).is_some()));
        assert!(!is_writable(0) && !is_writable(258) && !is_writable(260));
    }
}
