//! The packet process has given up what it does not need, and does all of its work without: what code that somebody
//! brought into it would find.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::can_make_namespaces;
use support::restarted::Restarted;
use support::talks::{self, Line, Shared};

/// Number and name of each thread.
fn threads(process: i32) -> Vec<(i32, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let name = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned();
    tasks
        .map(|task| task.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().parse().unwrap(), name(&path)))
        .collect()
}

fn process(vambrace: &Restarted) -> i32 {
    vambrace.packet_process().unwrap().as_raw_nonzero().get()
}

fn field(process: i32, thread: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn every_thread_of_the_packet_process_is_confined() {
    if !can_make_namespaces("every_thread_of_the_packet_process_is_confined") {
        return;
    }
    let line = Line::new("vbcon");
    let vambrace = Restarted::start_in_memory(&line.inside, "confined", talks::POLICY, "");
    let process = process(&vambrace);
    // The control socket answers a moment before the last step.
    let started = Instant::now();
    while field(process, process, "Seccomp") != "2" {
        assert!(started.elapsed() < Duration::from_secs(5), "{}", vambrace.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let all = threads(process);
    assert!(all.len() >= 4, "worker, recorder, control and keeper at least: {all:?}");
    for (thread, name) in &all {
        let of = |field_name: &str| field(process, *thread, field_name);
        assert_eq!((of("NoNewPrivs"), of("Seccomp")), ("1".to_owned(), "2".to_owned()), "{name}");
        let capabilities =
            u64::from_str_radix(&of("CapEff"), 16).unwrap() | u64::from_str_radix(&of("CapPrm"), 16).unwrap();
        // CAP_CHOWN alone, number 0, without a call that would use it.
        assert_eq!(capabilities & !1, 0, "{name}");
    }
    #[cfg(target_arch = "x86_64")]
    {
        use support::thread::call;
        let (sleeper, _) = *all.iter().find(|(_, name)| name == "keeper").unwrap();
        let refused = |what: &str, number, arguments, text: Option<(usize, &[u8])>, errno: i32| {
            assert_eq!(call(sleeper, number, arguments, text), -i64::from(errno), "{what}");
        };
        let here = u64::from(libc::AT_FDCWD.cast_unsigned());
        refused("a shell", libc::SYS_execve, [0, 0, 0], Some((0, b"/bin/sh")), libc::EPERM);
        refused("a way out", libc::SYS_socket, [2, 1, 0], None, libc::EPERM);
        refused("a way into another process", libc::SYS_ptrace, [16, 1, 0], None, libc::EPERM);
        refused("another owner", libc::SYS_chown, [0, 0, 0], Some((0, b"/dev/shm")), libc::EPERM);
        refused("memory that can be executed", libc::SYS_mprotect, [0, 4096, 7], None, libc::EPERM);
        refused("a file of others", libc::SYS_openat, [here, 0, 0], Some((1, b"/etc/shadow")), libc::EACCES);
        refused("a file of others to write", libc::SYS_openat, [here, 0, 0o101], Some((1, b"/var/x")), libc::EACCES);
        assert_eq!(call(sleeper, libc::SYS_getpid, [0; 3], None), i64::from(process), "what is allowed is done");
        let own = call(sleeper, libc::SYS_openat, [here, 0, 0], Some((1, b"/etc/passwd")));
        assert!(own > 2, "{own}");
        call(sleeper, libc::SYS_close, [own.cast_unsigned(), 0, 0], None);
    }
    assert_eq!(vambrace.status()["restarts"], 0);
}

#[test]
fn all_work_is_done_by_a_confined_process() {
    if !can_make_namespaces("all_work_is_done_by_a_confined_process") {
        return;
    }
    let line = Line::new("vbwrk");
    let vambrace = Restarted::start_in_memory(&line.inside, "work", talks::POLICY, "");
    let shared = Arc::new(Shared::default());
    talks::serve(&line.robot, &shared);
    let client = talks::talk(&line.plant, &shared, "calm", talks::Kind::Calm);
    let go_on = |what: &str| {
        let before = client.answered.load(Ordering::Relaxed);
        let started = Instant::now();
        while client.answered.load(Ordering::Relaxed) < before + 20 {
            assert!(started.elapsed() < Duration::from_secs(20), "{what}: {}", vambrace.state());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    go_on("the start");
    let folder = vambrace.socket().parent().unwrap().to_owned();
    let fine = |words: &[&str]| {
        let output = vambrace.ask(words);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{words:?}: {said}\n{}", vambrace.log());
        said
    };
    // Live capture.
    let mut capture = std::process::Command::new(support::vambrace())
        .arg("--socket")
        .arg(vambrace.socket())
        .args(["capture", "-"])
        .stdout(Stdio::from(std::fs::File::create(folder.join("live.pcapng")).unwrap()))
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    go_on("a capture");
    capture.kill().unwrap();
    capture.wait().unwrap();
    assert!(std::fs::metadata(folder.join("live.pcapng")).unwrap().len() > 2000);
    // Learning, with its own thread and engine.
    fine(&["learn", "start"]);
    // Of a connection that stood before, nobody learns.
    let late = talks::talk(&line.plant, &shared, "late", talks::Kind::Calm);
    let started = Instant::now();
    while late.answered.load(Ordering::Relaxed) < 20 {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", vambrace.state());
        std::thread::sleep(Duration::from_millis(5));
    }
    let proposal = folder.join("proposal.toml");
    fine(&["learn", "stop", "-o", proposal.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&proposal).unwrap().contains("modbus"));
    // Policies: over the socket, by signal from a file that was replaced, and back.
    fine(&["policy", "apply", folder.join("policy.toml").to_str().unwrap()]);
    fine(&["policy", "rollback"]);
    std::fs::write(folder.join("policy.new"), format!("{}\n# another\n", talks::POLICY)).unwrap();
    std::fs::rename(folder.join("policy.new"), folder.join("policy.toml")).unwrap();
    let generation = || vambrace.status()["policy"]["generation"].as_u64().unwrap();
    let before = generation();
    rustix::process::kill_process(vambrace.supervisor(), rustix::process::Signal::HUP).unwrap();
    let started = Instant::now();
    while generation() == before {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", vambrace.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // A policy that lies where it may not read: told of, and nothing changes.
    let before = generation();
    std::fs::remove_file(folder.join("policy.toml")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", folder.join("policy.toml")).unwrap();
    rustix::process::kill_process(vambrace.supervisor(), rustix::process::Signal::HUP).unwrap();
    let started = Instant::now();
    while !vambrace.log().contains("Permission denied") {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", vambrace.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(generation(), before);
    fine(&["patches", "test"]);
    fine(&["mode", "shadow"]);
    fine(&["mode", "enforce"]);
    go_on("modes");
    // The successor of a killed process is confined as well, and takes up evidence and connections.
    vambrace.kill();
    go_on("a hand-over");
    let process = process(&vambrace);
    assert_eq!(field(process, process, "Seccomp"), "2");
    shared.end();
    assert!(shared.faults().is_empty(), "{:?}", shared.faults());
    assert!(!vambrace.log().contains("keeps all"), "{}", vambrace.log());
    let records = folder.join("records");
    let kept = folder.with_extension("kept");
    let _ = std::fs::remove_dir_all(&kept);
    let segments = || {
        std::fs::read_dir(&records)
            .unwrap()
            .filter(|it| it.as_ref().unwrap().path().extension() == Some("pcapng".as_ref()))
    };
    assert!(segments().count() >= 2, "one of each process");
    let verified = vambrace.ask(&["evidence", "verify", records.to_str().unwrap()]);
    assert_ne!(verified.status.code(), Some(4), "{}", String::from_utf8_lossy(&verified.stdout));
}
