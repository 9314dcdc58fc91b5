//! The one live state that all interfaces of the emulated controller show and change.

use std::f64::consts::{PI, TAU};
use std::time::{Duration, Instant};

use super::drive::Drive;

/// A value for each of the six joints or the six Cartesian components.
pub(crate) type Six = [f64; 6];

/// Robot mode as RTDE numbers it. Source: facts of the public client library, `datatypes.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    PowerOff = 3,
    Idle = 5,
    Backdrive = 6,
    Running = 7,
}

/// Safety mode as RTDE numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    Normal = 1,
    ProtectiveStop = 3,
}

/// What the loaded or sent program does; the number is that of `runtime_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Stopped = 1,
    Playing = 2,
    Paused = 4,
}

/// A group of outputs that a mask and a value drive together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masked {
    pub(crate) mask: u8,
    pub(crate) value: u8,
}

/// What RTDE clients wrote last; values persist between packages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RtdeInputs {
    pub(crate) speed_mask: u32,
    pub(crate) speed_fraction: f64,
    pub(crate) standard: Masked,
    pub(crate) configurable: Masked,
    pub(crate) tool: Masked,
    pub(crate) analog: Masked,
    pub(crate) analog_value: [f64; 2],
    pub(crate) external_force: Six,
}

/// The emulated arm and its controller.
#[derive(Debug)]
pub(crate) struct Robot {
    pub(crate) started: Instant,
    pub(crate) mode: Mode,
    pub(crate) safety: Safety,
    pub(crate) protective_since: Option<Instant>,
    pub(crate) program: Program,
    /// Path of the program that `load` chose.
    pub(crate) loaded: String,
    pub(crate) installation: String,
    /// Name of what runs, where it came over a script port.
    pub(crate) script: Option<String>,
    /// The running program reads commands from `input_int_register_0` and answers in `output_int_register_0`.
    pub(crate) register_steered: bool,
    /// Programs that are loaded have External Control nodes: what moves the arm comes from a computer.
    pub(crate) has_nodes: bool,
    /// What external control makes of the arm; absent while no program with such nodes runs.
    pub(crate) drive: Option<Drive>,
    /// How often such a program was begun.
    runs: u64,
    /// When a sent program without a loop ends by itself.
    until: Option<Instant>,
    /// The middle of the production program's motion, rad: external control leaves the arm elsewhere.
    middle: Six,
    moved: Duration,
    ticked: Instant,
    pub(crate) shut_down: bool,
    pub(crate) popup: Option<String>,
    pub(crate) safety_popup: bool,
    pub(crate) operational_mode: Option<&'static str>,
    pub(crate) user_role: String,
    pub(crate) speed_slider: f64,
    pub(crate) digital_in: u64,
    pub(crate) digital_out: u64,
    pub(crate) analog_out: [f64; 2],
    pub(crate) analog_type: u8,
    pub(crate) tool_voltage: i32,
    pub(crate) tcp_offset: Six,
    pub(crate) payload: f64,
    pub(crate) cog: [f64; 3],
    /// Where down is, m/s2.
    pub(crate) gravity: [f64; 3],
    pub(crate) inputs: RtdeInputs,
    pub(crate) input_bits: [bool; 128],
    pub(crate) input_ints: [i32; 48],
    pub(crate) input_doubles: [f64; 48],
    pub(crate) output_bits: [bool; 128],
    pub(crate) output_ints: [i32; 48],
    pub(crate) output_doubles: [f64; 48],
    /// Modbus general purpose registers 128 to 255.
    pub(crate) general: [u16; 128],
}

/// Where the arm rests, rad.
const HOME: Six = [0.0, -1.57, 1.57, -1.57, -1.57, 0.0];
/// Half of each joint's travel in the production program, rad.
const TRAVEL: Six = [0.6, 0.3, 0.4, 0.2, 0.3, 0.8];
/// Period of the production program's motion, s.
const PERIOD_S: f64 = 4.0;

impl Robot {
    /// A powered arm with brakes released and nothing playing.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            mode: Mode::Running,
            safety: Safety::Normal,
            protective_since: None,
            program: Program::Stopped,
            loaded: String::new(),
            installation: "default.installation".into(),
            script: None,
            register_steered: false,
            has_nodes: false,
            drive: None,
            runs: 0,
            until: None,
            middle: HOME,
            moved: Duration::ZERO,
            ticked: now,
            shut_down: false,
            popup: None,
            safety_popup: false,
            operational_mode: None,
            user_role: "PROGRAMMER".into(),
            speed_slider: 1.0,
            digital_in: 0,
            digital_out: 0,
            analog_out: [0.0; 2],
            analog_type: 0,
            tool_voltage: 0,
            tcp_offset: [0.0; 6],
            payload: 0.0,
            cog: [0.0; 3],
            gravity: [0.0, 0.0, 9.82],
            inputs: RtdeInputs::default(),
            input_bits: [false; 128],
            input_ints: [0; 48],
            input_doubles: [0.0; 48],
            output_bits: [false; 128],
            output_ints: [0; 48],
            output_doubles: [0.0; 48],
            general: [0; 128],
        }
    }

    /// Brings time-dependent state up to `now`.
    pub(crate) fn tick(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.ticked);
        self.ticked = now;
        if self.program == Program::Playing {
            let from = self.q();
            match &mut self.drive {
                Some(drive) => {
                    let to = drive.advance(from, passed.as_secs_f64());
                    self.middle = std::array::from_fn(|joint| self.middle[joint] + to[joint] - from[joint]);
                }
                None => self.moved += passed.mul_f64(self.speed_slider.clamp(0.0, 1.0)),
            }
            if self.until.is_some_and(|until| now >= until) {
                self.stop();
            }
        }
    }

    /// Seconds since the controller started.
    pub(crate) fn timestamp(&self) -> f64 {
        self.ticked.saturating_duration_since(self.started).as_secs_f64()
    }

    fn angle(&self) -> f64 {
        TAU * self.moved.as_secs_f64() / PERIOD_S
    }

    /// Joint angles, rad.
    pub(crate) fn q(&self) -> Six {
        let angle = self.angle();
        std::array::from_fn(|joint| self.middle[joint] + TRAVEL[joint] * angle.sin())
    }

    /// Joint speeds, rad/s.
    pub(crate) fn qd(&self) -> Six {
        if self.program != Program::Playing {
            return [0.0; 6];
        }
        if let Some(drive) = &self.drive {
            return drive.speed();
        }
        let rate = TAU / PERIOD_S * self.speed_slider.clamp(0.0, 1.0);
        let angle = self.angle();
        TRAVEL.map(|travel| travel * angle.cos() * rate)
    }

    /// Joint accelerations, rad/s2; of external control none are told.
    pub(crate) fn qdd(&self) -> Six {
        if self.program != Program::Playing || self.drive.is_some() {
            return [0.0; 6];
        }
        let rate = TAU / PERIOD_S * self.speed_slider.clamp(0.0, 1.0);
        let angle = self.angle();
        TRAVEL.map(|travel| -travel * angle.sin() * rate * rate)
    }

    /// Tool position, m and rad; a smooth function of the joints, no kinematics.
    pub(crate) fn pose(&self) -> Six {
        let q = self.q();
        [0.4 + 0.1 * q[0].cos(), 0.3 * q[0].sin(), 0.3 + 0.1 * q[1].sin(), 0.0, PI, 0.1 * q[5]]
    }

    /// Tool speed, m/s and rad/s.
    pub(crate) fn pose_speed(&self) -> Six {
        let (q, qd) = (self.q(), self.qd());
        [-0.1 * q[0].sin() * qd[0], 0.3 * q[0].cos() * qd[0], 0.1 * q[1].cos() * qd[1], 0.0, 0.0, 0.1 * qd[5]]
    }

    pub(crate) fn powered(&self) -> bool {
        self.mode != Mode::PowerOff
    }

    pub(crate) fn playing(&self) -> bool {
        self.program == Program::Playing
    }

    /// Powers the arm; brakes stay on.
    pub(crate) fn power_on(&mut self) {
        if self.mode == Mode::PowerOff {
            self.mode = Mode::Idle;
        }
    }

    /// Takes the power off the arm; whatever ran stops.
    pub(crate) fn power_off(&mut self) {
        self.stop();
        self.mode = Mode::PowerOff;
    }

    /// Releases the brakes, powering first.
    pub(crate) fn brake_release(&mut self) {
        self.mode = Mode::Running;
    }

    /// Trips the robot.
    pub(crate) fn protective_stop(&mut self) {
        self.safety = Safety::ProtectiveStop;
        self.safety_popup = true;
        self.protective_since = Some(Instant::now());
        if self.playing() {
            self.program = Program::Paused;
        }
    }

    /// Releases a protective stop; false within five seconds after it.
    pub(crate) fn unlock_protective_stop(&mut self) -> bool {
        if self.protective_since.is_some_and(|since| since.elapsed() < Duration::from_secs(5)) {
            return false;
        }
        self.safety = Safety::Normal;
        self.protective_since = None;
        true
    }

    /// Restarts the safety system, which leaves the arm powered off.
    pub(crate) fn restart_safety(&mut self) {
        self.safety = Safety::Normal;
        self.protective_since = None;
        self.power_off();
    }

    /// Starts the loaded program or resumes a paused one.
    pub(crate) fn play(&mut self) -> bool {
        let ready = self.mode == Mode::Running && self.safety == Safety::Normal;
        if !ready || (self.loaded.is_empty() && self.script.is_none()) || self.playing() {
            return false;
        }
        if self.program == Program::Stopped && self.has_nodes {
            self.drive = Some(Drive::default());
            self.runs += 1;
        }
        self.program = Program::Playing;
        true
    }

    /// Which run of a program with External Control nodes this is, while one runs or is paused.
    pub(crate) fn node_run(&self) -> Option<u64> {
        self.drive.as_ref().map(|_| self.runs)
    }

    /// Pauses what plays.
    pub(crate) fn pause(&mut self) -> bool {
        let playing = self.playing();
        if playing {
            self.program = Program::Paused;
        }
        playing
    }

    /// Stops what plays or is paused.
    pub(crate) fn stop(&mut self) {
        self.program = Program::Stopped;
        self.script = None;
        self.drive = None;
        self.until = None;
        if self.register_steered {
            self.register_steered = false;
            self.output_ints[0] = 0;
        }
    }

    /// Starts a program that came over a script port; what ran before ends. `lasts` is absent where it loops.
    pub(crate) fn run_script(&mut self, name: &str, lasts: Option<Duration>, register_steered: bool) {
        self.stop();
        self.mode = Mode::Running;
        self.program = Program::Playing;
        self.script = Some(name.into());
        self.until = lasts.map(|lasts| self.ticked + lasts);
        self.register_steered = register_steered;
        if register_steered {
            self.answer_register();
        }
    }

    /// The handshake of register-steered programs: 1 ready, 2 done, back to 1 when the command is taken away; command
    /// 255 ends the program. Observed with ur-rtde's control script.
    pub(crate) fn answer_register(&mut self) {
        if !self.register_steered {
            return;
        }
        match self.input_ints[0] {
            255 => self.stop(),
            // 9 to 12 are set-points in a stream (speed and servo), which the program takes without reporting done.
            0 | 9..=12 => self.output_ints[0] = 1,
            _ => self.output_ints[0] = 2,
        }
    }

    /// Name shown by `programState`.
    pub(crate) fn program_name(&self) -> &str {
        if let Some(script) = &self.script {
            return script;
        }
        self.loaded.rsplit('/').next().unwrap_or_default()
    }

    /// Sets one digital output: 0 to 7 standard, 8 to 15 configurable, 16 and 17 tool.
    pub(crate) fn set_digital_out(&mut self, index: u32, on: bool) {
        if index < 18 {
            let bit = 1_u64 << index;
            self.digital_out = if on { self.digital_out | bit } else { self.digital_out & !bit };
        }
    }

    /// Applies what RTDE clients wrote last to the outputs and the slider.
    pub(crate) fn apply_rtde_inputs(&mut self) {
        let inputs = self.inputs;
        for (group, shift) in [(inputs.standard, 0), (inputs.configurable, 8), (inputs.tool, 16)] {
            let mask = u64::from(group.mask) << shift;
            self.digital_out = (self.digital_out & !mask) | ((u64::from(group.value) << shift) & mask);
        }
        for channel in 0..2 {
            if inputs.analog.mask & (1 << channel) != 0 {
                self.analog_out[channel] = inputs.analog_value[channel];
                let bit = 1 << channel;
                self.analog_type = (self.analog_type & !bit) | (inputs.analog.value & bit);
            }
        }
        if inputs.speed_mask & 1 != 0 {
            self.speed_slider = inputs.speed_fraction;
        }
    }

    /// Bits of `robot_status_bits`: power on, program running.
    pub(crate) fn status_bits(&self) -> u32 {
        u32::from(self.powered()) | (u32::from(self.playing()) << 1)
    }

    /// Bits of `safety_status_bits`: normal mode, protective stopped, stopped due to safety.
    pub(crate) fn safety_bits(&self) -> u32 {
        match self.safety {
            Safety::Normal => 1,
            Safety::ProtectiveStop => (1 << 2) | (1 << 10),
        }
    }
}
