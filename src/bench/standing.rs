//! What a measurement must not disturb.

use std::fs;

use crate::nic::prepare::{Finding, Level, examine};

/// Whether a box's packet process runs in this network namespace, whatever its control socket is called.
#[must_use]
pub fn box_runs_here() -> bool {
    let own = fs::read_link("/proc/self/ns/net").ok();
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        let is_packet_process = fs::read(path.join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"packet-process"));
        is_packet_process && own.is_some() && fs::read_link(path.join("ns/net")).ok() == own
    })
}

/// Why two ports of this network namespace can't be borrowed: something listens on one, or the machine itself uses it.
#[must_use]
pub fn in_use(ports: &[String; 2]) -> Option<String> {
    let Ok(socket) = crate::sys::interface::any_socket() else { return Some("no descriptor is left".to_owned()) };
    for port in ports {
        let Ok(index) = rustix::net::netdevice::name_to_index(&socket, port) else {
            return Some(format!("there is no port {port}; `ip -br link` shows those there are"));
        };
        // Columns: address, references, type, protocol, interface, ...
        let sockets = fs::read_to_string("/proc/self/net/packet").unwrap_or_default();
        let listens = |line: &str| line.split_whitespace().nth(4) == Some(index.to_string().as_str());
        if sockets.lines().skip(1).any(listens) {
            return Some(format!("port {port} is in use: a packet socket listens on it, as of a box or of tcpdump"));
        }
    }
    let [first, second] = ports;
    // That a port is down is none: it is set up for the measurement.
    let stands_against = |finding: &Finding| finding.level == Level::Problem && !finding.name.ends_with("link");
    examine(first, second).into_iter().find(stands_against).map(|finding| finding.sentence)
}
