//! Records of external control as a computer writes them, for the cell's own computer and the attacks.
//!
//! Source: the maker's client library, chapters on the reverse, trajectory and script command sockets: 32-bit integers,
//! big-endian, 8, 21 and 28 of them.

/// Mode of a record on the reverse socket: joint positions for the next cycle.
pub(crate) const SERVOJ: i32 = 1;
/// Points come over the trajectory socket.
pub(crate) const FORWARD: i32 = 3;

/// Integers as they are on the wire.
pub(crate) fn integers(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// A record of the reverse socket: how long the robot waits for the next, six values, the mode.
pub(crate) fn motion(timeout_ms: i32, values: [i32; 6], mode: i32) -> Vec<u8> {
    let [a, b, c, d, e, f] = values;
    integers(&[timeout_ms, a, b, c, d, e, f, mode])
}

/// A record of the trajectory socket: a motion of the joints to `target`, in millionths of a radian.
pub(crate) fn point(target: [i32; 6], duration_us: i32) -> Vec<u8> {
    let mut record = [0; 21];
    record[..6].copy_from_slice(&target);
    record[18] = duration_us;
    integers(&record)
}

/// A record of the script command socket: a function's number and its arguments.
pub(crate) fn order(function: i32, arguments: &[i32]) -> Vec<u8> {
    let mut record = vec![function];
    record.extend(arguments);
    record.resize(28, 0);
    integers(&record)
}

/// A text for the robot's node that opens its sockets to `host`. Short where a real one has functions for every mode:
/// what it does is the emulated controller's affair.
pub(crate) fn program(host: std::net::IpAddr) -> String {
    let open = |port: u16, name: &str| format!("socket_open(\"{host}\", {port}, \"{name}\")\n");
    [
        "# HEADER_BEGIN\n\
         global read_timeout = 0.0\n\
         def read_motion():\n  return socket_read_binary_integer(8, \"reverse_socket\", read_timeout)\nend\n\
         def set_servo(q):\n  servoj(q, t=get_steptime(),\n    lookahead_time=0.03, gain=2000)\nend\n\
         # HEADER_END\n# NODE_CONTROL_LOOP_BEGINS\n",
        &open(50_003, "trajectory_socket"),
        &open(50_004, "script_command_socket"),
        &open(50_001, "reverse_socket"),
        "control_mode = 0\nwhile control_mode > -2:\n  record = read_motion()\n  control_mode = record[8]\nend\n\
         socket_close(\"reverse_socket\")\n# NODE_CONTROL_LOOP_ENDS\n",
    ]
    .concat()
}
