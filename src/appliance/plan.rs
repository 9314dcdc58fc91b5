use std::path::Path;
use std::sync::Arc;

use link::{EtherType, Mac};

use super::Failure;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Config, DcpSet, Ipv6, Layer2, Layer2Protocol, OnMidStream, Profile, Side};
use crate::engine::{Checksums, Device, Mode, Rules};
use crate::policy::{Asset, Moment, Policy};

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
        adopt_modbus: config.midstream.modbus == OnMidStream::Adopt,
        new_connections: config.guard.connections_per_second,
        ipv6: config.layer2.ipv6 == Ipv6::Pass,
        robot_api: has_robot_api(config),
        bind: true,
    }
}

/// Whether the robot of a configuration has the Robot API in the place of the Dashboard server.
#[must_use]
pub fn has_robot_api(config: &Config) -> bool {
    config.robot().is_some_and(|robot| robot.profile == Some(Profile::PolyscopeX))
}

/// The devices of a configuration, as policies name them.
#[must_use]
pub fn assets(config: &Config) -> Vec<Asset> {
    let asset = |asset: &crate::config::Asset| Asset {
        name: asset.name.clone(),
        address: asset.ip,
        is_robot: asset.side == Side::Robot,
    };
    config.assets.iter().map(asset).collect()
}

/// EtherTypes that pass where no configuration says otherwise.
#[must_use]
pub fn default_pass() -> Vec<EtherType> {
    Layer2::default().pass.into_iter().filter_map(ether_type).collect()
}

/// Compiles a policy for the appliance as it stands now, and runs its tests. An empty text is an empty policy.
///
/// # Errors
/// Every problem, one a line; exit code 3 where only tests failed.
pub fn compile(config: &Config, name: &str, text: &str, generation: u32) -> Result<Arc<Policy>, Failure> {
    if text.is_empty() {
        return Ok(Arc::new(Policy::empty(generation)));
    }
    let policy = Policy::compile(name, text, &assets(config), generation, now())
        .map_err(|problems| Failure { lines: problems.to_string().lines().map(str::to_owned).collect(), code: 2 })?;
    let robot = config.robot().map(|robot| robot.ip);
    if policy.robot() != robot {
        return Err(Failure::new(
            2,
            format!("{name}: the policy is for another robot than the configuration's; mend `robot`"),
        ));
    }
    let failed: Vec<_> = policy.run_tests().into_iter().filter(|test| !test.passed).collect();
    if failed.is_empty() {
        return Ok(Arc::new(policy));
    }
    let line = |test: crate::policy::TestOutcome| {
        let said = if test.allowed { "allowed" } else { "refused" };
        format!("{name}: test \"{}\" failed: {said} ({}); mend the rules or the test", test.name, test.reason)
    };
    Err(Failure { lines: failed.into_iter().map(line).collect(), code: 3 })
}

/// Both clocks, now.
#[must_use]
pub fn now() -> Moment {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    Moment {
        wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        monotonic_ns: seconds.saturating_add(u64::try_from(monotonic.tv_nsec).unwrap_or(0)),
    }
}

/// Reads and compiles the policy file of a configuration; its text beside it.
///
/// # Errors
/// Every problem of the file, one a line.
pub fn policy_from(config: &Config, path: &Path, generation: u32) -> Result<(Arc<Policy>, String), Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(
            2,
            format!(
                "{name}: {error}; write a policy there (`vambrace learn` proposes one) or name another in [policy] file"
            ),
        )
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
