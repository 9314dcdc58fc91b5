//! The narrowest rule that would allow what an event tells of, as TOML for the policy file.

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use std::fmt::Write;

use serde_json::Value;

use super::told;
use crate::patches::Pack;

/// The rule, or why no rule can allow it.
pub(super) fn narrowest(line: &Value) -> Result<String, &'static str> {
    let ours = told::ours(line);
    let id = format!("event-{}", told::event_id(line).unwrap_or(0));
    let (plant, robot) = told::ends(line);
    let client = ours["client"].as_str().unwrap_or(plant);
    let robot = ours["robot"].as_str().unwrap_or(robot);
    let denied = if ours["reason"] == "denied_by_rule" { Some(exemption(ours["rule"].as_str())?) } else { None };
    let opened_by_robot = line["direction"] == "to_client" || told::is_to_device(line);
    let mut rule = format!("[[allow]]\nid = {}\n", quoted(&id));
    if opened_by_robot && told::service(line) != "external_control" {
        let _ = writeln!(rule, "from = {}\nto = {}", quoted(robot), quoted(client));
    } else {
        let _ = writeln!(rule, "from = {}", quoted(client));
    }
    match told::command(line) {
        Some(command) => body(&mut rule, line, command)?,
        None => frame(&mut rule, line)?,
    }
    Ok(denied.map_or_else(String::new, |exemption| format!("{exemption}\n")) + &rule)
}

/// What rests the deny rules that refused it, where they are a virtual patch's:
/// an exemption, for an hour as an example.
fn exemption(rule: Option<&str>) -> Result<String, &'static str> {
    let id = rule.filter(|id| Pack::built_in().patch(id).is_some());
    let id = id.ok_or("A deny rule names it, and wins over every rule that allows: change that one.")?;
    let hour = jiff::SignedDuration::from_hours(1);
    let until = jiff::Timestamp::now().checked_add(hour).map_err(|_| "The clock is at its end.")?;
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
    Ok(format!(
        "# A virtual patch refuses it beside the policy. While an exemption lasts, the policy alone decides.\n\
         [[exempt]]\npatch = {}\nreason = \"...\"\nuntil = {until}\n",
        quoted(id)
    ))
}

fn body(rule: &mut String, line: &Value, command: &Value) -> Result<(), &'static str> {
    let service = told::service(line);
    let _ = writeln!(rule, "service = {}", quoted(service));
    if command.get("field").is_some() {
        return Err("The bytes can't be read as this protocol; rules allow what can be read.");
    }
    match service {
        "modbus" => modbus(rule, command),
        "rtde" => rtde(rule, command),
        "dashboard" => dashboard(rule, command),
        "urscript" => urscript(rule, command),
        "external_control" => external_control(rule, command),
        _ => Ok(()),
    }
}

fn modbus(rule: &mut String, command: &Value) -> Result<(), &'static str> {
    let _ = writeln!(rule, "function = [{}]", quoted(command["function"].as_str().unwrap_or_default()));
    let _ = writeln!(rule, "unit = [{}]", command["unit"]);
    let span = |key: &str| {
        let (address, quantity) = (command[key]["address"].as_u64()?, command[key]["quantity"].as_u64()?);
        Some((address, address.saturating_add(quantity.max(1)).saturating_sub(1)))
    };
    match (span("read"), span("write")) {
        (Some((a, b)), Some((c, d))) => {
            let _ = writeln!(rule, "read_address = [\"{a}..={b}\"]\nwrite_address = [\"{c}..={d}\"]");
        }
        (Some((first, last)), None) | (None, Some((first, last))) => {
            let _ = writeln!(rule, "address = [\"{first}..={last}\"]");
        }
        (None, None) => {}
    }
    let values: Vec<u64> = command["values"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let whole = command["values_cut"].as_bool() != Some(true);
    // Masks are no values, and bits have only two.
    let bounded = matches!(command["function_code"].as_u64(), Some(6 | 16 | 23));
    if let (Some(low), Some(high), true) = (values.iter().min(), values.iter().max(), whole && bounded) {
        let _ = writeln!(rule, "value = \"{low}..={high}\"");
    }
    Ok(())
}

fn rtde(rule: &mut String, command: &Value) -> Result<(), &'static str> {
    if command["variables_cut"].as_bool() == Some(true) {
        return Err(
            "The record holds only the first of its variables; `vambrace learn` proposes a rule from the traffic.",
        );
    }
    let variables: Vec<&str> =
        command["variables"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let names = || variables.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    match command["package"].as_str() {
        Some("setup_outputs") => {
            let _ = writeln!(rule, "outputs = [{}]", names());
            if let Some(frequency) = command["frequency_hz"].as_f64() {
                let _ = writeln!(rule, "frequency = \"1..={}\"", frequency.max(1.0));
            }
        }
        Some("setup_inputs") => {
            rule.push_str("[allow.inputs]\n");
            for name in variables {
                let _ = writeln!(rule, "{name} = {{}}");
            }
        }
        Some("data_package") => {
            rule.push_str("[allow.inputs]\n");
            for (name, value) in variables.iter().filter_map(|variable| variable.split_once('=')) {
                match value.parse::<f64>() {
                    Ok(number) if number.is_finite() => {
                        let _ = writeln!(rule, "{name} = {{ value = \"{value}..={value}\" }}");
                    }
                    _ => {
                        let _ = writeln!(rule, "{name} = {{}}");
                    }
                }
            }
        }
        _ => rule.push_str("outputs = []\n"),
    }
    Ok(())
}

fn dashboard(rule: &mut String, command: &Value) -> Result<(), &'static str> {
    let (Some(verb), Some(text)) = (command["command"].as_str(), command["text"].as_str()) else {
        return Err("The command is in no table of the service; rules allow known commands.");
    };
    if command.get("text_hex").is_some() || command.get("text_cut").is_some() {
        return Err("The line is no text or too long; rules allow neither.");
    }
    let _ = writeln!(rule, "command = [{}]", quoted(verb));
    let said = text.trim();
    let argument = said.get(verb.len()..).unwrap_or_default().trim();
    if !argument.is_empty() {
        let _ = writeln!(rule, "argument = [{}]", quoted(argument));
    }
    Ok(())
}

fn urscript(rule: &mut String, command: &Value) -> Result<(), &'static str> {
    let kind = command["kind"].as_str().unwrap_or_default();
    match kind {
        "bare" => {
            let _ =
                writeln!(rule, "kind = [\"bare\"]\nbare = [{}]", quoted(command["text"].as_str().unwrap_or_default()));
        }
        _ => {
            let program = command["program"].as_str().unwrap_or_default();
            let _ = writeln!(rule, "kind = [{}]\nprogram = [{}]", quoted(kind), quoted(program));
        }
    }
    Ok(())
}

fn external_control(rule: &mut String, command: &Value) -> Result<(), &'static str> {
    let mode = command["mode"].as_str().unwrap_or_default();
    if mode == "unknown" || command["function"] == "unknown" {
        return Err("The mode or function is in no table of the service; rules allow known ones.");
    }
    match command["socket"].as_str() {
        Some("script") => {
            let _ = writeln!(rule, "program = [{}]", quoted(command["program"].as_str().unwrap_or_default()));
        }
        Some("command") => {
            let name = command["function"].as_str().unwrap_or_default();
            let _ = writeln!(rule, "function = [{}]", quoted(name));
            let integers = (0..).map_while(|place| i32::try_from(command[format!("a{place}")].as_i64()?).ok());
            if let Some(bounds) = crate::policy::order_bounds(name, &integers.collect::<Vec<_>>())
                && !bounds.is_empty()
            {
                let _ = write!(rule, "[allow.bounds]\n{bounds}");
            }
        }
        Some("trajectory") => rule.push_str("mode = [\"forward\"]\n"),
        _ => {
            let _ = writeln!(rule, "mode = [{}]", quoted(mode));
            if let Some(timeout) = command["timeout_ms"].as_i64() {
                let _ = writeln!(rule, "timeout_ms = \"{timeout}..={timeout}\"");
            }
        }
    }
    let joints: Vec<_> = (0..6).filter_map(|joint| command[format!("q{joint}")].as_f64()).collect();
    if joints.len() == 6 && matches!((command["socket"].as_str(), mode), (Some("trajectory"), _) | (_, "servoj")) {
        let ranges: Vec<_> = joints.iter().map(|joint| format!("\"{joint:?}..={joint:?}\"")).collect();
        let _ = writeln!(rule, "[allow.envelope]\nposition_rad = [{}]", ranges.join(", "));
    }
    Ok(())
}

/// A refused frame: only whole ports can be allowed.
fn frame(rule: &mut String, line: &Value) -> Result<(), &'static str> {
    let reason = told::ours(line)["reason"].as_str().unwrap_or_default();
    let port = line["dest_port"].as_u64().filter(|port| *port != 0);
    match (reason, line["proto"].as_str(), port) {
        ("no_service_rule" | "egress_not_allowed" | "no_rule" | "no_rule_for_client", Some("TCP"), Some(port)) => {
            let service = crate::command::Service::of_tcp_port(u16::try_from(port).unwrap_or(0));
            let _ = writeln!(rule, "service = \"{service}\"");
            Ok(())
        }
        ("no_service_rule" | "egress_not_allowed" | "no_rule" | "no_rule_for_client", Some("UDP"), Some(port)) => {
            let _ = writeln!(rule, "service = \"udp/{port}\"");
            Ok(())
        }
        ("ether_type_not_listed", ..) => {
            Err("No rule: protocols below IP are listed as layer2.pass in the configuration.")
        }
        ("mac_mismatch" | "arp_conflict", ..) => {
            Err("No rule: addresses are bound to MACs as asset.mac in the configuration.")
        }
        _ => Err("No rule can allow it: it breaks a protocol, or the box was not able to judge it."),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
