//! Every command that some rules tell apart, one example of each.
//!
//! Rules compare: an address with ranges, a name with lists. Each thing that they compare is cut where any of them changes
//! its answer; between two cuts no rule can see a difference, so one example stands for all. What is asked about all inputs
//! is answered by asking the real [`Policy::decide`] about each example.
//!
//! A unit may do several things at once: write registers, name variables, call functions. An allow rule has to cover all
//! of them, a deny rule has to touch one. So a [`Block`] holds commands that do one thing each, and what a command of
//! several of them may do follows from the single ones.

mod bits;
mod cuts;
mod dashboard;
mod external_control;
mod joined;
mod modbus;
mod moment;
mod number;
mod peers;
mod rtde;
mod sample;
mod script;
mod text;
mod transport;

pub(super) use cuts::{Cuts, ExternalCuts, ModbusCuts, MomentCuts, RtdeCuts, ScriptCuts};
pub(super) use moment::Moment;
pub(super) use number::distinct_numbers;
pub(super) use peers::{Peer, Peers};
pub(super) use sample::{Built, Sample, Written};

use dissect::Toward;

use crate::command::Service;

/// Most examples of one kind of command. Beyond it a question would take longer than people wait.
const EXAMPLES: usize = 20_000;

/// Most examples of Modbus requests with addresses together: some fifty megabytes.
const ELEMENTS: usize = 150_000;

/// Commands that differ only in what a command can do several of.
#[derive(Debug)]
pub(super) struct Block {
    /// The service that carries them.
    pub(super) service: Service,
    /// Who opens the connection: `Toward::Plant` = the robot.
    pub(super) opened: Toward,
    /// What people call them: a function, a verb, a package, a kind of script.
    pub(super) what: String,
    /// Commands that do one thing each.
    pub(super) elements: Vec<Sample>,
    /// Of each element, what only one of can be in a command; the same for all where nothing is.
    pub(super) groups: Vec<u32>,
    /// How many elements fit into one command; 1 = no two.
    pub(super) most: usize,
    /// Of Modbus writes, one with as many items as a command of this block can have.
    wide: Option<Sample>,
}

impl Block {
    fn single(service: Service, what: impl Into<String>, elements: Vec<Sample>) -> Self {
        Self { service, opened: Toward::Robot, what: what.into(), elements, groups: Vec::new(), most: 1, wide: None }
    }

    /// Whether two elements can't be in one command.
    pub(super) fn excludes(&self, one: usize, other: usize) -> bool {
        one != other && self.groups.get(one).is_some_and(|group| self.groups.get(other) == Some(group))
    }
}

/// All examples of some services.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The examples.
    pub(super) blocks: Vec<Block>,
    /// What was cut short, in words; empty where every command is stood for.
    pub(super) limits: Vec<String>,
    /// How many elements were counted so far.
    elements: usize,
}

impl Space {
    /// The examples of these services.
    pub(super) fn of(cuts: &Cuts<'_>, services: &[Service]) -> Self {
        let mut space = Self::default();
        for service in services {
            space.add(cuts, *service);
            if cuts.devices.contains(service) {
                let own = space.blocks.len();
                space.add(cuts, *service);
                for block in space.blocks.iter_mut().skip(own) {
                    block.opened = Toward::Plant;
                    block.what = format!("{} by the robot", block.what);
                }
            }
        }
        transport::add(&mut space, &cuts.services, services);
        space
    }

    fn add(&mut self, cuts: &Cuts<'_>, service: Service) {
        match service {
            Service::Modbus => modbus::add(self, &cuts.modbus),
            Service::Rtde => rtde::add(self, &cuts.rtde),
            Service::Dashboard => dashboard::add(self, &cuts.arguments),
            Service::UrScript => script::add(self, &cuts.script),
            Service::ExternalControl => external_control::add(self, &cuts.external),
            Service::Tcp(_) | Service::Udp(_) | Service::Icmp => {}
        }
    }

    /// Whether there is room for another block of so many elements; says so where there is none.
    fn has_room(&mut self, elements: usize) -> bool {
        self.elements = self.elements.saturating_add(elements);
        let room = self.elements <= ELEMENTS;
        if !room {
            self.limit("rules tell more commands apart than there is room for; some were not looked at");
        }
        room
    }

    /// Says that something was cut short.
    fn limit(&mut self, what: &str) {
        if !self.limits.iter().any(|known| known == what) {
            self.limits.push(what.to_owned());
        }
    }
}

/// The services that a dissector reads.
pub(super) const DISSECTED: [Service; 5] =
    [Service::Modbus, Service::Rtde, Service::Dashboard, Service::UrScript, Service::ExternalControl];
