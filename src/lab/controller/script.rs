//! URScript intake of ports 30001 to 30003 and the interpreter port: finds what a controller would execute, and does it.
//!
//! A small reader of its own, not the dissector, and the worst case where the real controller's rule is unknown: every
//! complete line that is a bare command is executed at once, wherever it stands; a last line without its newline is
//! executed when the client closes.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::{Shared, state::Robot};
use crate::lab::journal::Connection;

/// Longest text kept without a complete unit, bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// One thing to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A line of the second, undocumented command language.
    Bare(String),
    /// `def name(): ... end`.
    Program(String),
    /// `sec name(): ... end`, which runs beside the program.
    Secondary(String),
    /// One statement outside a program.
    Statement(String),
}

/// Commands of 30001 to 30003 that are no URScript.
const BARE: &[&str] = &[
    "power on",
    "power off",
    "brake release",
    "set robotmode run",
    "set robotmode freedrive",
    "set unlock protective stop",
    "stop program",
    "pause program",
    "resume program",
    "run program",
    "set sim",
    "set real",
    "restart safetyboard",
    "shutdown",
];

fn bare(line: &str) -> Option<String> {
    let normal = line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let known = BARE.contains(&normal.as_str())
        || normal.strip_prefix("set speed ").is_some_and(|value| value.parse::<f64>().is_ok());
    known.then_some(normal)
}

/// Bytes of one connection that are not executed yet.
#[derive(Debug, Default)]
pub(super) struct Intake {
    pending: Vec<u8>,
    /// Bytes of `pending` whose lines were already looked at for bare commands.
    lines_seen: usize,
}

impl Intake {
    /// Takes what arrived and hands over every unit that is complete, or that the end of the stream completes.
    pub(super) fn push(&mut self, bytes: &[u8], end: bool, mut execute: impl FnMut(Unit)) {
        self.pending.extend(bytes);
        if end && !self.pending.is_empty() {
            self.pending.push(b'\n');
        }
        while let Some(length) = self.pending[self.lines_seen..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.pending[self.lines_seen..self.lines_seen + length]);
            if let Some(command) = bare(&line) {
                execute(Unit::Bare(command));
            }
            self.lines_seen += length + 1;
        }
        while let Some((length, unit)) = next_unit(&self.pending) {
            if let Some(unit) = unit {
                execute(unit);
            }
            self.pending.drain(..length);
            self.lines_seen = self.lines_seen.saturating_sub(length);
        }
        if self.pending.len() > LONGEST {
            self.pending.clear();
            self.lines_seen = 0;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Newline,
    Open,
    Close,
    Other,
}

/// Words, brackets and newlines with where they end; comments and strings are passed over.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token<'a>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let until = |from: usize, stop: &dyn Fn(&u8) -> bool| {
            self.text[from..].iter().position(stop).map_or(self.text.len(), |length| from + length)
        };
        while let Some(&byte) = self.text.get(self.at) {
            let start = self.at;
            let (token, end) = match byte {
                b'\n' => (Token::Newline, start + 1),
                b'#' | b'$' => {
                    self.at = until(start, &|byte| *byte == b'\n');
                    continue;
                }
                b'"' | b'\'' => {
                    let end = until(start + 1, &|other| *other == byte || *other == b'\n');
                    (Token::Other, (end + usize::from(self.text.get(end) == Some(&byte))).min(self.text.len()))
                }
                b'(' | b'[' => (Token::Open, start + 1),
                b')' | b']' => (Token::Close, start + 1),
                byte if is_word(&byte) => {
                    let end = until(start, &|byte| !is_word(byte));
                    (Token::Word(std::str::from_utf8(&self.text[start..end]).unwrap_or_default()), end)
                }
                byte if byte.is_ascii_whitespace() => {
                    self.at += 1;
                    continue;
                }
                _ => (Token::Other, start + 1),
            };
            self.at = end;
            return Some((token, start, end));
        }
        None
    }
}

fn opens(word: &str) -> bool {
    matches!(word, "def" | "sec" | "thread" | "if" | "while")
}

/// The first complete unit of `text` and the bytes it takes; the unit is absent for blank lines and bare commands.
fn next_unit(text: &[u8]) -> Option<(usize, Option<Unit>)> {
    let mut brackets = 0_u32;
    let mut depth = 0_u32;
    let mut first = None;
    for (token, start, end) in (Tokens { text, at: 0 }) {
        match token {
            Token::Open => brackets += 1,
            Token::Close => brackets = brackets.saturating_sub(1),
            Token::Word(word) if opens(word) => depth += 1,
            Token::Word("end") => {
                // A word that the text's end cuts may go on with the next segment.
                if end == text.len() {
                    return None;
                }
                depth = depth.saturating_sub(1);
                if depth == 0 && matches!(first, Some("def" | "sec" | "thread" | "if" | "while")) {
                    let source = String::from_utf8_lossy(&text[..end]).trim().to_owned();
                    let unit = match first {
                        Some("def") => Unit::Program(source),
                        Some("sec") => Unit::Secondary(source),
                        _ => Unit::Statement(source),
                    };
                    return Some((end, Some(unit)));
                }
            }
            Token::Newline if depth == 0 && brackets == 0 => {
                let source = String::from_utf8_lossy(&text[..start]).trim().to_owned();
                let blank = first.is_none() || bare(&source).is_some();
                return Some((end, (!blank).then_some(Unit::Statement(source))));
            }
            _ => {}
        }
        if first.is_none() && token != Token::Newline {
            first = Some(if let Token::Word(word) = token { word } else { "" });
        }
    }
    None
}

/// Name of a program: the word after `def` or `sec`.
fn name(source: &str) -> &str {
    let rest = source.get(3..).unwrap_or_default().trim_start();
    rest.split(|character: char| !(character.is_alphanumeric() || character == '_')).next().unwrap_or_default()
}

/// A call with its argument text and how deep it stands.
struct Call<'a> {
    function: &'a str,
    arguments: &'a str,
    depth: u32,
}

fn calls(source: &str) -> Vec<Call<'_>> {
    let mut found = Vec::new();
    let mut depth = 0_u32;
    let mut last_word: Option<(&str, usize)> = None;
    for (token, start, end) in (Tokens { text: source.as_bytes(), at: 0 }) {
        match token {
            Token::Word(word) => {
                if opens(word) {
                    depth += 1;
                } else if word == "end" {
                    depth = depth.saturating_sub(1);
                }
                last_word = Some((word, end));
                continue;
            }
            Token::Open if source.as_bytes().get(start) == Some(&b'(') => {
                if let Some((function, _)) = last_word.filter(|(word, _)| !opens(word)) {
                    found.push(Call { function, arguments: bracketed(source, end), depth });
                }
            }
            _ => {}
        }
        last_word = None;
    }
    found
}

/// The text from `start` to the bracket that closes.
fn bracketed(source: &str, start: usize) -> &str {
    let mut depth = 1_u32;
    for (token, at, _) in (Tokens { text: source.as_bytes(), at: start }) {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return source.get(start..at).unwrap_or_default();
        }
    }
    ""
}

/// Executes one unit and journals it.
pub(super) fn execute(connection: &Connection, shared: &Shared, unit: &Unit) {
    match unit {
        Unit::Bare(command) => {
            bare_command(&mut shared.robot(), command);
            connection.did("bare command", json!({ "command": command }));
        }
        Unit::Program(source) | Unit::Secondary(source) | Unit::Statement(source) => {
            let calls = calls(source);
            let mut functions: Vec<&str> = calls.iter().map(|call| call.function).collect();
            functions.sort_unstable();
            functions.dedup();
            let (did, depth) = match unit {
                Unit::Program(_) => ("program", 1),
                Unit::Secondary(_) => ("secondary program", 1),
                _ => ("statement", 0),
            };
            let mut robot = shared.robot();
            if let Unit::Program(_) = unit {
                let register_steered = source.contains("read_input_integer_reg");
                let loops = register_steered || source.contains("while");
                robot.run_script(name(source), (!loops).then_some(Duration::from_millis(500)), register_steered);
            }
            for call in calls.iter().filter(|call| call.depth <= depth) {
                effect(&mut robot, call.function, call.arguments);
            }
            if let Some((index, on)) = output_assignment(source) {
                robot.set_digital_out(index, on);
            }
            drop(robot);
            let text: String = source.chars().take(200).collect();
            connection.did(did, json!({ "bytes": source.len(), "functions": functions, "text": text }));
        }
    }
}

/// Runs a text that an External Control node got, inside the program that has the node.
pub(super) fn run_inside(robot: &mut Robot, source: &str) {
    for call in calls(source).iter().filter(|call| call.depth <= 1) {
        effect(robot, call.function, call.arguments);
    }
}

/// Where the socket called `name` leads, in a text that opens it: `socket_open("10.0.0.1", 50001, "name")`.
pub(super) fn socket(source: &str, name: &str) -> Option<SocketAddr> {
    calls(source).iter().filter(|call| call.function == "socket_open").find_map(|call| {
        let mut arguments = call.arguments.split(',').map(|text| text.trim().trim_matches('"'));
        let (host, port) = (arguments.next()?.parse().ok()?, arguments.next()?.parse().ok()?);
        (arguments.next()? == name).then(|| SocketAddr::new(host, port))
    })
}

fn bare_command(robot: &mut Robot, command: &str) {
    match command {
        "power on" => robot.power_on(),
        "power off" => robot.power_off(),
        "brake release" | "set robotmode run" => robot.brake_release(),
        "set robotmode freedrive" => robot.mode = super::state::Mode::Backdrive,
        "set unlock protective stop" => {
            robot.protective_since = None;
            robot.unlock_protective_stop();
        }
        "restart safetyboard" => robot.restart_safety(),
        "stop program" => robot.stop(),
        "pause program" => {
            robot.pause();
        }
        "resume program" | "run program" => {
            robot.play();
        }
        "shutdown" => {
            robot.power_off();
            robot.shut_down = true;
        }
        _ => {
            if let Some(speed) = command.strip_prefix("set speed ").and_then(|value| value.parse().ok()) {
                robot.speed_slider = speed;
            }
        }
    }
}

/// What `digital_out[n] = value` sets; real clients still send this old form.
fn output_assignment(source: &str) -> Option<(u32, bool)> {
    let (_, rest) = source.split_once("digital_out[")?;
    let (index, value) = rest.split_once(']')?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    Some((index.trim().parse().ok()?, value.starts_with("True")))
}

/// Changes the live state where a call has arguments that are plain literals.
fn effect(robot: &mut Robot, function: &str, arguments: &str) {
    let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<f64>().ok());
    // A register's index may be an offset and a number: `0 +12`.
    let whole = |index: usize| {
        let terms = arguments.get(index)?.split('+').map(|term| term.trim().parse::<u32>().ok());
        terms.sum::<Option<u32>>()
    };
    let truth = |index: usize| match arguments.get(index).copied() {
        Some("True" | "1") => Some(true),
        Some("False" | "0") => Some(false),
        _ => None,
    };
    match function {
        "powerdown" => {
            robot.power_off();
            robot.shut_down = true;
        }
        "protective_stop" => robot.protective_stop(),
        "halt" => robot.stop(),
        "popup" => robot.popup = Some(arguments.join(", ").trim_matches('"').into()),
        "set_digital_out" | "set_standard_digital_out" => {
            if let (Some(index), Some(on)) = (whole(0), truth(1)) {
                robot.set_digital_out(index, on);
            }
        }
        "set_configurable_digital_out" | "set_tool_digital_out" => {
            if let (Some(index @ 0..8), Some(on)) = (whole(0), truth(1)) {
                robot.set_digital_out(index + if function.contains("tool") { 16 } else { 8 }, on);
            }
        }
        "set_analog_out" | "set_standard_analog_out" => {
            if let (Some(index @ 0..2), Some(value)) = (whole(0), number(1)) {
                robot.analog_out[index as usize] = value;
            }
        }
        "set_tool_voltage" => robot.tool_voltage = whole(0).map_or(robot.tool_voltage, |volts| volts as i32),
        "set_payload" | "set_target_payload" | "set_payload_mass" => {
            robot.payload = number(0).unwrap_or(robot.payload);
        }
        "write_output_integer_register" => {
            if let (Some(index @ 0..48), Some(value)) = (whole(0), number(1)) {
                robot.output_ints[index as usize] = value as i32;
            }
        }
        "write_output_float_register" => {
            if let (Some(index @ 0..48), Some(value)) = (whole(0), number(1)) {
                robot.output_doubles[index as usize] = value;
            }
        }
        "write_output_boolean_register" => {
            if let (Some(index @ 0..128), Some(on)) = (whole(0), truth(1)) {
                robot.output_bits[index as usize] = on;
            }
        }
        _ => {}
    }
}

/// The interpreter port: every line is acknowledged and executed. Whether a program is in interpreter mode is not asked,
/// as the worst case.
pub(super) fn serve_interpreter(mut connection: Connection, shared: &Shared) {
    let mut number = 0_u32;
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer);
        line.extend(&buffer[..count]);
        if count == 0 && !line.is_empty() {
            line.push(b'\n');
        }
        while let Some(length) = line.iter().position(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(&line[..length]).trim().to_owned();
            line.drain(..=length);
            if text.is_empty() {
                continue;
            }
            let reply = if text.starts_with("state") {
                format!("state: {number}: {text}\n")
            } else {
                number += 1;
                let unit = bare(&text).map_or_else(|| Unit::Statement(text.clone()), Unit::Bare);
                execute(&connection, shared, &unit);
                format!("ack: {number}: {text}\n")
            };
            if !connection.write(reply.as_bytes()) {
                return;
            }
        }
        if count == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str, step: usize) -> Vec<Unit> {
        let mut intake = Intake::default();
        let mut units = Vec::new();
        for chunk in text.as_bytes().chunks(step) {
            intake.push(chunk, false, |unit| units.push(unit));
        }
        intake.push(b"", true, |unit| units.push(unit));
        units
    }

    #[test]
    fn same_units_however_the_text_is_cut() {
        let text = "power on\ndef a():\n  if True: # end\n    textmsg(\"end\")\n  end\nend\nsec b():\nend\n\
                    set_digital_out(1,\n True)\ndigital_out[3]=True";
        let whole = units(text, text.len());
        assert_eq!(
            whole.iter().map(std::mem::discriminant).collect::<Vec<_>>(),
            [
                Unit::Bare(String::new()),
                Unit::Program(String::new()),
                Unit::Secondary(String::new()),
                Unit::Statement(String::new()),
                Unit::Statement(String::new()),
            ]
            .map(|unit| std::mem::discriminant(&unit))
        );
        for step in 1..20 {
            assert_eq!(units(text, step), whole, "cut every {step} bytes");
        }
    }

    #[test]
    fn bare_command_inside_an_open_program_is_executed() {
        assert_eq!(
            units("def x():\n  Set  Unlock protective STOP\n", 7),
            [Unit::Bare("set unlock protective stop".into())]
        );
    }

    #[test]
    fn several_statements_share_a_line_with_a_program() {
        let found = units("def a(): global x = # note\n0 global y = 1 end popup(\"x\")\n", 64);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
