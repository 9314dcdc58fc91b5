//! Vambrace: inline policy enforcement for robot network ports.

pub mod command;
pub mod event;
pub mod nic;
pub mod policy;
pub mod robot;
pub mod sys;
