//! Network namespaces with unique names that vanish with the value.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new one, with IPv6 off so that nothing speaks in it unasked.
    pub fn new(tag: &str) -> Self {
        let name = format!("vbnic-{tag}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&["ip", "netns", "add", &name]);
        let space = Self { name };
        space.run(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]);
        space.run(&["ip", "link", "set", "lo", "up"]);
        space
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command to be started inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a command inside to its end; panics with its output where it fails.
    pub fn run(&self, words: &[&str]) -> String {
        let mut all = vec!["ip", "netns", "exec", &self.name];
        all.extend(words);
        run(&all)
    }

    /// Runs a closure on a thread of its own inside; sockets opened there stay inside for good.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.move_in();
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside, for good.
    pub fn move_in(&self) {
        move_into(&self.name);
    }

    /// Joins this namespace and another by a veth pair, offloads off, MTU as given, both ends up.
    pub fn join(&self, port: &str, other: &Self, other_port: &str, mtu: u32) {
        let mtu = mtu.to_string();
        let (here, there) = (self.name.as_str(), other.name.as_str());
        #[rustfmt::skip]
        run(&["ip", "link", "add", port, "netns", here, "mtu", &mtu, "type", "veth",
              "peer", "name", other_port, "netns", there, "mtu", &mtu]);
        for (space, port) in [(self, port), (other, other_port)] {
            #[rustfmt::skip]
            space.run(&["ethtool", "-K", port, "tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off",
                        "gro", "off", "txvlan", "off", "rxvlan", "off"]);
            space.run(&["ip", "link", "set", port, "up"]);
        }
        // The carrier is told a moment later; what is sent before that is lost without a word.
        for (space, port) in [(self, port), (other, other_port)] {
            let has_carrier = || space.run(&["ip", "-br", "link", "show", port]).contains(" UP ");
            let deadline = Instant::now() + Duration::from_secs(3);
            while !has_carrier() {
                assert!(Instant::now() < deadline, "{port} has no carrier");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Moves the calling thread into the namespace of this name, for good.
pub fn move_into(name: &str) {
    let space = File::open(format!("/run/netns/{name}")).unwrap();
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn run(words: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}
