//! What is to be said of two ports and of the system before frames pass between them. Changes nothing.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::discover::{self, Known, Site};
use super::offloads;
use crate::sys::{clock, interface};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// The box runs, but less well than it could.
    Advice,
    /// The box refuses to start.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, such as `plant link`.
    pub name: String,
    /// How it is.
    pub level: Level,
    /// How it is, for people.
    pub sentence: String,
    /// The command that mends it.
    pub command: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.sentence)?;
        self.command.iter().try_for_each(|command| write!(f, "; run `{command}`"))
    }
}

/// Findings being collected.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, name: &str, sentence: String, command: Option<String>) {
        self.0.push(Finding { name: name.to_owned(), level, sentence, command });
    }

    fn fine(&mut self, name: &str, sentence: impl Into<String>) {
        self.add(Level::Ok, name, sentence.into(), None);
    }

    fn advise(&mut self, name: &str, sentence: impl Into<String>, command: impl Into<String>) {
        self.add(Level::Advice, name, sentence.into(), Some(command.into()));
    }

    fn refuse(&mut self, name: &str, sentence: impl Into<String>, command: impl Into<String>) {
        self.add(Level::Problem, name, sentence.into(), Some(command.into()));
    }
}

/// Says everything about the two ports, each given by name, MAC address or PCI address, and about the system under
/// them, that decides whether and how well the box runs. Changes nothing.
#[must_use]
pub fn examine(plant: &str, robot: &str) -> Vec<Finding> {
    let mut findings = Findings::default();
    ports(plant, robot, &mut findings);
    system(&mut findings);
    findings.0
}

/// Looks at the ports and the rights; the ports are there if both were found.
pub(super) fn ports(plant: &str, robot: &str, findings: &mut Findings) -> Option<(Known, Known)> {
    rights(findings);
    let site = match Site::look() {
        Ok(site) => site,
        Err(error) => {
            let sentence = format!("the kernel doesn't tell its interfaces: {error}");
            findings.add(Level::Problem, "ports", sentence, None);
            return None;
        }
    };
    let mut find = |role: &str, wanted: &str| match site.find(wanted) {
        Ok(known) => {
            port(role, &known, &site, findings);
            Some(known)
        }
        Err(discover::Missing { sentence, command }) => {
            findings.refuse(&format!("{role} port"), sentence, command);
            None
        }
    };
    let (plant, robot) = (find("plant", plant), find("robot", robot));
    let (plant, robot) = (plant?, robot?);
    if plant.link.index == robot.link.index {
        let sentence = format!("plant and robot are the same port, {}; name two in the configuration", plant.link.name);
        findings.add(Level::Problem, "ports", sentence, None);
        return None;
    }
    let (a, b) = (&plant.link, &robot.link);
    if a.mtu == b.mtu {
        findings.fine("MTU", format!("{} bytes on both ports", a.mtu));
    } else {
        let larger = if a.mtu > b.mtu { a } else { b };
        let sentence = format!("port {} has an MTU of {} bytes and port {} of {}", a.name, a.mtu, b.name, b.mtu);
        findings.refuse("MTU", sentence, format!("ip link set {} mtu {}", larger.name, a.mtu.min(b.mtu)));
    }
    Some((plant, robot))
}

fn rights(findings: &mut Findings) {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let names = [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::NET_RAW, "CAP_NET_RAW")];
    let missing: Vec<_> = names.iter().filter(|(right, _)| !held.contains(*right)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        findings.fine("rights", "CAP_NET_ADMIN and CAP_NET_RAW are there");
        return;
    }
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let program = std::env::current_exe().map_or("vambrace".to_owned(), |path| path.display().to_string());
    let sentence = format!("{} {verb} missing", missing.join(" and "));
    findings.refuse("rights", sentence, format!("sudo setcap cap_net_admin,cap_net_raw+ep {program}"));
}

fn port(role: &str, known: &Known, site: &Site, findings: &mut Findings) {
    let Known { link, mac, addresses, flags, driver, features } = known;
    let name = &link.name;
    let about = |what: &str| format!("{role} {what}");
    if link.hardware != super::netlink::ETHERNET || flags & interface::LOOPBACK != 0 {
        let sentence = format!("port {name} is no Ethernet port");
        findings.refuse(&about("port"), sentence, "ip -br link");
        return;
    }
    let place = if driver.bus.is_empty() { String::new() } else { format!(" at {}", driver.bus) };
    let by = if driver.name.is_empty() { "unknown" } else { &driver.name };
    findings.fine(&about("port"), format!("{name}, {mac}, driver {by}{place}"));

    if flags & interface::UP == 0 {
        findings.refuse(&about("link"), format!("port {name} is down"), format!("ip link set {name} up"));
    } else if flags & interface::RUNNING == 0 {
        let sentence = format!("port {name} has no carrier: check the cable and what it leads to");
        findings.advise(&about("link"), sentence, format!("ethtool {name}"));
    } else {
        findings.fine(&about("link"), "up, with carrier");
    }

    match link.master {
        Some(index) => {
            let sentence = format!("port {name} is a member of {}", site.described(index));
            findings.refuse(&about("bridge"), sentence, format!("ip link set {name} nomaster"));
        }
        None => findings.fine(&about("bridge"), "in no kernel bridge"),
    }
    for above in site.above(link.index) {
        let sentence = format!("{} sits on port {name} and would speak there", site.described(above.index));
        findings.refuse(&about("port"), sentence, format!("ip link delete {}", above.name));
    }

    if !is_given_by_the_kernel(&link.qdisc) {
        let sentence = format!("port {name} has the queueing discipline {}, which could not be given back", link.qdisc);
        findings.refuse(&about("queue"), sentence, format!("tc qdisc delete dev {name} root"));
    }

    // The kernel makes up link-local addresses by itself; they go when the port is prepared.
    let foreign = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let told: Vec<_> = addresses.iter().filter(|(ip, _)| foreign(ip)).map(|(ip, len)| format!("{ip}/{len}")).collect();
    if told.is_empty() {
        findings.fine(&about("addresses"), "no IP address");
    } else {
        let sentence = format!("port {name} has the IP address {}", told.join(" and "));
        findings.refuse(&about("addresses"), sentence, format!("ip address flush dev {name}"));
    }

    let stuck = offloads::stuck(features);
    let harmful: Vec<_> = stuck.iter().filter(|it| it.changes_frames).map(|it| it.name).collect();
    let harmless: Vec<_> = stuck.iter().filter(|it| !it.changes_frames).map(|it| it.name).collect();
    let command = |names: &[&str]| {
        let orders: Vec<_> = names.iter().map(|name| format!("{name} off")).collect();
        format!("ethtool -K {name} {}", orders.join(" "))
    };
    let active = offloads::to_switch(features).count();
    if !harmful.is_empty() {
        let (sentence, command) = offloads::refusal(name, &driver.name, &harmful);
        findings.refuse(&about("offloads"), sentence, command);
    } else if !harmless.is_empty() {
        let sentence = format!(
            "{} can't be turned off on port {name}; frames of virtual machines on the same host may come unfinished",
            harmless.join(", ")
        );
        findings.advise(&about("offloads"), sentence, command(&harmless));
    } else if active > 0 {
        findings.fine(&about("offloads"), format!("{active} at work, which `vambrace run` turns off while it runs"));
    } else {
        findings.fine(&about("offloads"), "off");
    }
}

/// Whether an interface can have this queueing discipline without anybody's doing, so that it has it again afterwards:
/// those that `net.core.default_qdisc` is set to. `blackhole` is what a killed process left.
fn is_given_by_the_kernel(qdisc: &str) -> bool {
    const OWN: [&str; 11] =
        ["", "noqueue", "noop", "pfifo_fast", "mq", "fq_codel", "fq", "fq_pie", "sfq", "cake", "blackhole"];
    OWN.contains(&qdisc)
}

/// The command of this distribution that gives the kernel a parameter at its next start.
fn kernel_parameter(parameter: &str) -> Option<String> {
    let has = |tool: &str| ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(tool).exists());
    if has("grubby") {
        return Some(format!("grubby --update-kernel=ALL --args={parameter}"));
    }
    let line = format!("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {parameter}\"");
    has("update-grub").then(|| format!("echo '{line}' >> /etc/default/grub && update-grub"))
}

/// Locked memory that state and buffers take at most, in bytes.
const LOCKED_BYTES: u64 = 64 << 20;

fn system(findings: &mut Findings) {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match read("/sys/devices/system/cpu/isolated") {
        Some(isolated) if !isolated.is_empty() => findings.fine("cores", format!("{cores}, isolated: {isolated}")),
        _ if cores < 2 => findings.add(
            Level::Advice,
            "cores",
            "a single core: packets wait for everything else; use polling = \"blocking\"".to_owned(),
            None,
        ),
        _ => {
            let parameter = format!("isolcpus={}", cores.saturating_sub(1));
            let sentence = format!(
                "no core of {cores} is isolated, so other programs delay the worker; start the kernel with {parameter}"
            );
            findings.add(Level::Advice, "cores", sentence, kernel_parameter(&parameter));
        }
    }
    let filtered: Vec<_> = ["iptables", "ip6tables", "arptables"]
        .into_iter()
        .filter(|table| read(&format!("/proc/sys/net/bridge/bridge-nf-call-{table}")).as_deref() == Some("1"))
        .collect();
    if filtered.is_empty() {
        findings.fine("bridge filter", "kernel bridges don't ask the packet filter");
    } else {
        let orders: Vec<_> = filtered.iter().map(|table| format!("net.bridge.bridge-nf-call-{table}=0")).collect();
        let sentence = "bridge-nf-call is on: a kernel bridge in place of the box would change and drop frames";
        findings.advise("bridge filter", sentence, format!("sysctl -w {}", orders.join(" ")));
    }
    match clock::synchronised() {
        Ok(true) => findings.fine("clock", "synchronised"),
        Ok(false) => findings.advise(
            "clock",
            "the clock is not synchronised: times in records are not to be relied on",
            "timedatectl set-ntp true",
        ),
        Err(error) => findings.add(Level::Advice, "clock", format!("its state is not told: {error}"), None),
    }
    let limit = getrlimit(Resource::Memlock).current;
    let free = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    match limit {
        Some(bytes) if bytes < LOCKED_BYTES && !free => findings.advise(
            "locked memory",
            format!("at most {} KiB may be locked: state may be paged out", bytes >> 10),
            "ulimit -l unlimited",
        ),
        _ => findings.fine("locked memory", "as much as is needed"),
    }
}
