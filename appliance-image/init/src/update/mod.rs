//! Updates: another version goes into the slot that does not run, is tried once, and stays only if it is sound.
//!
//! All of it is done by the updater: this program, started again by PID 1 as a child with root's rights, so that nothing
//! that reads what others wrote runs in the process whose end would end the box. It is the only one that writes a slot or
//! a variable of the firmware about updates. Others leave a bundle and an order in a folder ([`order`]), and read what
//! became of it in a file ([`status`]).
//!
//! What each step is for stands in the decision on updates in the manual.

pub mod bundle;
pub mod epoch;
pub mod health;
pub mod order;
pub mod slot;
pub mod status;
pub mod tell;
pub mod trial;
pub mod updater;
pub mod watch;

/// Where the updater tells of itself, in memory; nobody but root writes there.
pub const RUN: &str = "/run/update";

/// What of updates outlasts a boot.
pub const KEPT: &str = "/data/update";
