//! Making two network interfaces fit to carry other people's frames, and what stands against it.
//!
//! A prepared port hands out frames as they were on the wire (offloads off), and the kernel neither speaks on it nor
//! listens: IPv6, ARP, IGMP and forwarding are off, whatever else the system sends ends in a queue that leads nowhere,
//! and what arrives goes to packet sockets alone. All of it is undone when [`Prepared`] is dropped.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use link::Mac;

use super::discover::Known;
pub use super::examine::{Finding, Level, examine};
use super::examine::{Findings, ports};
use super::netlink::{Ingress, Netlink, Table};
use super::offloads;
use crate::sys::{ethtool, interface};

/// Why a port can't be used, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, with the port's name.
    pub what: String,
    /// The command that mends it.
    pub command: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.command.iter().try_for_each(|command| write!(f, "; run `{command}`"))
    }
}

/// Two ports fit for use, as long as the value lives. Dropping it gives them back as they were.
#[derive(Debug)]
pub struct Prepared {
    /// Toward the plant network.
    pub plant: PreparedPort,
    /// Toward the robot.
    pub robot: PreparedPort,
}

/// One of them.
#[derive(Debug)]
pub struct PreparedPort {
    /// Interface name.
    pub name: String,
    /// MTU in force: bytes of payload, room for VLAN tags included where the driver has it.
    pub mtu: u32,
    /// The port's own MAC address; no frame that passes bears it.
    pub mac: Mac,
    changes: Changes,
}

/// Makes both ports fit for use; each is given by name, MAC address or PCI address.
///
/// # Errors
/// Everything that is wrong, at once. The ports are as they were before.
pub fn prepare(plant: &str, robot: &str) -> Result<Prepared, Vec<Problem>> {
    let mut findings = Findings::default();
    let known = ports(plant, robot, &mut findings);
    let refused = findings.0.into_iter().filter(|finding| finding.level == Level::Problem);
    let mut problems: Vec<_> = refused.map(|it| Problem { what: it.sentence, command: it.command }).collect();
    let Some((plant, robot)) = known.filter(|_| problems.is_empty()) else { return Err(problems) };
    let mut take = |known: &Known| PreparedPort::take(known).map_err(|found| problems.extend(found)).ok();
    let (plant, robot) = (take(&plant), take(&robot));
    let (Some(mut plant), Some(mut robot)) = (plant, robot) else { return Err(problems) };
    make_room(&mut plant, &mut robot);
    Ok(Prepared { plant, robot })
}

/// Gives both ports room for two VLAN tags beside a full payload, which the kernel otherwise doesn't send. A driver
/// that can't leaves both as they are.
fn make_room(plant: &mut PreparedPort, robot: &mut PreparedPort) {
    const TAGS: u32 = 8;
    // The two sizes that networks are run at. Any other was chosen for this port; adding to it would also add again
    // to what a killed process left.
    let roomy = match plant.mtu {
        before @ (1500 | 9000) => before.saturating_add(TAGS),
        _ => return,
    };
    if plant.set_mtu(roomy).is_ok() && robot.set_mtu(roomy).is_err() {
        plant.changes.undo_last();
        plant.mtu = robot.mtu;
    }
}

impl Prepared {
    /// Has the kernel itself carry frames from either port to the other, as a plain wire would, until the value is
    /// dropped. Packet sockets go on to receive a copy of each frame; whoever reads them must not send it on as well.
    ///
    /// # Errors
    /// The kernel was built without forwarding at ingress (nf_tables, `fwd`), or a port is gone. Nothing is carried then.
    pub fn carry(&self) -> io::Result<Carried<'_>> {
        let (plant, robot) = (&self.plant, &self.robot);
        let mut carried = Carried { ports: [plant, robot], tables: Vec::with_capacity(2) };
        for port in carried.ports {
            // What the kernel sends is thrown away otherwise. An interface without such a queue has none to take away.
            let _ = port.changes.route.unmute(port.changes.index);
        }
        for (from, to) in [(plant, robot), (robot, plant)] {
            let ingress = Ingress::Forwarded(to.changes.index);
            carried.tables.push(Table::raise(&from.name, from.changes.index, ingress)?);
        }
        Ok(carried)
    }
}

/// Two ports between which the kernel carries frames; see [`Prepared::carry`].
#[derive(Debug)]
pub struct Carried<'p> {
    ports: [&'p PreparedPort; 2],
    tables: Vec<Table>,
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        self.tables.clear();
        for port in self.ports {
            if let Err(error) = port.changes.route.mute(port.changes.index) {
                tracing::warn!(port = port.name, %error, "the kernel may send on a port again");
            }
        }
    }
}

impl PreparedPort {
    fn take(known: &Known) -> Result<Self, Vec<Problem>> {
        let name = known.link.name.clone();
        let failed = |error| vec![Problem { what: format!("port {name}: no socket: {error}"), command: None }];
        let changes = Changes {
            name: name.clone(),
            index: known.link.index,
            socket: interface::any_socket().map_err(failed)?,
            route: Netlink::route().map_err(failed)?,
            done: Vec::new(),
        };
        let mut port = Self { name, mtu: known.link.mtu, mac: known.mac, changes };
        // Before anything is changed: another process may have the port in its hands.
        port.close_way_in()?;
        // Before the rest: leaving multicast groups makes the kernel speak once more.
        port.close_way_out();
        let mut problems = Vec::new();
        for (path, value) in SILENCE {
            port.silence(path, value, &mut problems);
        }
        port.forget_arp(&mut problems);
        port.turn_offloads_off(known, &mut problems);
        if problems.is_empty() { Ok(port) } else { Err(problems) }
    }

    fn close_way_out(&mut self) {
        match self.changes.route.mute(self.changes.index) {
            Ok(()) => self.changes.done.push(Change::Muted),
            Err(error) => tracing::warn!(
                port = self.name,
                %error,
                "the kernel has no blackhole queue: programs of this system can send on the port"
            ),
        }
    }

    fn close_way_in(&mut self) -> Result<(), Vec<Problem>> {
        match Table::raise(&self.name, self.changes.index, Ingress::Shielded) {
            Ok(shield) => self.changes.done.push(Change::Shielded { _shield: shield }),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EPERM | libc::EBUSY)) => {
                let what = format!("port {} is in the hands of another vambrace", self.name);
                return Err(vec![Problem { what, command: Some("pgrep -a vambrace".to_owned()) }]);
            }
            Err(error) => tracing::warn!(
                port = self.name,
                %error,
                "the kernel has no nf_tables at ingress: its own network stack sees what arrives at the port"
            ),
        }
        Ok(())
    }

    /// Sets a per-interface setting below `/proc/sys/net`. Where there is none, nothing can speak.
    fn silence(&mut self, path: &str, wanted: &str, problems: &mut Vec<Problem>) {
        let setting = path.replace("PORT", &self.name);
        let path = format!("/proc/sys/net/{setting}");
        let set = || -> io::Result<Option<Change>> {
            let mut file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let mut before = String::new();
            file.read_to_string(&mut before)?;
            if before.trim() == wanted {
                return Ok(None);
            }
            let file = File::options().write(true).open(&path)?;
            file.write_all_at(wanted.as_bytes(), 0)?;
            Ok(Some(Change::Setting { file, before }))
        };
        match set() {
            Ok(change) => self.changes.done.extend(change),
            Err(error) => problems.push(Problem {
                what: format!("port {} can't be silenced: {setting}: {error}", self.name),
                command: Some(format!("sysctl -w net/{setting}={wanted}")),
            }),
        }
    }

    fn forget_arp(&mut self, problems: &mut Vec<Problem>) {
        let change = interface::flags(&self.changes.socket, &self.name).and_then(|flags| {
            if flags & interface::NOARP != 0 {
                return Ok(None);
            }
            interface::set_flags(&self.changes.socket, &self.name, flags | interface::NOARP)?;
            Ok(Some(Change::NoArp))
        });
        match change {
            Ok(change) => self.changes.done.extend(change),
            Err(error) => problems.push(Problem {
                what: format!("ARP of port {} can't be turned off: {error}", self.name),
                command: Some(format!("ip link set {} arp off", self.name)),
            }),
        }
    }

    fn turn_offloads_off(&mut self, known: &Known, problems: &mut Vec<Problem>) {
        let bits: Vec<_> = offloads::to_switch(&known.features).collect();
        let switched = if bits.is_empty() {
            Ok(())
        } else {
            self.changes.done.push(Change::Offloads { bits: bits.clone() });
            ethtool::switch(&self.changes.socket, &self.name, &bits, false)
        };
        // The driver may say yes and go on all the same.
        let harmful = switched.and_then(|()| match ethtool::features(&self.changes.socket, &self.name) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
            features => Ok(offloads::still_harmful(&features?)),
        });
        match harmful {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                let (what, command) = offloads::refusal(&self.name, &known.driver.name, &names);
                problems.push(Problem { what, command: Some(command) });
            }
            Err(error) => problems.push(Problem {
                what: format!("offloads of port {} can't be turned off: {error}", self.name),
                command: Some(format!("ethtool -K {} gro off lro off", self.name)),
            }),
        }
    }

    fn set_mtu(&mut self, mtu: u32) -> io::Result<()> {
        interface::set_mtu(&self.changes.socket, &self.name, mtu)?;
        self.changes.done.push(Change::Mtu { before: self.mtu });
        self.mtu = mtu;
        Ok(())
    }
}

/// Settings below `/proc/sys/net` under which the kernel keeps quiet on a port. The words are those of
/// `Documentation/networking/ip-sysctl.rst`.
const SILENCE: [(&str, &str); 9] = [
    ("ipv6/conf/PORT/disable_ipv6", "1"),
    ("ipv6/conf/PORT/accept_ra", "0"),
    ("ipv4/conf/PORT/forwarding", "0"),
    ("ipv4/conf/PORT/rp_filter", "1"),
    ("ipv4/conf/PORT/send_redirects", "0"),
    ("ipv4/conf/PORT/proxy_arp", "0"),
    ("ipv4/conf/PORT/arp_ignore", "8"),
    ("ipv4/conf/PORT/arp_announce", "2"),
    ("ipv4/conf/PORT/arp_notify", "0"),
];

/// What was changed at one port, to be undone from the last to the first.
#[derive(Debug)]
struct Changes {
    name: String,
    index: u32,
    socket: OwnedFd,
    route: Netlink,
    done: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Muted,
    /// Goes by being dropped.
    Shielded {
        _shield: Table,
    },
    /// The open file finds the setting from any namespace.
    Setting {
        file: File,
        before: String,
    },
    NoArp,
    Offloads {
        bits: Vec<usize>,
    },
    Mtu {
        before: u32,
    },
}

impl Changes {
    fn undo_last(&mut self) {
        let Some(change) = self.done.pop() else { return };
        let (socket, name) = (&self.socket, &self.name);
        let undone = match &change {
            Change::Muted => self.route.unmute(self.index),
            Change::Shielded { .. } => Ok(()),
            Change::Setting { file, before } => file.write_all_at(before.as_bytes(), 0),
            Change::NoArp => interface::flags(socket, name)
                .and_then(|flags| interface::set_flags(socket, name, flags & !interface::NOARP)),
            Change::Offloads { bits } => ethtool::switch(socket, name, bits, true),
            Change::Mtu { before } => interface::set_mtu(socket, name, *before),
        };
        // An interface that is gone took its settings with it.
        let gone = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT));
        if let Some(error) = undone.err().filter(|error| !gone(error)) {
            tracing::warn!(port = self.name, %error, ?change, "a port is not as it was before");
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        while !self.done.is_empty() {
            self.undo_last();
        }
    }
}
