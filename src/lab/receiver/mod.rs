//! The independent receiver: stands in the robot's namespace, keeps every frame that arrives on the robot's port, and
//! searches them for what the attacks sent.
//!
//! Reads frames through pnet, not through the product's port; its parsing is its own and shares no code with the
//! dissectors.

mod records;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pnet::datalink::{self, Channel};
use serde::{Deserialize, Serialize};

use super::LabError;
use super::attacks::{Marker, Report};
use super::journal::print_line;

/// Bytes of one reassembled stream that are kept.
const LONGEST_STREAM: usize = 16 * 1024 * 1024;

/// A marker that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) attack: String,
    pub(crate) host: String,
    /// What was found.
    pub(crate) marker: String,
    /// Where: reassembled stream or frame.
    pub(crate) place: String,
}

/// What the receiver says at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Frames kept, the robot's own ones left out.
    pub(crate) frames: u64,
    /// Frames that the kernel counted as received on the port in the same time.
    pub(crate) frames_on_port: u64,
    /// TCP bytes searched.
    pub(crate) bytes: u64,
    pub(crate) attacks: usize,
    pub(crate) findings: Vec<Finding>,
}

/// Captures on `interface` until standard input ends, then judges by the reports in `reports` (JSON lines).
pub(crate) fn run(interface: &str, pcap: &Path, reports: &Path) -> Result<(), LabError> {
    let port = datalink::interfaces()
        .into_iter()
        .find(|candidate| candidate.name == interface)
        .ok_or_else(|| LabError::Said(format!("no interface {interface} here")))?;
    let own = port.mac.map(|mac| mac.octets()).unwrap_or_default();
    let config = datalink::Config { read_timeout: Some(Duration::from_millis(100)), ..datalink::Config::default() };
    let Channel::Ethernet(_, mut frames) = datalink::channel(&port, config).map_err(LabError::io(interface))? else {
        return Err(LabError::Said(format!("{interface} is no Ethernet port")));
    };
    let counted_before = received(interface);
    let stop = Arc::new(AtomicBool::new(false));
    {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let _end = io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Release);
        });
    }
    let mut file = PcapFile::create(pcap).map_err(LabError::io(format!("cannot write {}", pcap.display())))?;
    print_line(serde_json::json!({ "actor": "receiver", "did": "ready", "interface": interface }));
    let mut kept: Vec<Vec<u8>> = Vec::new();
    // What the port had counted when the end was asked for, and until when the rest of it is waited for.
    let mut ending: Option<(u64, Instant)> = None;
    loop {
        if ending.is_none() && stop.load(Ordering::Acquire) {
            ending = Some((received(interface) - counted_before, Instant::now() + Duration::from_secs(2)));
        }
        if ending.is_some_and(|(counted, until)| kept.len() as u64 >= counted || Instant::now() > until) {
            break;
        }
        match frames.next() {
            Ok(frame) if frame.get(6..12) != Some(&own) => {
                file.frame(frame).map_err(LabError::io("capture file"))?;
                kept.push(frame.to_vec());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return Err(LabError::io(interface)(error)),
        }
    }
    let frames_on_port = ending.map_or(0, |(counted, _)| counted);
    file.0.flush().map_err(LabError::io("capture file"))?;
    let text = super::cell::read(reports)?;
    let reports: Vec<Report> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if reports.len() != text.lines().count() {
        return Err(LabError::Said("a line of the attack reports can't be read".into()));
    }
    let mut verdict = search(&kept, &reports);
    verdict.frames_on_port = frames_on_port;
    print_line(serde_json::to_value(&verdict).map_err(|error| LabError::Said(error.to_string()))?);
    Ok(())
}

/// Frames that the kernel counted on the port.
fn received(interface: &str) -> u64 {
    let path = format!("/sys/class/net/{interface}/statistics/rx_packets");
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// A capture file in the classic format, microseconds, Ethernet.
struct PcapFile(BufWriter<File>);

impl PcapFile {
    fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            file.write_all(&word.to_ne_bytes())?;
        }
        Ok(Self(file))
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = bytes.len() as u32;
        for word in [now.as_secs() as u32, now.subsec_micros(), length, length] {
            self.0.write_all(&word.to_ne_bytes())?;
        }
        self.0.write_all(bytes)
    }
}

/// One direction of one TCP connection, put together twice: the first copy of a byte wins, the last copy wins.
#[derive(Default)]
struct Stream {
    base: u32,
    first: Vec<u8>,
    filled: Vec<bool>,
    last: Vec<u8>,
}

impl Stream {
    /// The bytes up to the first that is missing: first copies, last copies.
    fn whole(&self) -> [&[u8]; 2] {
        let end = self.filled.iter().position(|filled| !filled).unwrap_or(self.filled.len());
        [&self.first[..end], &self.last[..end]]
    }

    fn add(&mut self, sequence: u32, payload: &[u8]) {
        let offset = sequence.wrapping_sub(self.base) as usize;
        let end = offset.saturating_add(payload.len());
        if end > LONGEST_STREAM {
            return;
        }
        if self.first.len() < end {
            self.first.resize(end, 0);
            self.last.resize(end, 0);
            self.filled.resize(end, false);
        }
        for (at, byte) in payload.iter().enumerate() {
            if !self.filled[offset + at] {
                self.first[offset + at] = *byte;
                self.filled[offset + at] = true;
            }
            self.last[offset + at] = *byte;
        }
    }
}

/// What a frame says, as far as the search needs it.
enum Seen<'a> {
    Tcp { source: Ipv4Addr, ports: (u16, u16), sequence: u32, flags: u8, payload: &'a [u8] },
    Arp { mac: [u8; 6], claimed: Ipv4Addr },
    Other,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..at + 4)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

fn read_frame(frame: &[u8]) -> Option<Seen<'_>> {
    let mut at = 12;
    let mut kind = word(frame, at)?;
    while matches!(kind, 0x8100 | 0x88a8) {
        at += 4;
        kind = word(frame, at)?;
    }
    let body = frame.get(at + 2..)?;
    match kind {
        0x0806 => {
            let mac = *body.get(8..14)?.first_chunk()?;
            Some(Seen::Arp { mac, claimed: address(body, 14)? })
        }
        0x0800 if *body.get(9)? == 6 => {
            let header = usize::from(body.first()? & 15) * 4;
            let total = usize::from(word(body, 2)?);
            let tcp = body.get(header..total.min(body.len()))?;
            let offset = usize::from(tcp.get(12)? >> 4) * 4;
            Some(Seen::Tcp {
                source: address(body, 12)?,
                ports: (word(tcp, 0)?, word(tcp, 2)?),
                sequence: u32::from(word(tcp, 4)?) << 16 | u32::from(word(tcp, 6)?),
                flags: *tcp.get(13)?,
                payload: tcp.get(offset..)?,
            })
        }
        _ => Some(Seen::Other),
    }
}

/// Finds many markers in one pass, upper and lower case alike.
struct Needles<'a> {
    /// Report index and marker bytes in lower case, by their first four bytes.
    by_head: HashMap<[u8; 4], Vec<(&'a Report, Vec<u8>)>>,
    /// Address and port of every connection that an attack made.
    connections: HashSet<(IpAddr, u16)>,
}

impl<'a> Needles<'a> {
    fn of(reports: &'a [Report]) -> Self {
        let mut by_head: HashMap<[u8; 4], Vec<(&Report, Vec<u8>)>> = HashMap::new();
        for report in reports {
            for marker in &report.markers {
                if let Marker::Bytes(bytes) = marker {
                    let lower = bytes.to_ascii_lowercase();
                    if let Some(head) = lower.first_chunk::<4>() {
                        by_head.entry(*head).or_default().push((report, lower));
                    }
                }
            }
        }
        let connections = reports
            .iter()
            .flat_map(|report| report.outcome.source_ports.iter().map(|port| (report.source, *port)))
            .collect();
        Self { by_head, connections }
    }

    /// Searches bytes that came from `source`, port `port` (0 where there is none).
    ///
    /// A find counts for the attacks that this connection belongs to. On a connection that is nobody's it counts for every
    /// attack with these bytes: they arrived, whoever carried them.
    fn search(&self, haystack: &[u8], source: Ipv4Addr, port: u16, place: &str, findings: &mut Vec<Finding>) {
        let lower = haystack.to_ascii_lowercase();
        for at in 0..lower.len().saturating_sub(3) {
            let Some(candidates) = lower[at..].first_chunk::<4>().and_then(|head| self.by_head.get(head)) else {
                continue;
            };
            let found = |(_, bytes): &&(&Report, Vec<u8>)| lower[at..].starts_with(bytes);
            let sender = |(report, _): &&(&Report, Vec<u8>)| {
                report.source == IpAddr::V4(source) && report.outcome.source_ports.contains(&port)
            };
            let known = self.connections.contains(&(IpAddr::V4(source), port));
            for (report, bytes) in candidates.iter().filter(found).filter(|candidate| !known || sender(candidate)) {
                findings.push(finding(report, &bytes.escape_ascii().to_string(), place.into()));
            }
        }
    }
}

fn finding(report: &Report, marker: &str, place: String) -> Finding {
    Finding { attack: report.name.clone(), host: report.host.clone(), marker: marker.into(), place }
}

/// Searches frames for the markers of the attacks.
fn search(frames: &[Vec<u8>], reports: &[Report]) -> Verdict {
    let needles = Needles::of(reports);
    let mut findings = Vec::new();
    let mut streams: HashMap<(Ipv4Addr, u16, u16), Vec<Stream>> = HashMap::new();
    let mut bytes = 0;
    for (number, frame) in frames.iter().enumerate() {
        match read_frame(frame) {
            Some(Seen::Tcp { source, ports, sequence, flags, payload }) => {
                let incarnations = streams.entry((source, ports.0, ports.1)).or_default();
                let begins = flags & 0x02 != 0;
                let base = sequence.wrapping_add(u32::from(begins));
                // The answer to a SYN may come twice.
                if incarnations.last().is_none_or(|last| begins && last.base != base) {
                    incarnations.push(Stream { base, ..Stream::default() });
                }
                let opening = match flags & 0x12 {
                    0x02 => Some((Marker::Syn(ports.1), format!("SYN to {}", ports.1))),
                    0x12 => Some((Marker::Accepted(ports.0), format!("answer to a SYN from {}", ports.0))),
                    _ => None,
                };
                if let Some((wanted, text)) = opening {
                    for report in reports.iter().filter(|report| report.source == IpAddr::V4(source)) {
                        if report.markers.contains(&wanted) {
                            findings.push(finding(report, &text, format!("frame {number}")));
                        }
                    }
                }
                bytes += payload.len() as u64;
                needles.search(payload, source, ports.0, &format!("frame {number}"), &mut findings);
                if let Some(stream) = incarnations.last_mut() {
                    stream.add(sequence.wrapping_add(u32::from(begins)), payload);
                }
            }
            Some(Seen::Arp { mac, claimed }) => {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                for report in reports {
                    let wanted = Marker::Arp(IpAddr::V4(claimed));
                    if report.outcome.source_mac.as_ref() == Some(&mac) && report.markers.contains(&wanted) {
                        findings.push(finding(
                            report,
                            &format!("ARP {claimed} is at {mac}"),
                            format!("frame {number}"),
                        ));
                    }
                }
            }
            // Fragments, UDP and what can't be read may still carry the bytes.
            Some(Seen::Other) | None => {
                needles.search(frame, Ipv4Addr::UNSPECIFIED, 0, &format!("frame {number}"), &mut findings);
            }
        }
    }
    for ((source, from, to), incarnations) in &streams {
        for stream in incarnations {
            for (name, copy) in [("first copies", &stream.first), ("last copies", &stream.last)] {
                let place = format!("stream {source}:{from} to {to}, {name}");
                needles.search(copy, *source, *from, &place, &mut findings);
            }
            for copy in stream.whole() {
                for forbidden in records::read(*from, copy) {
                    let wanted = Marker::Record(forbidden);
                    let place = format!("stream {source}:{from} to {to}");
                    let of_source = reports.iter().filter(|report| report.source == IpAddr::V4(*source));
                    findings.extend(
                        of_source
                            .filter(|report| report.markers.contains(&wanted))
                            .map(|report| finding(report, &format!("{forbidden:?}"), place.clone())),
                    );
                }
            }
        }
    }
    let mut unique: Vec<Finding> = Vec::new();
    for finding in findings {
        let known = |other: &Finding| {
            other.attack == finding.attack && other.host == finding.host && other.marker == finding.marker
        };
        if !unique.iter().any(known) {
            unique.push(finding);
        }
    }
    Verdict { frames: frames.len() as u64, frames_on_port: 0, bytes, attacks: reports.len(), findings: unique }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(marker: Marker) -> Report {
        Report {
            name: "attack".into(),
            host: "attacker".into(),
            source: "10.0.0.1".parse().unwrap(),
            port: 29999,
            started: jiff::Timestamp::UNIX_EPOCH,
            ended: jiff::Timestamp::UNIX_EPOCH,
            markers: vec![marker],
            outcome: crate::lab::attacks::Outcome::default(),
        }
    }

    fn segment(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x80, 0, 0x75, 0x2f]);
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn finds_a_command_split_over_segments_and_overwritten() {
        let reports = [report(Marker::Bytes(b"shutdown".to_vec()))];
        let frames = [segment(9, 2, b""), segment(10, 16, b"SHUT"), segment(14, 16, b"xxxx"), segment(14, 16, b"down")];
        assert_eq!(search(&frames, &reports).findings.len(), 1, "last copy");
        let frames = [segment(9, 2, b""), segment(14, 16, b"down"), segment(10, 16, b"shut"), segment(10, 16, b"zzzz")];
        assert_eq!(search(&frames, &reports).findings.len(), 1, "first copy");
        let frames = [segment(9, 2, b""), segment(10, 16, b"shut"), segment(15, 16, b"down")];
        assert!(search(&frames, &reports).findings.is_empty(), "a hole is between");
    }

    #[test]
    fn finds_set_points_beyond_the_swing_and_jumps_between_two_segments() {
        use crate::lab::attacks::Forbidden;
        use crate::lab::external_records::{SERVOJ, motion};
        use crate::lab::ros::position;

        let stream = |phases: &[i32]| -> Vec<u8> {
            phases.iter().flat_map(|phase| motion(200, position(*phase), SERVOJ)).collect()
        };
        let found = |forbidden, bytes: &[u8]| {
            let reports = [report(Marker::Record(forbidden))];
            let mut frames = vec![segment(9, 0x12, b"")];
            // Cut beside the records' ends, and the first piece comes last.
            let pieces: Vec<_> = bytes.chunks(13).enumerate().collect();
            let sequence = |number: usize| 10 + 13 * number as u32;
            frames.extend(pieces.iter().rev().map(|(number, piece)| segment(sequence(*number), 16, piece)));
            for frame in &mut frames {
                frame[34..36].copy_from_slice(&50_001_u16.to_be_bytes());
            }
            search(&frames, &reports).findings.len()
        };
        let honest = stream(&[0, 1, 2, 3, 2, 1]);
        assert_eq!([Forbidden::Position, Forbidden::Step].map(|forbidden| found(forbidden, &honest)), [0, 0]);
        assert_eq!(found(Forbidden::Step, &stream(&[0, 2])), 1);
        assert_eq!(found(Forbidden::Position, &stream(&[11, 12, 13])), 1);
        assert_eq!(found(Forbidden::Endless, &[honest, motion(0, position(0), SERVOJ)].concat()), 1);
    }

    #[test]
    fn finds_a_connection_of_the_robot_that_is_accepted() {
        let reports = [report(Marker::Accepted(0x8000))];
        assert_eq!(search(&[segment(9, 0x12, b"")], &reports).findings.len(), 1);
        assert!(search(&[segment(9, 2, b""), segment(10, 0x14, b"")], &reports).findings.is_empty());
    }

    #[test]
    fn finds_a_connection_attempt() {
        let reports = [report(Marker::Syn(29999))];
        assert_eq!(search(&[segment(9, 2, b"")], &reports).findings.len(), 1);
        assert!(search(&[segment(9, 16, b"")], &reports).findings.is_empty());
    }
}
