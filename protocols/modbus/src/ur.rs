//! The Modbus server of a Universal Robots controller: names of its registers and coils.
//!
//! It answers 01 to 06, 0F and 10; holding and input registers are the same table; all values are unsigned.
//!
//! Source: Universal Robots, "Modbus Server" (support article 16377), and public programs that use it. Registers 0 to
//! 33, 128 to 258, 260, 262, 270, 280, 300, 320 and 400 to 405 are confirmed by at least one of them; 261, 263 to 265,
//! 290, 310, 410 to 425, 450 and 768 follow the article's layout only. Nothing here can release brakes, power on or
//! unlock a protective stop, but outputs move grippers and the general purpose registers steer running programs.

use crate::Table;

/// Registers by their first and last address, ascending; what stands beside each other has its own name or, as the general
/// purpose registers, one in common.
const REGISTERS: [(u16, u16, &str); 98] = [
    (0, 0, "digital_inputs"),
    (1, 1, "digital_outputs"),
    (2, 2, "digital_outputs_set_mask"),
    (3, 3, "digital_outputs_clear_mask"),
    (4, 4, "analog_input_0"),
    (5, 5, "analog_input_0_domain"),
    (6, 6, "analog_input_1"),
    (7, 7, "analog_input_1_domain"),
    (8, 8, "tool_analog_input_0"),
    (9, 9, "tool_analog_input_0_domain"),
    (10, 10, "tool_analog_input_1"),
    (11, 11, "tool_analog_input_1_domain"),
    (16, 16, "analog_output_0"),
    (17, 17, "analog_output_0_domain"),
    (18, 18, "analog_output_1"),
    (19, 19, "analog_output_1_domain"),
    (20, 20, "tool_output_voltage"),
    (21, 21, "tool_digital_inputs"),
    (22, 22, "tool_digital_outputs"),
    (24, 24, "euromap67_inputs_0"),
    (25, 25, "euromap67_inputs_1"),
    (26, 26, "euromap67_outputs_0"),
    (27, 27, "euromap67_outputs_1"),
    (28, 28, "euromap67_24v_voltage"),
    (29, 29, "euromap67_24v_current"),
    (30, 30, "configurable_inputs"),
    (31, 31, "configurable_outputs"),
    (32, 32, "configurable_outputs_set_mask"),
    (33, 33, "configurable_outputs_clear_mask"),
    (128, 255, "general_purpose"),
    (256, 256, "controller_version_high"),
    (257, 257, "controller_version_low"),
    (258, 258, "robot_mode"),
    (260, 260, "is_power_on"),
    (261, 261, "is_protective_stopped"),
    (262, 262, "is_emergency_stopped"),
    (263, 263, "is_teach_button_pressed"),
    (264, 264, "is_power_button_pressed"),
    (265, 265, "is_safety_signal_stopped"),
    (270, 270, "joint_angle_0"),
    (271, 271, "joint_angle_1"),
    (272, 272, "joint_angle_2"),
    (273, 273, "joint_angle_3"),
    (274, 274, "joint_angle_4"),
    (275, 275, "joint_angle_5"),
    (280, 280, "joint_speed_0"),
    (281, 281, "joint_speed_1"),
    (282, 282, "joint_speed_2"),
    (283, 283, "joint_speed_3"),
    (284, 284, "joint_speed_4"),
    (285, 285, "joint_speed_5"),
    (290, 290, "joint_current_0"),
    (291, 291, "joint_current_1"),
    (292, 292, "joint_current_2"),
    (293, 293, "joint_current_3"),
    (294, 294, "joint_current_4"),
    (295, 295, "joint_current_5"),
    (300, 300, "joint_temperature_0"),
    (301, 301, "joint_temperature_1"),
    (302, 302, "joint_temperature_2"),
    (303, 303, "joint_temperature_3"),
    (304, 304, "joint_temperature_4"),
    (305, 305, "joint_temperature_5"),
    (310, 310, "joint_mode_0"),
    (311, 311, "joint_mode_1"),
    (312, 312, "joint_mode_2"),
    (313, 313, "joint_mode_3"),
    (314, 314, "joint_mode_4"),
    (315, 315, "joint_mode_5"),
    (320, 320, "joint_revolutions_0"),
    (321, 321, "joint_revolutions_1"),
    (322, 322, "joint_revolutions_2"),
    (323, 323, "joint_revolutions_3"),
    (324, 324, "joint_revolutions_4"),
    (325, 325, "joint_revolutions_5"),
    (400, 400, "tcp_x"),
    (401, 401, "tcp_y"),
    (402, 402, "tcp_z"),
    (403, 403, "tcp_rx"),
    (404, 404, "tcp_ry"),
    (405, 405, "tcp_rz"),
    (410, 410, "tcp_speed_x"),
    (411, 411, "tcp_speed_y"),
    (412, 412, "tcp_speed_z"),
    (413, 413, "tcp_speed_rx"),
    (414, 414, "tcp_speed_ry"),
    (415, 415, "tcp_speed_rz"),
    (420, 420, "tcp_offset_x"),
    (421, 421, "tcp_offset_y"),
    (422, 422, "tcp_offset_z"),
    (423, 423, "tcp_offset_rx"),
    (424, 424, "tcp_offset_ry"),
    (425, 425, "tcp_offset_rz"),
    (450, 450, "robot_current"),
    (451, 451, "io_current"),
    (768, 768, "tool_state"),
    (769, 769, "tool_temperature"),
    (770, 770, "tool_current"),
];

/// Coils and discrete inputs, the same way.
const COILS: [(u16, u16, &str); 8] = [
    (0, 15, "digital_input"),
    (16, 31, "digital_output"),
    (260, 260, "is_power_on"),
    (261, 261, "is_protective_stopped"),
    (262, 262, "is_emergency_stopped"),
    (263, 263, "is_teach_button_pressed"),
    (264, 264, "is_power_button_pressed"),
    (265, 265, "is_safety_signal_stopped"),
];

/// The name of a register, in snake case; indexed ones end in their index (joint 0 is the base), the general purpose
/// registers share one name. `None` where the map has nothing.
///
/// Cost: a binary search.
#[must_use]
pub fn register_name(address: u16) -> Option<&'static str> {
    name_in(&REGISTERS, address)
}

/// The name of an item of this table, see [`register_name`] and [`coil_name`]. Discrete inputs have the map of the coils.
#[must_use]
pub fn name(table: Table, address: u16) -> Option<&'static str> {
    name_in(map(table), address)
}

/// First and last address of what is called `name` in this table.
#[must_use]
pub fn addresses(table: Table, name: &str) -> Option<(u16, u16)> {
    map(table).iter().find(|(.., own)| *own == name).map(|(first, last, _)| (*first, *last))
}

/// Every name of this table, in order of address.
pub fn names(table: Table) -> impl Iterator<Item = &'static str> + Clone {
    map(table).iter().map(|(.., name)| *name)
}

fn map(table: Table) -> &'static [(u16, u16, &'static str)] {
    if table.is_bits() { &COILS } else { &REGISTERS }
}

fn name_in(map: &[(u16, u16, &'static str)], address: u16) -> Option<&'static str> {
    let after = map.partition_point(|(first, ..)| *first <= address);
    let (_, last, name) = map.get(after.checked_sub(1)?)?;
    (address <= *last).then_some(*name)
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
    name_in(&COILS, address)
}

/// Whether a write to the coil has an effect: the digital outputs.
#[must_use]
pub const fn is_coil_writable(address: u16) -> bool {
    matches!(address, 16..=31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
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
    fn the_maps_are_in_order_and_nothing_overlaps() {
        for (table, map) in [(Table::HoldingRegisters, &REGISTERS[..]), (Table::Coils, &COILS[..])] {
            assert!(map.iter().all(|(first, last, _)| first <= last));
            assert!(map.windows(2).all(|pair| pair[0].1 < pair[1].0), "{map:?}");
            let mut known: Vec<_> = names(table).collect();
            known.sort_unstable();
            known.dedup();
            assert_eq!(known.len(), map.len(), "every name once");
            for (first, last, own) in map {
                assert_eq!(addresses(table, own), Some((*first, *last)));
                assert_eq!((name(table, *first), name(table, *last)), (Some(*own), Some(*own)));
            }
        }
        assert_eq!(addresses(Table::InputRegisters, "general_purpose"), Some((128, 255)));
        assert_eq!(addresses(Table::DiscreteInputs, "general_purpose"), None);
        assert_eq!(addresses(Table::Coils, "digital_outputs"), None, "that is a register");
        assert_eq!(name(Table::DiscreteInputs, 260), name(Table::InputRegisters, 260));
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
