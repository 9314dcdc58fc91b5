//! Vambrace: inline policy enforcement for robot network ports.

pub mod appliance;
pub mod cli;
pub mod command;
pub mod config;
pub mod console;
pub mod control;
pub mod document;
pub mod engine;
pub mod event;
pub mod export;
pub mod flow;
pub mod gate;
pub mod harden;
pub mod index;
pub mod inspect;
#[cfg(feature = "lab")]
pub mod lab;
pub mod learn;
pub mod manual;
pub mod nic;
pub mod patches;
pub mod policy;
pub mod record;
pub mod robot;
pub mod sys;
pub mod verify;
