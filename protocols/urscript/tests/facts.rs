//! What a unit does: calls, methods, assignments, connections.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use dissect::Step;
use urscript::{Category, Dialect, Fact, Scanner, Value};

fn facts(text: &str) -> Vec<String> {
    let text = format!("{text}\n");
    let Step::Whole { unit, .. } = Scanner::default().step(text.as_bytes(), Dialect::Client).unwrap() else { panic!() };
    let show = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let facts = unit.facts().map(|fact| match fact {
        Fact::Call { name, category, .. } => format!("{} {}", show(name), category.name()),
        Fact::Method { object, name } => format!("{}.{}", show(object), show(name)),
        Fact::IndexAssign { target } => format!("{}[]", show(target)),
        Fact::Connect { target, port, .. } => {
            format!(
                "-> {}{}",
                target.map_or("?".into(), show),
                port.map_or(String::new(), |port| format!(":{}", show(port)))
            )
        }
    });
    facts.collect()
}

#[test]
fn calls_wherever_they_stand() {
    assert_eq!(
        facts("movej(get_inverse_kin(p[0,0,0,0,0,0]), a = d2r(80)) # powerdown()"),
        ["movej motion", "get_inverse_kin read_math", "d2r read_math"]
    );
    assert_eq!(
        facts("def a():\n thread t():\n  powerdown ( )\n end\n run t()\n my()\n def my():\n  halt\n end\nend"),
        ["powerdown system", "run program_control", "t local", "my local", "halt program_control"]
    );
    assert_eq!(facts("set_digital_out # c\n(0, True)"), Vec::<String>::new());
    assert_eq!(facts("if (x) and (y): frobnicate(1) end"), ["frobnicate unknown"]);
    assert_eq!(facts("textmsg(\"powerdown()\")"), ["textmsg program_control"]);
    assert_eq!(facts("x = powerdown"), Vec::<String>::new());
}

#[test]
fn a_definition_does_not_hide_a_known_function() {
    assert_eq!(facts("def a():\n def powerdown():\n end\n powerdown()\nend"), ["powerdown system"]);
    assert_eq!(facts("def a():\n def socket_like():\n end\n socket_like()\nend"), ["socket_like local"]);
}

#[test]
fn index_assignments() {
    assert_eq!(facts("digital_out[3]=True"), ["digital_out[]"]);
    assert_eq!(facts("digital_out [ f(3)[1] ] = # c\n True"), ["f unknown", "digital_out[]"]);
    assert_eq!(facts("x = digital_out[3] == True"), Vec::<String>::new());
    assert_eq!(facts("m[0][1] = 2 a[1] += 3 f()[1] = 3"), ["m[]", "a[]", "f unknown", "[]"]);
    assert_eq!(facts("q = [1, 2] p = [3]"), Vec::<String>::new());
}

#[test]
fn methods_and_odd_calls() {
    assert_eq!(
        facts("s = rpc_factory(\"xmlrpc\", \"http://10.0.0.9/RPC2\") s.unlock(f()) a.b.c() f().g() h[1]()"),
        [
            "rpc_factory network",
            "-> http://10.0.0.9/RPC2",
            "s.unlock",
            "f unknown",
            "b.c",
            "f unknown",
            ".g",
            "h unknown"
        ]
    );
}

#[test]
fn connections_name_their_target_only_as_a_literal() {
    assert_eq!(facts("socket_open(\"10.0.0.9\", 5000, \"a\")"), ["socket_open network", "-> 10.0.0.9:5000"]);
    assert_eq!(facts("socket_open(\"10.0.0.9\", port)"), ["socket_open network", "-> 10.0.0.9"]);
    assert_eq!(facts("socket_open(\"10.0.0.9\", 50 00)"), ["socket_open network", "-> 10.0.0.9"]);
    assert_eq!(facts("socket_open(\"a\\b\", 5000)"), ["socket_open network", "-> ?:5000"]);
    assert_eq!(facts("socket_open(\"a\", f())"), ["socket_open network", "-> ?", "f unknown"]);
    assert_eq!(
        facts("modbus_send_custom_command(\"10.0.0.9\", 255, 16, [0, 1])"),
        ["modbus_send_custom_command network", "-> 10.0.0.9"]
    );
    assert_eq!(facts("socket_open(host, 5000)"), ["socket_open network", "-> ?:5000"]);
    assert_eq!(facts("socket_open(\"a\" + b, 5000)"), ["socket_open network", "-> ?:5000"]);
    assert_eq!(facts("socket_open(\"ok\", 1, address=\"evil\")"), ["socket_open network", "-> ?"]);
    assert_eq!(
        facts("modbus_add_signal(\"10.0.0.9\", 255, 1, 0, \"x\")"),
        ["modbus_add_signal network", "-> 10.0.0.9"]
    );
    assert_eq!(facts("ros_publisher_factory(\"/t\", \"T\")"), ["ros_publisher_factory network", "-> ?"]);
    assert_eq!(facts("socket_close()"), ["socket_close network"]);
}

#[test]
fn arguments_as_literals() {
    let text = b"movel(p[0.1,0,0.3,0,3.5,0], a=1.2, v=limit)\n";
    let Step::Whole { unit, .. } = Scanner::default().step(text, Dialect::Client).unwrap() else { panic!() };
    let Some(Fact::Call { category: Category::Motion, arguments, .. }) = unit.facts().next() else { panic!() };
    assert_eq!(arguments.text(), b"p[0.1,0,0.3,0,3.5,0], a=1.2, v=limit");
    let values: Vec<_> = arguments.iter().collect();
    let Value::Pose(pose) = values.first().unwrap().value else { panic!() };
    assert_eq!(pose.numbers(), Some([0.1, 0.0, 0.3, 0.0, 3.5, 0.0]));
    assert_eq!(
        values.get(1).map(|argument| (argument.name, argument.value)),
        Some((Some(&b"a"[..]), Value::Number(1.2)))
    );
    assert_eq!(values.get(2).unwrap().value, Value::Other(b"limit"));
}

#[test]
fn more_definitions_than_the_table_holds_are_unknown_not_local() {
    let mut text = String::from("def a():\n");
    for index in 0..400 {
        text += &format!("def f{index}():\nend\nf{index}()\n");
    }
    text += "end";
    let facts = facts(&text);
    assert_eq!(facts.iter().filter(|fact| fact.ends_with("local")).count(), 255);
    assert_eq!(facts.iter().filter(|fact| fact.ends_with("unknown")).count(), 145);
}
