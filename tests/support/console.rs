//! Processes of the management side: they end with their values, have folders of their own, and ask over the remote API.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with its value, asked by SIGTERM.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begun = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(8) {
                let _ = self.0.kill();
                let _ = self.0.wait();
                assert!(std::thread::panicking(), "it did not end when asked");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A folder that an account without rights may enter.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-console-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, with nothing of the environment's about boxes.
pub fn vambrace() -> Command {
    let mut command = Command::new(super::vambrace());
    for variable in ["VAMBRACE_BOX", "VAMBRACE_CERT", "VAMBRACE_KEY", "VAMBRACE_CA"] {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// Makes certificates in the folder's `keys`; the lines for the configuration.
pub fn keygen(folder: &Folder, args: &[&str]) -> String {
    let mut command = vambrace();
    let output = command.args(["console", "keygen"]).args(args).arg("-d").arg(folder.file("keys")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An address where nobody listens.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(40), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the program with a configuration; what it says goes into the folder's file `log`.
pub fn start(folder: &Folder, args: &[&str], config: &Path, log: &str) -> Ending {
    let mut command = vambrace();
    command.args(args).arg("--config").arg(config).stdout(Stdio::null());
    Ending(command.stderr(std::fs::File::create(folder.file(log)).unwrap()).spawn().unwrap())
}

/// A command to the box at `remote`, with the certificate of a user in the folder's `keys`.
pub fn as_user(folder: &Folder, remote: SocketAddr, user: &str, args: &[&str]) -> Command {
    let mut command = vambrace();
    let key = |name: String| folder.file("keys").join(name);
    command.args(["--box", &remote.to_string(), "--ca"]).arg(key("ca.pem".into()));
    command.arg("--cert").arg(key(format!("{user}.pem"))).arg("--key").arg(key(format!("{user}.key"))).args(args);
    command
}

/// Exit code, and all that was said.
pub fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}
