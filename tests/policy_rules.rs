//! What the keys of a policy mean, key by key: each test compiles a policy as people write it and asks it about commands
//! as dissectors read them from bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

#[path = "support/policy_cell.rs"]
mod policy_cell;

use dissect::{Step, Toward};
use vambrace::command::{Command, Service};
use vambrace::event::{Action, Reason};
use vambrace::policy::{Moment, Policy};
use vambrace::robot::{Control, Program};

use policy_cell::*;

#[test]
fn an_empty_policy_refuses_everything() {
    let mut cell = Cell::new("");
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 1]), Reason::NoRuleForClient);
    assert_eq!(cell.line("robotmode"), Reason::NoRuleForClient);
    for service in [Service::Modbus, Service::Tcp(22), Service::Icmp] {
        let client = cell.policy.client(cell.from);
        assert!(!cell.policy.admit(client, service, Toward::Robot, 0).is_allowed());
        assert!(!cell.policy.admit(client, service, Toward::Plant, 0).is_allowed());
    }
}

#[test]
fn one_rule_must_cover_a_whole_request() {
    let mut cell = Cell::new(
        "[[allow]]\nid = \"a\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = \"0..=9\"\n\
         [[allow]]\nid = \"b\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = \"10..=19\"\n",
    );
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 10]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 10, 0, 10]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 5, 0, 10]), Reason::AddressNotAllowed, "two rules together cover nothing");
    let mut cell =
        Cell::new("[[allow]]\nid = \"a\"\nfrom = \"plc\"\nservice = \"modbus\"\naddress = [\"0..=9\", \"10..=19\"]\n");
    assert_eq!(cell.modbus(&[3, 0, 5, 0, 10]), Reason::Allowed, "a list is any of its ranges together");
    assert_eq!(cell.modbus(&[3, 0, 15, 0, 6]), Reason::AddressNotAllowed);
}

#[test]
fn every_key_of_a_modbus_rule_is_told_apart() {
    let mut cell = Cell::new(PLC_REGISTERS);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 120]), Reason::Allowed);
    assert_eq!(cell.modbus_of(1, &[6, 0, 131, 0, 0]), Reason::Allowed);
    assert_eq!(cell.modbus(&[16, 0, 128, 0, 2, 4, 0, 1, 0, 120]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 128, 0, 1]), Reason::NoRule, "no rule has the function at all");
    assert_eq!(cell.modbus_of(2, &[6, 0, 128, 0, 1]), Reason::UnitNotAllowed);
    assert_eq!(cell.modbus(&[6, 0, 127, 0, 1]), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&[16, 0, 131, 0, 2, 4, 0, 1, 0, 1]), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 121]), Reason::ValueNotAllowed);
    assert_eq!(cell.modbus(&[16, 0, 128, 0, 2, 4, 0, 1, 0, 121]), Reason::ValueNotAllowed, "every register counts");
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nquantity = \"..=4\"\n");
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 4]), Reason::Allowed);
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 5]), Reason::QuantityNotAllowed);
}

#[test]
fn deny_wins_and_touches_any_part() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n\
         [[deny]]\nid = \"no\"\nservice = \"modbus\"\nclass = [\"register\", \"io\"]\naddress = \"100..=103\"\nvalue = 7\n",
    );
    assert_eq!(cell.modbus(&[6, 0, 100, 0, 7]), Reason::DeniedByRule);
    assert_eq!(cell.modbus(&[16, 0, 99, 0, 2, 4, 0, 7, 0, 1]), Reason::DeniedByRule, "any register of the value");
    assert_eq!(cell.modbus(&[16, 0, 99, 0, 2, 4, 0, 8, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 99, 0, 7]), Reason::Allowed);
    assert_eq!(cell.modbus(&[22, 0, 101, 0xff, 0xff, 0, 0]), Reason::DeniedByRule, "may become 7");
    assert_eq!(cell.modbus(&[3, 0, 100, 0, 1]), Reason::Allowed, "a read writes no value");
}

#[test]
fn a_denied_class_is_denied_on_every_service() {
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\n[[deny]]\nclass = [\"safety\", \"shutdown\"]\n");
    assert_eq!(cell.line("robotmode"), Reason::Allowed);
    assert_eq!(cell.line("brake release"), Reason::DeniedByRule);
    assert_eq!(cell.script("set unlock protective stop"), Reason::DeniedByRule);
    assert_eq!(cell.script("powerdown()"), Reason::DeniedByRule);
    assert_eq!(cell.script("stop program"), Reason::Allowed);
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::DeniedByRule);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
}

#[test]
fn dashboard_commands_arguments_and_session_words() {
    let mut cell = Cell::new(
        "[[allow]]\nid = \"panel-load\"\nfrom = \"plc\"\nservice = \"dashboard\"\nclass = [\"read\"]\n\
         command = [\"load\"]\nargument = [\"/programs/pick_v4.urp\"]\n",
    );
    assert_eq!(cell.line("load /programs/pick_v4.urp"), Reason::Allowed);
    assert_eq!(cell.line("LOAD   /programs/pick_v4.urp"), Reason::Allowed);
    assert_eq!(cell.line("load /programs/Pick_v4.urp"), Reason::ArgumentNotAllowed, "files differ by case");
    assert_eq!(cell.line("load installation x.installation"), Reason::CommandNotAllowed);
    assert_eq!(cell.line("programState"), Reason::Allowed);
    assert_eq!(cell.line("get variable x"), Reason::ArgumentNotAllowed);
    assert_eq!(cell.line("quit"), Reason::SessionWord);
    assert_eq!(cell.line("play"), Reason::CommandNotAllowed);
    assert_eq!(cell.line("make coffee"), Reason::UnknownCommand);
    assert_eq!(cell.line("popup $(reboot)"), Reason::ShellMetacharacter);
}

#[test]
fn text_outside_the_grammar_is_never_allowed() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\n[[allow]]\nfrom = \"plc\"\nservice = \"dashboard\"\nclass = [\"unknown\", \"interface\"]\n",
    );
    assert_eq!(cell.line("make coffee"), Reason::Allowed, "named as unknown");
    assert_eq!(cell.line("popup `reboot`"), Reason::ShellMetacharacter);
    assert_eq!(cell.line("popup a\tb"), Reason::Malformed);
    assert_eq!(cell.line("play now"), Reason::Malformed);
}

const SCRIPT: &str = "[[allow]]\nid = \"urs\"\nfrom = \"plc\"\nservice = \"urscript\"\nkind = [\"secondary\", \"statement\"]\n\
    function = [\"movej\", \"set_digital_out\", \"socket_open\"]\nconnect_to = [\"10.20.0.30:4000\"]\n";

#[test]
fn script_functions_assignments_and_targets() {
    let mut cell = Cell::new(SCRIPT);
    assert_eq!(cell.script("movej([0,0,0,0,0,0], a=1.0)"), Reason::Allowed);
    assert_eq!(cell.script("sec io():\n  set_digital_out(1, True)\nend"), Reason::Allowed);
    assert_eq!(cell.script("def p():\n  movej([0,0,0,0,0,0])\nend"), Reason::KindNotAllowed);
    assert_eq!(cell.script("movel(p[0,0,0,0,0,0])"), Reason::CommandNotAllowed);
    assert_eq!(cell.script("movej(get_inverse_kin(p[0,0,0,0,0,0]))"), Reason::CommandNotAllowed, "calls inside calls");
    assert_eq!(cell.script("digital_out[3]=True"), Reason::CommandNotAllowed);
    assert_eq!(
        cell.script("tool_digital_out[0] = True"),
        Reason::CommandNotAllowed,
        "one of the same family, if there is one"
    );
    assert_eq!(cell.script("power on"), Reason::KindNotAllowed);
    assert_eq!(cell.script("socket_open(\"10.20.0.30\", 4000)"), Reason::Allowed);
    assert_eq!(cell.script("socket_open(\"10.20.0.30\", 4001)"), Reason::TargetNotAllowed);
    assert_eq!(cell.script("socket_open(\"10.20.0.31\", 4000)"), Reason::TargetNotAllowed);
    assert_eq!(cell.script("socket_open(where, 4000)"), Reason::Unproven);
    assert_eq!(cell.script("socket_open(\"10.20.0.30\", 4000 + x)"), Reason::Unproven);
}

#[test]
fn a_list_of_functions_covers_no_bare_command() {
    let rules = "[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nfunction = [\"movej\"]\n";
    let mut cell = Cell::new(rules);
    for command in ["power on", "set unlock protective stop", "set robotmode run", "stop program", "set speed 1"] {
        assert_eq!(cell.script(command), Reason::CommandNotAllowed, "{command}");
    }
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nbare = [\"stop program\"]\n");
    assert_eq!(cell.script("stop program"), Reason::Allowed);
    assert_eq!(cell.script("power on"), Reason::CommandNotAllowed);
    assert_eq!(cell.script("movej([0,0,0,0,0,0])"), Reason::KindNotAllowed);
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nfunction = [\"movej\"]\nassign = [\"digital_out\"]\n",
    );
    assert_eq!(cell.script("digital_out[3]=True"), Reason::Allowed);
    assert_eq!(cell.script("analog_out[0]=1"), Reason::CommandNotAllowed);
}

#[test]
fn programs_by_hash() {
    let program = |comment: &str| format!("def p():\n  unheard_of(1){comment}\nend");
    let hash = |text: &str| {
        let text = format!("{text}\n");
        let mut scanner = urscript::Scanner::default();
        let Ok(Step::Whole { unit, .. }) = scanner.step(text.as_bytes(), urscript::Dialect::Client) else { panic!() };
        unit.token_hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let full = hash(&program(""));
    for digits in [&full[..], &full[..16]] {
        let rules = format!("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nprogram = [\"sha256:{digits}\"]\n");
        let mut cell = Cell::new(&rules);
        assert_eq!(cell.script(&program("")), Reason::Allowed);
        assert_eq!(cell.script(&program(" # note")), Reason::Allowed, "comments are no tokens");
        assert_eq!(cell.script(&program("+1")), Reason::ProgramNotAllowed);
        assert_eq!(cell.script("power on"), Reason::CommandNotAllowed);
    }
    let problems = try_compile("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\nprogram = [\"sha256:9f3c\"]\n");
    assert!(problems.unwrap_err().contains("16 to 64 hexadecimal digits"));
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\n");
    assert_eq!(cell.script(&program("")), Reason::CommandNotAllowed, "an unknown function is not covered by silence");
}

#[test]
fn rules_hold_only_in_their_state() {
    let mut cell =
        Cell::new(&format!("[state]\nmax_age = \"500ms\"\n{PLC_REGISTERS}when = {{ program = [\"stopped\"] }}\n"));
    let write = [6, 0, 128, 0, 1];
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "never seen");
    cell.state.program = Program::Stopped as u8;
    cell.state.program_at_ns = cell.now_ns;
    assert_eq!(cell.modbus(&write), Reason::Allowed);
    cell.now_ns += SECOND / 2;
    assert_eq!(cell.modbus(&write), Reason::Allowed);
    cell.now_ns += 1;
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "too old");
    cell.state.program = Program::Playing as u8;
    cell.state.program_at_ns = cell.now_ns;
    assert_eq!(cell.modbus(&write), Reason::StateMismatch);
}

#[test]
fn rules_ask_who_commands_the_robot() {
    let rules =
        |control: &str| format!("[state]\nmax_age = \"2000ms\"\n{PLC_REGISTERS}when = {{ control = {control} }}\n");
    let write = [6, 0, 128, 0, 1];
    let mut cell = Cell::new(&rules("[\"remote\"]"));
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "never seen");
    cell.state.see_program(Program::Stopped, cell.now_ns);
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "another part says nothing of this one");
    cell.state.see_control(Control::Local, cell.now_ns);
    assert_eq!(cell.modbus(&write), Reason::StateMismatch);
    cell.state.see_control(Control::Remote, cell.now_ns);
    assert_eq!(cell.modbus(&write), Reason::Allowed);
    cell.now_ns += 2 * SECOND + 1;
    assert_eq!(cell.modbus(&write), Reason::StateUnknown, "too old");
    let mut cell = Cell::new(&rules("[\"remote\", \"local\"]"));
    cell.state.see_control(Control::Local, cell.now_ns);
    assert_eq!(cell.modbus(&write), Reason::Allowed);
    // Both parts have to hold.
    let mut cell = Cell::new(&rules("\"remote\", program = [\"stopped\"]"));
    cell.state.see_control(Control::Remote, cell.now_ns);
    cell.state.see_program(Program::Playing, cell.now_ns);
    assert_eq!(cell.modbus(&write), Reason::StateMismatch);
    let problems = try_compile(&rules("[\"distant\"]")).unwrap_err();
    assert!(problems.contains("distant") && problems.contains("remote"), "{problems}");
}

#[test]
fn a_deny_rule_counts_an_unknown_state_against_the_command() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n\
         [[deny]]\nservice = \"modbus\"\nclass = [\"register\"]\nwhen = { program = [\"playing\"] }\n",
    );
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::DeniedByRule);
    cell.state.program = Program::Stopped as u8;
    cell.state.program_at_ns = cell.now_ns;
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
}

#[test]
fn rates_fill_again_whatever_the_rhythm() {
    let rules = format!("{PLC_REGISTERS}rate = {{ per_second = 10, burst = 5 }}\n");
    // However often a client asks, it gets its burst and then ten a second, not less and not more.
    for step in [999_983, 1_900_000, 49_999_999, 100_000_000] {
        let mut cell = Cell::new(&rules);
        let start = cell.now_ns;
        let mut allowed = 0_u32;
        while cell.now_ns < start + 10 * SECOND {
            allowed += u32::from(cell.modbus(&[6, 0, 128, 0, 1]) == Reason::Allowed);
            cell.now_ns += step;
        }
        assert!((103..=105).contains(&allowed) || step == 100_000_000 && allowed == 100, "{step}: {allowed}");
    }
}

#[test]
fn a_refused_command_takes_no_tokens() {
    let mut cell = Cell::new(&format!("{PLC_REGISTERS}rate = {{ per_second = 1, burst = 1 }}\n"));
    for _ in 0..5 {
        assert_eq!(cell.modbus(&[6, 0, 128, 0, 121]), Reason::ValueNotAllowed);
    }
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::RateExceeded);
}

#[test]
fn until_ends_a_rule_and_its_connections() {
    // Wall clock 1_800_000_000 is 2027-01-15T08:00:00Z and 100 s on the monotonic clock.
    let mut cell = Cell::new(&format!("{PLC_REGISTERS}until = 2027-01-15T09:00:10+01:00\n"));
    let client = cell.policy.client(cell.from);
    cell.now_ns = 110 * SECOND;
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
    assert!(cell.policy.admit(client, Service::Modbus, Toward::Robot, cell.now_ns).is_allowed());
    cell.now_ns += 1;
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Expired);
    assert_eq!(cell.policy.admit(client, Service::Modbus, Toward::Robot, cell.now_ns).reason, Reason::Expired);
    let problems = try_compile(&format!("{PLC_REGISTERS}until = 2027-01-15T09:00:10\n")).unwrap_err();
    assert!(problems.contains("offset"), "{problems}");
}

#[test]
fn addresses_networks_and_everybody() {
    let rules = "[[allow]]\nid = \"net\"\nfrom = \"10.20.0.0/24\"\nservice = \"modbus\"\nclass = [\"read\"]\n\
                 [[allow]]\nid = \"one\"\nfrom = [\"10.20.0.22\", \"fd00::5\"]\nservice = \"modbus\"\nclass = [\"register\"]\n\
                 [[allow]]\nid = \"all\"\nservice = \"icmp\"\n";
    let mut cell = Cell::new(rules);
    let mut ask = |from: &str| {
        cell.from = address(from);
        (cell.modbus(&[3, 0, 0, 0, 1]), cell.modbus(&[6, 0, 128, 0, 1]))
    };
    assert_eq!(ask("10.20.0.99"), (Reason::Allowed, Reason::ClassNotAllowed));
    assert_eq!(ask("10.20.0.22"), (Reason::Allowed, Reason::Allowed));
    assert_eq!(ask("fd00::5"), (Reason::ClassNotAllowed, Reason::Allowed));
    assert!(!matches!(ask("10.20.1.22"), (Reason::Allowed, _) | (_, Reason::Allowed)));
    let admitted = |from: &str, service, opened| {
        cell.policy.admit(cell.policy.client(address(from)), service, opened, 0).is_allowed()
    };
    assert!(admitted("192.0.2.1", Service::Icmp, Toward::Robot));
    assert!(!admitted("192.0.2.1", Service::Icmp, Toward::Plant));
    assert!(!admitted("192.0.2.1", Service::Modbus, Toward::Robot));
    assert!(admitted("10.20.0.7", Service::Modbus, Toward::Robot));
}

#[test]
fn ports_and_connections_that_the_robot_opens() {
    let policy = compile(
        "[[allow]]\nid = \"ssh\"\nfrom = \"hmi\"\nservice = \"tcp/22\"\n\
         [[allow]]\nid = \"out\"\nfrom = \"arm\"\nto = \"remote-io\"\nservice = \"tcp/5000\"\n\
         [[allow]]\nid = \"plc\"\nfrom = \"plc\"\n[[deny]]\nid = \"no-web\"\nservice = \"tcp/80\"\n\
         [[deny]]\nid = \"no-panel\"\nfrom = \"plc\"\nservice = \"dashboard\"\n",
    );
    let admit = |from: &str, service, opened| {
        let from = assets().iter().find(|asset| asset.name == from).unwrap().address;
        policy.admit(policy.client(from), service, opened, 0).reason
    };
    assert_eq!(admit("hmi", Service::Tcp(22), Toward::Robot), Reason::Allowed);
    assert_eq!(admit("hmi", Service::Tcp(23), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("hmi", Service::Udp(22), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("hmi", Service::Tcp(22), Toward::Plant), Reason::EgressNotAllowed);
    assert_eq!(admit("remote-io", Service::Tcp(5000), Toward::Plant), Reason::Allowed);
    assert_eq!(admit("remote-io", Service::Tcp(5000), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("plc", Service::Tcp(5900), Toward::Robot), Reason::Allowed);
    assert_eq!(admit("plc", Service::Tcp(80), Toward::Robot), Reason::DeniedByRule);
    assert_eq!(admit("plc", Service::Dashboard, Toward::Robot), Reason::DeniedByRule, "denied as a whole");
    assert_eq!(admit("plc", Service::Rtde, Toward::Robot), Reason::Allowed);
}

/// What is said inside TLS is not read, so that the endpoint is all that a rule can name.
#[test]
fn modbus_in_tls_is_open_by_endpoint_alone() {
    let policy = compile(
        "[[allow]]\nid = \"tls\"\nfrom = \"hmi\"\nservice = \"tcp/802\"\n\
         [[allow]]\nid = \"plain\"\nfrom = \"plc\"\nservice = \"modbus\"\n",
    );
    let admit = |from: &str, service, opened| {
        let from = assets().iter().find(|asset| asset.name == from).unwrap().address;
        policy.admit(policy.client(from), service, opened, 0).reason
    };
    assert_eq!(Service::of_tcp_port(802), Service::Tcp(802));
    assert_eq!(admit("hmi", Service::Tcp(802), Toward::Robot), Reason::Allowed);
    assert_eq!(admit("hmi", Service::Modbus, Toward::Robot), Reason::NoServiceRule, "not without TLS");
    assert_eq!(admit("hmi", Service::Udp(802), Toward::Robot), Reason::NoServiceRule);
    assert_eq!(admit("hmi", Service::Tcp(802), Toward::Plant), Reason::EgressNotAllowed);
    assert_eq!(admit("plc", Service::Modbus, Toward::Robot), Reason::Allowed);
    assert_eq!(admit("plc", Service::Tcp(802), Toward::Robot), Reason::NoServiceRule, "nor inside it");
    assert_eq!(
        policy.admit(policy.client(address("10.20.0.99")), Service::Tcp(802), Toward::Robot, 0).reason,
        Reason::NoRuleForClient
    );
}

#[test]
fn the_strictest_refusal_of_a_client_and_service_counts() {
    const ESCALATE: &str = "[refusal]\nescalate = { refusals = 0, within = \"10s\", quarantine = \"5m\" }\n";
    let allow = |from: &str, address: u16, refusal: &str| {
        let refusal = if refusal.is_empty() { String::new() } else { format!("refusal = \"{refusal}\"\n") };
        format!("[[allow]]\nfrom = \"{from}\"\nservice = \"modbus\"\naddress = {address}\n{refusal}")
    };
    let refused = |refusal: &str, rules: [String; 2]| {
        let mut cell = Cell::new(&format!("{ESCALATE}{refusal}{}", rules.concat()));
        cell.from = address("10.20.0.21");
        let bytes = [0, 1, 0, 0, 0, 6, 255, 3, 0, 9, 0, 1];
        let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!() };
        let verdict = cell.ask(&Command::Modbus(modbus::Request::read(&unit).unwrap()));
        assert_eq!(verdict.generation, 7);
        verdict.action
    };
    // The default of each service is to refuse the one command.
    assert_eq!(refused("", [allow("plc", 1, ""), allow("hmi", 2, "drop")]), Action::Refuse);
    assert_eq!(refused("modbus = \"reset\"\n", [allow("plc", 1, ""), allow("hmi", 2, "drop")]), Action::Reset);
    assert_eq!(refused("modbus = \"drop\"\n", [allow("plc", 1, ""), allow("plc", 2, "")]), Action::Drop);
    // Of the client's own rules the strictest counts, whatever the default.
    assert_eq!(refused("modbus = \"reset\"\n", [allow("plc", 1, ""), allow("plc", 2, "drop")]), Action::Drop);
    assert_eq!(refused("modbus = \"drop\"\n", [allow("plc", 1, "refuse"), allow("plc", 2, "")]), Action::Refuse);
    for (first, second, strictest) in [
        ("refuse", "reset", Action::Reset),
        ("reset", "refuse", Action::Reset),
        ("reset", "drop", Action::Drop),
        ("drop", "refuse", Action::Drop),
        ("refuse", "refuse", Action::Refuse),
    ] {
        assert_eq!(refused("", [allow("plc", 1, first), allow("plc", 2, second)]), strictest, "{first} {second}");
    }
}

#[test]
fn every_dissected_service_refuses_by_default_and_takes_the_three_words() {
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"any\"\nclass = [\"read\"]\n");
    cell.from = address("10.20.0.21");
    let Step::Whole { unit, .. } = modbus::Adu::step(&[0, 1, 0, 0, 0, 6, 255, 6, 0, 9, 0, 1]).unwrap() else {
        panic!()
    };
    let modbus = cell.ask(&Command::Modbus(modbus::Request::read(&unit).unwrap()));
    let rtde = cell.ask(&Command::Rtde(rtde::Request::SetupInputs { names: rtde::Names(b"speed_slider_mask") }));
    let dashboard = cell.ask(&Command::Dashboard(dashboard::Line::read(b"shutdown")));
    let mut scanner = urscript::Scanner::default();
    let Step::Whole { unit, .. } = scanner.step(b"powerdown()\n", urscript::Dialect::Client).unwrap() else { panic!() };
    let urscript = cell.ask(&Command::UrScript(unit));
    for verdict in [modbus, rtde, dashboard, urscript] {
        assert_eq!(verdict.action, Action::Refuse, "{verdict:?}");
    }
    for service in ["modbus", "rtde", "dashboard", "urscript"] {
        for word in ["refuse", "reset", "drop"] {
            compile(&format!("[refusal]\n{service} = \"{word}\"\n"));
        }
    }
}

#[test]
fn the_nearest_rule_and_its_key_are_explained() {
    let mut cell = Cell::new(&format!(
        "[[allow]]\nid = \"reads\"\nfrom = \"plc\"\nservice = \"modbus\"\nclass = [\"read\"]\n{PLC_REGISTERS}"
    ));
    let bytes = [0, 1, 0, 0, 0, 6, 255, 6, 0, 130, 0, 200];
    let Step::Whole { unit, .. } = modbus::Adu::step(&bytes).unwrap() else { panic!() };
    let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
    let verdict = cell.ask(&command);
    let nearest = cell.policy.nearest(&command, &verdict).unwrap();
    assert_eq!((nearest.rule.as_str(), nearest.key), ("plc-registers", "value"));
    assert_eq!((nearest.found.as_str(), nearest.allowed.as_str()), ("200", "\"0..=120\""));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = "version = 2\nrobto = \"arm\"\n[refusal]\nmodbus = \"hold\"\n[[allow]]\nfrom = \"pcl\"\nservice = \"modbuss\"\n\
                [[allow]]\nid = \"x\"\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"write_singel_register\"]\nvalue = \"9..=1\"\n\
                [[allow]]\nid = \"x\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"actual_p\"]\n[allow.inputs]\n\
                speed_slider_fraktion = {}\ninput_int_register_0 = { step = 1 }\n[[deny]]\ncommand = \"unlock\"\nservice = \"dashboard\"\n";
    let moment = Moment { wall_ns: 0, monotonic_ns: 0 };
    let problems = Policy::compile("p.toml", text, &assets(), 1, moment).unwrap_err().to_string();
    let lines: Vec<_> = problems.lines().map(|line| line.strip_prefix("p.toml:").unwrap()).collect();
    for (place, what) in [
        ("1:11: ", "write 1"),
        ("2:1: ", "write `robot`"),
        ("4:10: ", "\"hold\" is for set-points of external control; write \"refuse\", \"reset\" or \"drop\""),
        ("6:8: ", "\"plc\""),
        ("7:11: ", "\"modbus\""),
        ("12:13: ", "\"write_single_register\""),
        ("13:9: ", "holds nothing"),
        ("14:1: ", "a second rule has the id \"x\""),
        ("18:12: ", "write \"actual_q\""),
        ("20:1: ", "write `speed_slider_fraction`"),
        ("21:33: ", "1 is no step"),
        ("23:11: ", "unlock protective stop"),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(place) && line.contains(what)), "{place}{what}\n{problems}");
    }
}

#[test]
fn tests_of_the_file_are_run() {
    let policy = compile(
        "[[allow]]\nid = \"panel\"\nfrom = \"hmi\"\nservice = \"dashboard\"\ncommand = [\"load\"]\nargument = [\"/programs/a.urp\"]\n\
         [[allow]]\nid = \"io\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"timestamp\"]\n\
         [allow.inputs]\ninput_int_register_24 = { value = \"0..=3\" }\n\
         [[test]]\nname = \"panel never shuts down\"\nfrom = \"hmi\"\nservice = \"dashboard\"\ncommand = \"shutdown\"\nexpect = \"refused\"\n\
         [[test]]\nname = \"panel loads\"\nfrom = \"hmi\"\nservice = \"dashboard\"\ncommand = \"load\"\nargument = \"/programs/a.urp\"\nexpect = \"allowed\"\n\
         [[test]]\nname = \"plc reads\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"timestamp\"]\nexpect = \"allowed\"\n\
         [[test]]\nname = \"plc writes 3\"\nfrom = \"plc\"\nservice = \"rtde\"\ninput = \"input_int_register_24\"\nvalue = 3\nexpect = \"allowed\"\n\
         [[test]]\nname = \"wrong on purpose\"\nfrom = \"plc\"\nservice = \"rtde\"\ninput = \"input_int_register_24\"\nvalue = 4\nexpect = \"allowed\"\n",
    );
    let outcomes = policy.run_tests();
    let passed: Vec<_> = outcomes.iter().map(|outcome| outcome.passed).collect();
    assert_eq!(passed, [true, true, true, true, false]);
    assert_eq!(outcomes[4].reason, Reason::ValueNotAllowed);
    assert_eq!(outcomes[4].rule.as_deref(), Some("io"));
}

#[test]
fn tests_of_external_control_tell_what_the_robot_does_meanwhile() {
    let hash = "b3".repeat(32);
    let rule = format!(
        "[[allow]]\nid = \"ros\"\nfrom = \"plc\"\nservice = \"external_control\"\nmode = [\"idle\", \"servoj\"]\n\
         timeout_ms = \"20..=200\"\nfunction = [\"zero_ft_sensor\"]\nprogram = [\"sha256:{hash}\"]\n\
         when = {{ safety = [\"normal\"] }}\n\
         [allow.envelope]\nposition_rad = [\"-1..=1\", \"-1..=1\", \"-1..=1\", \"-1..=1\", \"-1..=1\", \"-1..=1\"]\n\
         step_rad = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]\n"
    );
    let test = |more: &str| format!("[[test]]\nname = \"t\"\nfrom = \"plc\"\nservice = \"external_control\"\n{more}\n");
    let at = "robot = { safety = \"normal\", joints_rad = [0.9, 0, 0, 0, 0, 0] }";
    let cases = [
        ("mode = \"servoj\"\ntarget = [0.95, 0, 0, 0, 0, 0]", at, true),
        ("mode = \"servoj\"\ntarget = [1.05, 0, 0, 0, 0, 0]", at, false),
        ("mode = \"servoj\"\ntarget = [0.7, 0, 0, 0, 0, 0]", at, false),
        ("mode = \"servoj\"\ntarget = [0.95, 0, 0, 0, 0, 0]\ntimeout_ms = 0", at, false),
        ("mode = \"servoj\"\ntarget = [0.95, 0, 0, 0, 0, 0]", "robot = { safety = \"normal\" }", false),
        ("mode = \"servoj\"\ntarget = [0.95, 0, 0, 0, 0, 0]", "robot = { safety = \"reduced\" }", false),
        ("mode = \"torque\"\ntarget = [0, 0, 0, 0, 0, 0]", at, false),
        ("mode = \"idle\"", at, true),
        ("mode = \"freedrive\"", at, false),
        ("function = \"zero_ft_sensor\"", at, true),
        ("function = \"set_tool_voltage\"", at, false),
        (&format!("program = \"sha256:{hash}\""), at, true),
        (&format!("program = \"sha256:{}\"", "b4".repeat(32)), at, false),
    ];
    for (sent, robot, allowed) in cases {
        let expect = if allowed { "allowed" } else { "refused" };
        let outcomes =
            compile(&format!("{rule}{}", test(&format!("{sent}\n{robot}\nexpect = \"{expect}\"")))).run_tests();
        assert!(outcomes[0].passed, "{sent} {robot}: {outcomes:?}");
    }
    for (sent, what) in [
        ("mode = \"servoj\"", "`target` is missing in `test`"),
        ("mode = \"servoj\"\ntarget = [1, 2]", "are not six values"),
        ("mode = \"servoj\"\ntarget = [9999, 0, 0, 0, 0, 0]", "more than can be sent"),
        ("mode = \"dance\"", "dance"),
        ("program = \"sha256:0123456789abcdef\"", "a test is of one text"),
        ("function = \"sing\"", "sing"),
        ("expect = \"refused\"", "nothing is sent"),
    ] {
        let expect = if sent.starts_with("expect") { "" } else { "\nexpect = \"refused\"" };
        let problems = try_compile(&format!("{rule}{}", test(&format!("{sent}{expect}")))).unwrap_err();
        assert!(problems.contains(what), "{sent}: {problems}");
    }
}
