//! The rows behind [`Variable`](crate::Variable): names, types, who may write. Kept apart because it is data.

use crate::{DataType, Risk};

/// Who may name a variable in which set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// In `O` only.
    Output,
    /// In `I` only.
    Input(Risk),
    /// In both: written by `I`, read back by `O`.
    Both(Risk),
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) data_type: DataType,
    pub(crate) access: Access,
}

const fn row(name: &'static str, data_type: DataType, access: Access) -> Row {
    Row { name, data_type, access }
}

/// Registers that differ in their number only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) prefix: &'static str,
    /// The name of register `n` at index `n`.
    pub(crate) names: &'static [&'static str],
    pub(crate) data_type: DataType,
    pub(crate) access: Access,
}

macro_rules! names {
    ($prefix:literal, $($number:literal)*) => { &[$(concat!($prefix, $number)),*] };
}

macro_rules! names_to_47 {
    ($prefix:literal) => {
        names!($prefix,
             0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35
             36 37 38 39 40 41 42 43 44 45 46 47)
    };
}

macro_rules! names_to_127 {
    ($prefix:literal) => {
        names!($prefix,
             0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35
             36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67
             68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99
             100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117 118 119 120 121 122 123
             124 125 126 127)
    };
}

/// Numbered registers. Bits 0 to 63 have single names in the controller maker's client library only, the guide starts
/// single bits at 64; a controller without them answers `NOT_FOUND`, so that knowing the names opens nothing.
pub(crate) const FAMILIES: [Family; 6] = [
    Family {
        prefix: "input_bit_register_",
        names: names_to_127!("input_bit_register_"),
        data_type: DataType::Bool,
        access: Access::Both(Risk::Register),
    },
    Family {
        prefix: "input_int_register_",
        names: names_to_47!("input_int_register_"),
        data_type: DataType::Int32,
        access: Access::Both(Risk::Register),
    },
    Family {
        prefix: "input_double_register_",
        names: names_to_47!("input_double_register_"),
        data_type: DataType::Double,
        access: Access::Both(Risk::Register),
    },
    Family {
        prefix: "output_bit_register_",
        names: names_to_127!("output_bit_register_"),
        data_type: DataType::Bool,
        access: Access::Output,
    },
    Family {
        prefix: "output_int_register_",
        names: names_to_47!("output_int_register_"),
        data_type: DataType::Int32,
        access: Access::Output,
    },
    Family {
        prefix: "output_double_register_",
        names: names_to_47!("output_double_register_"),
        data_type: DataType::Double,
        access: Access::Output,
    },
];

/// Names without a register number, in byte order (checked where it is searched).
pub(crate) const ROWS: [Row; 99] = [
    row("actual_TCP_acceleration", DataType::Vector6d, Access::Output),
    row("actual_TCP_force", DataType::Vector6d, Access::Output),
    row("actual_TCP_pose", DataType::Vector6d, Access::Output),
    row("actual_TCP_speed", DataType::Vector6d, Access::Output),
    row("actual_configurable_digital_input_bits", DataType::Uint64, Access::Output),
    row("actual_configurable_digital_output_bits", DataType::Uint64, Access::Output),
    row("actual_current", DataType::Vector6d, Access::Output),
    row("actual_current_as_torque", DataType::Vector6d, Access::Output),
    row("actual_current_window", DataType::Vector6d, Access::Output),
    row("actual_digital_input_bits", DataType::Uint64, Access::Output),
    row("actual_digital_output_bits", DataType::Uint64, Access::Output),
    row("actual_execution_time", DataType::Double, Access::Output),
    row("actual_joint_voltage", DataType::Vector6d, Access::Output),
    row("actual_main_voltage", DataType::Double, Access::Output),
    row("actual_momentum", DataType::Double, Access::Output),
    row("actual_q", DataType::Vector6d, Access::Output),
    row("actual_qd", DataType::Vector6d, Access::Output),
    row("actual_robot_braking_energy_dissipated", DataType::Double, Access::Output),
    row("actual_robot_current", DataType::Double, Access::Output),
    row("actual_robot_energy_consumed", DataType::Double, Access::Output),
    row("actual_robot_voltage", DataType::Double, Access::Output),
    row("actual_tool_accelerometer", DataType::Vector3d, Access::Output),
    row("analog_io_types", DataType::Uint32, Access::Output),
    row("collision_detection_ratio", DataType::Double, Access::Output),
    row("configurable_digital_output", DataType::Uint8, Access::Input(Risk::Io)),
    row("configurable_digital_output_mask", DataType::Uint8, Access::Input(Risk::Io)),
    row("control_step", DataType::Uint64, Access::Output),
    row("elbow_position", DataType::Vector3d, Access::Output),
    row("elbow_velocity", DataType::Vector3d, Access::Output),
    row("encoder0_raw", DataType::Int32, Access::Output),
    row("encoder1_raw", DataType::Int32, Access::Output),
    row("euromap67_24V_current", DataType::Double, Access::Output),
    row("euromap67_24V_voltage", DataType::Double, Access::Output),
    row("euromap67_input_bits", DataType::Uint32, Access::Output),
    row("euromap67_output_bits", DataType::Uint32, Access::Output),
    row("external_force_torque", DataType::Vector6d, Access::Input(Risk::Force)),
    row("ft_raw_wrench", DataType::Vector6d, Access::Output),
    row("input_bit_registers0_to_31", DataType::Uint32, Access::Both(Risk::Register)),
    row("input_bit_registers32_to_63", DataType::Uint32, Access::Both(Risk::Register)),
    row("io_current", DataType::Double, Access::Output),
    row("joint_control_output", DataType::Vector6d, Access::Output),
    row("joint_mode", DataType::Vector6Int32, Access::Output),
    row("joint_position_deviation_ratio", DataType::Double, Access::Output),
    row("joint_temperatures", DataType::Vector6d, Access::Output),
    row("output_bit_registers0_to_31", DataType::Uint32, Access::Output),
    row("output_bit_registers32_to_63", DataType::Uint32, Access::Output),
    row("payload", DataType::Double, Access::Output),
    row("payload_cog", DataType::Vector3d, Access::Output),
    row("payload_inertia", DataType::Vector6d, Access::Output),
    row("robot_mode", DataType::Int32, Access::Output),
    row("robot_status_bits", DataType::Uint32, Access::Output),
    row("runtime_state", DataType::Uint32, Access::Output),
    row("safety_mode", DataType::Int32, Access::Output),
    row("safety_status", DataType::Int32, Access::Output),
    row("safety_status_bits", DataType::Uint32, Access::Output),
    row("script_control_line", DataType::Uint32, Access::Output),
    row("speed_scaling", DataType::Double, Access::Output),
    row("speed_slider_fraction", DataType::Double, Access::Input(Risk::Speed)),
    row("speed_slider_mask", DataType::Uint32, Access::Input(Risk::Speed)),
    row("standard_analog_input0", DataType::Double, Access::Output),
    row("standard_analog_input1", DataType::Double, Access::Output),
    row("standard_analog_output0", DataType::Double, Access::Output),
    row("standard_analog_output1", DataType::Double, Access::Output),
    row("standard_analog_output_0", DataType::Double, Access::Input(Risk::Io)),
    row("standard_analog_output_1", DataType::Double, Access::Input(Risk::Io)),
    row("standard_analog_output_mask", DataType::Uint8, Access::Input(Risk::Io)),
    row("standard_analog_output_type", DataType::Uint8, Access::Input(Risk::Io)),
    row("standard_digital_output", DataType::Uint8, Access::Input(Risk::Io)),
    row("standard_digital_output_mask", DataType::Uint8, Access::Input(Risk::Io)),
    row("target_TCP_acceleration", DataType::Vector6d, Access::Output),
    row("target_TCP_pose", DataType::Vector6d, Access::Output),
    row("target_TCP_speed", DataType::Vector6d, Access::Output),
    row("target_base_acceleration", DataType::Vector6d, Access::Output),
    row("target_base_wrench", DataType::Vector6d, Access::Output),
    row("target_current", DataType::Vector6d, Access::Output),
    row("target_execution_time", DataType::Double, Access::Output),
    row("target_gravity", DataType::Vector3d, Access::Output),
    row("target_moment", DataType::Vector6d, Access::Output),
    row("target_q", DataType::Vector6d, Access::Output),
    row("target_qd", DataType::Vector6d, Access::Output),
    row("target_qdd", DataType::Vector6d, Access::Output),
    row("target_speed_fraction", DataType::Double, Access::Output),
    row("tcp_force_scalar", DataType::Double, Access::Output),
    row("tcp_offset", DataType::Vector6d, Access::Output),
    row("time_scale_source", DataType::Int32, Access::Output),
    row("timestamp", DataType::Double, Access::Output),
    row("tool_analog_input0", DataType::Double, Access::Output),
    row("tool_analog_input1", DataType::Double, Access::Output),
    row("tool_analog_input_types", DataType::Uint32, Access::Output),
    row("tool_digital_output", DataType::Uint8, Access::Input(Risk::Io)),
    row("tool_digital_output0_mode", DataType::Uint8, Access::Output),
    row("tool_digital_output1_mode", DataType::Uint8, Access::Output),
    row("tool_digital_output_mask", DataType::Uint8, Access::Input(Risk::Io)),
    row("tool_mode", DataType::Uint32, Access::Output),
    row("tool_output_current", DataType::Double, Access::Output),
    row("tool_output_mode", DataType::Uint8, Access::Output),
    row("tool_output_voltage", DataType::Int32, Access::Output),
    row("tool_temperature", DataType::Double, Access::Output),
    row("wrench_calc_from_currents", DataType::Vector6d, Access::Output),
];
