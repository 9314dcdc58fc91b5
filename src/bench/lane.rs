//! Wires from plant to robot in network namespaces of their own.
//!
//! ```text
//! plant namespace         namespace between          robot namespace
//!   p0 ──────── veth ────── plant0   robot0 ── veth ────── r0
//!   10.77.N.1                                         10.77.N.2
//! ```

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::BenchError;

/// Begin of every namespace name; the process id follows, so that what a killed measurement left is told from what a
/// running one uses.
const PREFIX: &str = "vbben";

/// What lies between plant and robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Middle {
    /// Nothing: one veth pair.
    Wire,
    /// A namespace with two ports, for the caller to put something between them.
    Box,
    /// The same, but the way from it to the robot is a real cable: the first port is the middle's toward the robot, the
    /// second the robot's. Both are given back to the namespace that they came from.
    Cable([String; 2]),
}

/// One way from plant to robot; its namespaces are removed with the value.
#[derive(Debug)]
pub struct Lane {
    name: String,
    number: u8,
    middle: Middle,
    /// Ports that were taken so far; given back.
    taken: Vec<Taken>,
}

/// A port of the machine while a lane has it.
#[derive(Debug)]
struct Taken {
    space: String,
    /// Its name in that namespace, and at home.
    name: &'static str,
    at_home: String,
    was_up: bool,
    /// Offloads that were switched off.
    offloads: Vec<usize>,
}

impl Lane {
    /// Makes the namespaces and wires; `number` tells lanes of one measurement apart and is the third byte of their
    /// addresses. Needs root and the command `ip`.
    ///
    /// # Errors
    /// A command that failed, in its own words; what was made so far is removed.
    pub fn new(number: u8, middle: Middle) -> Result<Self, BenchError> {
        let name = format!("{PREFIX}-{}-{number}", std::process::id());
        let mut lane = Self { name, number, middle, taken: Vec::new() };
        lane.make()?;
        Ok(lane)
    }

    fn make(&mut self) -> Result<(), BenchError> {
        let (plant, robot, between) = (self.plant(), self.robot(), self.between());
        for space in [Some(&plant), Some(&robot), between.as_ref()].into_iter().flatten() {
            ip(&format!("netns add {space}"))?;
            inside(space, || {
                // Nothing speaks unasked; absent where the kernel has no IPv6.
                for which in ["all", "default"] {
                    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
                }
            })?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        let [plant_mac, robot_mac] = self.macs();
        match self.middle.clone() {
            Middle::Wire => {
                ip(&format!(
                    "link add p0 netns {plant} address {plant_mac} type veth peer name r0 netns {robot} address {robot_mac}"
                ))?;
            }
            Middle::Box | Middle::Cable(_) => {
                let between = between.unwrap_or_default();
                ip(&format!(
                    "link add p0 netns {plant} address {plant_mac} type veth peer name plant0 netns {between}"
                ))?;
                up(&between, "plant0")?;
                match self.middle.clone() {
                    Middle::Cable(ports) => self.take(&ports, &[between.clone(), robot.clone()])?,
                    _ => ip(&format!(
                        "link add r0 netns {robot} address {robot_mac} type veth peer name robot0 netns {between}"
                    ))?,
                }
                up(&between, "robot0")?;
            }
        }
        for (space, port, own) in [(&plant, "p0", self.plant_address()), (&robot, "r0", self.robot_address())] {
            ip(&format!("-n {space} address add {own}/24 dev {port}"))?;
            up(space, port)?;
        }
        for (space, port) in [(&plant, "p0"), (&robot, "r0")] {
            wait_for_carrier(space, port)?;
        }
        // Nobody asks for an address in the middle of a measurement.
        let robot_mac = inside(&robot, || mac_of("r0"))??;
        for (space, port, other, mac) in
            [(&plant, "p0", self.robot_address(), robot_mac), (&robot, "r0", self.plant_address(), plant_mac)]
        {
            ip(&format!("-n {space} neighbour replace {other} lladdr {mac} dev {port} nud permanent"))?;
        }
        Ok(())
    }

    /// Moves the two ends of a cable to where they are needed, under the names of the veth pairs.
    fn take(&mut self, ports: &[String; 2], spaces: &[String; 2]) -> Result<(), BenchError> {
        for ((port, space), name) in ports.iter().zip(spaces).zip(["robot0", "r0"]) {
            let was_up = shown(port)?.split(['<', '>', ',']).any(|word| word == "UP");
            let offloads = crate::nic::switch_offloads_off(port).map_err(BenchError::of(port))?;
            let taken = Taken { space: space.clone(), name, at_home: port.clone(), was_up, offloads };
            self.taken.push(taken);
            ip(&format!("link set {port} down"))?;
            ip(&format!("link set {port} netns {space}"))?;
            ip(&format!("-n {space} link set {port} name {name}"))?;
        }
        Ok(())
    }

    /// Third byte of the addresses.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The client's address.
    #[must_use]
    pub fn plant_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// The server's address.
    #[must_use]
    pub fn robot_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// MAC addresses of the veth ends in the plant's and in the robot's namespace.
    #[must_use]
    pub fn macs(&self) -> [String; 2] {
        [1, 2].map(|end| format!("02:00:00:00:{:02x}:{end:02x}", self.number))
    }

    /// Namespace of the client.
    #[must_use]
    pub fn plant(&self) -> String {
        format!("{}-p", self.name)
    }

    /// Namespace of the server.
    #[must_use]
    pub fn robot(&self) -> String {
        format!("{}-r", self.name)
    }

    /// Namespace between them, with the ports `plant0` and `robot0`; absent on a plain wire.
    #[must_use]
    pub fn between(&self) -> Option<String> {
        (self.middle != Middle::Wire).then(|| format!("{}-m", self.name))
    }

    /// A command to be started between the ends.
    ///
    /// # Errors
    /// There is nothing between them.
    pub fn command(&self, program: &Path) -> Result<Command, BenchError> {
        let Some(between) = self.between() else {
            return Err(BenchError::Said("nothing can run in the middle of a plain wire".to_owned()));
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &between]).arg(program);
        Ok(command)
    }

    /// Joins the two ports in the middle by a kernel bridge: no spanning tree, no snooping, no detour through iptables.
    ///
    /// # Errors
    /// A command that failed.
    pub fn bridge(&self) -> Result<(), BenchError> {
        let between = self.between().unwrap_or_default();
        ip(&format!("-n {between} link add br0 type bridge stp_state 0 mcast_snooping 0"))?;
        for port in ["plant0", "robot0"] {
            ip(&format!("-n {between} link set {port} master br0"))?;
        }
        ip(&format!("-n {between} link set br0 up"))?;
        inside(&between, || {
            let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        })
    }

    /// Takes the bridge away again.
    ///
    /// # Errors
    /// A command that failed.
    pub fn no_bridge(&self) -> Result<(), BenchError> {
        ip(&format!("-n {} link delete br0", self.between().unwrap_or_default()))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        for Taken { space, name, at_home, was_up, offloads } in self.taken.drain(..) {
            let own = std::process::id();
            for words in [
                format!("-n {space} link set {name} down promisc off nomaster"),
                format!("-n {space} address flush dev {name}"),
                format!("-n {space} link set {name} name {at_home}"),
                // One that was not moved yet is at home already, and these fail.
                format!("-n {space} link set {at_home} netns {own}"),
            ] {
                let _ = ip(&words);
            }
            let _ = crate::nic::switch_offloads_on(&at_home, &offloads);
            if was_up {
                let _ = ip(&format!("link set {at_home} up"));
            }
        }
        for space in [Some(self.plant()), Some(self.robot()), self.between()].into_iter().flatten() {
            let _ = ip(&format!("netns delete {space}"));
        }
    }
}

/// Removes namespaces of measurements that were killed.
pub fn remove_left_behind() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let id = rest.and_then(|rest| rest.split('-').next()).and_then(|id| id.parse::<u32>().ok());
        if id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

/// Runs a closure on a thread of its own in a namespace; sockets opened there stay there.
///
/// # Errors
/// The namespace is gone, or may not be entered.
pub fn inside<T: Send>(space: &str, work: impl FnOnce() -> T + Send) -> Result<T, BenchError> {
    let file = File::open(Path::new("/run/netns").join(space)).map_err(BenchError::of(space))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).map_err(BenchError::of(space))?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `ip` with these words.
pub(super) fn ip(words: &str) -> Result<(), BenchError> {
    let mut command = Command::new("ip");
    let output = command
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(BenchError::of("the command ip (package iproute2)"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::Said(format!("ip {words}: {}", said.lines().next().unwrap_or("failed"))))
}

/// Offloads off, promiscuous, up.
fn up(space: &str, port: &str) -> Result<(), BenchError> {
    inside(space, || crate::nic::switch_offloads_off(port))?.map_err(BenchError::of(port))?;
    ip(&format!("-n {space} link set {port} promisc on up"))
}

/// Waits for the carrier: what is sent before that is lost. A cable may need seconds to agree on its speed.
fn wait_for_carrier(space: &str, port: &str) -> Result<(), BenchError> {
    let start = Instant::now();
    while !inside(space, || shown(port))??.contains("LOWER_UP") {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(BenchError::Said(format!(
                "port {port} has no carrier; is there a cable between the two ports?"
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What `ip` says of a port in the calling thread's namespace, in one line.
fn shown(port: &str) -> Result<String, BenchError> {
    let output = Command::new("ip").args(["-br", "link", "show", port]).output();
    let output = output.map_err(BenchError::of("the command ip (package iproute2)"))?;
    if !output.status.success() {
        return Err(BenchError::Said(format!("there is no port {port}; `ip -br link` shows those there are")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn mac_of(port: &str) -> Result<String, BenchError> {
    let word = shown(port)?.split_whitespace().nth(2).map(str::to_owned);
    word.ok_or_else(|| BenchError::Said(format!("the MAC address of {port} is not told")))
}
