//! The service units of the appliance: how exposed they leave the processes, and whether both really run with no more than
//! they are given there. Nothing here needs a running service manager: accounts, capabilities, limits and masks are put on
//! as the units say, and what the processes call of the kernel is compared with the filters.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::console::{Ending, Folder, as_user, free, keygen, said, vambrace, wait_for};
use support::wire::{PLANT, ROBOT, Wire};
use support::{can_make_namespaces, has_tool};

/// The units, and the most exposure that they may leave, in tenths. What is left is in `src/manual/service-units.md`.
const UNITS: [(&str, u32); 2] = [("vambrace.service", 19), ("vambrace-console.service", 10)];

fn path(unit: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance-image").join(unit)
}

/// The values of a directive, in order.
fn values(unit: &str, directive: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path(unit)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

fn value(unit: &str, directive: &str) -> String {
    values(unit, directive).last().unwrap_or_else(|| panic!("{unit} has no {directive}")).clone()
}

#[test]
fn units_leave_no_more_exposed_than_is_told() {
    if !has_tool("units_leave_no_more_exposed_than_is_told", "systemd-analyze") {
        return;
    }
    for (unit, most) in UNITS {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", "--threshold", &most.to_string()]).arg(path(unit));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{unit}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let told = format!("{}.{}", most / 10, most % 10);
        assert!(text.contains(&format!("{unit}: {told} ")), "{unit} is better than {told}: {text}");
    }
}

#[test]
fn units_are_understood() {
    if !has_tool("units_are_understood", "systemd-analyze") {
        return;
    }
    let folder = Folder::new("units");
    for (unit, _) in UNITS {
        let text = std::fs::read_to_string(path(unit)).unwrap();
        // The program is not installed here.
        let text = text.replace("/usr/bin/vambrace", support::vambrace().to_str().unwrap());
        std::fs::write(folder.file(unit), text).unwrap();
    }
    for (unit, _) in UNITS {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(["verify", "--man=no"]).arg(folder.file(unit)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // What other units on this machine are like is not ours.
        let own: Vec<_> = text.lines().filter(|line| line.contains("vambrace")).collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

/// The calls that the unit's filter lets through: lists in order, those with `~` taken away. Sets are what
/// `systemd-analyze syscall-filter` says.
fn allowed(unit: &str) -> BTreeSet<String> {
    let mut allowed = members("@default");
    for list in values(unit, "SystemCallFilter") {
        let (list, taken) = list.strip_prefix('~').map_or((list.as_str(), false), |list| (list, true));
        for word in list.split_whitespace() {
            let calls = if word.starts_with('@') { members(word) } else { [word.to_owned()].into() };
            for call in calls {
                if taken {
                    allowed.remove(&call);
                } else {
                    allowed.insert(call);
                }
            }
        }
    }
    allowed
}

fn members(set: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output().unwrap();
    assert!(output.status.success(), "{set}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && *line != set);
    words.flat_map(|word| if word.starts_with('@') { members(word) } else { [word.to_owned()].into() }).collect()
}

/// Calls of a trace, from the program's own start on: what put the rights on came before.
fn called(trace: &Path, program: &Path) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&std::fs::read(trace).unwrap()).into_owned();
    let begun = format!("execve(\"{}\"", program.display());
    let own = text.lines().skip_while(|line| !line.contains(&begun));
    let call = |line: &str| {
        // `123 call(...`, `123 <... call resumed>`, `123 +++ exited`, `123 --- SIGTERM`.
        let (_, line) = line.split_once(' ')?;
        let name = line.trim_start().split('(').next()?;
        let fine = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        fine.then(|| name.to_owned())
    };
    own.filter_map(call).collect()
}

/// The program under the account, groups, capabilities, limit and mask of its unit, traced into a file. Accounts of the
/// machine stand in for the units' own.
fn under(unit: &str, (uid, gid): (u32, u32), trace: &Path) -> Command {
    let rights = value(unit, "CapabilityBoundingSet").to_lowercase().replace("cap_", "+");
    let rights: String = rights.split_whitespace().map(|right| format!(",{right}")).collect();
    let ambient = if values(unit, "AmbientCapabilities").is_empty() { String::new() } else { rights.clone() };
    assert_eq!(value(unit, "NoNewPrivileges"), "yes");
    let mut command = Command::new("sh");
    let limit = values(unit, "LimitMEMLOCK").last().map_or(String::new(), |limit| {
        let limit = limit.strip_suffix('M').unwrap().parse::<u32>().unwrap() << 10;
        // Where the machine lets nobody have as much, the program gets less than the unit gives.
        format!("if (ulimit -l {limit}) 2>/dev/null; then ulimit -l {limit}; fi && ")
    });
    command.arg("-c").arg(format!("umask {} && {limit}exec \"$@\"", value(unit, "UMask"))).arg("sh");
    if let Some(cores) = values(unit, "CPUAffinity").last() {
        command.args(["taskset", "--cpu-list", cores]);
    }
    // The tracer is the grandchild: signals reach the program.
    command.args(["strace", "-D", "-f", "-qq", "-o"]).arg(trace).args(["setpriv", "--reuid", &uid.to_string()]);
    assert!(values(unit, "SupplementaryGroups").is_empty());
    command.args(["--regid", &gid.to_string(), "--clear-groups"]);
    command.arg(format!("--inh-caps=-all{ambient}")).arg(format!("--ambient-caps=-all{ambient}"));
    command.arg(format!("--bounding-set=-all{rights}")).arg("--no-new-privs").arg(support::vambrace());
    command
}

/// `daemon` and `nobody` in the place of `vambrace` and `vambrace-console`.
const GUARD: u32 = 1;
const CONSOLE: u32 = 65534;

/// Both processes as the units start them.
struct Services {
    console: Option<Ending>,
    run: Option<Ending>,
    folder: Folder,
    remote: SocketAddr,
    metrics: SocketAddr,
    wire: Wire,
}

impl Services {
    fn start() -> Self {
        let folder = Folder::new("services");
        keygen(&folder, &["ca"]);
        keygen(&folder, &["box", "127.0.0.1"]);
        let users = keygen(&folder, &["user", "eva", "--role", "engineer"]);
        // As the manual has it: the key for the console alone.
        chown(folder.file("keys/box.key"), Some(CONSOLE), None).unwrap();
        std::fs::set_permissions(folder.file("keys/box.key"), PermissionsExt::from_mode(0o400)).unwrap();
        let (remote, metrics, own) = (free(), free(), folder.0.display());
        let text = format!(
            "mode = \"enforce\"\n[ports]\nplant = \"{PLANT}\"\nrobot = \"{ROBOT}\"\n[fast_path]\npolling = \"blocking\"\n\
             [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n\
             [control]\nsocket = \"{own}/run/control.sock\"\n[record]\ndirectory = \"{own}/state/evidence\"\n\
             [policy]\nfile = \"{own}/policy.toml\"\n\
             [console]\ndirectory = \"{own}/state/console\"\naccount = \"nobody\"\nlisten = \"{remote}\"\n\
             certificate = \"{own}/keys/box.pem\"\nkey = \"{own}/keys/box.key\"\nclient_ca = \"{own}/keys/ca.pem\"\n\
             {users}[[console.syslog]]\nname = \"soc\"\naddress = \"127.0.0.1:9\"\ntransport = \"tcp\"\n\
             [console.metrics]\nlisten = \"{metrics}\"\n"
        );
        std::fs::write(folder.file("vambrace.toml"), text).unwrap();
        std::fs::write(folder.file("policy.toml"), "version = 1\nrobot = \"robot\"\n").unwrap();
        // What the service manager makes: StateDirectory= and RuntimeDirectory=.
        for (name, owner, mode) in [("state", GUARD, 0o750), ("run", GUARD, 0o750), ("state/console", CONSOLE, 0o700)] {
            std::fs::create_dir_all(folder.file(name)).unwrap();
            std::fs::set_permissions(folder.file(name), PermissionsExt::from_mode(mode)).unwrap();
            chown(folder.file(name), Some(owner), Some(owner)).unwrap();
        }
        let wire = Wire::new("vbsvc", 1508);
        let mut services = Self { console: None, run: None, folder, remote, metrics, wire };
        services.run = Some(services.run("run"));
        services.console = Some(services.start_console());
        services
    }

    fn run(&self, name: &str) -> Ending {
        let traced = under("vambrace.service", (GUARD, GUARD), &self.folder.file(&format!("{name}.trace")));
        // The namespace of the ports is entered with root's rights, before any are put off.
        let mut command = self.wire.inside.command("sh");
        command.args(["-c", "exec \"$@\"", "sh"]).arg(traced.get_program()).args(traced.get_args());
        command.args(["run", "--config"]).arg(self.folder.file("vambrace.toml")).stdout(Stdio::null());
        let log = std::fs::File::create(self.folder.file(&format!("{name}.log"))).unwrap();
        let run = Ending(command.stderr(log).spawn().unwrap());
        wait_for("the box", || {
            let log = self.folder.log(&format!("{name}.log"));
            assert!(!log.contains("vambrace: ") && !log.contains("strace: "), "{log}");
            self.local(&["status"]).0 == Some(0)
        });
        run
    }

    fn start_console(&self) -> Ending {
        let mut command = under("vambrace-console.service", (CONSOLE, GUARD), &self.folder.file("console.trace"));
        command.args(["console", "--config"]).arg(self.folder.file("vambrace.toml")).stdout(Stdio::null());
        let log = std::fs::File::create(self.folder.file("console.log")).unwrap();
        let console = Ending(command.stderr(log).spawn().unwrap());
        wait_for("the console", || self.folder.log("console.log").contains("metrics are served"));
        console
    }

    fn local(&self, args: &[&str]) -> (Option<i32>, String) {
        said(&vambrace().arg("--socket").arg(self.folder.file("run/control.sock")).args(args).output().unwrap())
    }

    fn ask_from_afar(&self, args: &[&str]) -> (Option<i32>, String) {
        said(&as_user(&self.folder, self.remote, "eva", args).output().unwrap())
    }

    fn log(&self) -> String {
        self.folder.log("run.log") + &self.folder.log("again.log") + &self.folder.log("console.log")
    }
}

#[test]
fn both_run_with_no_more_than_their_units_give() {
    const NAME: &str = "both_run_with_no_more_than_their_units_give";
    if !can_make_namespaces(NAME) || !["strace", "setpriv", "systemd-analyze"].iter().all(|tool| has_tool(NAME, tool)) {
        return;
    }
    let mut services = Services::start();
    assert!(services.wire.wait_for_box(Duration::from_secs(1)) || services.local(&["mode", "observe"]).0 == Some(0));
    assert!(services.wire.wait_for_box(Duration::from_secs(20)), "{}", services.log());

    // All that it is asked for, so that all is in the trace.
    let file = |name: &str| services.folder.file(name).display().to_string();
    for args in [
        &["mode", "shadow", "--for", "1s"][..],
        &["policy", "apply", &file("policy.toml")],
        &["policy", "rollback"],
        &["learn", "start"],
        &["learn", "stop"],
        &["patches", "test"],
        &["capture", "--for", "1s", &file("local.pcapng")],
    ] {
        let (code, text) = services.local(args);
        assert!(matches!(code, Some(0 | 3)), "{args:?}: {text} {}", services.log());
    }
    for args in [
        &["status"][..],
        &["events"],
        &["policy", "show"],
        &["mode", "enforce"],
        &["capture", "--for", "1s", &file("afar.pcapng")],
        &["evidence", "list"],
        &["evidence", "export", "-o", &file("bundle.tar")],
    ] {
        let (code, text) = services.ask_from_afar(args);
        assert_eq!(code, Some(0), "{args:?}: {text} {}", services.log());
    }
    let mut scrape = TcpStream::connect(services.metrics).unwrap();
    scrape.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert!(std::io::read_to_string(scrape).unwrap().contains("\nvambrace_up 1\n"));

    // The secret key is not the console's to read; what it hands out is.
    let mode = |name: &str| std::fs::metadata(services.folder.file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state/evidence/evidence.key"), mode("run/control.sock")), (0o600, 0o660));
    assert_eq!(mode("state/evidence/evidence-00000001.pcapng"), 0o640);

    // A box that starts again makes its folder and socket anew; the console still gets in.
    services.run = None;
    let again = services.run("again");
    services.run = Some(again);
    let (code, text) = services.ask_from_afar(&["status"]);
    assert_eq!(code, Some(0), "{text} {}", services.log());
    let (code, text) = services.ask_from_afar(&["mode", "lockdown"]);
    assert_eq!(code, Some(0), "it is still believed for whom it asks: {text}");
    wait_for("an event from the console's own hand", || {
        services.ask_from_afar(&["--json", "events"]).1.contains("\"request\":\"mode lockdown\"")
    });
    services.console = None;
    services.run = None;
    // The tracers write the last lines behind the processes' end.
    std::thread::sleep(Duration::from_secs(1));

    // What was called is what the filters let through, and the program met no refusal of its rights.
    for (trace, unit) in [("run", UNITS[0].0), ("again", UNITS[0].0), ("console", UNITS[1].0)] {
        let called = called(&services.folder.file(&format!("{trace}.trace")), &support::vambrace());
        assert!(called.len() > 40 && (called.contains("clone3") || called.contains("clone")), "{called:?}");
        let allowed = allowed(unit);
        // The console asks whether root's rights could be taken back, and goes on if that is refused: by whom is the same.
        let beside: Vec<_> = called.difference(&allowed).filter(|call| *call != "setuid").collect();
        assert!(beside.is_empty(), "{unit} lets not through: {beside:?}");
    }
    for word in ["ERROR", "Operation not permitted", "ermission denied"] {
        assert!(!services.log().contains(word), "{}", services.log());
    }
}
