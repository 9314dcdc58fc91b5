//! Which request stands for which command.

use crate::json;

/// Where the API lies on the server.
pub const PREFIX: &str = "/universal-robots/robot-api";

/// What the body has to be.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// None.
    None,
    /// An object with this member, whose value is one of these; each with the command's words.
    Choice(&'static str, &'static [(&'static str, &'static str)]),
    /// An object with this member; its value is the argument of the command.
    Argument(&'static str, &'static str),
}

/// A row of the table.
struct Operation {
    method: &'static str,
    path: &'static str,
    /// The command's words, where the body is none.
    words: &'static str,
    body: Body,
}

const fn get(path: &'static str, words: &'static str) -> Operation {
    Operation { method: "GET", path, words, body: Body::None }
}

const fn put(path: &'static str, body: Body) -> Operation {
    Operation { method: "PUT", path, words: "", body }
}

/// Source: the maker's open client library for the paths and the actions of `state`; names of other members and actions
/// are not confirmed, see README.md. What is in no row is no known command.
static TABLE: &[Operation] = &[
    get("/robotstate/v1/robotmode", "robotmode"),
    get("/robotstate/v1/safetymode", "safetymode"),
    put(
        "/robotstate/v1/state",
        Body::Choice(
            "action",
            &[
                ("POWER_ON", "power on"),
                ("POWER_OFF", "power off"),
                ("BRAKE_RELEASE", "brake release"),
                ("RESTART_SAFETY", "restart safety"),
                ("UNLOCK_PROTECTIVE_STOP", "unlock protective stop"),
            ],
        ),
    ),
    put("/program/v1/load", Body::Argument("programName", "load")),
    get("/program/v1/loaded", "get loaded program"),
    get("/program/v1/state", "programState"),
    put(
        "/program/v1/state",
        Body::Choice("action", &[("play", "play"), ("resume", "play"), ("pause", "pause"), ("stop", "stop")]),
    ),
    get("/system/v1/controlmode", "is in remote control"),
    get("/system/v1/operationalmode", "get operational mode"),
    put(
        "/system/v1/operationalmode",
        Body::Choice(
            "mode",
            &[("MANUAL", "set operational mode manual"), ("AUTOMATIC", "set operational mode automatic")],
        ),
    ),
    get("/openapi.json", "PolyscopeVersion"),
];

/// The command's words and its argument; nothing for what is in no row.
///
/// Paths are compared byte by byte: one that is written in another way is not the same to every server.
pub(crate) fn command<'a>(method: &[u8], path: &[u8], body: &'a [u8]) -> Option<(&'static str, &'a [u8])> {
    let own = path.strip_prefix(PREFIX.as_bytes())?;
    let row = TABLE.iter().find(|row| row.method.as_bytes() == method && row.path.as_bytes() == own)?;
    match row.body {
        Body::None => body.is_empty().then_some((row.words, &[][..])),
        Body::Choice(member, choices) => {
            let (name, value) = json::only_string(body)?;
            let (_, words) = choices.iter().find(|(choice, _)| choice.as_bytes() == value)?;
            (name == member.as_bytes()).then_some((*words, &[][..]))
        }
        Body::Argument(member, words) => {
            let (name, value) = json::only_string(body)?;
            // The Dashboard's words have no blanks around an argument: a name that has is another one.
            let exact = !value.is_empty() && value.trim_ascii() == value;
            (name == member.as_bytes() && exact).then_some((words, value))
        }
    }
}
