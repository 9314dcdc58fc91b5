//! One policy as the people of a plant say it, enforced on programs that nobody in this project wrote: the operator panel
//! may load two programs and read; the PLC may write four registers within bounds while no program runs; engineering may
//! upload one program, until an hour from now; the ROS computer may move the arm inside an envelope. The last part of the
//! sentence is checked by the policy's own tests here, and on the wire by `tests/lab_cell.rs`: its library is packaged
//! nowhere that a test can install it from.

#![cfg(feature = "lab")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::time::{Duration, SystemTime};

use dissect::Step;
use support::clients::{can_run, script};
use vambrace::event::Reason;
use vambrace::lab::{Cell, Host, Options, Wiring};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What engineering may upload; it runs until it is stopped.
const WORK: &str = "def work():\n  while True:\n    movej([0.1,-1.5,1.5,-1.5,-1.5,0.0], a=0.5, v=0.5)\n  end\nend\n";

/// The same with another target.
const OTHER: &str = "def work():\n  while True:\n    movej([0.2,-1.5,1.5,-1.5,-1.5,0.0], a=0.5, v=0.5)\n  end\nend\n";

/// The hash by which policies know a program.
fn hash(program: &str) -> String {
    let mut scanner = urscript::Scanner::default();
    let Ok(Step::Whole { unit, .. }) = scanner.step(program.as_bytes(), urscript::Dialect::Client) else { panic!() };
    unit.token_hash().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn in_seconds(seconds: u64) -> String {
    let moment = SystemTime::now() + Duration::from_secs(seconds);
    jiff::Timestamp::try_from(moment).unwrap().to_string()
}

fn policy(until: &str) -> String {
    let test = |name: &str, from: &str, what: &str, expect: &str| {
        format!("[[test]]\nname = \"{name}\"\nfrom = \"{from}\"\n{what}\nexpect = \"{expect}\"\n")
    };
    let write = |address: u16, value: u16, program: &str| {
        format!(
            "service = \"modbus\"\nfunction = \"write_single_register\"\naddress = {address}\nvalue = {value}\n\
             robot = {{ program = \"{program}\" }}"
        )
    };
    let dashboard = |line: &str| format!("service = \"dashboard\"\ncommand = {line}");
    let program = |text: &str| format!("service = \"urscript\"\ntext = {text:?}");
    let servoj = |base: f64, timeout: u32| {
        format!(
            "service = \"external_control\"\nmode = \"servoj\"\ntarget = [{base:?}, -1.57, 1.57, -1.57, -1.57, 0.0]\n\
             timeout_ms = {timeout}\nrobot = {{ joints_rad = [0.0, -1.57, 1.57, -1.57, -1.57, 0.0] }}"
        )
    };
    let payload = |mass: f64| {
        format!("service = \"external_control\"\nfunction = \"set_payload\"\narguments = [{mass:?}, 0.0, 0.0, 0.1]")
    };
    [
        format!(
            r#"
version = 1
robot = "cell4-robot"

[state]
max_age = "60000ms"

[[allow]]
id = "panel-loads"
from = "panel"
service = "dashboard"
command = ["load"]
argument = ["/programs/pick.urp", "/programs/place.urp"]

[[allow]]
id = "panel-reads"
from = "panel"
service = "dashboard"
class = ["read"]

[[allow]]
id = "plc-writes"
from = "plc"
service = "modbus"
function = ["write_single_register", "write_multiple_registers"]
address = ["128..=131"]
value = "0..=120"
when = {{ program = ["stopped"] }}

[[allow]]
id = "plc-reads"
from = "plc"
service = "modbus"
function = ["read_only"]

[[allow]]
id = "engineering-tonight"
from = "engineering"
service = "urscript"
program = ["sha256:{}"]
until = {until}

[[allow]]
id = "ros-moves"
from = "ros"
service = "external_control"
mode = ["idle", "servoj", "forward"]
timeout_ms = "20..=200"
function = ["set_payload"]
beyond = "clamp"
[allow.bounds]
"set_payload.mass" = "0.0..=2.5"
[allow.envelope]
position_rad = ["-0.5..=0.5", "-2.2..=0.0", "0.0..=2.5", "-3.2..=0.0", "-3.2..=0.0", "-1.0..=1.0"]
step_rad = [0.02, 0.02, 0.02, 0.03, 0.03, 0.03]

"#,
            hash(WORK)
        ),
        test("panel loads", "panel", &dashboard("\"load\"\nargument = \"/programs/pick.urp\""), "allowed"),
        test("panel loads no other", "panel", &dashboard("\"load\"\nargument = \"/programs/x.urp\""), "refused"),
        test("panel never plays", "panel", &dashboard("\"play\""), "refused"),
        test("plc writes", "plc", &write(131, 120, "stopped"), "allowed"),
        test("plc writes no more", "plc", &write(131, 121, "stopped"), "refused"),
        test("plc writes nowhere else", "plc", &write(132, 0, "stopped"), "refused"),
        test("plc writes while nothing runs", "plc", &write(131, 120, "playing"), "refused"),
        test("engineering uploads", "engineering", &program(WORK), "allowed"),
        test("engineering uploads no other", "engineering", &program(OTHER), "refused"),
        test("the plc uploads nothing", "plc", &program(WORK), "refused"),
        test("ros moves", "ros", &servoj(0.02, 200), "allowed"),
        test("ros makes no jump", "ros", &servoj(0.021, 200), "refused"),
        test("ros stays inside", "ros", &servoj(0.6, 200), "refused"),
        test("ros lets the robot stop", "ros", &servoj(0.0, 0), "refused"),
        test("ros does no freedrive", "ros", "service = \"external_control\"\nmode = \"freedrive\"", "refused"),
        test("ros carries a part", "ros", &payload(2.5), "allowed"),
        test("ros carries no more", "ros", &payload(2.6), "refused"),
        test("the plc moves nothing", "plc", &servoj(0.0, 200), "refused"),
    ]
    .concat()
}

/// Reasons of all refused commands so far, in order.
fn reasons(cell: &Cell) -> Vec<String> {
    let text = std::fs::read_to_string(cell.directory().join("records/eve.json")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    // What the robot itself tries is not what this is about.
    let refused = lines.filter(|line| line["alert"]["action"] == "blocked" && line["dest_ip"] == "10.20.0.40");
    let mut reasons: Vec<_> =
        refused.filter_map(|line| Some(line["alert"]["context"]["reason"].as_str()?.to_owned())).collect();
    // A client that is gone answers what the robot still sends with resets of an older number: frames, not commands.
    reasons.retain(|reason| reason != Reason::ResetInexact.name());
    // A client that gets no answer asks again.
    reasons.dedup();
    reasons
}

#[test]
fn a_plants_sentence_is_what_real_clients_get() {
    if !can_run("a_plants_sentence_is_what_real_clients_get") {
        return;
    }
    let options = Options {
        name: Some(format!("sentence-{}", std::process::id())),
        wiring: Wiring::Box,
        program: Some(support::vambrace()),
    };
    let mut cell = Cell::up(&options).unwrap();
    cell.start_robot().unwrap();
    std::fs::write(cell.directory().join("policy.toml"), policy(&in_seconds(3600))).unwrap();
    cell.start_appliance("enforce").unwrap();
    let panel = |cell: &Cell, lines: &[&str]| script(cell, Host::Panel, "cell_panel", lines, PATIENCE);
    let plc = |cell: &Cell, orders: &[&str]| script(cell, Host::Plc, "cell_plc", orders, PATIENCE);
    let engineering = |cell: &Cell, text: &str, patience: Duration| {
        let file = cell.directory().join("program.script");
        std::fs::write(&file, text).unwrap();
        script(cell, Host::Engineering, "cell_engineering", &[&file.display().to_string()], patience)
    };

    // Whether a program runs is not known yet: no writing. The panel's question tells.
    assert_eq!(plc(&cell, &["128=7", "read"]), "exception 6\n[0, 0, 0, 0]\n");
    assert_eq!(
        panel(&cell, &["load /programs/place.urp", "programState"]),
        "Loading program: /programs/place.urp\nSTOPPED place.urp\n"
    );
    assert_eq!(
        plc(&cell, &["128=0", "131=120", "131=121", "132=1", "read"]),
        "done\ndone\nexception 3\nexception 2\n[0, 0, 0, 120]\n"
    );
    panel(&cell, &["load /programs/other.urp", "play"]);
    assert_eq!(panel(&cell, &["programState"]), "STOPPED place.urp\n");
    engineering(&cell, OTHER, PATIENCE);
    assert_eq!(panel(&cell, &["programState"]), "STOPPED place.urp\n");
    engineering(&cell, WORK, PATIENCE);
    let state = panel(&cell, &["programState"]);
    assert!(state.starts_with("PLAYING"), "{state}");
    assert_eq!(plc(&cell, &["128=7", "read"]), "exception 6\n[0, 0, 0, 120]\n");

    // The evening comes.
    let evening = cell.directory().join("evening.toml");
    std::fs::write(&evening, policy(&in_seconds(5))).unwrap();
    cell.operate(&["policy", "apply", &evening.display().to_string()]).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    // Not even a connection: the client goes on trying.
    assert_eq!(engineering(&cell, WORK, Duration::from_secs(3)), "");
    let wanted = [
        "state_unknown",
        "value_not_allowed",
        "address_not_allowed",
        "argument_not_allowed",
        "command_not_allowed",
        "program_not_allowed",
        "state_mismatch",
        "expired",
    ];
    assert_eq!(reasons(&cell), wanted);
}
