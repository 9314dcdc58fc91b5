//! The RTDE variables of the emulated controller: name, type and where the value comes from.
//!
//! Written on its own, not taken from the dissector's table, so that the two can be held against each other.

use super::state::{Robot, Six};

/// One typed value, encoded big-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Uint8(u8),
    Uint32(u32),
    Uint64(u64),
    Int32(i32),
    Double(f64),
    Vector3([f64; 3]),
    Vector6(Six),
    Vector6Int([i32; 6]),
}

impl Value {
    /// The type's name in a set-up reply.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Bool(_) => "BOOL",
            Self::Uint8(_) => "UINT8",
            Self::Uint32(_) => "UINT32",
            Self::Uint64(_) => "UINT64",
            Self::Int32(_) => "INT32",
            Self::Double(_) => "DOUBLE",
            Self::Vector3(_) => "VECTOR3D",
            Self::Vector6(_) => "VECTOR6D",
            Self::Vector6Int(_) => "VECTOR6INT32",
        }
    }

    /// Appends the value as it stands in a data package.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.push(u8::from(value)),
            Self::Uint8(value) => out.push(value),
            Self::Uint32(value) => out.extend(value.to_be_bytes()),
            Self::Uint64(value) => out.extend(value.to_be_bytes()),
            Self::Int32(value) => out.extend(value.to_be_bytes()),
            Self::Double(value) => out.extend(value.to_be_bytes()),
            Self::Vector3(values) => out.extend(values.iter().flat_map(|value| value.to_be_bytes())),
            Self::Vector6(values) => out.extend(values.iter().flat_map(|value| value.to_be_bytes())),
            Self::Vector6Int(values) => out.extend(values.iter().flat_map(|value| value.to_be_bytes())),
        }
    }

    /// Takes a value of the same type as `self` off the front of `bytes`.
    fn decode(self, bytes: &mut &[u8]) -> Option<Self> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (head, rest) = bytes.split_first_chunk::<N>()?;
            *bytes = rest;
            Some(*head)
        }
        Some(match self {
            Self::Bool(_) => Self::Bool(take::<1>(bytes)?[0] != 0),
            Self::Uint8(_) => Self::Uint8(take::<1>(bytes)?[0]),
            Self::Uint32(_) => Self::Uint32(u32::from_be_bytes(take(bytes)?)),
            Self::Uint64(_) => Self::Uint64(u64::from_be_bytes(take(bytes)?)),
            Self::Int32(_) => Self::Int32(i32::from_be_bytes(take(bytes)?)),
            Self::Double(_) => Self::Double(f64::from_be_bytes(take(bytes)?)),
            Self::Vector3(_) => {
                let mut values = [0.0; 3];
                for value in &mut values {
                    *value = f64::from_be_bytes(take(bytes)?);
                }
                Self::Vector3(values)
            }
            Self::Vector6(_) => {
                let mut values = [0.0; 6];
                for value in &mut values {
                    *value = f64::from_be_bytes(take(bytes)?);
                }
                Self::Vector6(values)
            }
            Self::Vector6Int(_) => {
                let mut values = [0; 6];
                for value in &mut values {
                    *value = i32::from_be_bytes(take(bytes)?);
                }
                Self::Vector6Int(values)
            }
        })
    }

    /// As JSON, for the journal.
    pub(crate) fn json(self) -> serde_json::Value {
        match self {
            Self::Bool(value) => value.into(),
            Self::Uint8(value) => value.into(),
            Self::Uint32(value) => value.into(),
            Self::Uint64(value) => value.into(),
            Self::Int32(value) => value.into(),
            Self::Double(value) => value.into(),
            Self::Vector3(values) => values.to_vec().into(),
            Self::Vector6(values) => values.to_vec().into(),
            Self::Vector6Int(values) => values.to_vec().into(),
        }
    }
}

/// Reads one variable from the live state.
pub(crate) type Reader = Box<dyn Fn(&Robot) -> Value + Send>;

/// A register's index, where `name` is `prefix` and a number below `count`, written without leading zeros.
fn register(name: &str, prefix: &str, count: usize) -> Option<usize> {
    let digits = name.strip_prefix(prefix)?;
    let index: usize = digits.parse().ok()?;
    (index < count && index.to_string() == digits).then_some(index)
}

fn packed(bits: &[bool]) -> u32 {
    bits.iter().enumerate().fold(0, |word, (bit, on)| word | (u32::from(*on) << bit))
}

/// How to read the variable `name`; `None` for a name the controller does not have.
pub(crate) fn reader(name: &str) -> Option<Reader> {
    let read: fn(&Robot) -> Value = match name {
        "timestamp" => |robot| Value::Double(robot.timestamp()),
        "target_q" | "actual_q" => |robot| Value::Vector6(robot.q()),
        "target_qd" | "actual_qd" => |robot| Value::Vector6(robot.qd()),
        "target_qdd" => |robot| Value::Vector6(robot.qdd()),
        "target_current" | "actual_current" | "joint_control_output" | "actual_current_as_torque" => {
            |robot| Value::Vector6(robot.qdd().map(|value| value * 0.5))
        }
        "target_moment" => |robot| Value::Vector6(robot.qdd().map(|value| value * 2.0)),
        "actual_current_window" => |_| Value::Vector6([0.5; 6]),
        "actual_TCP_pose" | "target_TCP_pose" => |robot| Value::Vector6(robot.pose()),
        "actual_TCP_speed" | "target_TCP_speed" => |robot| Value::Vector6(robot.pose_speed()),
        "tcp_offset" => |robot| Value::Vector6(robot.tcp_offset),
        "joint_temperatures" => |_| Value::Vector6([31.5; 6]),
        "actual_joint_voltage" => |robot| Value::Vector6([if robot.powered() { 48.0 } else { 0.0 }; 6]),
        "actual_TCP_force"
        | "actual_TCP_acceleration"
        | "target_TCP_acceleration"
        | "ft_raw_wrench"
        | "wrench_calc_from_currents"
        | "payload_inertia"
        | "target_base_acceleration"
        | "target_base_wrench" => |_| Value::Vector6([0.0; 6]),
        "actual_execution_time" => |_| Value::Double(0.000_3),
        "target_execution_time" => |_| Value::Double(0.002),
        "speed_scaling" => |robot| Value::Double(if robot.playing() { robot.speed_slider } else { 0.0 }),
        "target_speed_fraction" => |robot| Value::Double(robot.speed_slider),
        "actual_main_voltage" | "actual_robot_voltage" => {
            |robot| Value::Double(if robot.powered() { 48.0 } else { 0.0 })
        }
        "actual_robot_current" => |robot| Value::Double(if robot.powered() { 0.8 } else { 0.0 }),
        "standard_analog_output0" => |robot| Value::Double(robot.analog_out[0]),
        "standard_analog_output1" => |robot| Value::Double(robot.analog_out[1]),
        "tool_temperature" => |_| Value::Double(29.0),
        "payload" => |robot| Value::Double(robot.payload),
        "actual_momentum"
        | "standard_analog_input0"
        | "standard_analog_input1"
        | "io_current"
        | "euromap67_24V_voltage"
        | "euromap67_24V_current"
        | "tool_analog_input0"
        | "tool_analog_input1"
        | "tool_output_current"
        | "tcp_force_scalar"
        | "joint_position_deviation_ratio"
        | "collision_detection_ratio"
        | "actual_robot_energy_consumed"
        | "actual_robot_braking_energy_dissipated" => |_| Value::Double(0.0),
        "actual_digital_input_bits" => |robot| Value::Uint64(robot.digital_in),
        "actual_digital_output_bits" => |robot| Value::Uint64(robot.digital_out),
        "actual_configurable_digital_input_bits" => |robot| Value::Uint64((robot.digital_in >> 8) & 0xff),
        "actual_configurable_digital_output_bits" => |robot| Value::Uint64((robot.digital_out >> 8) & 0xff),
        "control_step" => |robot| Value::Uint64((robot.timestamp() * 500.0).round().max(0.0) as u64),
        "robot_mode" => |robot| Value::Int32(robot.mode as i32),
        "safety_mode" | "safety_status" => |robot| Value::Int32(robot.safety as i32),
        "tool_output_voltage" => |robot| Value::Int32(robot.tool_voltage),
        "encoder0_raw" | "encoder1_raw" | "time_scale_source" => |_| Value::Int32(0),
        "runtime_state" => |robot| Value::Uint32(robot.program as u32),
        "robot_status_bits" => |robot| Value::Uint32(robot.status_bits()),
        "safety_status_bits" => |robot| Value::Uint32(robot.safety_bits()),
        "analog_io_types" => |robot| Value::Uint32(u32::from(robot.analog_type) << 2),
        "tool_mode" => |_| Value::Uint32(253),
        "tool_analog_input_types" | "euromap67_input_bits" | "euromap67_output_bits" | "script_control_line" => {
            |_| Value::Uint32(0)
        }
        "output_bit_registers0_to_31" => |robot| Value::Uint32(packed(&robot.output_bits[..32])),
        "output_bit_registers32_to_63" => |robot| Value::Uint32(packed(&robot.output_bits[32..64])),
        "input_bit_registers0_to_31" => |robot| Value::Uint32(packed(&robot.input_bits[..32])),
        "input_bit_registers32_to_63" => |robot| Value::Uint32(packed(&robot.input_bits[32..64])),
        "joint_mode" => |robot| Value::Vector6Int([if robot.powered() { 253 } else { 239 }; 6]),
        "actual_tool_accelerometer" | "target_gravity" => |robot| Value::Vector3(robot.gravity),
        "elbow_position" => |_| Value::Vector3([0.0, -0.2, 0.5]),
        "elbow_velocity" => |_| Value::Vector3([0.0; 3]),
        "payload_cog" => |robot| Value::Vector3(robot.cog),
        "tool_output_mode" | "tool_digital_output0_mode" | "tool_digital_output1_mode" => |_| Value::Uint8(0),
        _ => return register_reader(name),
    };
    Some(Box::new(read))
}

fn register_reader(name: &str) -> Option<Reader> {
    if let Some(index) = register(name, "output_int_register_", 48) {
        return Some(Box::new(move |robot| Value::Int32(robot.output_ints[index])));
    }
    if let Some(index) = register(name, "output_double_register_", 48) {
        return Some(Box::new(move |robot| Value::Double(robot.output_doubles[index])));
    }
    if let Some(index) = register(name, "output_bit_register_", 128).filter(|index| *index >= 64) {
        return Some(Box::new(move |robot| Value::Bool(robot.output_bits[index])));
    }
    if let Some(index) = register(name, "input_int_register_", 48) {
        return Some(Box::new(move |robot| Value::Int32(robot.input_ints[index])));
    }
    if let Some(index) = register(name, "input_double_register_", 48) {
        return Some(Box::new(move |robot| Value::Double(robot.input_doubles[index])));
    }
    if let Some(index) = register(name, "input_bit_register_", 128).filter(|index| *index >= 64) {
        return Some(Box::new(move |robot| Value::Bool(robot.input_bits[index])));
    }
    None
}

/// A variable that a client may write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// Carries the type; its value means nothing.
    kind: Value,
}

impl Input {
    /// The input called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let kind = match name {
            "speed_slider_mask" | "input_bit_registers0_to_31" | "input_bit_registers32_to_63" => Value::Uint32(0),
            "speed_slider_fraction" | "standard_analog_output_0" | "standard_analog_output_1" => Value::Double(0.0),
            "standard_digital_output_mask"
            | "standard_digital_output"
            | "configurable_digital_output_mask"
            | "configurable_digital_output"
            | "tool_digital_output_mask"
            | "tool_digital_output"
            | "standard_analog_output_mask"
            | "standard_analog_output_type" => Value::Uint8(0),
            "external_force_torque" => Value::Vector6([0.0; 6]),
            _ if register(name, "input_bit_register_", 128).is_some_and(|index| index >= 64) => Value::Bool(false),
            _ if register(name, "input_int_register_", 48).is_some() => Value::Int32(0),
            _ if register(name, "input_double_register_", 48).is_some() => Value::Double(0.0),
            _ => return None,
        };
        Some(Self { name: name.into(), kind })
    }

    /// The type's name in a set-up reply.
    pub(crate) fn type_name(&self) -> &'static str {
        self.kind.type_name()
    }

    /// Takes this input's value off the front of `bytes`.
    pub(crate) fn decode(&self, bytes: &mut &[u8]) -> Option<Value> {
        self.kind.decode(bytes)
    }

    /// Puts a value where the client wanted it; [`Robot::apply_rtde_inputs`] follows once a package.
    pub(crate) fn store(&self, value: Value, robot: &mut Robot) {
        let inputs = &mut robot.inputs;
        match (self.name.as_str(), value) {
            ("speed_slider_mask", Value::Uint32(value)) => inputs.speed_mask = value,
            ("speed_slider_fraction", Value::Double(value)) => inputs.speed_fraction = value,
            ("standard_digital_output_mask", Value::Uint8(value)) => inputs.standard.mask = value,
            ("standard_digital_output", Value::Uint8(value)) => inputs.standard.value = value,
            ("configurable_digital_output_mask", Value::Uint8(value)) => inputs.configurable.mask = value,
            ("configurable_digital_output", Value::Uint8(value)) => inputs.configurable.value = value,
            ("tool_digital_output_mask", Value::Uint8(value)) => inputs.tool.mask = value,
            ("tool_digital_output", Value::Uint8(value)) => inputs.tool.value = value,
            ("standard_analog_output_mask", Value::Uint8(value)) => inputs.analog.mask = value,
            ("standard_analog_output_type", Value::Uint8(value)) => inputs.analog.value = value,
            ("standard_analog_output_0", Value::Double(value)) => inputs.analog_value[0] = value,
            ("standard_analog_output_1", Value::Double(value)) => inputs.analog_value[1] = value,
            ("external_force_torque", Value::Vector6(value)) => inputs.external_force = value,
            ("input_bit_registers0_to_31", Value::Uint32(value)) => store_bits(&mut robot.input_bits[..32], value),
            ("input_bit_registers32_to_63", Value::Uint32(value)) => store_bits(&mut robot.input_bits[32..64], value),
            (name, Value::Bool(value)) => {
                if let Some(index) = register(name, "input_bit_register_", 128) {
                    robot.input_bits[index] = value;
                }
            }
            (name, Value::Int32(value)) => {
                if let Some(index) = register(name, "input_int_register_", 48) {
                    robot.input_ints[index] = value;
                }
            }
            (name, Value::Double(value)) => {
                if let Some(index) = register(name, "input_double_register_", 48) {
                    robot.input_doubles[index] = value;
                }
            }
            _ => {}
        }
    }
}

fn store_bits(bits: &mut [bool], word: u32) {
    for (bit, on) in bits.iter_mut().enumerate() {
        *on = word >> bit & 1 != 0;
    }
}

#[cfg(test)]
mod tests {
    use rtde::Variable;

    use super::*;

    /// Two tables written apart must agree on every name: whether it is read, whether it is written, and as what type.
    #[test]
    fn agrees_with_the_dissector() {
        let robot = Robot::new();
        let mut names = 0;
        for variable in Variable::all() {
            let name = variable.name();
            // The maker's guide has bits below 64 in packed words only; the dissector knows them one by one all the same.
            let low_bit = (0..64).any(|bit| name.ends_with(&format!("bit_register_{bit}")));
            if low_bit {
                assert!(reader(name).is_none() && Input::named(name).is_none(), "{name}");
                continue;
            }
            let theirs = variable.data_type().map(rtde::DataType::name);
            let output = reader(name).map(|read| read(&robot).type_name());
            let input = Input::named(name).map(|input| input.type_name());
            assert_eq!(output.or(input), theirs, "type of {name}");
            assert_eq!(input.is_some(), variable.is_input(), "whether {name} is written");
            assert_eq!(output.is_some(), variable.is_output(), "whether {name} is read");
            names += 1;
        }
        assert!(names > 300, "{names} names");
    }

    #[test]
    fn values_come_back_as_they_were_encoded() {
        let input = Input::named("external_force_torque").unwrap();
        let value = Value::Vector6([1.0, -2.0, 3.5, 0.0, 1e9, -0.25]);
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(input.decode(&mut rest), Some(value));
        assert!(rest.is_empty());
        assert_eq!(input.decode(&mut &bytes[1..]), None, "one byte short");
    }
}
