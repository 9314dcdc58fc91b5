use std::path::Path;
use std::sync::Arc;

use link::{EtherType, Mac};

use super::Failure;
use crate::config::{Config, DcpSet, Layer2Protocol, Side};
use crate::engine::{Checksums, Device, Mode, Rules};
use crate::policy::Policy;

/// What the engine judges by, from the configuration, a mode and a compiled policy.
#[must_use]
pub fn rules(config: &Config, mode: Mode, policy: Arc<Policy>) -> Rules {
    let devices = config.assets.iter().map(|asset| Device {
        name: asset.name.clone(),
        address: asset.ip,
        mac: asset.mac.map(Mac),
        is_robot: asset.side == Side::Robot,
    });
    Rules {
        mode,
        policy,
        devices: devices.collect(),
        pass: config.layer2.pass.iter().filter_map(|protocol| ether_type(*protocol)).collect(),
        pass_stp: config.layer2.pass.contains(&Layer2Protocol::Stp),
        dcp_set: config.layer2.profinet_dcp_set == DcpSet::Pass,
        checksums: Checksums::Verify,
        bind: true,
    }
}

/// Reads and compiles the policy file of a configuration; its text beside it.
///
/// # Errors
/// Every problem of the file, one a line.
pub fn policy_from(config: &Config, path: &Path, generation: u32) -> Result<(Arc<Policy>, String), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(2, format!("{name}: {error}; write a policy there (`vambrace learn` proposes one) or name another in [policy] file"))
    })?;
    let policy = compile(config, &name, &text, generation)?;
    Ok((policy, text))
}

fn ether_type(protocol: Layer2Protocol) -> Option<EtherType> {
    match protocol {
        Layer2Protocol::Profinet => Some(EtherType::PROFINET),
        Layer2Protocol::Ethercat => Some(EtherType::ETHERCAT),
        Layer2Protocol::Ptp => Some(EtherType::PTP),
        Layer2Protocol::Mrp => Some(EtherType::MRP),
        Layer2Protocol::Lldp => Some(EtherType::LLDP),
        Layer2Protocol::Goose => Some(EtherType::GOOSE),
        Layer2Protocol::Stp => None,
    }
}
