//! `/metrics` for Prometheus, text format 0.0.4: base units, closed lists as labels, every frame in one of the counters.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::remote::Outcomes;
use super::sender::Progress;
use super::witness::Pushed;
use crate::config::Mode;
use crate::control::{Client, Request, Response, Status};
use crate::event::{Reason, Shed};

/// Longest request that is read.
const REQUEST: u64 = 8 << 10;

/// What the answer is made of.
pub(super) struct Metrics {
    pub(super) socket: PathBuf,
    pub(super) senders: Vec<(String, Arc<Progress>)>,
    pub(super) witnesses: Vec<(String, Arc<Pushed>)>,
    pub(super) outcomes: Option<Arc<Outcomes>>,
}

impl Metrics {
    /// Serves one connection: one request, one answer.
    pub(super) fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream.take(REQUEST));
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
        let mut stream = stream;
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
            of_records(&mut page, status);
        }
        self.own(&mut page);
        page.text
    }

    fn own(&self, page: &mut Page) {
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
