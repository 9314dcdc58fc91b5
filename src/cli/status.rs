use super::{Context, Exit, ask};
use std::collections::BTreeMap;

use crate::control::{ConversationStatus, Request, Response, Status, StreamStatus};

/// Prints the state of the running appliance.
pub(super) fn run(context: &Context) -> Exit {
    let status = match ask(context, &Request::Status) {
        Ok(Response::Status(status)) => status,
        Ok(_) => return super::fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => return exit,
    };
    if context.json {
        match serde_json::to_string(&status) {
            Ok(line) => println!("{line}"),
            Err(error) => return super::fail(Exit::Failed, &error),
        }
    } else {
        print(&status);
    }
    match (status.bypassed, status.degraded.is_empty()) {
        (true, _) => Exit::Bypassed,
        (false, false) => Exit::Degraded,
        (false, true) => Exit::Fine,
    }
}

fn print(status: &Status) {
    let until = status.mode_ends_in_seconds.map_or(String::new(), |seconds| format!(", for {seconds} s more"));
    println!("vambrace {} on {}", status.version, status.host);
    println!("mode       {}{until}", status.mode);
    match &status.policy {
        Some(policy) => {
            println!(
                "policy     {} (generation {}, {} rules, {})",
                policy.name, policy.generation, policy.rules, policy.digest
            );
        }
        None => println!("policy     none"),
    }
    for port in &status.ports {
        let state = if port.up { "up" } else { "DOWN" };
        println!("port       {:<6} {} {state}, {} received, {} sent", port.role, port.name, port.received, port.sent);
    }
    let traffic = &status.traffic;
    println!("frames     {} taken, {} forwarded, {} dropped", traffic.frames, traffic.forwarded, traffic.dropped);
    println!("commands   {} allowed, {} refused", traffic.allowed, traffic.refused);
    println!("flows      {} of {}", traffic.flows, traffic.flow_room);
    let (p50, p99, longest) = (traffic.p50_us, traffic.p99_us, traffic.longest_us);
    println!("in the box {p50:.1} us median, {p99:.1} us at 99 %, {longest:.1} us at most");
    for conversation in &status.conversations {
        for stream in &conversation.streams {
            println!("stream     {}", stream_line(conversation, stream));
        }
    }
    if status.late.values().any(|count| *count > 0) {
        println!("late       {}; {} of them so late that events tell of it", whose(&status.late), status.late_alarms);
    }
    for robot in &status.robots {
        let version = robot.version.as_ref().map_or(String::new(), |version| format!(", software {version}"));
        let age = robot.age_ms.map_or("never seen".to_owned(), |age| format!("{age} ms ago"));
        println!(
            "robot      {} {}: program {}, mode {}, safety {}, control {}{version} ({age})",
            robot.name, robot.ip, robot.program, robot.robot_mode, robot.safety, robot.control
        );
    }
    if let Some(patches) = &status.patches {
        println!("patches    {patches}");
    }
    for exemption in &status.exemptions {
        println!("exempt     {exemption}");
    }
    for input in &status.inputs {
        println!("input      {}", input.sentence);
    }
    for held in &status.quarantine {
        println!("quarantine {}", held.sentence);
    }
    let records = &status.records;
    println!(
        "records    {}: {} written, {} lost, {} of {} bytes",
        records.directory, records.written, records.lost, records.bytes, records.budget
    );
    println!(
        "evidence   {} lost, {} frames kept around refusals, {} for which there was no room",
        records.evidence_lost, records.frames_around, records.frames_missed
    );
    for witness in &records.witnesses {
        let took = witness.took_one_seconds_ago.map_or("none yet".to_owned(), |seconds| format!("{seconds} s ago"));
        let error = witness.error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
        println!("witness    {}: last checkpoint {took}{error}", witness.path);
    }
    println!("worker     {}", worker(status));
    println!("up         {} s, packet process replaced {} times", status.uptime_seconds, status.restarts);
    for sentence in &status.degraded {
        println!("DEGRADED   {sentence}");
    }
}

/// How the worker waits for frames, and how much of its time it slept.
fn worker(status: &Status) -> String {
    let share = status.slept_ms.checked_div(status.uptime_seconds.saturating_mul(10)).unwrap_or(0).min(100);
    match status.polling.as_str() {
        // One that is older does not say.
        "" => "waits in a way that it does not tell".to_owned(),
        "busy" => "polls busy, never asleep".to_owned(),
        polling => format!("polls {polling}, asleep {share} % of its time"),
    }
}

/// One periodic stream: its beat at either port, the box between them, and whose late frames were.
fn stream_line(conversation: &ConversationStatus, stream: &StreamStatus) -> String {
    let ends = [&conversation.client_name, &conversation.robot_name];
    let [from, to] = if stream.toward == "robot" { ends } else { [ends[1], ends[0]] };
    let (entry, exit, inside) = (&stream.entry, &stream.exit, &stream.in_the_box);
    let late = if stream.late.is_empty() { "none late".to_owned() } else { format!("late {}", whose(&stream.late)) };
    format!(
        "{from} -> {to} {}: every {:.2} ms; in p99 {:.2}, most {:.2}; out p99 {:.2}, most {:.2} ms; box p99 {:.0}, most \
         {:.0} us; {late}",
        conversation.service,
        stream.period_us / 1e3,
        entry.p99_us / 1e3,
        entry.longest_us / 1e3,
        exit.p99_us / 1e3,
        exit.longest_us / 1e3,
        inside.p99_us,
        inside.longest_us,
    )
}

/// Counts of late frames that are not zero: `client 2, box 1`.
pub(super) fn whose(late: &BTreeMap<String, u64>) -> String {
    let each: Vec<_> =
        late.iter().filter(|(_, count)| **count > 0).map(|(whose, count)| format!("{whose} {count}")).collect();
    each.join(", ")
}
