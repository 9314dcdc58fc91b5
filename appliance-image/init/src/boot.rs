//! The life of a box, from the kernel's first process to its orderly end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::disk::{self, Partition, Usb, loaded_from, on_own_disk, partitions};
use crate::first_boot::{self, CONFIG, Found};
use crate::latch::{self, Latch};
use crate::log::Log;
use crate::modules::{self, Modules};
use crate::ports::{self, Port};
use crate::release::{self, Release};
use crate::rights::{ACCOUNT, CONSOLE, PASSWD, Role};
use crate::service::Service;
use crate::tpm::Tpm;
use crate::update::watch::Watch;
use crate::watchdog::Watchdog;
use crate::{Failure, clock, fsck, grow, management, mounts, power, reset, slots, vault};

/// The guard.
const GUARD: &str = "/usr/bin/vambrace";

/// What programs look accounts up in.
const ACCOUNTS: &str = "/etc/passwd";

/// This program.
const INIT: &str = "/init";

/// Where the guard looks for its configuration: a link to the data partition.
const CONFIG_FILE: &str = "/etc/vambrace/vambrace.toml";

/// Variable of the firmware: whether it starts only what is signed.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// How long the disk may take to appear. Sticks and slow controllers take some seconds.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// How long it takes until a USB shows that a stick hangs on it, and how long until the stick can be read.
const STICK_PATIENCE: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_secs(8));

/// How long a port may take to appear.
const PORT_PATIENCE: Duration = Duration::from_secs(5);

/// How often the loop looks around; a child that ended is replaced at most this much later.
const TURN: Duration = Duration::from_millis(20);

/// How the data partition is kept, for the guard's status: `encrypted`, `plain`, `locked` or `lost`, a colon, a sentence.
const AT_REST: &str = "/run/at-rest";

/// The log as the management process hands it to those who help.
const LOG: &str = "/run/log/vambrace";

/// How often it is brought up to date.
const SHARE: Duration = Duration::from_secs(5);

/// How long the guard may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Folders of the data partition, whose they are (PID 1's where nobody is named), and who else gets in.
const FOLDERS: [(&str, Option<u32>, u32); 6] = [
    ("config", None, 0o755),
    ("evidence", Some(ACCOUNT), 0o750),
    ("console", Some(CONSOLE), 0o700),
    ("identity", Some(ACCOUNT), 0o700),
    ("update", None, 0o755),
    ("log", None, 0o755),
];

/// What PID 1 does. Comes back only if the box can't be turned off.
#[must_use]
pub fn run() -> ExitCode {
    let log = Log::default();
    let mut tell = |line: String| log.say("init", &line);
    mounts::kernel(&mut tell);
    log.say("init", fs::read_to_string("/usr/lib/release").unwrap_or_default().trim());
    let mut modules = Modules::read(Path::new(modules::FOLDER)).unwrap_or_else(|error| {
        tell(format!("modules: {error}"));
        Modules::default()
    });
    modules.load_always(&mut tell);
    while modules.load_for_devices(&mut tell) > 0 {}
    let mut watchdog = open_watchdog(&mut modules, &log);
    if let Err(failure) = mounts::firmware_variables() {
        log.say("init", &failure.to_string());
    }
    let all = grown(wait_for_disk(&mut modules, &log), &log);
    let data = mount_data(&all, &mut watchdog, &log);
    slots::keep_both(&all, loaded_from().as_deref(), &mut |line| log.say("init", &line));
    let ports = wait_for_ports(&mut modules, &log);
    // Before the guard starts: its records and its key bear the name.
    let name = ports::box_name(&ports);
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        log.say("init", &format!("the box can't be named {name}: {error}"));
    }
    let all = with_sticks(all, &mut modules, &log);
    if reset_where_ordered(&all, &name, data == Data::Locked, &log) {
        return start_again(&log);
    }
    let config = configure(&all, &ports, data != Data::Mounted, &log);
    let of_its_own = (config == Path::new(CONFIG_FILE)).then_some(config.as_path());
    let mut latch = own(&all, "esp-a").map(|esp| Latch::on(esp, of_its_own));
    restore_orders(&all, of_its_own, &log);
    if let Err(error) = fs::write(ACCOUNTS, PASSWD) {
        log.say("init", &format!("{ACCOUNTS}: {error}"));
    }
    if let Err(failure) = mounts::root_read_only() {
        log.say("init", &failure.to_string());
    }
    set_up(&ports, &config, &log);
    tell_measurements(&log);
    let (pressed, presses) = channel();
    if power::listen(&pressed) == 0 {
        log.say("init", "there is no power button");
    }
    let mut services = services(&config, &log);
    let mut updates = watch_updates(&all, &log);
    let last = supervise(&mut services, &mut updates, &mut watchdog, &mut latch, &presses, &log);
    end(&mut services, last, &mut watchdog, &mut latch, &log)
}

/// `None` where there can be no updates.
fn watch_updates(all: &[Partition], log: &Log) -> Option<Watch> {
    let release = Release::read(Path::new(release::FILE)).map_err(|failure| log.say("init", &failure.to_string())).ok();
    let from = loaded_from();
    let slot = all.iter().find(|it| it.uuid.is_some() && it.uuid == from).map(|it| it.name.as_str());
    let watch = Watch::begin(release.as_ref(), slot, CONSOLE, Instant::now());
    watch.map_err(|failure| log.say("init", &failure.to_string())).ok()
}

fn open_watchdog(modules: &mut Modules, log: &Log) -> Option<Watchdog> {
    let device = Path::new("/dev/watchdog");
    if !device.exists() {
        log.say("init", "no watchdog of hardware: the kernel's own takes its place");
        modules.load("softdog", &mut |line| log.say("init", &line));
    }
    Watchdog::open(device).map_err(|error| log.say("init", &format!("watchdog: {error}"))).ok()
}

/// The partitions, once that of the own disk are among them or patience is over.
fn wait_for_disk(modules: &mut Modules, log: &Log) -> Vec<Partition> {
    let begun = Instant::now();
    loop {
        let all = partitions();
        let own = own_data(&all).is_some();
        if own || begun.elapsed() > DISK_PATIENCE {
            return all;
        }
        modules.load_for_devices(&mut |line| log.say("init", &line));
        std::thread::sleep(TURN);
    }
}

/// The partitions, sticks among them: what hangs on a USB needs a moment, and a module, to be seen. A box without one does not
/// wait for it longer than it takes to see that there is none.
fn with_sticks(all: Vec<Partition>, modules: &mut Modules, log: &Log) -> Vec<Partition> {
    let begun = Instant::now();
    let mut all = all;
    loop {
        modules.load_for_devices(&mut |line| log.say("init", &line));
        let patience = match disk::usb() {
            Usb::Nothing => return all,
            Usb::NoDisk => STICK_PATIENCE.0,
            Usb::Disk => STICK_PATIENCE.1,
        };
        let is_seen = all.iter().any(|it| it.removable);
        if is_seen || begun.elapsed() > patience {
            return all;
        }
        std::thread::sleep(TURN);
        all = partitions();
    }
}

fn own(all: &[Partition], name: &str) -> Option<PathBuf> {
    on_own_disk(all, &loaded_from()?, name).map(|it| it.device.clone())
}

fn own_data(all: &[Partition]) -> Option<PathBuf> {
    own(all, "data")
}

/// Lets the data partition reach to the end of its disk, where it does not. Gives back the partitions as they are then.
fn grown(all: Vec<Partition>, log: &Log) -> Vec<Partition> {
    let Some(disk) = own_data(&all).and(loaded_from()).and_then(|from| on_own_disk(&all, &from, "data")) else {
        return all;
    };
    match grow::partition(&Path::new("/dev").join(&disk.disk), "data") {
        Ok(0) => all,
        Ok(bytes) => {
            log.say("init", &format!("the data partition has grown by {} MiB", bytes / 1024 / 1024));
            // The kernel has taken all partitions away and shows them again.
            let begun = Instant::now();
            loop {
                let again = partitions();
                if again.len() >= all.len() || begun.elapsed() > DISK_PATIENCE {
                    return again;
                }
                std::thread::sleep(TURN);
            }
        }
        Err(failure) => {
            log.say("init", &format!("the data partition stays as large as it is: {failure}"));
            all
        }
    }
}

/// What is mounted as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    /// The data partition.
    Mounted,
    /// Memory: the TPM keeps the partition's key back, and it is mounted elsewhere.
    Locked,
    /// Memory: there is no partition.
    Lost,
}

/// Mounts the data partition, or memory in its place, and makes its folders.
fn mount_data(all: &[Partition], watchdog: &mut Option<Watchdog>, log: &Log) -> Data {
    let slot = loaded_from().and_then(|from| all.iter().find(|it| it.uuid.as_ref() == Some(&from)));
    log.say("init", &format!("started from {}", slot.map_or("a place that is not known", |it| it.name.as_str())));
    let mounted = own_data(all).ok_or_else(|| Failure("there is no data partition".to_owned())).and_then(|device| {
        if let Err(failure) = fsck::check(INIT, &device, log, &mut || feed(watchdog, Instant::now(), log)) {
            log.say("init", &failure.to_string());
        }
        mounts::data(&device)?;
        if let Err(failure) = grow::file_system(Path::new(mounts::DATA), &device) {
            log.say("init", &failure.to_string());
        }
        Ok(())
    });
    let mut data = Data::Mounted;
    let told = match mounted.map(|()| vault::open(Path::new(mounts::DATA), secure_boot(), Tpm::open)) {
        Ok(vault::State::Encrypted) => "encrypted: the data partition, with a key that the TPM holds".to_owned(),
        Ok(vault::State::Plain(why)) => format!("plain: the data partition is not encrypted: {why}"),
        Ok(vault::State::Locked(why)) => {
            data = Data::Locked;
            format!("locked: the data partition: {why}; nothing of it is lost, and nothing is kept over the next boot")
        }
        Err(failure) => {
            data = Data::Lost;
            format!("lost: {failure}; nothing is kept over the next boot")
        }
    };
    log.say("init", &told);
    if data == Data::Locked
        && let Err(failure) = mounts::set_aside()
    {
        log.say("init", &failure.to_string());
    }
    if data != Data::Mounted
        && let Err(failure) = mounts::data_in_memory()
    {
        log.say("init", &failure.to_string());
    }
    for (name, owner, mode) in FOLDERS {
        let folder = Path::new(mounts::DATA).join(name);
        let made = fs::create_dir_all(&folder)
            .and_then(|()| owner.map_or(Ok(()), |id| chown(&folder, owner, Some(id))))
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)));
        if let Err(error) = made {
            log.say("init", &format!("{}: {error}", folder.display()));
        }
    }
    let run = fs::create_dir_all("/run/vambrace").and_then(|()| chown("/run/vambrace", Some(ACCOUNT), Some(ACCOUNT)));
    if let Err(error) = run {
        log.say("init", &format!("/run/vambrace: {error}"));
    }
    // Outside the guard's folder: the guard tells it and can't change it.
    if let Err(error) = fs::write(AT_REST, &told) {
        log.say("init", &format!("{AT_REST}: {error}"));
    }
    for (to, link) in
        [(mounts::DATA.to_owned(), "/var/lib/vambrace"), (format!("{}/config", mounts::DATA), "/etc/vambrace")]
    {
        if let Err(error) = symlink(to, link) {
            log.say("init", &format!("{link}: {error}"));
        }
    }
    data
}

fn wait_for_ports(modules: &mut Modules, log: &Log) -> Vec<Port> {
    let begun = Instant::now();
    loop {
        let found = ports::ports();
        if found.len() >= 2 || begun.elapsed() > PORT_PATIENCE {
            for port in &found {
                log.say("init", &format!("port {} is {} with {}", port.pci, port.name, port.mac));
            }
            return found;
        }
        modules.load_for_devices(&mut |line| log.say("init", &line));
        std::thread::sleep(TURN);
    }
}

/// The configuration to run with: the box's own, a medium's, or safe defaults, which are not kept.
fn configure(all: &[Partition], ports: &[Port], data_lost: bool, log: &Log) -> PathBuf {
    let folder = Path::new(mounts::DATA).join("config");
    if folder.join(CONFIG).exists() {
        return CONFIG_FILE.into();
    }
    let own = own(all, "esp-a");
    let sticks = all.iter().filter(|it| it.removable && Some(&it.device) != own.as_ref()).map(|it| it.device.clone());
    for device in own.clone().into_iter().chain(sticks) {
        let medium = Path::new("/run/medium");
        if mounts::esp(&device, medium).is_err() {
            // No FAT: not for us.
            continue;
        }
        let found = first_boot::import(medium, &folder, check);
        let _ = rustix::mount::unmount(medium, rustix::mount::UnmountFlags::empty());
        match found {
            Ok(Found::Nothing) => {}
            Ok(Found::Taken { policy }) => {
                let with = if policy { "with its policy" } else { "without a policy" };
                let kept = if data_lost { ", for this boot only" } else { "" };
                if let Err(failure) = latch::supersede() {
                    log.say("init", &failure.to_string());
                }
                if let Some(first) = own.as_ref().filter(|first| **first != device)
                    && let Err(failure) = keep_copy(first, &folder)
                {
                    log.say("init", &failure.to_string());
                }
                log.say("init", &format!("configuration of {} taken {with}{kept}", device.display()));
                return CONFIG_FILE.into();
            }
            Err(failure) => log.say("init", &format!("configuration of {} not taken: {failure}", device.display())),
        }
    }
    log.say("init", "no configuration: every frame passes, the box learns, nothing listens on the data ports");
    let file = PathBuf::from("/run/vambrace.toml");
    let processors = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let processors = processors.filter(|it| it.path().join("topology").exists()).count();
    let room = rustix::fs::statvfs(mounts::DATA).map_or(0, |it| it.f_blocks.saturating_mul(it.f_frsize));
    match first_boot::defaults(ports, processors, room) {
        Some(text) => {
            if let Err(error) = fs::write(&file, text) {
                log.say("init", &format!("{}: {error}", file.display()));
            }
        }
        None => log.say("init", "there are fewer than two ports: nothing to guard"),
    }
    file
}

/// A stick's configuration goes to the first slot as well: a box whose data partition is lost finds it there and guards
/// on, instead of starting to learn.
fn keep_copy(esp: &Path, folder: &Path) -> Result<(), Failure> {
    let place = Path::new("/run/esp");
    mounts::esp_to_write(esp, place)?;
    let copied = first_boot::copy(folder, place);
    let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::empty());
    copied
}

/// Has the guard check a configuration and a policy, with the guard's rights.
///
/// # Errors
/// Their mistakes, one after the other.
pub fn check(config: &Path, policy: Option<&Path>) -> Result<(), String> {
    let config = config.as_os_str();
    let ask = |args: &[&std::ffi::OsStr]| -> Result<(), String> {
        let output = Command::new(INIT)
            .args(["launch", Role::Guard.name(), GUARD])
            .args(args)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        Err(told.trim().replace('\n', "; "))
    };
    ask(&["config".as_ref(), "check".as_ref(), config])?;
    policy.map_or(Ok(()), |policy| {
        ask(&["policy".as_ref(), "check".as_ref(), policy.as_os_str(), "--config".as_ref(), config])
    })
}

/// Removes what a stick in the box orders to remove, once. Says whether the box has to start again for it: after a wipe there
/// is another key.
fn reset_where_ordered(all: &[Partition], name: &str, is_locked: bool, log: &Log) -> bool {
    let Some(esp) = own(all, "esp-a") else { return false };
    let mut again = false;
    for stick in all.iter().filter(|it| it.removable && it.device != esp) {
        let found = mounts::with_esp(&stick.device, false, |place| reset::order(place, name));
        let order = match found {
            Ok(Some(order)) => order,
            Ok(None) => continue,
            // Most sticks have no FAT file system, or one for somebody else: only what is said of an order is told.
            Err(failure) if failure.0.contains(reset::FILE) => {
                log.say("init", &failure.to_string());
                continue;
            }
            Err(_) => continue,
        };
        let done = mounts::with_esp(&esp, true, |place| {
            if reset::is_done(place, &order)? {
                return Ok(false);
            }
            let done = if is_locked {
                mounts::locked_to_write()
                    .and_then(|()| reset::carry_out_locked(&order, Path::new(mounts::LOCKED), place))
            } else {
                reset::carry_out(&order, Path::new(mounts::DATA), place)
            };
            done.map(|()| true)
        });
        again |= order.what == reset::What::Wipe && matches!(done, Ok(true));
        match done {
            Ok(true) => log.say("init", &format!("reset, as {} orders: {:?}", stick.device.display(), order.what)),
            Ok(false) => log.say("init", "the stick's order to reset was carried out before; it needs another word"),
            Err(failure) => log.say("init", &format!("not reset: {failure}")),
        }
    }
    again
}

/// Starts the box again before anything runs.
fn start_again(log: &Log) -> ExitCode {
    log.say("init", "the box starts again");
    rustix::fs::sync();
    for place in [mounts::DATA, mounts::LOCKED] {
        let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::empty());
    }
    if let Err(error) = reboot(RebootCommand::Restart) {
        log.say("init", &format!("the box does not start again: {error}"));
    }
    ExitCode::FAILURE
}

/// Puts mode and policy in force last back where the data partition has lost them.
fn restore_orders(all: &[Partition], config: Option<&Path>, log: &Log) {
    match own(all, "esp-a").map(|esp| latch::restore(&esp, config)) {
        Some(Ok(true)) => log.say("init", "mode and policy in force last are those that were latched"),
        Some(Ok(false)) | None => {}
        Some(Err(failure)) => log.say("init", &format!("what was latched is not read: {failure}")),
    }
}

/// The children that a configuration asks for. The guard goes on with what was in force last.
fn services(config: &Path, log: &Log) -> Vec<Service> {
    let file = config.display().to_string();
    let service = |name, role, command: &[&str]| Service::new(name, INIT.as_ref(), role, command);
    let mut services = vec![service("vambrace", Role::Guard, &[GUARD, "run", "--resume", "--config", &file])];
    services.push(Service::as_root("updater", INIT.as_ref(), &["updater", &file]));
    let text = fs::read_to_string(config).unwrap_or_default();
    if management::has_console(&text) {
        services.push(service("console", Role::Console, &[GUARD, "console", "--config", &file]));
    }
    let servers = management::configured(&text).map(|it| it.ntp).unwrap_or_default();
    if !servers.is_empty() {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let command: Vec<&str> = [INIT, clock::COMMAND].into_iter().chain(servers.iter().map(String::as_str)).collect();
        services.push(service("clock", Role::Clock, &command));
    } else {
        log.say("init", "no time server: the clock is the board's");
    }
    services
}

fn set_up(all: &[Port], config: &Path, log: &Log) {
    ports::silence(&mut |line| log.say("init", &line));
    let text = fs::read_to_string(config).unwrap_or_default();
    for wanted in ports::configured(&text) {
        match ports::find(all, &wanted).map(ports::up) {
            Some(Ok(())) => {}
            Some(Err(failure)) => log.say("init", &failure.to_string()),
            None => log.say("init", &format!("port {wanted} of the configuration is not in this machine")),
        }
    }
    // In any case: what is to live there must not live beside the data ports.
    if let Err(failure) = management::make() {
        log.say("init", &failure.to_string());
    }
    let Some(wanted) = management::configured(&text) else { return };
    match ports::find(all, &wanted.port).map(|port| management::set_up(port, &wanted)) {
        Some(Ok(())) => {
            let address = wanted.address.map_or("no address".to_owned(), |(it, prefix)| format!("{it}/{prefix}"));
            log.say("init", &format!("management port {} has {address}", wanted.port));
        }
        Some(Err(failure)) => log.say("init", &failure.to_string()),
        None => log.say("init", &format!("management port {} is not in this machine", wanted.port)),
    }
}

/// Whether the firmware started only what is signed.
fn secure_boot() -> bool {
    // Four bytes of attributes, then 1 for on. Source: UEFI 2.10, 3.3.
    fs::read(SECURE_BOOT).is_ok_and(|bytes| bytes.get(4..) == Some([1].as_slice()))
}

/// Says what vouches for this boot: the firmware's check, and the measurement that was predicted when the image was built.
fn tell_measurements(log: &Log) {
    log.say(
        "init",
        if secure_boot() {
            "Secure Boot is on"
        } else {
            "Secure Boot is off: whoever has the disk can change the system"
        },
    );
    let pcr = fs::read_to_string("/sys/class/tpm/tpm0/pcr-sha256/11");
    let pcr =
        pcr.map_or_else(|_| "there is no TPM".to_owned(), |value| format!("PCR 11 {}", value.trim().to_lowercase()));
    log.say("init", &pcr);
}

/// Memory in use, in MiB.
fn memory_in_use() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(kib("MemTotal:")?.saturating_sub(kib("MemAvailable:")?) / 1024)
}

/// Keeps the children running until somebody presses the power button, or an update needs another start.
fn supervise(
    services: &mut [Service],
    updates: &mut Option<Watch>,
    watchdog: &mut Option<Watchdog>,
    latch: &mut Option<Latch>,
    presses: &Receiver<()>,
    log: &Log,
) -> RebootCommand {
    let begun = Instant::now();
    let (mut told_memory, mut told_latch) = (false, false);
    let mut shared: Option<Instant> = None;
    loop {
        let now = Instant::now();
        reap(services, now, log);
        services.iter_mut().for_each(|service| service.keep(now, log));
        feed(watchdog, now, log);
        if shared.is_none_or(|last| now.saturating_duration_since(last) >= SHARE) {
            shared = Some(now);
            let _ = log.share(Path::new(LOG), CONSOLE);
        }
        match latch.as_mut().map(|latch| latch.look(now)) {
            Some(Err(failure)) if !told_latch => {
                told_latch = true;
                log.say("init", &format!("mode and policy are not latched: {failure}"));
            }
            Some(Ok(true)) => told_latch = false,
            _ => {}
        }
        if !told_memory && now.saturating_duration_since(begun) > Duration::from_secs(10) {
            told_memory = true;
            memory_in_use().into_iter().for_each(|mib| log.say("init", &format!("{mib} MiB of memory in use")));
        }
        if let Some(why) = updates.as_mut().and_then(|updates| updates.look(now, watchdog.is_some())) {
            log.say("init", &format!("the box starts again: {why}"));
            return RebootCommand::Restart;
        }
        if presses.recv_timeout(TURN).is_ok() {
            log.say("init", "the power button was pressed");
            return RebootCommand::PowerOff;
        }
    }
}

/// Takes in every process that has ended, orphans too.
fn reap(services: &mut [Service], now: Instant, log: &Log) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        services.iter_mut().any(|service| service.ended(pid, status, now, log));
    }
}

fn feed(watchdog: &mut Option<Watchdog>, now: Instant, log: &Log) {
    if let Some(Err(error)) = watchdog.as_mut().map(|it| it.feed(now)) {
        log.say("init", &format!("the watchdog is gone: {error}"));
        *watchdog = None;
    }
}

/// Ends the children, of which the guard closes its evidence, then the file systems, then the power or this run.
fn end(
    services: &mut [Service],
    last: RebootCommand,
    watchdog: &mut Option<Watchdog>,
    latch: &mut Option<Latch>,
    log: &Log,
) -> ExitCode {
    services.iter().for_each(|service| service.signal(Signal::TERM));
    let asked = Instant::now();
    while services.iter().any(Service::is_running) && asked.elapsed() < GRACE {
        reap(services, Instant::now(), log);
        feed(watchdog, Instant::now(), log);
        std::thread::sleep(TURN);
    }
    services.iter().for_each(|service| service.signal(Signal::KILL));
    // The last change may be younger than the last look.
    if let Some(Err(failure)) = latch.as_mut().map(Latch::look_now) {
        log.say("init", &format!("mode and policy are not latched: {failure}"));
    }
    log.say("init", if last == RebootCommand::Restart { "the box starts again" } else { "the box turns itself off" });
    if let Err(error) = log.save(&Path::new(mounts::DATA).join("log/last")) {
        log.say("init", &format!("the log is lost: {error}"));
    }
    rustix::fs::sync();
    if let Err(error) = rustix::mount::unmount(mounts::DATA, rustix::mount::UnmountFlags::empty()) {
        log.say("init", &format!("the data partition is in use: {error}"));
    }
    if let Err(error) = reboot(last) {
        log.say("init", &format!("the power stays on: {error}"));
    }
    ExitCode::FAILURE
}
