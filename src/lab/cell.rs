//! The cell's wiring: a namespace a host, veth pairs with offloads off, a bridge that plays the plant's switch.
//!
//! ```text
//! plc ──┐
//! panel ┤ plant (switch) ── box: plant0 │ robot0 ── robot
//! ...  ─┘
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::LabError;
use super::appliance::Appliance;

/// Interface of every host inside its namespace.
pub(crate) const PORT: &str = "eth0";

/// Appliance ports in the box namespace.
pub const BOX_PORTS: [&str; 2] = ["plant0", "robot0"];

/// Begin of every namespace name of the lab.
const PREFIX: &str = "vblab";

/// A host of the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Host {
    /// Runs the production cycle.
    Plc,
    /// The operator's Dashboard client.
    Panel,
    /// The engineering station.
    Engineering,
    /// The computer that moves the arm over external control.
    Ros,
    /// A machine without business with the robot.
    Attacker,
    /// The remote I/O device that the robot itself polls.
    RemoteIo,
    /// The emulated controller, behind the box.
    Robot,
    /// The appliance; it has no address.
    Box,
}

impl Host {
    /// Every host with an address.
    pub const ADDRESSED: [Self; 7] =
        [Self::Plc, Self::Panel, Self::Engineering, Self::Ros, Self::Attacker, Self::RemoteIo, Self::Robot];

    /// Name in namespaces, configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plc => "plc",
            Self::Panel => "panel",
            Self::Engineering => "engineering",
            Self::Ros => "ros",
            Self::Attacker => "attacker",
            Self::RemoteIo => "remote-io",
            Self::Robot => "robot",
            Self::Box => "box",
        }
    }

    /// Address in the cell, 10.20.0.0/24.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        let last = match self {
            Self::Plc => 21,
            Self::Panel => 22,
            Self::Engineering => 23,
            Self::Ros => 24,
            Self::RemoteIo => 30,
            Self::Robot => 40,
            Self::Attacker => 66,
            Self::Box => 0,
        };
        IpAddr::V4(Ipv4Addr::new(10, 20, 0, last))
    }

    /// MAC, locally administered, with the address in its last four bytes.
    #[must_use]
    pub const fn mac(self) -> [u8; 6] {
        match self.address() {
            IpAddr::V4(address) => {
                let octets = address.octets();
                [0x02, 0, octets[0], octets[1], octets[2], octets[3]]
            }
            IpAddr::V6(_) => [0; 6],
        }
    }
}

/// What stands between plant and robot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wiring {
    /// The box namespace with two unconnected ports; something has to bridge them.
    #[default]
    Box,
    /// A cable: no box at all.
    DirectCable,
}

/// How a cell is built.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Part of the namespace names; several cells can stand beside each other. The process id when absent.
    pub name: Option<String>,
    /// Box or cable.
    pub wiring: Wiring,
    /// The program whose `lab actor` plays the parts; this program when absent.
    pub program: Option<PathBuf>,
}

/// A process in one namespace of the cell, its output in files.
#[derive(Debug)]
pub struct Process {
    /// What it plays.
    pub name: String,
    child: Child,
    /// Standard output.
    pub output: PathBuf,
    /// Standard error.
    pub errors: PathBuf,
}

impl Process {
    /// The lines written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        // A line that is still being written is no line yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until a line holds `text`.
    ///
    /// # Errors
    /// The process ended or `patience` is over; the message holds what it said.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<(), LabError> {
        let end = Instant::now() + patience;
        while !self.lines().iter().any(|line| line.contains(text)) {
            let ended = self.child.try_wait().map_err(LabError::io("waiting for a process"))?;
            if ended.is_some() || Instant::now() > end {
                return Err(LabError::Said(format!("{} did not come up: {}", self.name, self.complaint())));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The last line of its standard error that speaks of an error, or the last one.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let error = text.lines().rev().find(|line| line.to_lowercase().contains("error"));
        error.or(text.lines().last()).unwrap_or("it said nothing").to_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Errors
    /// It did not end in `patience`.
    pub fn finish(&mut self, patience: Duration) -> Result<(), LabError> {
        drop(self.child.stdin.take());
        let end = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() > end {
                return Err(LabError::Said(format!("{} did not end: {}", self.name, self.complaint())));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _already_gone = rustix::process::kill_process(pid, signal);
        }
    }

    /// Asks it to end, then ends it.
    pub fn end(&mut self) {
        if self.is_running() {
            self.signal(rustix::process::Signal::TERM);
            let end = Instant::now() + Duration::from_secs(3);
            while self.is_running() && Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
            let _already_gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// A cell that stands; taken down when dropped.
#[derive(Debug)]
pub struct Cell {
    name: String,
    program: PathBuf,
    directory: PathBuf,
    processes: Vec<Process>,
    /// Stays when dropped: `lab up`.
    detached: bool,
    /// Its files stay when it is dropped.
    keeps_files: bool,
}

impl Cell {
    /// Builds namespaces, cables and the switch. Needs root.
    ///
    /// # Errors
    /// Not root, `ip` or `ethtool` missing, or a cell of that name stands already.
    pub fn up(options: &Options) -> Result<Self, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::Said("the virtual cell needs root; run it with sudo".into()));
        }
        let name = options.name.clone().unwrap_or_else(|| std::process::id().to_string());
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(LabError::io("path of this program"))?,
        };
        let directory = directory_of(&name);
        if namespaces()?.iter().any(|namespace| namespace.starts_with(&namespace_prefix(&name))) {
            return Err(LabError::Said(format!("a cell called {name} stands already; run `vambrace lab down {name}`")));
        }
        // What an earlier cell of this name left would be taken for this one's output.
        let _absent = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(LabError::io(format!("cannot create {}", directory.display())))?;
        let cell = Self { name, program, directory, processes: Vec::new(), detached: false, keeps_files: false };
        cell.wire(options.wiring)?;
        Ok(cell)
    }

    /// A cell without box: a cable between plant and robot, for comparison.
    ///
    /// # Errors
    /// As [`Cell::up`].
    pub fn direct_cable(options: &Options) -> Result<Self, LabError> {
        Self::up(&Options { wiring: Wiring::DirectCable, ..options.clone() })
    }

    /// Namespace of a host.
    #[must_use]
    pub fn namespace(&self, host: Host) -> String {
        namespace(&self.name, host)
    }

    /// The program that plays the cell's parts, and is the appliance.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Directory of the cell's files: outputs, records, policy.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves the cell standing when this value is dropped.
    pub fn detach(&mut self) {
        self.detached = true;
    }

    /// Leaves the cell's files (outputs, records, captures) when this value is dropped, and says where they are.
    pub fn keep_files(&mut self) -> &Path {
        self.keeps_files = true;
        &self.directory
    }

    fn wire(&self, wiring: Wiring) -> Result<(), LabError> {
        let plant = format!("{}plant", namespace_prefix(&self.name));
        let mut batch = format!("netns add {plant}\n");
        for host in Host::ADDRESSED {
            batch += &format!("netns add {}\n", self.namespace(host));
        }
        if wiring == Wiring::Box {
            batch += &format!("netns add {}\n", self.namespace(Host::Box));
        }
        ip_batch(None, &batch)?;

        let mut all: Vec<String> = Host::ADDRESSED.iter().map(|host| self.namespace(*host)).collect();
        all.push(plant.clone());
        if wiring == Wiring::Box {
            all.push(self.namespace(Host::Box));
        }
        // Before the first interface comes up, so that none ever speaks IPv6 of its own.
        for namespace in &all {
            let quiet = "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6 || true; done; \
                         for f in arptables iptables ip6tables; do \
                         [ ! -e /proc/sys/net/bridge/bridge-nf-call-$f ] || \
                         echo 0 > /proc/sys/net/bridge/bridge-nf-call-$f; done";
            run("ip", &["netns", "exec", namespace, "sh", "-c", quiet])?;
        }

        let mut cables: Vec<(String, String, String)> = Vec::new(); // interface, its namespace, port of the switch
        for host in Host::ADDRESSED.into_iter().filter(|host| *host != Host::Robot || wiring == Wiring::DirectCable) {
            cables.push((PORT.into(), self.namespace(host), host.name().into()));
        }
        if wiring == Wiring::Box {
            cables.push((BOX_PORTS[0].into(), self.namespace(Host::Box), "box".into()));
        }
        ip_batch(Some(&plant), "link add switch type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n")?;
        let mut batch = String::new();
        for (interface, namespace, port) in &cables {
            batch += &format!("link add {interface} netns {namespace} type veth peer name {port} netns {plant}\n");
        }
        if wiring == Wiring::Box {
            let (robot, between) = (self.namespace(Host::Robot), self.namespace(Host::Box));
            batch += &format!("link add {PORT} netns {robot} type veth peer name {} netns {between}\n", BOX_PORTS[1]);
        }
        ip_batch(None, &batch)?;

        for (_, _, port) in &cables {
            offloads_off(&plant, port)?;
        }
        if wiring == Wiring::Box {
            for port in BOX_PORTS {
                offloads_off(&self.namespace(Host::Box), port)?;
            }
            let up = BOX_PORTS.map(|port| format!("link set {port} up\n")).concat();
            ip_batch(Some(&self.namespace(Host::Box)), &up)?;
        }
        let mut batch = String::from("link set switch up\n");
        for (_, _, port) in &cables {
            batch += &format!("link set {port} master switch\nlink set {port} up\n");
        }
        ip_batch(Some(&plant), &batch)?;
        for host in Host::ADDRESSED {
            let namespace = self.namespace(host);
            offloads_off(&namespace, PORT)?;
            let mac = host.mac().map(|byte| format!("{byte:02x}")).join(":");
            let batch = format!(
                "link set lo up\nlink set {PORT} address {mac}\naddr add {}/24 dev {PORT}\nlink set {PORT} up\n",
                host.address()
            );
            ip_batch(Some(&namespace), &batch)?;
        }
        Ok(())
    }

    /// Starts `program` in the namespace of `host`, its output in files called `name`.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn_program(&self, host: Host, name: &str, program: &Path, args: &[&str]) -> Result<Process, LabError> {
        let output = self.directory.join(format!("{name}.jsonl"));
        let errors = self.directory.join(format!("{name}.stderr"));
        let file = |path: &Path| File::create(path).map_err(LabError::io(format!("cannot create {}", path.display())));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program).args(args);
        command.stdin(Stdio::piped()).stdout(file(&output)?).stderr(file(&errors)?);
        // Ctrl-C is for this process; it takes the others down in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(LabError::io(format!("cannot start {name}")))?;
        Ok(Process { name: name.into(), child, output, errors })
    }

    /// Starts this cell's program (`vambrace`) in the namespace of `host`.
    ///
    /// # Errors
    /// The program can't be started.
    pub fn spawn(&self, host: Host, name: &str, args: &[&str]) -> Result<Process, LabError> {
        self.spawn_program(host, name, &self.program, args)
    }

    /// Hands a process to the cell, which ends it when it is taken down.
    pub fn keep(&mut self, process: Process) {
        self.processes.push(process);
    }

    /// The kept process called `name`.
    pub fn process(&mut self, name: &str) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.name == name)
    }

    /// Starts the emulated controller and the remote I/O device, and waits until both listen.
    ///
    /// # Errors
    /// One of them does not come up.
    pub fn start_robot(&mut self) -> Result<(), LabError> {
        let io = format!("{}:502", Host::RemoteIo.address());
        let mut remote_io = self.spawn(Host::RemoteIo, "remote-io", &["lab", "actor", "remote-io", "--listen", &io])?;
        remote_io.wait_for("\"ready\"", Duration::from_secs(10))?;
        self.keep(remote_io);
        let robot = Host::Robot.address().to_string();
        // The second node was left over when the cell was set up: whoever takes that address is asked for a program.
        let computers = [Host::Ros, Host::Attacker].map(|host| host.address().to_string());
        let mut args = vec!["lab", "actor", "controller", "--listen", &robot, "--remote-io", &io];
        args.extend(computers.iter().flat_map(|computer| ["--external-control", computer]));
        let mut controller = self.spawn(Host::Robot, "controller", &args)?;
        controller.wait_for("\"ready\"", Duration::from_secs(10))?;
        self.keep(controller);
        Ok(())
    }

    /// Starts `vambrace run` between the ports in `mode`, with the cell's own configuration, and waits until it answers.
    ///
    /// # Errors
    /// It does not come up; the message holds what it said.
    pub fn start_appliance(&mut self, mode: &str) -> Result<(), LabError> {
        let process = Appliance::of(self).start(self, mode)?;
        self.keep(process);
        Ok(())
    }

    /// Runs an operator's command against the cell's appliance, such as `["mode", "enforce"]`, and returns its output.
    ///
    /// # Errors
    /// The command's exit code was not 0; the message holds what it said.
    pub fn operate(&self, args: &[&str]) -> Result<String, LabError> {
        Appliance::of(self).ask(args)
    }

    /// Starts the production cycle: PLC, panel and the computer that moves the arm.
    ///
    /// # Errors
    /// One of them can't be started.
    pub fn start_cycle(&mut self) -> Result<(), LabError> {
        [Host::Plc, Host::Panel, Host::Ros].into_iter().try_for_each(|host| self.start_part(host))
    }

    /// Starts one host's part of the production cycle.
    ///
    /// # Errors
    /// It can't be started; a host without such a part ends at once.
    pub fn start_part(&mut self, host: Host) -> Result<(), LabError> {
        let (robot, own) = (Host::Robot.address().to_string(), host.address().to_string());
        let mut args = vec!["lab", "actor", host.name(), "--robot", &robot];
        if host == Host::Ros {
            args.extend(["--listen", &own]);
        }
        let process = self.spawn(host, host.name(), &args)?;
        self.keep(process);
        Ok(())
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        for process in &mut self.processes {
            process.end();
        }
        if let Err(error) = down(&self.name) {
            eprintln!("vambrace: cell {} could not be taken down: {error}", self.name);
        }
        // A test that failed is looked into with them.
        if !self.keeps_files && !thread::panicking() {
            let _already_gone = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Directory of a cell's files.
pub(crate) fn directory_of(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}-{name}"))
}

/// Namespace of a host in the cell called `cell`.
pub(crate) fn namespace(cell: &str, host: Host) -> String {
    format!("{}{}", namespace_prefix(cell), host.name())
}

fn namespace_prefix(name: &str) -> String {
    format!("{PREFIX}-{name}-")
}

fn namespaces() -> Result<Vec<String>, LabError> {
    let list = run("ip", &["netns", "list"])?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// Whether a cell called `name` stands.
pub(crate) fn stands(name: &str) -> Result<bool, LabError> {
    Ok(namespaces()?.iter().any(|namespace| namespace.starts_with(&namespace_prefix(name))))
}

/// Ends every process in the cell's namespaces, by its id, and removes the namespaces.
pub(crate) fn down(name: &str) -> Result<usize, LabError> {
    let ours: Vec<String> =
        namespaces()?.into_iter().filter(|namespace| namespace.starts_with(&namespace_prefix(name))).collect();
    for namespace in &ours {
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
            let pids = run("ip", &["netns", "pids", namespace])?;
            let pids: Vec<_> = pids
                .lines()
                .filter_map(|pid| pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw))
                .collect();
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                let _already_gone = rustix::process::kill_process(pid, signal);
            }
            thread::sleep(Duration::from_millis(100));
        }
        run("ip", &["netns", "del", namespace])?;
    }
    Ok(ours.len())
}

/// Runs a program to its end and returns its output.
fn run(program: &str, args: &[&str]) -> Result<String, LabError> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().map_err(|source| {
        let package = if program == "ip" { "iproute2" } else { program };
        LabError::Io { what: format!("cannot run {program}; install the package {package}"), source }
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(LabError::Said(format!("`{program} {}`: {}", args.join(" "), said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Many `ip` commands in one process.
fn ip_batch(namespace: Option<&str>, batch: &str) -> Result<(), LabError> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::io("cannot run ip; install the package iproute2"))?;
    let mut input = child.stdin.take().ok_or_else(|| LabError::Said("ip has no input".into()))?;
    input.write_all(batch.as_bytes()).map_err(LabError::io("writing to ip"))?;
    drop(input);
    let output = child.wait_with_output().map_err(LabError::io("waiting for ip"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(LabError::Said(format!("ip: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}

/// Unfinished checksums and merged segments never happen on a real cable.
fn offloads_off(namespace: &str, interface: &str) -> Result<(), LabError> {
    let features = ["rx", "tx", "sg", "tso", "gso", "gro", "txvlan", "rxvlan"];
    let mut args = vec!["netns", "exec", namespace, "ethtool", "-K", interface];
    args.extend(features.iter().flat_map(|feature| [*feature, "off"]));
    run("ip", &args).map(|_| ())
}

/// Reads a whole file for a report.
pub(crate) fn read(path: &Path) -> Result<String, LabError> {
    fs::read_to_string(path).map_err(LabError::io(format!("cannot read {}", path.display())))
}

/// Writes a file of the cell.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), LabError> {
    let result: io::Result<()> = fs::write(path, text);
    result.map_err(LabError::io(format!("cannot write {}", path.display())))
}
