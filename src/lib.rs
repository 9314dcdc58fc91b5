//! Vambrace: inline policy enforcement for robot network ports.

pub mod nic;
