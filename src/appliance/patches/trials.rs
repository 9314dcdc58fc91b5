//! Every vector of every entry through the engine, from every peer that the policy tells apart.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use dissect::Toward;
use link::Mac;

use super::Loaded;
use crate::appliance::plan;
use crate::command::Service;
use crate::config::{Config, Side};
use crate::control::{PatchReport, PatchState, PatchStatus};
use crate::engine::trial::{self, Attempt, Medium, Outcome};
use crate::engine::{Mode, Rules};
use crate::patches::{Carrier, Claim, Patch, Sender, Vector, Version};
use crate::policy::{Asset, Moment, Peer, Policy};

/// What a run of trials is bounded by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When it ends; entries that were not tried by then are said to be untried.
    pub deadline: Option<Instant>,
}

/// Reasons told of one entry: the rest is counted.
const TOLD: usize = 8;

/// What trials are made with.
struct Bench<'b> {
    config: &'b Config,
    policy: Arc<Policy>,
    rules: Arc<Rules>,
    lax: Arc<Rules>,
    peers: Vec<Peer>,
    moment: Moment,
    robot: (Ipv4Addr, Mac),
    limits: Limits,
}

/// Tries all that the pack knows against a policy as it is in force, tightened for a controller of `version`.
///
/// States are told as if the mode enforced: see [`under_mode`] for another. Conditions on the robot's state count as
/// fulfilled where they allow, and as not where they deny: what a rule allows at times, it allows.
#[must_use]
pub fn try_all(
    config: &Config,
    loaded: &Loaded,
    policy: &Policy,
    version: Option<Version>,
    moment: Moment,
    limits: Limits,
) -> PatchReport {
    let mut report = PatchReport {
        pack: loaded.pack.version(),
        source: loaded.source.clone(),
        attack: loaded.pack.attack().to_owned(),
        software: version.map(|version| version.to_string()),
        generation: policy.generation(),
        mode: Mode::Enforce.name().to_owned(),
        ..PatchReport::default()
    };
    let Some(bench) = Bench::new(config, loaded, policy, moment, limits) else {
        let why = vec!["nothing was tried: the robot has no IPv4 address".to_owned()];
        let untried = |patch| PatchStatus { why: why.clone(), ..described(patch) };
        report.patches = loaded.pack.patches().iter().map(untried).collect();
        return report;
    };
    report.peers = bench.peers.iter().map(|peer| bench.name(peer)).collect();
    report.patches = loaded.pack.patches().iter().map(|patch| bench.patch(patch, version)).collect();
    report
}

/// The same report as the mode makes it: what nobody enforces protects nobody.
#[must_use]
pub fn under_mode(mut report: PatchReport, mode: Mode) -> PatchReport {
    mode.name().clone_into(&mut report.mode);
    if !mode.enforces() {
        for patch in report.patches.iter_mut().filter(|patch| patch.state == PatchState::Protected) {
            patch.state = PatchState::NotProtected;
            patch.why.insert(0, format!("mode {mode} does not enforce"));
        }
    }
    report
}

/// What the pack says of an entry, untried.
fn described(patch: &Patch) -> PatchStatus {
    PatchStatus {
        id: patch.id.clone(),
        title: patch.title.clone(),
        cve: patch.cve.clone(),
        rvd: patch.rvd.clone(),
        techniques: patch.techniques.clone(),
        affected: patch.affected(),
        contained: patch.contained.name().to_owned(),
        how: patch.how.iter().map(|how| how.name().to_owned()).collect(),
        open: patch.open.clone(),
        ..PatchStatus::default()
    }
}

impl<'b> Bench<'b> {
    fn new(config: &'b Config, loaded: &Loaded, policy: &Policy, moment: Moment, limits: Limits) -> Option<Self> {
        let asset = config.robot()?;
        let IpAddr::V4(address) = asset.ip else { return None };
        let robot = (address, asset.mac.map_or(made_up(address), Mac));
        let policy = Arc::new(policy.at_its_widest());
        let rules = Arc::new(plan::rules(config, Mode::Enforce, Arc::clone(&policy)));
        // Where everything is allowed, only the entries' own rules and the reader refuse.
        let everything = format!(
            "version = 1\nrobot = \"{address}\"\n[[allow]]\nid = \"everything\"\nfrom = \"any\"\nservice = \"any\"\n"
        );
        let assets = [Asset { name: asset.name.clone(), address: asset.ip, is_robot: true }];
        let lax = Policy::compile("everything", &everything, &assets, 1, moment).ok()?;
        let lax = loaded.tighten(&lax, None, 1, moment);
        let lax = Arc::new(plan::rules(config, Mode::Enforce, Arc::new(lax)));
        let known: Vec<IpAddr> =
            config.assets.iter().filter(|asset| asset.side == Side::Plant).map(|asset| asset.ip).collect();
        let peers = policy.peers(&known);
        Some(Self { config, policy, rules, lax, peers, moment, robot, limits })
    }

    fn name(&self, peer: &Peer) -> String {
        let asset = self.config.assets.iter().find(|asset| asset.ip == peer.address);
        let name = asset.map_or_else(|| peer.address.to_string(), |asset| asset.name.clone());
        match (peer.stranger, peer.single) {
            (true, _) => format!("{name} (no rule names it)"),
            (false, true) => name,
            (false, false) => format!("{name} (of a network that a rule names)"),
        }
    }

    fn mac(&self, address: Ipv4Addr) -> Mac {
        let asset = self.config.assets.iter().find(|asset| asset.ip == IpAddr::V4(address));
        asset.and_then(|asset| asset.mac).map_or(made_up(address), Mac)
    }

    fn is_late(&self) -> bool {
        self.limits.deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    fn patch(&self, patch: &Patch, version: Option<Version>) -> PatchStatus {
        let mut status = described(patch);
        if !patch.is_of_controllers() {
            status.state = PatchState::NotApplicable;
            status.why.push(patch.because.clone());
            return status;
        }
        if let Some(version) = version.filter(|_| !patch.applies(version)) {
            status.state = PatchState::NotApplicable;
            status.why.push(format!("the controller has software {version}, and it is about {}", patch.affected()));
            return status;
        }
        if patch.vectors.is_empty() {
            status.state = PatchState::NotContainable;
            status.why.push(patch.because.clone());
            return status;
        }
        let mut came: Vec<String> = Vec::new();
        for vector in &patch.vectors {
            for peer in self.senders(vector) {
                if self.is_late() {
                    status.why.push("not all of it was tried in time".to_owned());
                    return status;
                }
                let Some(outcome) = self.attempt(&self.rules, vector, peer) else { continue };
                status.tried = status.tried.saturating_add(1);
                if outcome.arrived == 0 {
                    status.refused = status.refused.saturating_add(1);
                    continue;
                }
                let why = self.allowed(vector, peer, &outcome);
                if !came.contains(&why) {
                    came.push(why);
                }
            }
        }
        for vector in &patch.harmless {
            let Some(outcome) = self.peers.first().and_then(|peer| self.attempt(&self.lax, vector, peer)) else {
                continue;
            };
            status.harmless = status.harmless.saturating_add(1);
            if outcome.whole {
                status.passed = status.passed.saturating_add(1);
            } else {
                let reason = outcome.reason().map_or("no record says why", |reason| reason.name());
                status.why.push(format!("harmless, but refused ({reason}): {}", vector.name));
            }
        }
        self.conclude(patch, status, came)
    }

    fn conclude(&self, patch: &Patch, mut status: PatchStatus, came: Vec<String>) -> PatchStatus {
        let exemption = patch.exemption(&self.policy).filter(|exemption| exemption.lasts(self.moment.wall_ns));
        if let Some(exemption) = exemption {
            status.exempt_until = Some(exemption.until.to_string());
            status.why.push(format!("exempted until {}: {}", exemption.until, exemption.reason));
        }
        status.state = if came.is_empty() { PatchState::Protected } else { PatchState::NotProtected };
        let more = came.len().saturating_sub(TOLD);
        status.why.extend(came.into_iter().take(TOLD));
        if more > 0 {
            status.why.push(format!("and {more} more"));
        }
        if status.why.is_empty() {
            status.why.push(patch.because.clone());
        }
        status
    }

    /// The peers that send a vector. Some is for strangers alone: whoever no rule names by an address of their own.
    fn senders<'s>(&'s self, vector: &'s Vector) -> impl Iterator<Item = &'s Peer> {
        let is_device = |peer: &Peer| self.config.assets.iter().any(|asset| asset.ip == peer.address);
        let once = matches!(vector.carrier, Carrier::Arp(Claim::Robot));
        let fits = move |peer: &&Peer| match (vector.carrier, vector.sender) {
            // Only devices of the configuration are bound.
            (Carrier::Arp(Claim::Client), _) => is_device(peer),
            (Carrier::Arp(Claim::Robot), _) | (_, Sender::Anyone) => true,
            (_, Sender::Strangers) => !peer.single,
        };
        self.peers.iter().filter(fits).take(if once { 1 } else { usize::MAX })
    }

    fn attempt(&self, rules: &Arc<Rules>, vector: &Vector, peer: &Peer) -> Option<Outcome> {
        let IpAddr::V4(address) = peer.address else { return None };
        let medium = match vector.carrier {
            Carrier::Tcp(port) => Medium::Tcp(port),
            Carrier::Udp(port) => Medium::Udp(port),
            Carrier::Arp(Claim::Robot) => Medium::Arp(self.robot.0),
            Carrier::Arp(Claim::Client) => Medium::Arp(address),
        };
        let client = (address, self.mac(address));
        let (robot, begin_ns) = (self.robot, self.moment.monotonic_ns);
        let attempt = Attempt { client, robot, opened: vector.opened, medium, begin_ns, steps: &vector.steps };
        Some(trial::attempt(rules, &attempt))
    }

    /// Which rule let a vector through.
    fn allowed(&self, vector: &Vector, peer: &Peer, outcome: &Outcome) -> String {
        let service = match vector.carrier {
            Carrier::Tcp(port) => Some(Service::of_tcp_port(port)),
            Carrier::Udp(port) => Some(Service::Udp(port)),
            Carrier::Arp(_) => None,
        };
        let by_command = outcome.verdict.filter(|verdict| verdict.is_allowed()).map(|verdict| verdict.rule);
        let by_admission = || {
            let now_ns = self.moment.monotonic_ns;
            service.map(|service| self.policy.admit(peer.client, service, vector.opened, now_ns).rule)
        };
        let rule = by_command.or_else(by_admission).and_then(|rule| self.policy.rule_id(rule));
        let peer = self.name(peer);
        match rule {
            Some(rule) if vector.opened == Toward::Plant => {
                format!("rule {rule} allows the robot to open it to {peer}: {}", vector.name)
            }
            Some(rule) => format!("rule {rule} allows it to {peer}: {}", vector.name),
            None => format!("it came through from {peer}: {}", vector.name),
        }
    }
}

/// A MAC for a device of which none is configured: locally administered, with its address in it.
fn made_up(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x76, a, b, c, d])
}
