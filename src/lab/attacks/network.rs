//! Below the protocols: scans, services that must stay closed, ARP spoofing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use pnet::datalink::{self, Channel, MacAddr};

use super::{Attack, Marker, OUTSIDER_AND_PLC, Outcome, Session, Target};
use crate::lab::cell::{self, Host};

/// Ports of a scan that nobody in this cell uses.
const SCANNED: &[u16] = &[21, 23, 80, 443, 2222, 5900, 6000, 8080, 44818, 50001, 50002];

/// Connects to all ports at once, as scanners do.
fn scan(target: &Target) -> Outcome {
    let attempts: Vec<_> = SCANNED
        .iter()
        .map(|port| {
            let address = SocketAddr::new(target.robot, *port);
            thread::spawn(move || TcpStream::connect_timeout(&address, super::PATIENCE).map(|_| ()))
        })
        .collect();
    let mut outcome = Outcome::default();
    for attempt in attempts {
        match attempt.join() {
            Ok(Ok(())) => outcome.connected = true,
            Ok(Err(error)) => outcome.error = Some(error.to_string()),
            Err(_) => {}
        }
    }
    outcome
}

/// An Ethernet frame with an ARP reply that binds `claimed` to `mac`, for the robot alone: broadcast, it would reach the
/// hosts before the box, which no box can help.
/// Source: RFC 826.
fn arp_reply(mac: MacAddr, claimed: Ipv4Addr, told: Ipv4Addr) -> Vec<u8> {
    let mut frame = Host::Robot.mac().to_vec();
    frame.extend(mac.octets());
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
    frame.extend(mac.octets());
    frame.extend(claimed.octets());
    frame.extend(Host::Robot.mac());
    frame.extend(told.octets());
    frame.resize(60, 0);
    frame
}

fn spoof(target: &Target, claimed: IpAddr) -> Outcome {
    let mut outcome = Outcome::default();
    let (IpAddr::V4(claimed), IpAddr::V4(robot)) = (claimed, target.robot) else {
        outcome.error = Some("ARP knows IPv4 only".into());
        return outcome;
    };
    let Some(interface) = datalink::interfaces().into_iter().find(|interface| interface.name == cell::PORT) else {
        outcome.error = Some(format!("no interface {}", cell::PORT));
        return outcome;
    };
    let Some(mac) = interface.mac else {
        outcome.error = Some("interface without MAC".into());
        return outcome;
    };
    outcome.source_mac = Some(mac.to_string());
    match datalink::channel(&interface, datalink::Config::default()) {
        Ok(Channel::Ethernet(mut sender, _)) => {
            let frame = arp_reply(mac, claimed, robot);
            for _ in 0..3 {
                if let Some(Ok(())) = sender.send_to(&frame, None) {
                    outcome.sent += frame.len();
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(_) => outcome.error = Some("no Ethernet channel".into()),
        Err(error) => outcome.error = Some(error.to_string()),
    }
    outcome
}

fn service(
    name: &'static str,
    description: &'static str,
    source: &'static str,
    port: u16,
    text: &'static str,
) -> Attack {
    Attack {
        name,
        description,
        source,
        port,
        from: OUTSIDER_AND_PLC,
        markers: vec![Marker::Syn(port), Marker::Bytes(text.into())],
        act: Box::new(move |target| {
            let mut session = Session::open(target, port);
            session.send(text.as_bytes());
            session.listen();
            session.done()
        }),
    }
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        Attack {
            name: "port-scan",
            description: "tries the ports that robots are known to leave open",
            source: "T0846",
            port: 0,
            from: OUTSIDER_AND_PLC,
            markers: SCANNED.iter().map(|port| Marker::Syn(*port)).collect(),
            act: Box::new(scan),
        },
        service("ssh", "logs in with the known root password", "CVE-2018-10633, RVD#672", 22, "SSH-2.0-attack\r\n"),
        service("felix-shell", "opens the OSGi shell", "RVD#1406", 6666, "attack_felix_shutdown\n"),
        Attack {
            name: "arp-plc",
            description: "tells the robot that the PLC is at the attacker's MAC",
            source: "T0830, RVD#15",
            port: 0,
            from: &[Host::Attacker],
            markers: vec![Marker::Arp(Host::Plc.address())],
            act: Box::new(|target| spoof(target, target.impersonated)),
        },
        Attack {
            name: "arp-ros",
            description: "tells the robot that the computer it asks is at the attacker's MAC",
            source: "T0830, RVD#15",
            port: 0,
            from: &[Host::Attacker],
            markers: vec![Marker::Arp(Host::Ros.address())],
            act: Box::new(|target| spoof(target, Host::Ros.address())),
        },
        Attack {
            name: "arp-robot",
            description: "claims the robot's own address",
            source: "T0830, RVD#15",
            port: 0,
            from: &[Host::Attacker],
            markers: vec![Marker::Arp(Host::Robot.address())],
            act: Box::new(|target| spoof(target, target.robot)),
        },
    ]
}
