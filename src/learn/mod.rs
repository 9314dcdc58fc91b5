//! TEMP
use crate::command::{Command, Service};
use dissect::Toward;
use std::net::IpAddr;
/// T
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// p
    pub peer: IpAddr,
    /// o
    pub opened: Toward,
    /// s
    pub service: Service,
    /// w
    pub wall_ns: u64,
}
/// T
#[derive(Debug, Default)]
pub struct Observations;
/// T
#[derive(Clone, Debug, Default)]
pub struct ProposalOptions {
    /// r
    pub robot: String,
    /// a
    pub assets: Vec<(String, IpAddr)>,
    /// t
    pub trust: bool,
    /// l
    pub lost_frames: u64,
    /// m
    pub made: String,
}
impl Observations {
    /// c
    pub fn command(&mut self, _: &Seen, _: &Command<'_>) {}
    /// c
    pub fn connection(&mut self, _: &Seen) {}
    /// c
    pub fn commands(&self) -> u64 {
        0
    }
    /// c
    pub fn behaviours(&self) -> u64 {
        0
    }
    /// c
    pub fn propose(&self, _: &ProposalOptions) -> String {
        String::new()
    }
}
