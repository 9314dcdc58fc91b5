//! Dashboard server of the emulated controller: a greeting, then one answer a line.

use serde_json::json;

use super::Shared;
use super::state::{Mode, Program, Safety};
use crate::lab::journal::Connection;

/// Version the controller claims. Source: RTDE answers it as 5.13.0 build 128 too.
pub(super) const VERSION: (u32, u32, u32, u32) = (5, 13, 0, 128);

/// Longest line kept; the rest of a longer one is thrown away.
const LONGEST_LINE: usize = 64 * 1024;

/// Answers one client until it quits or leaves.
pub(super) fn serve(mut connection: Connection, shared: &Shared) {
    if !connection.write(b"Connected: Universal Robots Dashboard Server\n") {
        return;
    }
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer);
        for &byte in &buffer[..count] {
            if byte == b'\n' {
                if !answer(&mut connection, shared, &line) {
                    return;
                }
                line.clear();
            } else if line.len() < LONGEST_LINE {
                line.push(byte);
            }
        }
        if count == 0 {
            // Whether a real controller takes an unterminated last line is unknown; the worst case does.
            if !line.is_empty() {
                answer(&mut connection, shared, &line);
            }
            return;
        }
    }
}

/// Executes one line; false where the session ends.
fn answer(connection: &mut Connection, shared: &Shared, line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return true;
    }
    let (verb, argument) = split(&words);
    let reply = execute(shared, &verb, &argument, &text);
    connection.did(&verb, json!({ "line": text.trim(), "argument": argument, "reply": reply }));
    let mut bytes = reply.into_bytes();
    bytes.push(b'\n');
    connection.write(&bytes) && verb != "quit"
}

/// All commands, longest first where one begins another. Upper and lower case are the same.
const VERBS: &[&str] = &[
    "generate flight report",
    "generate support file",
    "unlock protective stop",
    "set operational mode",
    "clear operational mode",
    "get operational mode",
    "get loaded program",
    "get serial number",
    "get robot model",
    "get variable",
    "is in remote control",
    "load installation",
    "close safety popup",
    "close popup",
    "restart safety",
    "brake release",
    "power off",
    "power on",
    "isprogramsaved",
    "programstate",
    "polyscopeversion",
    "safetystatus",
    "safetymode",
    "robotmode",
    "getuserrole",
    "setuserrole",
    "addtolog",
    "savelog",
    "shutdown",
    "running",
    "version",
    "popup",
    "pause",
    "load",
    "play",
    "stop",
    "help",
    "echo",
    "quit",
];

/// The command and what follows it; an unknown line comes back whole as the command.
fn split(words: &[&str]) -> (String, String) {
    for verb in VERBS {
        let length = verb.split(' ').count();
        let head = words.iter().take(length).map(|word| word.to_ascii_lowercase()).collect::<Vec<_>>().join(" ");
        if head == *verb {
            return ((*verb).into(), words.iter().skip(length).copied().collect::<Vec<_>>().join(" "));
        }
    }
    (words.join(" "), String::new())
}

fn robot_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::PowerOff => "POWER_OFF",
        Mode::Idle => "IDLE",
        Mode::Backdrive => "BACKDRIVE",
        Mode::Running => "RUNNING",
    }
}

fn safety_mode(safety: Safety) -> &'static str {
    match safety {
        Safety::Normal => "NORMAL",
        Safety::ProtectiveStop => "PROTECTIVE_STOP",
    }
}

fn execute(shared: &Shared, verb: &str, argument: &str, line: &str) -> String {
    let mut robot = shared.robot();
    match verb {
        "running" => format!("Program running: {}", robot.playing()),
        "robotmode" => format!("Robotmode: {}", robot_mode(robot.mode)),
        "get loaded program" if robot.loaded.is_empty() => "No program loaded".into(),
        "get loaded program" => format!("Loaded program: {}", robot.loaded),
        "isprogramsaved" => format!("true {}", robot.program_name()).trim_end().into(),
        "programstate" => {
            let state = match robot.program {
                Program::Stopped => "STOPPED",
                Program::Playing => "PLAYING",
                Program::Paused => "PAUSED",
            };
            format!("{state} {}", robot.program_name()).trim_end().into()
        }
        "polyscopeversion" => {
            let (major, minor, bugfix, build) = VERSION;
            format!("URSoftware {major}.{minor}.{bugfix}.{build} (Jan 01 2023)")
        }
        "version" => {
            let (major, minor, bugfix, build) = VERSION;
            format!("{major}.{minor}.{bugfix}.{build}")
        }
        "safetymode" => format!("Safetymode: {}", safety_mode(robot.safety)),
        "safetystatus" => format!("Safetystatus: {}", safety_mode(robot.safety)),
        "is in remote control" => "true".into(),
        "get operational mode" => robot.operational_mode.unwrap_or("NONE").into(),
        "get serial number" => "20235500001".into(),
        "get robot model" => "UR5".into(),
        "getuserrole" => robot.user_role.clone(),
        "setuserrole" if argument.is_empty() => "Failed setting user role".into(),
        "setuserrole" => {
            robot.user_role = argument.to_ascii_uppercase();
            format!("Setting user role: {}", robot.user_role)
        }
        "help" => VERBS.join(", "),
        "echo" => argument.into(),
        "get variable" => match argument {
            "speed_slider" => format!("speed_slider={}", robot.speed_slider),
            _ => format!("Variable not found: {argument}"),
        },
        "popup" => {
            robot.popup = Some(argument.into());
            "showing popup".into()
        }
        "close popup" => {
            robot.popup = None;
            "closing popup".into()
        }
        "close safety popup" => {
            robot.safety_popup = false;
            "closing safety popup".into()
        }
        "addtolog" => "Added log message".into(),
        "savelog" => "Log saved to disk".into(),
        "generate flight report" => "Flight Report generated with id:1".into(),
        "generate support file" => format!("Completed successfully: {argument}/ur_support.zip"),
        "quit" => "Disconnected".into(),
        "load" if has_extension(argument, "urp") => {
            robot.stop();
            robot.loaded = argument.into();
            format!("Loading program: {argument}")
        }
        "load" => format!("File not found: {argument}"),
        "load installation" if has_extension(argument, "installation") => {
            robot.installation = argument.into();
            format!("Loading installation: {argument}")
        }
        "load installation" => "Failed to load installation".into(),
        "play" if robot.play() => "Starting program".into(),
        "pause" if robot.pause() => "Pausing program".into(),
        "stop" if robot.program != Program::Stopped => {
            robot.stop();
            "Stopped".into()
        }
        "play" | "pause" | "stop" => format!("Failed to execute: {verb}"),
        "power on" => {
            robot.power_on();
            "Powering on".into()
        }
        "power off" => {
            robot.power_off();
            "Powering off".into()
        }
        "brake release" => {
            robot.brake_release();
            "Brake releasing".into()
        }
        "unlock protective stop" if robot.unlock_protective_stop() => "Protective stop releasing".into(),
        "unlock protective stop" => "Cannot unlock protective stop until 5s after occurrence. Always inspect cause of \
                                     protective stop before unlocking"
            .into(),
        "restart safety" => {
            robot.restart_safety();
            "Restarting safety".into()
        }
        "set operational mode" => match argument.to_ascii_lowercase().as_str() {
            "manual" => {
                robot.operational_mode = Some("MANUAL");
                "Operational mode 'manual' is set".into()
            }
            "automatic" => {
                robot.operational_mode = Some("AUTOMATIC");
                "Operational mode 'automatic' is set".into()
            }
            _ => format!("Failed to execute: {line}"),
        },
        "clear operational mode" => {
            robot.operational_mode = None;
            "No longer controlling the operational mode. Current operational mode: 'NONE'.".into()
        }
        "shutdown" => {
            robot.power_off();
            robot.shut_down = true;
            "Shutting down".into()
        }
        _ => format!("could not understand: '{}'", line.trim()),
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && end.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command of the dissector's table is one that the controller knows.
    #[test]
    fn knows_every_command_of_the_dissector() {
        let missing: Vec<_> = ::dashboard::Verb::all()
            .iter()
            .map(|verb| verb.name)
            .filter(|name| split(&name.split(' ').collect::<Vec<_>>()).0 != name.to_ascii_lowercase())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        let ours = VERBS.iter().filter(|verb| ::dashboard::Verb::named(verb).is_none()).collect::<Vec<_>>();
        assert!(ours.is_empty(), "the dissector does not know {ours:?}");
    }

    #[test]
    fn the_longest_command_wins_in_any_spelling() {
        assert_eq!(
            split(&["LOAD", "Installation", "a.installation"]),
            ("load installation".into(), "a.installation".into())
        );
        assert_eq!(split(&["load", "a.urp"]), ("load".into(), "a.urp".into()));
        assert_eq!(split(&["nonsense", "x"]).0, "nonsense x");
    }
}
