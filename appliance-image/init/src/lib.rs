//! PID 1 of the appliance.
//!
//! It supervises and does nothing else: mounts, kernel modules, the ports' link, the configuration of the first boot, the
//! guard, the management process and the client of time servers as children with few rights, the updater as a child with all
//! of them, the watchdog, an orderly end. It opens no socket but those to set links up, and reads no traffic. Every step that
//! fails is told on the console and the boot goes on without it where the guard can.

pub mod boot;
pub mod clock;
pub mod disk;
pub mod first_boot;
pub mod fsck;
pub mod grow;
pub mod latch;
pub mod log;
pub mod management;
pub mod modules;
pub mod mounts;
pub mod netlink;
pub mod ports;
pub mod power;
pub mod release;
pub mod reset;
pub mod rights;
pub mod service;
pub mod slots;
pub mod tpm;
pub mod update;
pub mod vault;
pub mod watchdog;

use std::fmt;

/// What failed, for the console: one sentence.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says at what an error happened.
pub trait At<T> {
    /// # Errors
    /// The same one, with `what` in front.
    fn at(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> At<T> for Result<T, E> {
    fn at(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
