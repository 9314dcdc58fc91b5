//! What is known of each robot right now. Plain data in the caller's memory.

/// Live state of one robot, each part with the monotonic time it was last seen.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct State {
    /// When `program` was last seen, monotonic nanoseconds; 0 = never.
    pub program_at_ns: u64,
    /// When `robot_mode` was last seen.
    pub robot_mode_at_ns: u64,
    /// When `safety_mode` was last seen.
    pub safety_mode_at_ns: u64,
    /// Program state: 0 unknown, 1 stopped, 2 playing, 3 paused.
    pub program: u8,
    /// Robot mode as RTDE numbers it (-1 to 8).
    pub robot_mode: i8,
    /// Safety mode as RTDE numbers it.
    pub safety_mode: u8,
    /// Explicit padding.
    pub reserved: [u8; 5],
}

/// Token buckets of the rules with a rate, one a rule.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rates {
    /// Tokens in 1/1000 and the monotonic time of the last refill, by the rule's place among rules with a rate.
    pub buckets: [(u64, u64); 64],
}
