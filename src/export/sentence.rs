use std::fmt::Write;

use dissect::Toward;

use super::Names;
use crate::command::Service;
use crate::event::{
    Action, CommandRecord, Detail, Event, FlowEnd, FrameRecord, MessageRecord, ModbusDetail, Notice, Record, Said,
    Shed, Whose,
};

/// Longest piece of text from the wire in a sentence.
const EXCERPT: usize = 80;

/// One sentence for people: who did what to whom, what became of it, by which rule and why.
#[must_use]
pub fn sentence(event: &Event, names: &Names) -> String {
    match &event.record {
        Record::Command(command) => of_command(command, names),
        Record::Answer(answer) => {
            let (robot, plant) = (answer.key.robot.ip(), answer.key.plant.ip());
            let (robot, plant) = (names.asset_or_address(robot), names.asset_or_address(plant));
            format!("{robot} answered {plant} by {} what nobody waited for.", answer.service)
        }
        Record::Message(message) => of_message(message, names),
        Record::Frame(frame) => of_frame(frame, names),
        Record::Flow(flow) => {
            let (from, to) = (flow.key.source(flow.opened), flow.key.destination(flow.opened));
            let end = match flow.end {
                FlowEnd::Closed => "closed by both ends",
                FlowEnd::Reset => "reset by an end",
                FlowEnd::Refused => "ended by the box",
                FlowEnd::TimedOut => "idle too long",
                FlowEnd::Lasting => "still open",
            };
            let [allowed, refused] = flow.commands;
            format!(
                "{} to {} by {}: {end}, {allowed} commands allowed, {refused} refused.",
                names.asset_or_address(from.ip()),
                names.asset_or_address(to.ip()),
                flow.service
            )
        }
        Record::Notice(notice) => of_notice(notice, names),
    }
}

fn of_command(command: &CommandRecord, names: &Names) -> String {
    let ends = [command.key.source(command.toward()), command.key.destination(command.toward())];
    let [from, to] = ends.map(|end| names.asset_or_address(end.ip()));
    let mut text = format!("{from} sent {to} ");
    describe(&command.detail, command, &mut text);
    let verdict = &command.verdict;
    text.push_str(match (verdict.is_allowed(), command.enforced) {
        (true, _) => ": allowed",
        (false, true) => match verdict.action {
            Action::Clamp => ": clamped",
            Action::Hold => ": held",
            _ => ": refused",
        },
        (false, false) => ": would be refused",
    });
    if let Some(rule) = names.rule(verdict) {
        let _ = write!(text, " by rule {rule}");
    }
    let _ = write!(text, " ({}): {}", verdict.reason, verdict.reason.sentence());
    if let Detail::Rtde { in_use: Some(in_use), .. } = command.detail {
        let _ = write!(text, " {in_use}.");
    }
    text
}

/// What a command said, in a few words: `modbus write_single_register 128 = 5`.
pub(super) fn describe(detail: &Detail, command: &CommandRecord, text: &mut String) {
    let _ = write!(text, "{} ", command.service);
    match detail {
        Detail::Modbus(modbus) => of_modbus(modbus, text),
        Detail::RtdeData { fields, .. } => {
            let values = fields.spell(command.unit.as_bytes());
            let package = super::eve::package_name(rtde::PackageType::Data as u8);
            let _ = write!(text, "{package} {}", excerpt(values.as_bytes()));
        }
        Detail::Rtde { package, text: names, .. } => {
            let _ = write!(text, "{} {}", super::eve::package_name(*package), excerpt(names.as_bytes()));
        }
        Detail::Dashboard { text: line, .. } => {
            let _ = write!(text, "`{}`", excerpt(line.as_bytes()));
        }
        Detail::UrScript { kind, text: start, .. } => {
            let _ = write!(text, "{} `{}`", super::eve::kind_name(*kind), excerpt(start.as_bytes()));
        }
        Detail::ExternalControl { channel, name, text: said } => {
            let _ = write!(text, "{} {name} {}", channel.name(), excerpt(said.as_bytes()));
        }
        Detail::Transport => text.push_str("traffic"),
        Detail::Unreadable { field, offset, .. } => {
            let _ = write!(text, "bytes that can't be read ({field} at {offset})");
        }
    }
    let trimmed = text.trim_end().len();
    text.truncate(trimmed);
}

fn of_modbus(modbus: &ModbusDetail, text: &mut String) {
    let _ = write!(text, "{}", super::eve::function_name(modbus.function));
    let range = |address: u16, quantity: u16| match quantity {
        0 | 1 => address.to_string(),
        _ => format!("{address}..={}", u32::from(address).saturating_add(u32::from(quantity)).saturating_sub(1)),
    };
    if let Some((address, quantity)) = modbus.read {
        let _ = write!(text, " {}", range(address, quantity));
    }
    if let Some((address, quantity)) = modbus.write {
        let values = modbus.values.get(..usize::from(modbus.values_len)).unwrap_or_default();
        let shown: Vec<_> = values.iter().take(4).map(u16::to_string).collect();
        let more = if usize::from(quantity) > shown.len() { ", ..." } else { "" };
        let _ = write!(text, " {} = {}{more}", range(address, quantity), shown.join(", "));
    }
}

fn of_message(message: &MessageRecord, names: &Names) -> String {
    let mut text = format!("{} says", names.asset_or_address(message.key.robot.ip()));
    let _ = match message.said {
        Said::Text => write!(text, ":"),
        Said::Popup { grave } => write!(text, " in a window{}:", if grave == Some(true) { " of warning" } else { "" }),
        Said::Version { major, minor, bugfix } => write!(text, " that its version is {major}.{minor}.{bugfix}:"),
        Said::SafetyMode { code, argument, mode: Some(mode) } => {
            write!(text, " that its safety mode is {mode} (C{code}A{argument})")
        }
        Said::SafetyMode { code, argument, mode: None } => {
            write!(text, " that its safety mode changed (C{code}A{argument})")
        }
        Said::ErrorCode { code, argument, .. } => write!(text, " C{code}A{argument}:"),
        Said::Key { code, argument } => write!(text, " by key C{code}A{argument}:"),
        Said::RuntimeException { line, column } => {
            write!(text, " that its program failed in line {line}, column {column}:")
        }
    };
    let words = excerpt(message.text.as_bytes());
    if words.is_empty() {
        text.truncate(text.trim_end_matches(':').len());
        text.push('.');
    } else {
        let _ = write!(text, " `{words}`.");
    }
    if message.unreported > 0 {
        let _ = write!(text, " {} more before it.", message.unreported);
    }
    text
}

fn of_frame(frame: &FrameRecord, names: &Names) -> String {
    let side = match frame.toward {
        Toward::Robot => "toward the robot",
        Toward::Plant => "out of the robot's side",
    };
    let what = match frame.key {
        Some(key) => format!(
            "from {}:{} to {}:{}",
            names.asset_or_address(key.source(frame.toward).ip()),
            key.source(frame.toward).port,
            names.asset_or_address(key.destination(frame.toward).ip()),
            key.destination(frame.toward).port
        ),
        None => format!("from {} to {} of type 0x{:04x}", frame.macs.0, frame.macs.1, frame.ether_type),
    };
    let verdict = match (frame.verdict.is_allowed(), frame.enforced) {
        (true, _) => "passed",
        (false, true) => "refused",
        (false, false) => "would be refused",
    };
    let known = frame.key.and_then(|key| {
        let port = |port: u16| match key.protocol {
            link::protocol::UDP => Service::Udp(port).known_as(),
            link::protocol::TCP => Service::of_tcp_port(port).known_as(),
            _ => None,
        };
        port(key.destination(frame.toward).port).or_else(|| port(key.source(frame.toward).port))
    });
    let known = known.map_or(String::new(), |known| format!(" ({known})"));
    let mut text = format!("A frame {side} {what}{known}: {verdict}");
    if let Some(rule) = names.rule(&frame.verdict) {
        let _ = write!(text, " by rule {rule}");
    }
    let _ = write!(text, " ({}): {}", frame.verdict.reason, frame.verdict.reason.sentence());
    if frame.repeats > 0 {
        let _ = write!(text, " {} alike before it.", frame.repeats);
    }
    text
}

fn of_notice(notice: &Notice, names: &Names) -> String {
    let side = |side: Toward| match side {
        Toward::Robot => "robot",
        Toward::Plant => "plant",
    };
    match notice {
        Notice::Started => format!("{} took the wire.", names.host()),
        Notice::Replaced { how, restarts } => {
            let why = match *how {
                "hang" => "whose worker moved no more",
                "never_began" => "that did not begin",
                "exit" => "that ended by itself",
                _ => "that was ended by a signal",
            };
            format!("A packet process took the place of one {why}; {restarts} were replaced so far.")
        }
        Notice::Opened { for_ms } => {
            format!("The kernel carried every frame for {for_ms} ms, while no packet process judged.")
        }
        Notice::Bypass { state: "on", uid, for_seconds } => {
            format!("Bypass on for {for_seconds} s, asked for by uid {uid}: frames go past the policy.")
        }
        Notice::Bypass { state: "off", .. } => "Bypass off: frames come to the box.".to_owned(),
        Notice::Bypass { .. } => "The bypass did not obey its driver; it is tried again.".to_owned(),
        Notice::Mode { from, to, uid } => format!("Mode {from} became {to}, asked for by uid {uid}."),
        Notice::Policy { generation, uid, .. } => {
            format!("Policy generation {generation} is in force, asked for by uid {uid}.")
        }
        Notice::Asked { user, role, address, request, answer, why } => {
            let who = if user.is_empty() { "Somebody".to_owned() } else { format!("{user} ({role})") };
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("{who} asked from {address} for {request}: {answer}{why}.")
        }
        Notice::Update { step, from, to, who, why } => {
            let to = if to.is_empty() { "a version not known".to_owned() } else { to.to_string() };
            let became = match *step {
                "refused" => "was refused",
                "begun" => "begins",
                "written" => "is written; the box starts again to try it",
                "tried" => "is on trial",
                "committed" => "stays",
                _ => "did not stay",
            };
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("The update from {from} to {to}, ordered by {who}, {became}{why}.")
        }
        Notice::Patches { pack, in_force, generation, version } => {
            let of = match version {
                Some((major, minor, bugfix)) => format!("software {major}.{minor}.{bugfix}"),
                None => "unknown software".to_owned(),
            };
            format!("{in_force} virtual patches of pack {pack} have rules in force for {of}, generation {generation}.")
        }
        Notice::PatchTest { protected, not_protected, not_applicable, not_containable, untested } => {
            let rest = if *untested == 0 { String::new() } else { format!(" {untested} were not tried in time.") };
            format!(
                "Known attacks tried against the policy, as if enforced: {protected} contained, {not_protected} not, \
                 {not_applicable} not of this controller, {not_containable} not containable here.{rest}"
            )
        }
        Notice::Anomaly { key, service, what } => {
            format!("{} and {} by {service}: {what}.", key.plant.ip(), key.robot.ip())
        }
        Notice::Unreadable { key, reason } => {
            format!("{} and {} can't be read further: {}", key.plant.ip(), key.robot.ip(), reason.sentence())
        }
        Notice::Late { .. } => late(notice, names),
        Notice::Silent { key, service, toward, silent_ns, period_ns, over } => {
            let end = |ip| names.asset_or_address(ip);
            let (sender, receiver) = (end(key.source(*toward).ip()), end(key.destination(*toward).ip()));
            let (silent, usual) = (tenths(*silent_ns), tenths(*period_ns));
            let port = if *toward == Toward::Robot { "plant" } else { "robot" };
            if *over {
                format!(
                    "The {service} stream from {sender} to {receiver} goes on after {silent} ms; the sender had stopped, \
                     or waited itself."
                )
            } else {
                format!(
                    "The {service} stream from {sender} to {receiver} is silent: nothing reached the {port} port for \
                     {silent} ms, {usual} ms are usual."
                )
            }
        }
        Notice::Quarantine { address, mac, for_ns } => format!(
            "{} ({mac}) is kept out for {} s after too many refused commands.",
            names.asset_or_address(*address),
            for_ns / 1_000_000_000
        ),
        Notice::QuarantineFull { address, mac, for_ns } => format!(
            "The quarantine has no place for {} ({mac}): each of its refused commands ends its connection for {} s.",
            names.asset_or_address(*address),
            for_ns / 1_000_000_000
        ),
        Notice::Scan { address, mac, ports } => format!(
            "{} ({mac}) tried at least {ports} ports within ten seconds and was refused each.",
            names.asset_or_address(*address)
        ),
        Notice::FramesKept { uid } => {
            format!("The frames that the box remembers are kept in the evidence, asked for by uid {uid}.")
        }
        Notice::Capture { uid, only_dropped, snap, begins } => {
            let what = if *only_dropped { "refused frames" } else { "all frames" };
            let does = if *begins { "begins" } else { "ends" };
            format!("A capture of {what}, {snap} bytes of each, {does}; asked for by uid {uid}.")
        }
        Notice::RecordsLost { count } => format!("{count} records were lost."),
        Notice::Overload { shed: Shed::Nothing, counts } => {
            let all: Vec<_> =
                Shed::ALL.into_iter().zip(*counts).map(|(shed, count)| format!("{} {count}", shed.name())).collect();
            format!("The overload is over; given up in it: {}.", all.join(", "))
        }
        Notice::Overload { shed, .. } => {
            format!(
                "More comes than can be done: {} and what stands before it is given up; all is judged.",
                shed.name()
            )
        }
        Notice::Loop { mac } => {
            format!("Broadcasts of {mac} come in at both ports: another cable joins plant and robot past the box.")
        }
        Notice::Port { side: port, up } => format!("The {} port is {}.", side(*port), if *up { "up" } else { "down" }),
        Notice::ClockJump { by_ns } => format!("The wall clock jumped by {by_ns} ns."),
    }
}

/// Whose jitter it was, in one sentence.
fn late(notice: &Notice, names: &Names) -> String {
    let Notice::Late { key, service, toward, whose, interval_ns, period_ns, residence_ns, unreported } = notice else {
        return String::new();
    };
    let (sender, receiver) = (key.source(*toward).ip(), key.destination(*toward).ip());
    let (sender, receiver) = (names.asset_or_address(sender), names.asset_or_address(receiver));
    let (late_ns, port) =
        (interval_ns.saturating_sub(*period_ns), if *toward == Toward::Robot { "plant" } else { "robot" });
    let mut text = format!(
        "The {service} stream from {sender} to {receiver} came {} ms late ({} ms after the frame before it, {} ms are usual): ",
        tenths(late_ns),
        tenths(*interval_ns),
        tenths(*period_ns)
    );
    let _ = match whose {
        Whose::Client | Whose::Robot => {
            write!(text, "it was late when it reached the {port} port, {sender} sent it late.")
        }
        Whose::Network => write!(
            text,
            "it was late when it reached the {port} port, though {sender} sent it in time; it was held up or lost on the way."
        ),
        Whose::Plant => write!(
            text,
            "it was late when it reached the {port} port; whether {sender} or the network was late can't be told."
        ),
        Whose::Box if residence_ns.saturating_mul(2) >= late_ns => {
            write!(text, "it reached the {port} port in time and was {} ms in the box.", tenths(*residence_ns))
        }
        Whose::Box => write!(text, "it reached the {port} port in time; the box held what came before it."),
    };
    if *unreported > 0 {
        let _ = write!(text, " {unreported} more before it.");
    }
    text
}

/// Milliseconds with one place behind the point.
fn tenths(ns: u64) -> String {
    let tenths = ns.saturating_add(50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The start of text from the wire, printable.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for character in text.trim_end().chars() {
        if out.len() >= EXCERPT {
            out.push_str("...");
            break;
        }
        let mut quoted = String::new();
        super::json::quote(&mut quoted, character.encode_utf8(&mut [0; 4]));
        // Escapes as in JSON, but for quotes and backslashes, which a reader takes as they are.
        match character {
            '"' | '\\' => out.push(character),
            _ => out.push_str(quoted.trim_matches('"')),
        }
    }
    out
}
