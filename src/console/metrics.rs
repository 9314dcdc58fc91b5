//! `/metrics` for Prometheus, text format 0.0.4: base units, closed lists as labels, every frame in one of the counters.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::parts::Parts;
use super::remote::Outcomes;
use super::sender::Progress;
use super::witness::Pushed;
use crate::config::Mode;
use crate::control::{Client, Request, Response, Status, StreamStatus};
use crate::event::{Reason, Shed, Whose};

/// Longest request that is read.
const REQUEST: u64 = 8 << 10;

/// How long a scrape may take in all, from the first byte of the request to the last of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection with an end: who sends or takes a byte now and then does not hold a place for longer.
struct Until<'s> {
    stream: &'s TcpStream,
    until: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(to)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What the answer is made of.
pub(super) struct Metrics {
    pub(super) socket: PathBuf,
    pub(super) parts: Parts,
    pub(super) senders: Vec<(String, Arc<Progress>)>,
    pub(super) witnesses: Vec<(String, Arc<Pushed>)>,
    pub(super) outcomes: Option<Arc<Outcomes>>,
}

impl Metrics {
    /// Serves one connection: one request, one answer.
    pub(super) fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        self.serve_within(stream, PATIENCE)
    }

    fn serve_within(&self, stream: &TcpStream, patience: Duration) -> io::Result<()> {
        let until = Instant::now().checked_add(patience).ok_or(io::ErrorKind::InvalidInput)?;
        let mut reader = BufReader::new(Until { stream, until }.take(REQUEST));
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
            line.clear();
        }
        let mut words = first.split_ascii_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let (status, kind, body) = match (method, path) {
            ("GET" | "HEAD", "/metrics") => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", self.text()),
            ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", "what there is stands under /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", "text/plain", "GET and HEAD alone\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = Until { stream, until };
        stream.write_all(head.as_bytes())?;
        if method != "HEAD" {
            stream.write_all(body.as_bytes())?;
        }
        stream.flush()
    }

    fn text(&self) -> String {
        let status = Client::connect(&self.socket).and_then(|mut client| client.ask(&Request::Status));
        let status = match status {
            Ok(Response::Status(status)) => Some(*status),
            _ => None,
        };
        let mut page = Page::default();
        page.family("vambrace_up", "gauge", "Whether the packet process answers.");
        page.put("", u64::from(status.is_some()));
        if let Some(status) = &status {
            of_the_box(&mut page, status);
            of_traffic(&mut page, status);
            of_streams(&mut page, status);
            of_records(&mut page, status);
        }
        self.own(&mut page);
        page.text
    }

    fn own(&self, page: &mut Page) {
        if self.parts.each().next().is_some() {
            let help = "Whether a part of the management process runs, as far as configured.";
            page.family("vambrace_console_part_up", "gauge", help);
            for (part, runs) in self.parts.each() {
                page.put(&labels(&[("part", part)]), runs.into());
            }
        }
        let of = |page: &mut Page, name: &'static str, kind, help, value: fn(&Progress) -> u64| {
            page.family(name, kind, help);
            for (receiver, progress) in &self.senders {
                page.put(&labels(&[("receiver", receiver)]), value(progress));
            }
        };
        if !self.senders.is_empty() {
            of(page, "vambrace_syslog_connected", "gauge", "Whether there is a connection to the receiver.", |it| {
                it.connected.load(Ordering::Relaxed).into()
            });
            of(
                page,
                "vambrace_syslog_messages_total",
                "counter",
                "Messages that the receiver's TCP acknowledged.",
                |it| it.sent.load(Ordering::Relaxed),
            );
            let help = "Events that were removed before they were sent, at most.";
            of(page, "vambrace_syslog_events_lost_total", "counter", help, |it| it.lost.load(Ordering::Relaxed));
            let help = "Connections that could not be made or broke.";
            of(page, "vambrace_syslog_failures_total", "counter", help, |it| it.failures.load(Ordering::Relaxed));
        }
        let of = |page: &mut Page, name: &'static str, help, value: fn(&Pushed) -> u64| {
            page.family(name, "counter", help);
            for (witness, pushed) in &self.witnesses {
                page.put(&labels(&[("witness", witness)]), value(pushed));
            }
        };
        if !self.witnesses.is_empty() {
            of(page, "vambrace_witness_checkpoints_total", "Checkpoints that the witness took.", |it| {
                it.taken.load(Ordering::Relaxed)
            });
            of(page, "vambrace_witness_failures_total", "Attempts to push a checkpoint that failed.", |it| {
                it.failures.load(Ordering::Relaxed)
            });
            page.family("vambrace_witness_age_seconds", "gauge", "Since the witness took a checkpoint.");
            for (witness, pushed) in &self.witnesses {
                if let Some(age) = pushed.age() {
                    page.put_seconds(&labels(&[("witness", witness)]), age.as_secs_f64());
                }
            }
        }
        if let Some(outcomes) = &self.outcomes {
            let name = "vambrace_remote_connections_total";
            page.family(name, "counter", "Connections to the remote API by what became of them.");
            for (outcome, count) in
                [("accepted", &outcomes.accepted), ("refused", &outcomes.refused), ("locked_out", &outcomes.locked_out)]
            {
                page.put(&labels(&[("outcome", outcome)]), count.load(Ordering::Relaxed));
            }
        }
    }
}

fn of_the_box(page: &mut Page, status: &Status) {
    page.family("vambrace_build_info", "gauge", "The version that runs; always 1.");
    page.put(&labels(&[("version", &status.version)]), 1);
    page.family("vambrace_mode", "gauge", "1 for the mode in force.");
    for (name, _) in Mode::NAMED {
        page.put(&labels(&[("mode", name)]), u64::from(status.mode == name));
    }
    page.family("vambrace_degraded", "gauge", "How many things work less well than configured.");
    page.put("", u64::try_from(status.degraded.len()).unwrap_or(u64::MAX));
    page.family("vambrace_bypassed", "gauge", "Whether frames go past the policy.");
    page.put("", status.bypassed.into());
    page.family("vambrace_uptime_seconds", "gauge", "Since the packet process took the wire.");
    page.put("", status.uptime_seconds);
    page.family("vambrace_worker_slept_seconds_total", "counter", "Time that the worker slept, with nothing to do.");
    page.put_seconds("", milli(status.slept_ms));
    page.family("vambrace_restarts_total", "counter", "Packet processes that were replaced.");
    page.put("", status.restarts.into());
    page.family(
        "vambrace_openings_total",
        "counter",
        "Times that the kernel carried frames, as no packet process judged.",
    );
    page.put("", status.openings);
    page.family("vambrace_policy_generation", "gauge", "Generation of the policy in force; 0 without one.");
    page.put("", status.policy.as_ref().map_or(0, |policy| policy.generation.into()));
    page.family("vambrace_policy_rules", "gauge", "Rules of the policy in force.");
    page.put("", status.policy.as_ref().map_or(0, |policy| policy.rules.into()));
    page.family("vambrace_robot_state_age_seconds", "gauge", "Age of what is known of the robot.");
    for robot in &status.robots {
        if let Some(age) = robot.age_ms {
            page.put_seconds(&labels(&[("robot", &robot.name)]), milli(age));
        }
    }
}

fn of_traffic(page: &mut Page, status: &Status) {
    let ports = &status.ports;
    let mut each = |name: &'static str, kind, help, value: fn(&crate::control::PortStatus) -> u64| {
        page.family(name, kind, help);
        for port in ports {
            page.put(&labels(&[("port", &port.role)]), value(port));
        }
    };
    each("vambrace_port_up", "gauge", "Whether the link is up.", |port| port.up.into());
    each("vambrace_port_receive_frames_total", "counter", "Frames received on the port.", |port| port.received);
    each("vambrace_port_transmit_frames_total", "counter", "Frames sent on the port.", |port| port.sent);
    let help = "Frames that the kernel dropped before they were seen.";
    each("vambrace_port_kernel_drops_total", "counter", help, |port| port.kernel_drops);
    let help = "Frames that the port did not take.";
    each("vambrace_port_refused_frames_total", "counter", help, |port| port.refused);
    let traffic = &status.traffic;
    page.family("vambrace_shed_total", "counter", "What was given up under overload.");
    for shed in Shed::ALL {
        page.put(&labels(&[("what", shed.name())]), traffic.shed.get(shed.name()).copied().unwrap_or(0));
    }
    let help = "Frames received on both ports; forwarded and dropped add up to it.";
    page.family("vambrace_frames_received_total", "counter", help);
    page.put("", traffic.frames);
    page.family("vambrace_frames_forwarded_total", "counter", "Received frames that went on, whole or by their bytes.");
    page.put("", traffic.forwarded);
    page.family("vambrace_frames_dropped_total", "counter", "Received frames that did not go on, by reason.");
    for reason in Reason::ALL {
        let count = traffic.dropped_by.get(reason.name()).copied().unwrap_or(0);
        page.put(&labels(&[("reason", reason.name())]), count);
    }
    page.family("vambrace_commands_total", "counter", "Commands toward the robot by verdict.");
    page.put(&labels(&[("verdict", "allowed")]), traffic.allowed);
    page.put(&labels(&[("verdict", "refused")]), traffic.refused);
    page.family("vambrace_flows", "gauge", "Conversations in the flow table.");
    page.put("", traffic.flows);
    page.family("vambrace_flows_limit", "gauge", "Room of the flow table.");
    page.put("", traffic.flow_room);
    for (name, help, value) in [
        ("vambrace_residence_median_seconds", "Time in the box, half of the frames.", traffic.p50_us),
        ("vambrace_residence_p99_seconds", "Time in the box, 99 of 100 frames.", traffic.p99_us),
        ("vambrace_residence_longest_seconds", "Longest time in the box.", traffic.longest_us),
    ] {
        page.family(name, "gauge", help);
        page.put_seconds("", value / 1e6);
    }
}

/// Services by name; what else there is goes by one label, so that no client can make new ones.
const SERVICES: [&str; 6] = ["modbus", "rtde", "dashboard", "urscript", "external_control", "other"];

fn of_streams(page: &mut Page, status: &Status) {
    page.family(
        "vambrace_late_frames_total",
        "counter",
        "Late frames of periodic streams, by where they lost their time.",
    );
    for whose in Whose::ALL {
        page.put(&labels(&[("whose", whose.name())]), status.late.get(whose.name()).copied().unwrap_or(0));
    }
    let help = "Those of them that were as late as is told of.";
    page.family("vambrace_late_alarms_total", "counter", help);
    page.put("", status.late_alarms);
    let named = |service: &str| SERVICES.into_iter().find(|name| *name == service).unwrap_or("other");
    let mut each = |name: &'static str, help, value: fn(&StreamStatus) -> f64| {
        // Nothing where there is no such stream: a zero would look like a good one.
        let mut worst = BTreeMap::new();
        for conversation in &status.conversations {
            for stream in &conversation.streams {
                let toward = if stream.toward == "robot" { "robot" } else { "plant" };
                let so_far: &mut f64 = worst.entry((named(&conversation.service), toward)).or_default();
                *so_far = so_far.max(value(stream));
            }
        }
        if !worst.is_empty() {
            page.family(name, "gauge", help);
        }
        for ((service, toward), worst) in worst {
            page.put_seconds(&labels(&[("service", service), ("toward", toward)]), worst / 1e6);
        }
    };
    let help = "Longest time between two frames at either port within two seconds, of the worst stream.";
    each("vambrace_stream_interval_worst_seconds", help, |stream| stream.worst_us);
    let help = "Time between two frames where they come in, 99 of 100, of the worst stream.";
    each("vambrace_stream_interval_entry_p99_seconds", help, |stream| stream.entry.p99_us);
    let help = "Time between two frames where they go out, 99 of 100, of the worst stream.";
    each("vambrace_stream_interval_exit_p99_seconds", help, |stream| stream.exit.p99_us);
    let help = "Time in the box, 99 of 100 frames, of the worst stream.";
    each("vambrace_stream_residence_p99_seconds", help, |stream| stream.in_the_box.p99_us);
}

fn of_records(page: &mut Page, status: &Status) {
    let records = &status.records;
    for (name, kind, help, value) in [
        ("vambrace_records_written_total", "counter", "Events written.", records.written),
        ("vambrace_records_lost_total", "counter", "Events lost: queue full or disk refused.", records.lost),
        ("vambrace_record_frames_lost_total", "counter", "Copies of refused frames lost.", records.frames_lost),
        ("vambrace_records_bytes", "gauge", "Bytes of all record files.", records.bytes),
        ("vambrace_records_limit_bytes", "gauge", "Most bytes that they may take.", records.budget),
        ("vambrace_records_failing", "gauge", "Whether the disk refuses records.", records.error.is_some().into()),
    ] {
        page.family(name, kind, help);
        page.put("", value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "an age, for people")]
fn milli(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Labels in braces; `\`, `"` and line ends are escaped.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (place, (name, value)) in pairs.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{name}=\"{value}\"", if place == 0 { "" } else { "," });
    }
    text + "}"
}

/// The page while it is written.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn put(&mut self, labels: &str, value: u64) {
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }

    fn put_seconds(&mut self, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{}{labels} {value:?}", self.name);
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(super) mod tests;
