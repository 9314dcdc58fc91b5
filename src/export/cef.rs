//! CEF, the Common Event Format, version 0: one line an event, from the event's EVE line.
//!
//! `CEF:0|Vambrace|Vambrace|VERSION|SIGID|NAME|SEVERITY|KEY=VALUE ...`. Source: the format's own keys where it has one;
//! `srcAssetName` and `dstAssetName` as Kaspersky Industrial CyberSecurity for Networks calls them, so that its
//! normalisers fit.

#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use serde_json::Value;

use super::told;

/// Longest value of a key in characters: readers cut or drop longer ones (`msg` has 1023 in the format).
const LONGEST: usize = 1023;

/// How grave an event is, 0 to 10, in the format's sense: 0-3 low, 4-6 medium, 7-8 high, 9-10 very high.
#[must_use]
pub fn severity(line: &Value) -> u8 {
    let blocked = line["alert"]["action"] == "blocked";
    match line["event_type"].as_str().unwrap_or_default() {
        "alert" => match line["alert"]["severity"].as_u64() {
            Some(1) if blocked => 8,
            Some(1) => 7,
            Some(2) => 6,
            _ => 5,
        },
        "drop" => 4,
        "anomaly" => 5,
        "robot_message" => 3,
        "notice" => match told::ours(line)["kind"].as_str().unwrap_or_default() {
            "bypass" if told::ours(line)["state"] == "off" => 3,
            "overload" if told::ours(line)["shed"] == "nothing" => 3,
            "opened" | "bypass" => 9,
            "quarantine" | "quarantine_full" | "records_lost" | "loop" => 7,
            "scan" | "denied" | "overload" => 6,
            "port" | "clock_jump" | "late" | "silent" | "replaced" => 5,
            _ => 3,
        },
        "stats" => 0,
        _ => 1,
    }
}

/// The event as CEF; `None` where the line is no event.
#[must_use]
pub fn cef(line: &Value) -> Option<String> {
    let kind = line["event_type"].as_str()?;
    let ours = told::ours(line);
    let (id, name) = match (line["alert"]["signature_id"].as_u64(), line["alert"]["signature"].as_str()) {
        (Some(id), Some(name)) => (id.to_string(), name.to_owned()),
        _ => match ours["kind"].as_str() {
            Some(own) => (format!("{kind}.{own}"), format!("Vambrace {kind} {own}")),
            None => (kind.to_owned(), format!("Vambrace {kind}")),
        },
    };
    let mut out = String::from("CEF:0|Vambrace|Vambrace|");
    header(&mut out, env!("CARGO_PKG_VERSION"));
    header(&mut out, &id);
    header(&mut out, &name);
    header(&mut out, &severity(line).to_string());
    let mut pairs = Pairs { out, empty: true };
    if let Some(time) = line["timestamp"].as_str().and_then(milliseconds) {
        pairs.put("rt", &time.to_string());
    }
    pairs.value("externalId", &ours["event_id"]);
    for (key, ours) in [("src", "src_ip"), ("spt", "src_port"), ("dst", "dest_ip"), ("dpt", "dest_port")] {
        pairs.value(key, &line[ours]);
    }
    pairs.value("proto", &line["proto"]);
    pairs.value("smac", &line["ether"]["src_mac"]);
    pairs.value("dmac", &line["ether"]["dest_mac"]);
    let (plant, robot) = (&ours["client"], &ours["robot"]);
    let from_plant = told::ends(line) == (text(&line["src_ip"]), text(&line["dest_ip"]));
    let (source, destination) = if from_plant { (plant, robot) } else { (robot, plant) };
    pairs.value("srcAssetName", source);
    pairs.value("dstAssetName", destination);
    pairs.value("act", &ours["action"]);
    let service = [&ours["service"], &line["app_proto"]].into_iter().find(|value| value.is_string());
    pairs.value("app", service.unwrap_or(&Value::Null));
    pairs.value("deviceExternalId", &line["host"]);
    pairs.value("dvchost", &line["host"]);
    labelled(&mut pairs, line, ours);
    let message = message(line, ours);
    if !message.is_empty() {
        pairs.put("msg", &message);
    }
    Some(pairs.out)
}

/// The format's own strings and number, each with what it stands for here.
fn labelled(pairs: &mut Pairs, line: &Value, ours: &Value) {
    let first = |value: &Value| value.as_array().and_then(|items| items.first()).cloned().unwrap_or_default();
    let technique = [first(&line["alert"]["metadata"]["mitre_technique_id"]), ours["mitre_technique_id"].clone()];
    let technique = technique.into_iter().find(Value::is_string).unwrap_or_default();
    let anomaly = &line["anomaly"]["event"];
    let reason = if ours["reason"].is_string() { &ours["reason"] } else { anomaly };
    let command = told::command(line).map(|command| Value::String(command.to_string())).unwrap_or_default();
    let strings = [
        ("cs1", "reason", reason),
        ("cs2", "rule", &ours["rule"]),
        ("cs3", "class", &ours["class"]),
        ("cs4", "attackTechnique", &technique),
        ("cs5", "communityId", &line["community_id"]),
        ("cs6", "command", &command),
        ("cn1", "generation", &ours["generation"]),
    ];
    for (key, label, value) in strings {
        if !value.is_null() {
            pairs.put(&format!("{key}Label"), label);
            pairs.value(key, value);
        }
    }
    let attacks: Vec<&str> =
        ours["patch"].as_array().map(|ids| ids.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    if !attacks.is_empty() {
        pairs.put("flexString1Label", "knownAttack");
        pairs.put("flexString1", &attacks.join(", "));
    }
    let repeats = [&ours["repeats"]["count"], &line["repeats"]["count"], &ours["repeats"]];
    let repeats = repeats.into_iter().find_map(Value::as_u64).filter(|count| *count > 1);
    if let Some(count) = repeats {
        pairs.put("cnt", &count.to_string());
    }
    // Where a late frame lost its time.
    pairs.value("cat", &ours["whose"]);
    // Who asked the box for something.
    pairs.value("suser", &ours["user"]);
    pairs.value("spriv", &ours["role"]);
    pairs.value("suid", &ours["uid"]);
}

fn message(line: &Value, ours: &Value) -> String {
    if let Some(sentence) = ours["sentence"].as_str() {
        return sentence.to_owned();
    }
    match line["event_type"].as_str() {
        Some("flow") => format!(
            "connection {}, {} commands allowed, {} refused",
            text(&ours["end"]),
            ours["commands_allowed"],
            ours["commands_refused"]
        ),
        Some("stats") => {
            let stats = &line["stats"];
            let (up, frames, blocked) = (&stats["uptime"], &stats["decoder"]["pkts"], &stats["ips"]["blocked"]);
            format!("heart-beat: up {up} s, {frames} frames, {blocked} dropped")
        }
        Some("anomaly") => text(&line["anomaly"]["event"]).to_owned(),
        _ => told::brief(line),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Milliseconds since 1970 of `2026-11-23T13:58:02.114209+0000`.
fn milliseconds(time: &str) -> Option<i64> {
    let time = jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", time).ok()?;
    Some(time.as_millisecond())
}

/// A field of the header: `|` and `\` are escaped, line ends become blanks.
fn header(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '|' | '\\' => out.extend(['\\', character]),
            other => out.push(if other.is_control() { ' ' } else { other }),
        }
    }
    out.push('|');
}

struct Pairs {
    out: String,
    empty: bool,
}

impl Pairs {
    fn value(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text) => self.put(key, text),
            Value::Number(number) => self.put(key, &number.to_string()),
            _ => {}
        }
    }

    /// `=` and `\` are escaped, line ends written as `\n` and `\r`; other controls could act on a terminal and become
    /// `?`, as in the lines for people.
    fn put(&mut self, key: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        if !self.empty {
            self.out.push(' ');
        }
        self.empty = false;
        self.out.push_str(key);
        self.out.push('=');
        for character in text.chars().take(LONGEST) {
            match character {
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '=' | '\\' => self.out.extend(['\\', character]),
                other if told::is_odd(other) => self.out.push('?'),
                other => self.out.push(other),
            }
        }
    }
}

#[cfg(test)]
#[path = "cef_tests.rs"]
mod tests;
