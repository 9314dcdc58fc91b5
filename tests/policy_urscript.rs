//! Bounds on the arguments of URScript functions: what they cover, what they refuse, and how people try to get around
//! them. Each test compiles a policy as people write it and asks it about texts as they arrive.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::net::IpAddr;

use dissect::{Step, Toward};
use vambrace::command::Command;
use vambrace::event::Reason;
use vambrace::policy::{Ask, Asset, Moment, Nearest, Policy};
use vambrace::robot::{Rates, State};

const PEER: [u8; 4] = [10, 20, 0, 21];

fn try_compile(rules: &str) -> Result<Policy, String> {
    let assets = [Asset { name: "arm".into(), address: IpAddr::from([10, 20, 0, 40]), is_robot: true }];
    let text = format!("version = 1\nrobot = \"arm\"\n{rules}");
    let moment = Moment { wall_ns: 0, monotonic_ns: 0 };
    Policy::compile("policy.toml", &text, &assets, 1, moment).map_err(|problems| problems.to_string())
}

/// An allow rule for these functions with these bounds.
fn allow(functions: &str, bounds: &str) -> Policy {
    let rules = format!("[[allow]]\nservice = \"urscript\"\nfunction = [{functions}]\n[allow.bounds]\n{bounds}");
    try_compile(&rules).unwrap_or_else(|problems| panic!("{problems}"))
}

fn ask(policy: &Policy, text: &str) -> (Reason, Option<Nearest>) {
    let text = format!("{text}\n");
    let Ok(Step::Whole { unit, len }) = urscript::Scanner::default().step(text.as_bytes(), urscript::Dialect::Client)
    else {
        panic!("no unit: {text}");
    };
    assert_eq!(len, text.len(), "one unit: {text}");
    let (command, state) = (Command::UrScript(unit), State::default());
    let client = policy.client(IpAddr::from(PEER));
    let ask = Ask {
        client,
        opened: Toward::Robot,
        command: &command,
        state: &state,
        inputs: &vambrace::robot::Inputs::new(),
        connection: 1,
        now_ns: 1,
    };
    let verdict = policy.decide(&ask, &mut Rates::new());
    (verdict.reason, policy.nearest(&command, &verdict))
}

fn reason(policy: &Policy, text: &str) -> Reason {
    ask(policy, text).0
}

fn check(policy: &Policy, expected: Reason, texts: &[&str]) {
    for text in texts {
        assert_eq!(reason(policy, text), expected, "{text}");
    }
}

const MOVES: &str = "\"movej.a\" = \"0.0..=1.4\"\n\
    \"movej.q\" = { joint_rad = [\"-3.2..=3.2\", \"-2.2..=0.0\", \"-2.5..=2.5\", \"-3.2..=3.2\", \"-3.2..=3.2\", \"-3.2..=3.2\"] }\n\
    \"movel.pose\" = { x = \"-0.6..=0.6\", y = \"-0.6..=0.6\", z = \"0.05..=0.9\" }\n";

fn moves() -> Policy {
    allow("\"movej\", \"movel\", \"set_digital_out\"", MOVES)
}

#[test]
fn the_rule_of_the_contract() {
    let policy = moves();
    check(
        &policy,
        Reason::Allowed,
        &[
            "movej([0,-1,0,0,0,0], a=1.4)",
            "movej([0,-1,0,0,0,0], 0.5, 99)",
            "movej(q=[0,-1,0,0,0,0], v=9, a=+1e0)",
            "movel(p[0.6,-0.6,0.05,9,9,9])",
            "movel(p[0,0,.9,0,0,0], t=2, a=9)",
            "set_digital_out(1, x)",
            "sec s():\n movej([0,-1,0,0,0,0], a=1) # a=9\n movel(p[0,0,0.1,0,0,0], a=5)\nend",
        ],
    );
    check(
        &policy,
        Reason::ValueNotAllowed,
        &[
            "movej([0,-1,0,0,0,0], a=1.5)",
            "movej([0,-1,0,0,0,0], -0.1)",
            "movej([0,0.1,0,0,0,0], a=1)",
            "movel(p[0,0,0.04,0,0,0])",
            "sec s():\n movej([0,-1,0,0,0,0], a=1)\n movel(p[0,0,0,0,0,0])\nend",
        ],
    );
    check(
        &policy,
        Reason::Unproven,
        &[
            "movej([0,-1,0,0,0,0])",
            "movej([0,-1,0,0,0,0], v=1)",
            "movej(p[0,-1,0,0,0,0], a=1)",
            "movel([0,0,0.1,0,0,0])",
            "movej([0,-1,0,0,0], a=1)",
            "movej([0,-1,0,0,0,0,0], a=1)",
            "movel(p[0,0,0.1,x,0,0])",
        ],
    );
}

#[test]
fn by_name_and_by_place_is_one() {
    for key in ["movej.a", "movej.1"] {
        let policy = allow("\"movej\"", &format!("\"{key}\" = [1, \"2..=3\"]\n"));
        check(&policy, Reason::Allowed, &["movej(q, 1)", "movej(q, 2.5, v)", "movej(q, a=3)", "movej(a=2, q=x)"]);
        check(&policy, Reason::ValueNotAllowed, &["movej(q, 1.5)", "movej(q, v=1, a=4)"]);
    }
}

#[test]
fn outputs_flags_and_strings() {
    let bounds = "\"set_digital_out.n\" = \"0..=3\"\n\"set_digital_out.b\" = true\n\"socket_open.address\" = [\"10.20.0.30\", \"plc\"]\n\
        \"write_output_integer_register.value\" = \"-5..\"\n";
    let policy = allow("\"set_digital_out\", \"socket_open\", \"write_output_integer_register\"", bounds);
    check(
        &policy,
        Reason::Allowed,
        &[
            "set_digital_out(3, True)",
            "set_digital_out(b=1, n=0)",
            "socket_open(\"plc\", p)",
            "socket_open(port=1, address='10.20.0.30')",
            "write_output_integer_register(x, 2147483647)",
        ],
    );
    check(
        &policy,
        Reason::ValueNotAllowed,
        &["set_digital_out(4, True)", "set_digital_out(0, False)", "write_output_integer_register(0, -6)"],
    );
    check(&policy, Reason::ArgumentNotAllowed, &["socket_open(\"10.20.0.31\", 1)", "socket_open(\"PLC\", 1)"]);
    check(
        &policy,
        Reason::Unproven,
        &[
            // A controller may round it, or keep its lower 32 bits.
            "set_digital_out(2.5, True)",
            "write_output_integer_register(0, 4294967290)",
            "socket_open(\"p\\lc\", 1)",
            "socket_open(plc, 1)",
            "socket_open(10, 1)",
        ],
    );
}

#[test]
fn lists_poses_and_alternatives() {
    let bounds = "\"set_gravity.d\" = { list = [0, 0, [\"9.7..=9.9\", 0]] }\n\
        \"speedj.qd\" = { joint_rad_s = [\"-1..=1\", 0, 0, 0, 0, 0] }\n\
        \"movej.q\" = [{ joint_rad = [0, 0, 0, 0, 0, 0] }, { x = \"..=0.5\" }, { z = 7 }]\n";
    let policy = allow("\"set_gravity\", \"speedj\", \"movej\"", bounds);
    check(
        &policy,
        Reason::Allowed,
        &[
            "set_gravity([0, 0, 9.82])",
            "set_gravity([0, 0, -0])",
            "speedj([-1, 0, 0, 0, 0, 0], 1, t)",
            "movej([0,0,0,0,0,0])",
            "movej(p[0.5,9,9,9,9,9])",
            "movej(p[9,9,7,9,9,9])",
        ],
    );
    check(
        &policy,
        Reason::ValueNotAllowed,
        &["set_gravity([0, 0, 9])", "movej([0,0,0,0,0,1])", "movej(p[1,0,0,0,0,0])"],
    );
    check(
        &policy,
        Reason::Unproven,
        &["set_gravity([0, 0])", "set_gravity(p[0, 0, 0, 0, 0, 0])", "speedj([True,0,0,0,0,0])", "movej(q)"],
    );
}

#[test]
fn what_is_left_out_counts_as_its_default_only_where_that_is_zero_everywhere() {
    let policy = allow("\"movej\", \"movec\"", "\"movej.r\" = \"0..=0.05\"\n\"movec.mode\" = 1\n");
    check(&policy, Reason::Allowed, &["movej(q)", "movej(q, r=0.05)", "movec(x, y, mode=1)"]);
    check(&policy, Reason::ValueNotAllowed, &["movej(q, r=0.06)", "movec(x, y)"]);
    // 1.05 in most versions, 0.75 in old ones.
    assert_eq!(reason(&allow("\"movej\"", "\"movej.v\" = \"0..=2\"\n"), "movej(q)"), Reason::Unproven);
}

#[test]
fn a_move_in_time_takes_whatever_acceleration_it_needs() {
    for key in ["a", "v"] {
        let policy =
            allow("\"movej\", \"movel\"", &format!("\"movej.{key}\" = \"0..=2\"\n\"movel.{key}\" = \"0..=2\"\n"));
        check(&policy, Reason::Allowed, &["movej(q, 1, 1)", "movej(q, 1, 1, 0)", "movel(q, v=1, a=1, t=-0.0)"]);
        check(&policy, Reason::ValueNotAllowed, &["movej(q, 1, 1, 0.01)", "movel(q, a=1, v=1, t=1)"]);
        check(&policy, Reason::Unproven, &["movej(q, 1, 1, t)", "movel(q, v=1, a=1, t=0+1)"]);
    }
    let policy = allow("\"movej\"", "\"movej.a\" = \"0..=2\"\n\"movej.t\" = [0, \"2..=60\"]\n");
    check(&policy, Reason::Allowed, &["movej(q, 1)", "movej(q, 1, t=2)"]);
    check(&policy, Reason::ValueNotAllowed, &["movej(q, 1, t=1)", "movej(q, 9, t=2)"]);
}

#[test]
fn unproven_may_be_allowed_and_what_is_proven_outside_never_is() {
    let rules = format!(
        "[[allow]]\nservice = \"urscript\"\nfunction = [\"movej\", \"movel\"]\nunproven = \"allow\"\n[allow.bounds]\n{MOVES}"
    );
    let policy = try_compile(&rules).unwrap();
    check(&policy, Reason::Allowed, &["movej(q, a=acc)", "movej(p[0,0,0,0,0,0], a=1)", "movej(q, 1, a=2)", "movel(x)"]);
    check(
        &policy,
        Reason::ValueNotAllowed,
        &["movej(q, a=3)", "movej([0,1,0,0,0,0], a=acc)", "movel(p[9,0,0,0,0,0])", "movej(q, a=1, t=0.1)"],
    );
    assert_eq!(reason(&policy, "movej(get_inverse_kin(x), a=1)"), Reason::CommandNotAllowed);
}

#[test]
fn a_rule_with_bounds_alone_covers_no_bare_command() {
    let policy = try_compile("[[allow]]\nservice = \"urscript\"\n[allow.bounds]\n\"movej.a\" = 1\n").unwrap();
    check(&policy, Reason::Allowed, &["movej(q, 1)", "set_digital_out(1, True)"]);
    check(&policy, Reason::ValueNotAllowed, &["movej(q, 2)"]);
    check(&policy, Reason::CommandNotAllowed, &["power on", "unheard_of(1)"]);
}

#[test]
fn bounds_hold_whatever_key_names_the_call() {
    let program = "def p():\n movej(q, 2)\nend";
    for keys in
        ["class = [\"motion\", \"program\"]", "class = [\"program\"]\nfunction = [\"movej\"]", "kind = [\"program\"]"]
    {
        let rules = format!("[[allow]]\nservice = \"urscript\"\n{keys}\n[allow.bounds]\n\"movej.a\" = 1\n");
        let policy = try_compile(&rules).unwrap();
        assert_eq!(reason(&policy, program), Reason::ValueNotAllowed, "{keys}");
        assert_eq!(reason(&policy, &program.replace('2', "1")), Reason::Allowed, "{keys}");
    }
    let text = format!("{program}\n");
    let Ok(Step::Whole { unit, .. }) = urscript::Scanner::default().step(text.as_bytes(), urscript::Dialect::Client)
    else {
        panic!()
    };
    let hash = unit.token_hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let rules = |value: u8| {
        format!(
            "[[allow]]\nservice = \"urscript\"\nprogram = [\"sha256:{hash}\"]\n[allow.bounds]\n\"movej.a\" = {value}\n"
        )
    };
    assert_eq!(reason(&try_compile(&rules(1)).unwrap(), program), Reason::ValueNotAllowed);
    assert_eq!(reason(&try_compile(&rules(2)).unwrap(), program), Reason::Allowed);
}

/// Ways to hand `movej` another acceleration than 0 to 1.4, or to hide that one does. Nothing of it may pass.
#[test]
fn ways_around_a_bound() {
    let policy = allow(
        "\"movej\", \"run\", \"kill\", \"join\", \"sleep\", \"textmsg\", \"pose_trans\", \"get_inverse_kin\", \"unheard_of\"",
        "\"movej.a\" = \"0.0..=1.4\"\n",
    );
    let attacks = [
        // Calls inside calls, and behind strings and comments that look like calls.
        "movej(movej(q, a=1), a=9)",
        "movej(movej(q, a=9), a=1)",
        "textmsg(movej(q, 9))",
        "textmsg(\"movej(q, a=1)\", movej(q, a=9))",
        "textmsg(\"#\", movej(q, a=9))",
        "textmsg('(', movej(q, a=9))",
        "textmsg(\"\\\", movej(q, a=9), \"\")",
        "movej(pose_trans(x, pose_trans(x, pose_trans(x, pose_trans(x, pose_trans(x, y))))), a=9)",
        // Comments and line markers inside a call.
        "movej(q # , a=1)\n, a=9)",
        "movej(q, a=1 # )\n, a=9)",
        "movej(q, a= # 1)\n9)",
        "movej(q, a=1 $ 1 \"x\"\n, a=9)",
        // The same argument twice, in two ways, or in a place that is not its own.
        "movej(q, a=1, a=9)",
        "movej(q, a=9, a=1)",
        "movej(q, 1, a=9)",
        "movej(q, 9, a=1)",
        "movej(q, a=1, 9)",
        "movej(a=1, q, 9)",
        "movej(q, v=1, 9)",
        "movej(q, , 9)",
        "movej(, q, 9)",
        "movej(, 1, 9)",
        "movej(q, 1, 2, 0, 0, a=9)",
        "movej(q, 1, 2, 0, 0, 9)",
        "movej(q, A=1)",
        "movej(q, a=1, acceleration=9)",
        "movej(q)",
        "movej()",
        "movej(q, a=1, t=0.01)",
        "movej(q, 1, 1, 0.01)",
        // Numbers that are none, or have two readings.
        "movej(q, a=1+9)",
        "movej(q, a=1 9)",
        "movej(q, a=1.4.9)",
        "movej(q, a=--1)",
        "movej(q, a=-(-9))",
        "movej(q, a=1e400)",
        "movej(q, a=-1e400)",
        "movej(q, a=nan)",
        "movej(q, a=0x1)",
        "movej(q, a=01)",
        "movej(q, a=1_0)",
        "movej(q, a=1e)",
        "movej(q, a=(1))",
        "movej(q, a=[1])",
        "movej(q, a=[1][0])",
        "movej(q, a=p[1,0,0,0,0,0])",
        "movej(q, a=\"1\")",
        "movej(q, a=d2r(1))",
        "movej(q, a=not True)",
        "movej(q, a=1 or 9)",
        "movej(q, a==1)",
        "movej(q, a=b=1)",
        "movej(q, a=1:9)",
        // Definitions of the same name, before and behind.
        "def p():\n def movej(q, a):\n  sleep(1)\n end\n movej(q, 9)\nend",
        "def p():\n movej(q, 9)\n def movej(q, a):\n end\nend",
        "def movej():\n movej(q, a=9)\nend",
        "sec movej():\n movej(q, a=9)\nend",
        "def p():\n thread movej():\n  movej(q, a=9)\n end\n run movej()\nend",
        "def p():\n local movej = 1\n movej(q, a=9)\nend",
        "def p():\n a = 1\n movej(q, a)\nend",
        "def p():\n True = 9\n movej(q, a=9)\nend",
        // Bodies that run later or elsewhere.
        "def p():\n thread t():\n  movej(q, a=9)\n end\n run t()\nend",
        "def p():\n run movej(q, a=9)\nend",
        "def p():\n if False: movej(q, a=9) end\nend",
        "def p():\n while movej(q, a=9):\n end\nend",
        "def p():\n movej(q, a=1)\n return movej(q, a=9)\nend",
        "def p():\n unheard_of(movej, 9)\n f = movej\n f(q, 9)\nend",
        // Other ways to call.
        "x.movej(q, a=1)",
        "movej.call(q, a=9)",
        "movej[0](q, a=1)",
        "(movej)(q, a=9)",
        "movej(q, a=1)(q, a=9)",
        "movej\n(q, a=9)",
        "movej \\\n(q, a=9)",
        "movej(q, \\\na=9)",
        "movej(q,\n a=9)",
        "movej(q, a=1\n",
        "global x = movej(q, a=9)",
        "movej(q, a=1) movej(q, a=9)",
        "movej (q,\ta = 9)",
    ];
    for text in attacks {
        // What is cut in several units is refused in one of them at least.
        let text = format!("{text}\n");
        let mut rest = text.as_bytes();
        let mut reasons = Vec::new();
        while let Ok(Step::Whole { unit, len }) = urscript::Scanner::default().step(rest, urscript::Dialect::Client) {
            let (command, state) = (Command::UrScript(unit), State::default());
            let client = policy.client(IpAddr::from(PEER));
            let ask = Ask {
                client,
                opened: Toward::Robot,
                command: &command,
                state: &state,
                inputs: &vambrace::robot::Inputs::new(),
                connection: 1,
                now_ns: 1,
            };
            reasons.push(policy.decide(&ask, &mut Rates::new()).reason);
            rest = &rest[len..];
        }
        // What is left is held until it is whole, and never is.
        assert!(!rest.is_empty() || reasons.iter().any(|reason| *reason != Reason::Allowed), "{text} {reasons:?}");
    }
    // The list means something only if the same shapes with a lawful value pass.
    check(
        &policy,
        Reason::Allowed,
        &[
            "movej(q, a=1)",
            "textmsg(movej(q, 1))",
            "textmsg(\"#\", movej(q, a=1))",
            "movej(movej(q, a=1), a=1)",
            "def movej():\n movej(q, a=1)\nend",
            "def p():\n thread t():\n  movej(q, a=1)\n end\n run t()\nend",
            "def p():\n def movej(q, a):\n  sleep(1)\n end\n movej(q, 1)\nend",
            "movej(q, a=1) movej(q, a=1)",
            "movej (q,\ta = 1) # a=9",
            "movej(get_inverse_kin(pose_trans(x, p[1,2,3,4,5,6])), a=True)",
        ],
    );
}

#[test]
fn a_deny_rule_denies_what_may_be_inside() {
    let rules = "[[allow]]\nservice = \"urscript\"\n[[deny]]\nid = \"fast\"\nservice = \"urscript\"\n[deny.bounds]\n\
        \"movej.a\" = \"2.0..\"\n\"movej.r\" = \"0.1..\"\n\"movel.pose\" = { z = \"..=0.05\" }\n";
    let policy = try_compile(rules).unwrap();
    check(
        &policy,
        Reason::DeniedByRule,
        &[
            "movej(q, 2, r=1)",
            "movej(q, a, r=1)",
            "movej(q, r=r)",
            "movej(q, 1, a=1)",
            // The time sets the acceleration, so that the one given says nothing.
            "movej(q, 1, t=0.1, r=1)",
            "movel(p[1,1,0.05,0,0,0])",
            "movel([0,0,1,0,0,0])",
            "movel(x)",
            "def p():\n movej(q, 1, r=1)\n movej(q, 3, r=1)\nend",
        ],
    );
    check(
        &policy,
        Reason::Allowed,
        &["movej(q, 1.9, r=1)", "movej(q, 9)", "movej(q, 9, r=0.05)", "movel(p[1,1,0.06,0,0,0])", "movep(x)"],
    );
    // With `function` the bounds narrow what it names; other functions are denied as ever.
    let rules = rules.replace("id = \"fast\"", "id = \"fast\"\nfunction = [\"movej\", \"movel\", \"movep\"]");
    let policy = try_compile(&rules).unwrap();
    check(&policy, Reason::DeniedByRule, &["movep(x)", "movej(q, 2, r=1)"]);
    check(&policy, Reason::Allowed, &["movej(q, 1, r=1)", "movec(x, y)"]);
}

#[test]
fn a_pose_outside_its_box_may_come_to_denied_joints() {
    let alternatives = "[{ joint_rad = [1, 1, 1, 1, 1, 1] }, { x = 1 }]";
    let deny = format!(
        "[[allow]]\nservice = \"urscript\"\n[[deny]]\nservice = \"urscript\"\n[deny.bounds]\n\"movej.q\" = {alternatives}\n"
    );
    assert_eq!(reason(&try_compile(&deny).unwrap(), "movej(p[2,0,0,0,0,0])"), Reason::DeniedByRule);
    assert_eq!(
        reason(&allow("\"movej\"", &format!("\"movej.q\" = {alternatives}\n")), "movej(p[2,0,0,0,0,0])"),
        Reason::ValueNotAllowed
    );
}

#[test]
fn the_nearest_rule_says_which_argument() {
    let policy = allow("\"movej\", \"movel\", \"socket_open\"", &format!("{MOVES}\"socket_open.address\" = \"plc\"\n"));
    let told = |text: &str| {
        let nearest = ask(&policy, text).1.unwrap();
        assert_eq!(nearest.key, "bounds");
        (nearest.found, nearest.allowed)
    };
    let pair = |found: &str, allowed: &str| (found.to_owned(), allowed.to_owned());
    assert_eq!(told("movej([0,-1,0,0,0,0], a=3)"), pair("movej.a = 3.0", "\"0.0..=1.4\""));
    assert_eq!(told("movej([0,-1,0,0,0,0])"), pair("movej.a = left out", "\"0.0..=1.4\""));
    assert_eq!(
        told("movel(p[0,0,9,0,0,0])"),
        pair("movel.pose = p[0,0,9,0,0,0]", "p[...] with x = \"-0.6..=0.6\", y = \"-0.6..=0.6\", z = \"0.05..=0.9\"")
    );
    assert_eq!(told("socket_open(\"hmi\", 1)"), pair("socket_open.address = \"hmi\"", "plc"));
    assert_eq!(
        told("movej([0,-1,0,0,0,0], 1, 1, 2)"),
        pair("movej.t = 2.0", "0.0, where a or v is bounded and t is not")
    );
    assert_eq!(told("movej(q, a=1, a=1)"), pair("movej(q, a=1, a=1)", "literals, each once, as movej(q, a, v, t, r)"));
}

#[test]
fn every_mistake_in_bounds_is_told_once() {
    let joints = |ranges: &str| format!("\"movej.q\" = {{ joint_rad = [{ranges}] }}");
    for (bounds, place, what) in [
        ("\"movejj.a\" = 1".to_owned(), "6:1", "no arguments of a function `movejj` are known; write \"movej.a\""),
        ("\"zzz.a\" = 1".to_owned(), "6:1", "no arguments of a function `zzz` are known; take it out"),
        ("\"movej.acc\" = 1".to_owned(), "6:1", "`movej` has no argument `acc`; use one of q, a, v, t, r"),
        ("\"movel.pos\" = 1".to_owned(), "6:1", "`movel` has no argument `pos`; write \"movel.pose\""),
        ("\"movej.5\" = 1".to_owned(), "6:1", "`movej` has no argument `5`; use one of"),
        ("movej = 1".to_owned(), "6:1", "`movej` names no argument; write the function, a point"),
        ("movej.a = 1".to_owned(), "6:1", "`movej` names no argument; write the function, a point"),
        ("\"movej.a\" = 1\n\"movej.1\" = 2".to_owned(), "7:1", "a second bound of movej.a"),
        ("\"movej.a\" = \"2..=1\"".to_owned(), "6:13", "holds nothing; write the smaller number first"),
        ("\"movej.a\" = { x = 1 }".to_owned(), "6:13", "is no number and no range"),
        ("\"movej.a\" = true".to_owned(), "6:13", "is no number and no range"),
        ("\"movej.a\" = nan".to_owned(), "6:13", "holds nothing"),
        (joints("1, 2, 3, 4, 5"), "6:27", "are not the ranges of 6 numbers; write a list of 6 ranges"),
        (joints("1, 2, 3, 4, 5, \"3..=2\""), "6:43", "holds nothing"),
        ("\"movej.q\" = 1".to_owned(), "6:13", "is a whole number; write a table"),
        ("\"movej.q\" = {}".to_owned(), "6:13", "bounds nothing; write { joint_rad ="),
        ("\"movej.q\" = { joint_rat = 1 }".to_owned(), "6:15", "unknown key `joint_rat`"),
        ("\"movej.q\" = { joint_rad = [1,2,3,4,5,6], x = 1 }".to_owned(), "6:27", "joints and a pose in one bound"),
        ("\"set_tcp.pose\" = { joint_rad = [1,2,3,4,5,6] }".to_owned(), "6:20", "unknown key `joint_rad`"),
        ("\"set_gravity.d\" = { list = [1, 2] }".to_owned(), "6:28", "are not the ranges of 3 numbers"),
        ("\"socket_open.address\" = 1".to_owned(), "6:25", "write a string in quotes"),
    ] {
        let problems =
            try_compile(&format!("[[allow]]\nservice = \"urscript\"\n[allow.bounds]\n{bounds}\n")).unwrap_err();
        assert!(problems.starts_with(&format!("policy.toml:{place}: ")), "{bounds}\n{problems}");
        assert!(problems.contains(what), "{what}\n{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    for (keys, what) in [
        ("service = \"urscript\"\nfunction = \"movel\"\n[allow.bounds]\n\"movej.a\" = 1\n", "is not in `function`"),
        ("service = \"urscript\"\nunproven = \"maybe\"\n", "use one of refuse, allow"),
        ("service = \"urscript\"\nbounds = 1\n", "is a whole number; write a table"),
        ("service = \"modbus\"\n[allow.bounds]\n\"movej.a\" = 1\n", "unknown key `bounds`"),
    ] {
        let problems = try_compile(&format!("[[allow]]\n{keys}")).unwrap_err();
        assert!(problems.contains(what), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    for (keys, what) in [
        ("unproven = \"refuse\"\n", "counts what is unproven as inside"),
        ("class = [\"motion\"]\n[deny.bounds]\n\"movej.a\" = 1\n", "name functions instead of `class`"),
    ] {
        let problems = try_compile(&format!("[[deny]]\nservice = \"urscript\"\n{keys}")).unwrap_err();
        assert!(problems.contains(what), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}
