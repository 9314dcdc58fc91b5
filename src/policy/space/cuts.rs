//! Where some rules tell commands apart: collected from all of them, before examples are made.

use std::collections::{BTreeMap, BTreeSet};

use rtde::Variable;

use crate::command::Service;
use crate::policy::bounds::Bounds;
use crate::policy::envelope::Envelope;
use crate::policy::orders::OrderBounds;
use crate::policy::ranges::{Numbers, Ranges};
use crate::policy::rule::{Body, Rule};
use crate::policy::urscript::Digest;

/// What some rules compare commands and moments with.
#[derive(Debug, Default)]
pub(in crate::policy) struct Cuts<'r> {
    pub(in crate::policy) moments: MomentCuts,
    pub(in crate::policy) modbus: ModbusCuts<'r>,
    pub(in crate::policy) rtde: RtdeCuts<'r>,
    /// Arguments of Dashboard lines.
    pub(in crate::policy) arguments: BTreeSet<&'r [u8]>,
    pub(in crate::policy) script: ScriptCuts<'r>,
    pub(in crate::policy) external: ExternalCuts<'r>,
    /// Ports and protocols that no dissector reads, with who opens them: true = the robot.
    pub(in crate::policy) services: BTreeSet<(bool, Service)>,
    /// Services over which the robot itself may command devices.
    pub(in crate::policy) devices: BTreeSet<Service>,
}

/// The robot's states and the deadlines that rules ask for.
#[derive(Debug, Default)]
pub(in crate::policy) struct MomentCuts {
    pub(in crate::policy) programs: BTreeSet<u8>,
    pub(in crate::policy) robot_modes: BTreeSet<i8>,
    pub(in crate::policy) safety_modes: BTreeSet<u8>,
    pub(in crate::policy) controls: BTreeSet<u8>,
    /// Whether a rule asks for it at all, in the order above.
    pub(in crate::policy) asked: [bool; 4],
    /// Monotonic nanoseconds.
    pub(in crate::policy) untils: BTreeSet<u64>,
}

/// What Modbus requests are compared with.
#[derive(Debug, Default)]
pub(in crate::policy) struct ModbusCuts<'r> {
    /// Function codes that are named.
    pub(in crate::policy) functions: u128,
    /// Function codes that some rule can match.
    pub(in crate::policy) possible: u128,
    pub(in crate::policy) units: Vec<&'r Ranges>,
    pub(in crate::policy) sub_functions: Vec<&'r Ranges>,
    /// Of what is read and of what is written: sets that have to hold all of it.
    pub(in crate::policy) around: Vec<&'r Ranges>,
    /// The same: sets of which it has to touch any number.
    pub(in crate::policy) touched: Vec<&'r Ranges>,
    pub(in crate::policy) quantities: Vec<&'r Ranges>,
    pub(in crate::policy) values: Vec<&'r Ranges>,
}

/// What RTDE packages are compared with.
#[derive(Debug, Default)]
pub(in crate::policy) struct RtdeCuts<'r> {
    pub(in crate::policy) outputs: BTreeSet<&'r [u8]>,
    pub(in crate::policy) frequencies: Vec<&'r Numbers>,
    /// By input, the sets and the bits that its value is compared with.
    pub(in crate::policy) inputs: BTreeMap<Variable, (Vec<&'r Numbers>, Vec<u64>)>,
}

/// What URScript is compared with.
#[derive(Debug, Default)]
pub(in crate::policy) struct ScriptCuts<'r> {
    /// Functions and methods (`object.name`).
    pub(in crate::policy) functions: BTreeSet<&'r [u8]>,
    pub(in crate::policy) assigns: BTreeSet<&'r [u8]>,
    pub(in crate::policy) targets: BTreeSet<&'r [u8]>,
    pub(in crate::policy) programs: BTreeSet<Digest>,
    pub(in crate::policy) bounds: Vec<&'r Bounds>,
}

/// What external control is compared with.
#[derive(Debug, Default)]
pub(in crate::policy) struct ExternalCuts<'r> {
    pub(in crate::policy) timeouts: Vec<&'r Numbers>,
    pub(in crate::policy) programs: BTreeSet<Digest>,
    pub(in crate::policy) envelopes: Vec<&'r Envelope>,
    pub(in crate::policy) orders: Vec<&'r OrderBounds>,
}

impl<'r> Cuts<'r> {
    /// What these rules compare with.
    pub(in crate::policy) fn of(rules: impl Iterator<Item = &'r Rule>) -> Self {
        let mut cuts = Self::default();
        for rule in rules {
            if let Some(when) = &rule.when {
                when.cut(&mut cuts.moments);
            }
            cuts.moments.untils.extend(rule.until_ns);
            if rule.egress {
                cuts.devices.extend(rule.service.filter(|service| service.is_judged_on_devices()));
            }
            match &rule.body {
                Body::Modbus(body) => body.cut(rule.deny, &mut cuts.modbus),
                Body::Rtde(body) => body.cut(&mut cuts.rtde),
                Body::Dashboard(body) => body.cut(&mut cuts.arguments),
                Body::UrScript(body) => body.cut(&mut cuts.script),
                Body::External(body) => body.cut(&mut cuts.external),
                Body::Transport(services) => {
                    cuts.services.extend(services.iter().map(|service| (rule.egress, *service)));
                }
                Body::Any(_) => cuts.modbus.possible = u128::MAX,
            }
        }
        cuts
    }
}
