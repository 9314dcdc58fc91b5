/// What was known of the robot when a command was judged. What is absent was never seen, or too long ago for a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RobotContext {
    /// Program state: 1 stopped, 2 playing, 3 paused.
    pub program: Option<u8>,
    /// Robot mode as RTDE numbers it.
    pub robot_mode: Option<i8>,
    /// Safety mode as RTDE numbers it.
    pub safety_mode: Option<u8>,
    /// Who may command it: 1 remote, 2 local.
    pub control: Option<u8>,
}

/// Program states by name.
pub const PROGRAMS: [(&str, u8); 3] = [("stopped", 1), ("playing", 2), ("paused", 3)];

/// Who commands the robot, by name.
pub const CONTROLS: [(&str, u8); 2] = [("remote", 1), ("local", 2)];

/// Names of robot modes with RTDE's numbers. Source: URCL datatypes, RobotMode.
pub const ROBOT_MODES: [(&str, i8); 10] = [
    ("no_controller", -1),
    ("disconnected", 0),
    ("confirm_safety", 1),
    ("booting", 2),
    ("power_off", 3),
    ("power_on", 4),
    ("idle", 5),
    ("backdrive", 6),
    ("running", 7),
    ("updating_firmware", 8),
];

/// Names of safety modes with RTDE's numbers. Source: URCL datatypes, SafetyMode.
pub const SAFETY_MODES: [(&str, u8); 9] = [
    ("normal", 1),
    ("reduced", 2),
    ("protective_stop", 3),
    ("recovery", 4),
    ("safeguard_stop", 5),
    ("system_emergency_stop", 6),
    ("robot_emergency_stop", 7),
    ("violation", 8),
    ("fault", 9),
];

impl RobotContext {
    /// Whether nothing was known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The parts that were known, in the words of policies.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        fn name<T: Copy + PartialEq>(table: &[(&'static str, T)], found: Option<T>) -> Option<&'static str> {
            table.iter().find(|(_, value)| Some(*value) == found).map(|(name, _)| *name)
        }
        let parts = [
            ("program", name(&PROGRAMS, self.program)),
            ("robot_mode", name(&ROBOT_MODES, self.robot_mode)),
            ("safety", name(&SAFETY_MODES, self.safety_mode)),
            ("control", name(&CONTROLS, self.control)),
        ];
        parts.into_iter().filter_map(|(key, name)| Some((key, name?)))
    }

    /// The context of these parts, as [`RobotContext::named`] tells them; words of none are passed over.
    #[must_use]
    pub fn of_names<'n>(names: impl Iterator<Item = (&'n str, &'n str)>) -> Self {
        fn number<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
            table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
        }
        names.fold(Self::default(), |context, (key, word)| match key {
            "program" => Self { program: number(&PROGRAMS, word), ..context },
            "robot_mode" => Self { robot_mode: number(&ROBOT_MODES, word), ..context },
            "safety" => Self { safety_mode: number(&SAFETY_MODES, word), ..context },
            "control" => Self { control: number(&CONTROLS, word), ..context },
            _ => context,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_what_they_name() {
        let known = RobotContext { program: Some(2), robot_mode: Some(-1), safety_mode: Some(9), control: Some(1) };
        let names: Vec<_> = known.named().collect();
        assert_eq!(
            names,
            [("program", "playing"), ("robot_mode", "no_controller"), ("safety", "fault"), ("control", "remote")]
        );
        assert_eq!(RobotContext::of_names(names.into_iter()), known);
        let odd = RobotContext { program: Some(9), ..RobotContext::default() };
        assert_eq!((odd.named().count(), odd.is_empty()), (0, false));
    }
}
