-- Variables of RTDE by type, as far as they are known; each becomes a field `rtde.var.<name>` that filters, columns and
-- graphs can use. What a controller has beyond them is shown by name and value all the same.
--
-- Source: the maker's RTDE guide and its public client libraries. `rtde.lua` loads this file; loaded as a plugin of its own
-- it does nothing.

local variables = {}

variables.by_type = {
  VECTOR6D = [[target_q target_qd target_qdd target_current target_moment actual_q actual_qd actual_current
    joint_control_output actual_TCP_pose actual_TCP_speed actual_TCP_force target_TCP_pose target_TCP_speed
    joint_temperatures actual_joint_voltage actual_current_window actual_current_as_torque tcp_offset
    actual_TCP_acceleration target_TCP_acceleration ft_raw_wrench wrench_calc_from_currents payload_inertia
    target_base_acceleration target_base_wrench external_force_torque]],
  VECTOR3D = "actual_tool_accelerometer elbow_position elbow_velocity payload_cog target_gravity",
  VECTOR6INT32 = "joint_mode",
  DOUBLE = [[timestamp actual_execution_time target_execution_time speed_scaling target_speed_fraction actual_momentum
    actual_main_voltage actual_robot_voltage actual_robot_current standard_analog_input0 standard_analog_input1
    standard_analog_output0 standard_analog_output1 io_current euromap67_24V_voltage euromap67_24V_current
    tool_analog_input0 tool_analog_input1 tool_output_current tool_temperature tcp_force_scalar payload
    joint_position_deviation_ratio collision_detection_ratio actual_robot_energy_consumed
    actual_robot_braking_energy_dissipated speed_slider_fraction standard_analog_output_0 standard_analog_output_1]],
  UINT64 = [[actual_digital_input_bits actual_digital_output_bits actual_configurable_digital_input_bits
    actual_configurable_digital_output_bits control_step]],
  INT32 = "robot_mode safety_mode safety_status tool_output_voltage encoder0_raw encoder1_raw time_scale_source",
  UINT32 = [[runtime_state robot_status_bits safety_status_bits analog_io_types tool_mode tool_analog_input_types
    euromap67_input_bits euromap67_output_bits script_control_line output_bit_registers0_to_31
    output_bit_registers32_to_63 input_bit_registers0_to_31 input_bit_registers32_to_63 speed_slider_mask]],
  UINT8 = [[tool_output_mode tool_digital_output0_mode tool_digital_output1_mode standard_digital_output_mask
    standard_digital_output configurable_digital_output_mask configurable_digital_output tool_digital_output_mask
    tool_digital_output standard_analog_output_mask standard_analog_output_type]],
}
-- Registers that differ in their number only: prefix, type, highest number.
variables.registers = {
  { "bit_register_", "BOOL", 127 },
  { "int_register_", "INT32", 47 },
  { "double_register_", "DOUBLE", 47 },
}

return variables
