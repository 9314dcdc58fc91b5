//! The demonstration: learn a cycle, enforce it, attack it, and let an independent receiver say what came through.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::LabError;
use super::appliance::Appliance;
use super::attacks::{self, Report};
use super::cell::{Cell, Host, Options};
use super::receiver::Verdict;

/// Hosts that attack.
const ATTACKERS: [Host; 4] = [Host::Attacker, Host::Plc, Host::Panel, Host::Ros];

/// Longest time that all attacks of one host may take.
const ATTACK_TIME: Duration = Duration::from_secs(180);

/// How long after an attack its record may be stamped.
const RECORD_DELAY: SignedDuration = SignedDuration::from_secs(3);

/// Becomes true on Ctrl-C, so that the cell is taken down before the program ends.
pub(crate) fn interruption() -> Result<Arc<AtomicBool>, LabError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(LabError::io("signal handler"))?;
    }
    Ok(flag)
}

fn pause(time: Duration, interrupted: &AtomicBool) -> Result<(), LabError> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if interrupted.load(Ordering::Relaxed) {
            return Err(LabError::Said("interrupted; the cell is taken down".into()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// One promise of the demonstration and whether it held.
struct Check {
    promise: &'static str,
    held: bool,
    detail: String,
}

/// Runs the demonstration.
///
/// # Errors
/// The cell or the appliance does not come up, or a promise does not hold.
pub(crate) fn run(learn: Duration) -> Result<(), LabError> {
    let interrupted = interruption()?;
    step("cell: namespaces, cables, emulated controller, remote I/O");
    let mut cell = Cell::up(&Options::default())?;
    let result = demonstrate(&mut cell, learn, &interrupted);
    if result.is_err() && !interrupted.load(Ordering::Relaxed) {
        step(&format!("the cell's files are kept in {}", cell.keep_files().display()));
    }
    result
}

fn step(text: &str) {
    eprintln!("vambrace: {text}");
}

fn demonstrate(cell: &mut Cell, learn: Duration, interrupted: &AtomicBool) -> Result<(), LabError> {
    cell.start_robot()?;
    let appliance = Appliance::of(cell);
    step("appliance between plant and robot, mode learn");
    cell.start_appliance("learn")?;
    let pcap = cell.directory().join("robot-port.pcap");
    let reports_file = cell.directory().join("attacks.jsonl");
    let (pcap_text, reports_text) = (pcap.display().to_string(), reports_file.display().to_string());
    let receiver_args =
        ["lab", "actor", "receiver", "--interface", "eth0", "--pcap", &pcap_text, "--reports", &reports_text];
    let mut receiver = cell.spawn(Host::Robot, "receiver", &receiver_args)?;
    receiver.wait_for("\"ready\"", Duration::from_secs(10))?;
    cell.start_cycle()?;
    step(&format!("production cycle runs; learning for {} s", learn.as_secs()));
    pause(learn, interrupted)?;

    let policy = appliance.policy.display().to_string();
    appliance.ask(&["learn", "stop", "-o", &policy])?;
    appliance.ask(&["policy", "check", &policy])?;
    appliance.ask(&["policy", "apply", &policy])?;
    appliance.ask(&["mode", "enforce"])?;
    step("learned policy applied, mode enforce");
    pause(Duration::from_secs(1), interrupted)?;

    step(&format!("{} attacks from {} hosts while the cycle goes on", attacks::all().len(), ATTACKERS.len()));
    let mut attacking = Vec::new();
    for host in ATTACKERS {
        let name = format!("attacks-{}", host.name());
        attacking.push(cell.spawn(host, &name, &["lab", "actor", "attacks", "--host", host.name()])?);
    }
    let end = Instant::now() + ATTACK_TIME;
    while attacking.iter_mut().any(|process| process.is_running()) {
        if Instant::now() > end {
            attacking.iter_mut().for_each(super::cell::Process::end);
            return Err(LabError::Failed("the attacks did not end in time".into()));
        }
        pause(Duration::from_millis(100), interrupted)?;
    }
    pause(Duration::from_secs(2), interrupted)?;

    let lines: Vec<String> = attacking.iter().flat_map(super::cell::Process::lines).collect();
    super::cell::write(&reports_file, &(lines.join("\n") + "\n"))?;
    let reports: Vec<Report> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let expected: usize =
        attacks::all().iter().map(|attack| ATTACKERS.iter().filter(|host| attack.from.contains(host)).count()).sum();
    receiver.finish(Duration::from_secs(60))?;
    let verdict = receiver_verdict(&receiver.lines())
        .ok_or_else(|| LabError::Failed(format!("the receiver gave no verdict: {}", receiver.complaint())))?;
    let residence = residence(&appliance);
    let events = read_events(&appliance)?;

    let rows: Vec<Row> = reports.iter().map(|report| Row::of(report, &verdict, &events)).collect();
    print_table(&rows);
    // What was to go over a connection of the robot, and found none, was not run.
    let is_run = |report: &&Report| report.host != Host::Ros.name() || !report.outcome.robot_ports.is_empty();
    let run = reports.iter().filter(is_run).count();
    let checks = [
        Check { promise: "every attack was run", held: run == expected, detail: format!("{run} of {expected}") },
        Check {
            promise: "the receiver on the robot's port found none of the attacks' bytes",
            held: verdict.findings.is_empty() && verdict.frames > 0 && verdict.frames >= verdict.frames_on_port,
            detail: format!(
                "{} found in {} frames ({} on the port), {} TCP bytes",
                verdict.findings.len(),
                verdict.frames,
                verdict.frames_on_port,
                verdict.bytes
            ),
        },
        Check {
            promise: "every attack is in the records",
            held: rows.iter().all(|row| row.recorded.is_some()),
            detail: format!("{} of {}", rows.iter().filter(|row| row.recorded.is_some()).count(), rows.len()),
        },
        controller_check(cell),
        sessions_check(cell, &reports),
        cycle_check(cell, "plc", "no PLC cycle missed its beat", &residence),
        cycle_check(cell, "panel", "no panel command missed its beat", &residence),
        cycle_check(cell, "ros", "no beat of the set-points was missed", &residence),
    ];
    println!();
    for check in &checks {
        println!("{} {}: {}", if check.held { "ok    " } else { "FAILED" }, check.promise, check.detail);
    }
    let failed: Vec<&str> = checks.iter().filter(|check| !check.held).map(|check| check.promise).collect();
    if failed.is_empty() { Ok(()) } else { Err(LabError::Failed(failed.join("; "))) }
}

fn receiver_verdict(lines: &[String]) -> Option<Verdict> {
    lines.iter().rev().find_map(|line| serde_json::from_str(line).ok())
}

/// What the controller executed for the attacker's address must be nothing.
fn controller_check(cell: &mut Cell) -> Check {
    let peer = format!("\"peer\":\"{}:", Host::Attacker.address());
    let lines = cell.process("controller").map(|process| process.lines()).unwrap_or_default();
    let executed: Vec<&String> = lines.iter().filter(|line| line.contains(&peer)).collect();
    Check {
        promise: "the controller executed nothing for the attacker's address",
        held: !lines.is_empty() && executed.is_empty(),
        detail: format!("{} of {} actions", executed.len(), lines.len()),
    }
}

/// External control must end with the program that has it. Where its connection breaks the robot halts, and fewer beats
/// are all that its computer would see of that.
fn sessions_check(cell: &mut Cell, reports: &[Report]) -> Check {
    let lines = cell.process("controller").map(|process| process.lines()).unwrap_or_default();
    let actions = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends: Vec<Value> =
        actions.filter(|action| action["interface"] == "external reverse" && action["did"] == "end").collect();
    let broken = ends.iter().filter(|end| end["why"] != "stopped").count();
    let hung_up = reports.iter().filter(|report| report.outcome.hung_up).count();
    Check {
        promise: "external control broke only where an attack hung up",
        held: ends.len() > 10 && broken <= hung_up,
        detail: format!("{broken} of {} broke, {hung_up} attacks hung up", ends.len()),
    }
}

/// How long frames were in the box, as it tells itself: what a late beat is to be compared with. From the kernel's stamp
/// to the hand-over, so that a box that was given no core counts as late; a late PLC or controller does not show here.
fn residence(appliance: &Appliance) -> String {
    let status = appliance.ask(&["--json", "status"]).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let traffic = status.unwrap_or_default()["traffic"].take();
    match (traffic["p99_us"].as_f64(), traffic["longest_us"].as_f64()) {
        (Some(p99), Some(longest)) => {
            format!("frames were in the box for {:.3} ms at 99 %, {:.3} ms at most", p99 / 1000.0, longest / 1000.0)
        }
        _ => "the box did not tell how long frames were in it".to_owned(),
    }
}

/// Beside a late beat stands how long frames were in the box, so that it is seen whether the box was late or the machine.
fn cycle_check(cell: &mut Cell, name: &str, promise: &'static str, residence: &str) -> Check {
    let lines = cell.process(name).map(|process| process.lines()).unwrap_or_default();
    let cycles: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let missed = cycles.iter().filter(|cycle| cycle["missed"] != Value::Bool(false)).count();
    let most = |key: &str| cycles.iter().filter_map(|cycle| cycle[key].as_u64()).max().map(|us| us as f64 / 1000.0);
    let longest = most("took_us").unwrap_or_default();
    // A gap between two RTDE packages that is longer than the beat misses it, too.
    let gap = most("rtde_gap_us").map_or_else(String::new, |gap| format!(", longest RTDE gap {gap} ms"));
    Check {
        promise,
        held: missed == 0 && cycles.len() > 10,
        detail: format!("{missed} of {} missed, longest {longest} ms{gap}; {residence}", cycles.len()),
    }
}

/// A line of the table.
struct Row {
    attack: String,
    host: String,
    answer: String,
    recorded: Option<String>,
    arrived: bool,
}

impl Row {
    fn of(report: &Report, verdict: &Verdict, events: &[Value]) -> Self {
        let outcome = &report.outcome;
        let answer = match (&outcome.error, outcome.connected) {
            (Some(error), _) => error.clone(),
            (None, true) if outcome.answer.is_empty() => "closed".into(),
            (None, true) => "answered".into(),
            (None, false) => "sent".into(),
        };
        Self {
            attack: report.name.clone(),
            host: report.host.clone(),
            answer: answer.split(" (os error").next().unwrap_or_default().to_lowercase(),
            recorded: events.iter().find_map(|event| refusal_of(event, report)),
            arrived: verdict.findings.iter().any(|found| found.attack == report.name && found.host == report.host),
        }
    }
}

fn print_table(rows: &[Row]) {
    println!("{:26} {:10} {:28} {:26} at the robot", "attack", "from", "attacker saw", "recorded");
    for row in rows {
        println!(
            "{:26} {:10} {:28} {:26} {}",
            row.attack,
            row.host,
            row.answer.chars().take(28).collect::<String>(),
            row.recorded.as_deref().unwrap_or("NOTHING"),
            if row.arrived { "ARRIVED" } else { "nothing" }
        );
    }
}

/// All records of the appliance, the file being written and those turned over.
fn read_events(appliance: &Appliance) -> Result<Vec<Value>, LabError> {
    let directory = appliance.records.display();
    let listed = fs::read_dir(&appliance.records).map_err(LabError::io(format!("cannot read {directory}")))?;
    let mut events = Vec::new();
    for entry in listed.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("eve") && name.ends_with(".json") {
            for line in super::cell::read(&entry.path())?.lines() {
                let event = serde_json::from_str(line);
                events.push(event.map_err(|error| LabError::Failed(format!("{name}: {error}: {line}")))?);
            }
        }
    }
    if events.is_empty() {
        return Err(LabError::Failed(format!("no records in {directory}")));
    }
    Ok(events)
}

/// The reason, where `event` is a refusal of what `report` did: same source, same connection where one is known, same
/// time.
fn refusal_of(event: &Value, report: &Report) -> Option<String> {
    let verdict = &event["verdict"];
    let refused = match event["event_type"].as_str()? {
        "verdict" => matches!(verdict["action"].as_str(), Some("refuse" | "reset" | "drop")),
        "alert" => event["alert"]["action"] == "blocked",
        "drop" => true,
        _ => false,
    };
    let time = Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", event["timestamp"].as_str()?).ok()?;
    let in_time = time >= report.started - SignedDuration::from_millis(100) && time <= report.ended + RECORD_DELAY;
    if !refused || !in_time {
        return None;
    }
    let same = match &report.outcome.source_mac {
        Some(mac) => event.to_string().to_lowercase().contains(&mac.to_lowercase()),
        None => {
            let source = report.source.to_string();
            let is_from = event["src_ip"].as_str() == Some(source.as_str());
            let is_to = event["dest_ip"].as_str() == Some(source.as_str());
            (is_from && (stands_for_many(event) || is_connection_of(event, report)))
                || (is_to && is_robots_connection_to(event, report))
        }
    };
    let reasons = [&verdict["reason"], &event["alert"]["context"]["reason"], &event["drop"]["reason"]];
    same.then(|| reasons.iter().find_map(|reason| reason.as_str()).unwrap_or("refused").to_owned())
}

fn is_connection_of(event: &Value, report: &Report) -> bool {
    let ports = &report.outcome.source_ports;
    (report.port == 0 || event["dest_port"].as_u64() == Some(u64::from(report.port)))
        && event["src_port"]
            .as_u64()
            .is_none_or(|port| ports.is_empty() || ports.iter().any(|own| u64::from(*own) == port))
}

/// The robot's own connection, over which the attack came; where it never came about, any to the attack's port.
fn is_robots_connection_to(event: &Value, report: &Report) -> bool {
    let ports = &report.outcome.robot_ports;
    event["dest_port"].as_u64() == Some(u64::from(report.port))
        && (ports.is_empty() || ports.iter().any(|own| event["src_port"].as_u64() == Some(u64::from(*own))))
}

/// Refused frames that are alike but for their ports make one record a second, which carries the last one's ports.
fn stands_for_many(event: &Value) -> bool {
    match event {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            (name == "repeats" && value.as_u64().is_some_and(|count| count > 0)) || stands_for_many(value)
        }),
        _ => false,
    }
}
