//! Moments that rules tell apart: what the robot does, and which deadlines are over.

use std::fmt;

use super::MomentCuts;
use crate::policy::rule::{CONTROLS, PROGRAMS, ROBOT_MODES, SAFETY_MODES};
use crate::robot::{Control, Program, State};

/// Most moments that are looked at.
const MOMENTS: usize = 1024;

/// One moment.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Moment {
    /// What is known of the robot; seen right now.
    pub(in crate::policy) state: State,
    /// Monotonic nanoseconds.
    pub(in crate::policy) now_ns: u64,
    /// What makes it another moment than the others, by the key of `when`.
    pub(in crate::policy) parts: Vec<(&'static str, &'static str)>,
    /// How many deadlines are over.
    pub(in crate::policy) over: usize,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|(key, value)| format!("{key} {value}")).collect();
        f.write_str(&parts.join(", "))
    }
}

impl MomentCuts {
    /// The moments from `now_ns` on; whether some were left out.
    pub(in crate::policy) fn moments(&self, now_ns: u64) -> (Vec<Moment>, bool) {
        // The time itself still counts, for deadlines: the nanosecond after it does not.
        let ends = self.untils.iter().filter(|until| **until >= now_ns).map(|until| until.saturating_add(1));
        let times: Vec<u64> = std::iter::once(now_ns).chain(ends).collect();
        let mut moments: Vec<Moment> = times
            .iter()
            .enumerate()
            .map(|(over, now_ns)| Moment { state: State::default(), now_ns: *now_ns, parts: Vec::new(), over })
            .collect();
        let [program, robot_mode, safety, control] = self.asked;
        let programs = PROGRAMS.map(|(name, value)| (name, value, self.programs.contains(&(value as u8))));
        let modes = ROBOT_MODES.map(|(name, value)| (name, value, self.robot_modes.contains(&value)));
        let safeties = SAFETY_MODES.map(|(name, value)| (name, value, self.safety_modes.contains(&value)));
        let controls = CONTROLS.map(|(name, value)| (name, value, self.controls.contains(&(value as u8))));
        let mut cut = false;
        cut |= program
            && spread(&mut moments, "program", &programs, |state, value: Program, at| state.see_program(value, at));
        cut |= robot_mode
            && spread(&mut moments, "robot_mode", &modes, |state, value, at| state.see_robot_mode(value, at));
        cut |= safety
            && spread(&mut moments, "safety", &safeties, |state, value, at| {
                state.see_safety_mode(i8::try_from(value).unwrap_or_default(), at);
            });
        cut |= control
            && spread(&mut moments, "control", &controls, |state, value: Control, at| state.see_control(value, at));
        (moments, cut)
    }
}

/// Each moment with each value that a rule names, with one that none names, and with none that is known; whether that is
/// more than are looked at.
fn spread<T: Copy, const N: usize>(
    moments: &mut Vec<Moment>,
    key: &'static str,
    values: &[(&'static str, T, bool); N],
    see: impl Fn(&mut State, T, u64),
) -> bool {
    let named = values.iter().filter(|(.., named)| *named);
    let other = values.iter().find(|(.., named)| !named);
    let known: Vec<_> = named.chain(other).collect();
    let mut spread = Vec::new();
    for moment in moments.iter() {
        for (name, value, _) in &known {
            let mut moment = moment.clone();
            see(&mut moment.state, *value, moment.now_ns.max(1));
            moment.parts.push((key, name));
            spread.push(moment);
        }
        let mut unknown = moment.clone();
        unknown.parts.push((key, "unknown"));
        spread.push(unknown);
    }
    if spread.len() > MOMENTS {
        return true;
    }
    *moments = spread;
    false
}
