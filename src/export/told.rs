//! Event lines as they were written: where what stands in them.

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use serde_json::Value;

/// Own members of a line: of Suricata's types in `alert.context` or `metadata.flowvars`, of our own in `verdict`,
/// `notice` or `robot_message`.
#[must_use]
pub fn ours(line: &Value) -> &Value {
    let flowvar = || line["metadata"]["flowvars"].as_array()?.iter().find(|item| item["key"] == "vambrace");
    let places = [&line["alert"]["context"], &line["verdict"], &line["notice"], &line["robot_message"]];
    places.into_iter().find(|place| place.is_object()).or_else(flowvar).unwrap_or(&Value::Null)
}

/// Id of the event.
#[must_use]
pub fn event_id(line: &Value) -> Option<u64> {
    ours(line)["event_id"].as_u64()
}

/// What the command said; absent where the line tells of no command.
#[must_use]
pub fn command(line: &Value) -> Option<&Value> {
    let own = line["event_type"].as_str().and_then(|kind| line.get(kind)).filter(|_| line.get("verdict").is_some());
    Some(&ours(line)["command"]).filter(|command| command.is_object()).or(own).filter(|command| command.is_object())
}

/// The service of the command.
#[must_use]
pub fn service(line: &Value) -> &str {
    ours(line)["service"].as_str().unwrap_or_default()
}

/// Whether the line tells of something that was, or would be, refused.
#[must_use]
pub fn is_refusal(line: &Value) -> bool {
    matches!(ours(line)["action"].as_str(), Some("refused" | "would_refuse"))
}

/// Whether it tells of something that the robot sent a device of the plant.
#[must_use]
pub fn is_to_device(line: &Value) -> bool {
    ours(line)["toward"] == "plant"
}

/// Which way the connection was opened, as (plant end, robot end).
#[must_use]
pub fn ends(line: &Value) -> (&str, &str) {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let (source, destination) = (text("src_ip"), text("dest_ip"));
    let toward_plant = line["direction"] == "to_client" || line["event_type"] == "robot_message" || is_to_device(line);
    if toward_plant { (destination, source) } else { (source, destination) }
}

/// First and last register or coil that the command writes, or would have written.
#[must_use]
pub fn writes(line: &Value) -> Option<(u16, u16)> {
    let write = &command(line)?["write"];
    let (address, quantity) = (write["address"].as_u64()?, write["quantity"].as_u64()?);
    let first = u16::try_from(address).ok()?;
    // A write of nothing writes nothing; one beyond the last address ends there.
    let last = address.saturating_add(quantity.checked_sub(1)?);
    Some((first, u16::try_from(last).unwrap_or(u16::MAX)))
}

/// The program that the command brings or loads: the file that Dashboard is told to load, the name of a URScript program,
/// the hash of a text of external control.
#[must_use]
pub fn loads(line: &Value) -> Option<&str> {
    let command = command(line)?;
    match service(line) {
        "dashboard" => {
            let (verb, text) = (command["command"].as_str()?, command["text"].as_str()?.trim());
            let file = verb.starts_with("load").then(|| text.get(verb.len()..)).flatten();
            file.map(str::trim).filter(|file| !file.is_empty())
        }
        "urscript" => command["text"].as_str().filter(|_| command["kind"] == "program"),
        "external_control" => command["program"].as_str(),
        _ => None,
    }
}

/// What a line tells of without its values: who did what to what, and what became of it. `None` where it tells of nothing
/// that somebody did.
#[must_use]
pub fn behaviour(line: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let who = |line: &Value| ours(line)["client"].as_str().map_or_else(|| ends(line).0.to_owned(), str::to_owned);
    let whom = |line: &Value| ends(line).1.to_owned();
    match line["event_type"].as_str()? {
        "flow" => Some([text(&line["src_ip"]), text(&line["dest_ip"]), service(line).to_owned()].join(" ")),
        "drop" => Some(format!("drop {}", text(&ours(line)["reason"]))),
        _ => {
            let command = command(line)?;
            let what = match service(line) {
                "modbus" => format!("{} {} {}", text(&command["function"]), command["read"], command["write"]),
                "rtde" => {
                    let names = command["variables"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let names = names.iter().filter_map(|name| name.as_str()?.split('=').next());
                    format!("{} {}", text(&command["package"]), names.collect::<Vec<_>>().join(","))
                }
                "urscript" if command["kind"] == "program" => text(&command["program"]),
                "urscript" => format!("{} {}", text(&command["kind"]), command["functions"]),
                "external_control" => {
                    format!(
                        "{} {}",
                        text(&command["socket"]),
                        [&command["mode"], &command["function"], &command["program"]].map(text).concat()
                    )
                }
                _ => text(&command["text"]),
            };
            let action = text(&ours(line)["action"]);
            Some([who(line), whom(line), service(line).to_owned(), action, what].join(" "))
        }
    }
}

/// Who has the RTDE input that the command was refused for, by the box or by the robot.
#[must_use]
pub fn in_use(line: &Value) -> Option<&str> {
    let answers = [&ours(line)["answer"], &line[service(line)]["answer"], &line["answer"]];
    let places = command(line).into_iter().chain(answers);
    places.into_iter().find_map(|place| place["in_use"].as_str())
}

/// A few words on what the command said.
#[must_use]
pub fn brief(line: &Value) -> String {
    let Some(command) = command(line) else { return String::new() };
    let text = |key: &str| command[key].as_str().unwrap_or_default();
    let list = |key: &str| {
        let items = command[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown: Vec<_> =
            items.iter().take(4).map(|item| item.as_str().map_or(item.to_string(), str::to_owned)).collect();
        let more = if items.len() > shown.len() { ", ..." } else { "" };
        format!("{}{more}", shown.join(", "))
    };
    let words = match service(line) {
        "modbus" => {
            let range = |key: &str| {
                let (address, quantity) = (command[key]["address"].as_u64()?, command[key]["quantity"].as_u64()?);
                let last = address.saturating_add(quantity).saturating_sub(1);
                Some(if quantity > 1 { format!(" {address}..={last}") } else { format!(" {address}") })
            };
            let written = range("write").map(|range| format!("{range} = {}", list("values")));
            [text("function").to_owned(), range("read").unwrap_or_default(), written.unwrap_or_default()].concat()
        }
        "rtde" => format!("{} {}", text("package"), list("variables")),
        "dashboard" => format!("`{}`", printable(text("text"))),
        "urscript" => format!("{} `{}`", text("kind"), printable(text("text"))),
        "external_control" => [text("socket"), " ", text("mode"), text("function")].concat(),
        other => other.to_owned(),
    };
    words.trim_end().to_owned()
}

/// Whether a character could act on a terminal or hide: controls and invisible marks.
#[must_use]
pub fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text that can't act on a terminal: what [`is_odd`] becomes `?`.
#[must_use]
pub fn printable(text: &str) -> String {
    text.trim_end().chars().map(|character| if is_odd(character) { '?' } else { character }).collect()
}
