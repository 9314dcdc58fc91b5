//! The command table, sorted by name.

use crate::verb::{Argument, Class, Verb};

const fn row(
    name: &'static str,
    class: Class,
    argument: Argument,
    replies: &'static [&'static str],
    failures: &'static [&'static str],
    failure: &'static str,
) -> Verb {
    Verb { name, class, argument, replies, failures, failure }
}

/// A command without argument whose failure line is the general one.
macro_rules! plain {
    ($name:literal, $class:ident, [$($reply:literal),*]) => {
        plain!($name, $class, [$($reply),*], $name)
    };
    ($name:literal, $class:ident, [$($reply:literal),*], $spelling:literal) => {
        row($name, Class::$class, Argument::None, &[$($reply),*], &[], concat!("Failed to execute: ", $spelling))
    };
}

const MODES: Argument = Argument::OneOf(&["manual", "automatic"]);
const REPORTS: Argument = Argument::OneOf(&["system", "controller", "software"]);
const ROLES: Argument = Argument::OneOf(&["programmer", "operator", "none", "locked", "restricted"]);

pub(crate) static TABLE: &[Verb] = &[
    row(
        "addtolog",
        Class::Interface,
        Argument::Text,
        &["Added log message"],
        &["No log"],
        "Failed to execute: addToLog {}",
    ),
    plain!("brake release", Safety, ["Brake releasing"]),
    plain!(
        "clear operational mode",
        Safety,
        ["No longer controlling the operational mode", "Operational mode is no longer controlled"]
    ),
    plain!("close popup", Interface, ["closing popup"]),
    plain!("close safety popup", Safety, ["closing safety popup"]),
    plain!("echo", Read, []),
    row(
        "generate flight report",
        Class::File,
        REPORTS,
        &["Flight Report generated"],
        &[],
        "Failed to execute: generate flight report {}",
    ),
    row(
        "generate support file",
        Class::File,
        Argument::Path,
        &["Completed successfully"],
        &[],
        "Failed to execute: generate support file {}",
    ),
    plain!("get loaded program", Read, ["Loaded program:", "No program loaded"]),
    plain!("get operational mode", Read, ["MANUAL", "AUTOMATIC", "NONE"]),
    plain!("get robot model", Read, ["UR"]),
    plain!("get serial number", Read, ["20"]),
    row("get variable", Class::Read, Argument::Name, &[], &[], "Failed to execute: get variable {}"),
    plain!("getuserrole", Read, ["PROGRAMMER", "OPERATOR", "NONE", "LOCKED", "RESTRICTED"], "getUserRole"),
    plain!("help", Read, []),
    plain!("is in remote control", Read, ["true", "false"]),
    plain!("isprogramsaved", Read, ["true", "false"], "isProgramSaved"),
    row(
        "load",
        Class::Program,
        Argument::Path,
        &["Loading program:"],
        &["File not found:", "Error while loading program:"],
        "Error while loading program: {}",
    ),
    row(
        "load installation",
        Class::Safety,
        Argument::Path,
        &["Loading installation:"],
        &["File not found:", "Failed to load installation"],
        "Failed to load installation: {}",
    ),
    plain!("pause", Stop, ["Pausing program"]),
    plain!("play", Motion, ["Starting program"]),
    plain!("polyscopeversion", Read, ["URSoftware"], "PolyscopeVersion"),
    row("popup", Class::Interface, Argument::Text, &["showing popup"], &[], "Failed to execute: popup {}"),
    plain!("power off", Stop, ["Powering off"]),
    plain!("power on", Safety, ["Powering on"]),
    plain!("programstate", Read, ["STOPPED", "PLAYING", "PAUSED"], "programState"),
    plain!("quit", Session, ["Disconnected"]),
    plain!("restart safety", Safety, ["Restarting safety"]),
    plain!("robotmode", Read, ["Robotmode:"]),
    plain!("running", Read, ["Program running:", "Robot running:"]),
    plain!("safetymode", Read, ["Safetymode:"]),
    plain!("safetystatus", Read, ["Safetystatus:"]),
    plain!("savelog", File, ["Log saved to disk"], "saveLog"),
    row(
        "set operational mode",
        Class::Safety,
        MODES,
        &["Operational mode", "Setting operational mode"],
        &[],
        "Failed to execute: set operational mode {}",
    ),
    row(
        "setuserrole",
        Class::Privilege,
        ROLES,
        &["Setting user role:"],
        &["Failed setting user role"],
        "Failed setting user role: {}",
    ),
    plain!("shutdown", Shutdown, ["Shutting down"]),
    plain!("stop", Stop, ["Stopped"]),
    row(
        "unlock protective stop",
        Class::Safety,
        Argument::None,
        &["Protective stop releasing"],
        &["Cannot unlock protective stop"],
        "Failed to execute: unlock protective stop",
    ),
    plain!("version", Read, ["3.", "5.", "10."]),
];
