//! Connections to ports that no dissector reads, and those that the robot opens.

use std::collections::BTreeSet;

use dissect::Toward;

use super::{Block, Sample, Space};
use crate::command::Service;

/// Adds the connections that rules name, and one of each kind that none names.
pub(super) fn add(space: &mut Space, named: &BTreeSet<(bool, Service)>, wanted: &[Service]) {
    let others: Vec<Service> = wanted.iter().copied().filter(|service| !service.is_dissected()).collect();
    if others.is_empty() {
        return;
    }
    for (egress, opened) in [(false, Toward::Robot), (true, Toward::Plant)] {
        let mut services: BTreeSet<Service> =
            named.iter().filter(|(own, _)| *own == egress).map(|(_, own)| *own).collect();
        let free = |make: fn(u16) -> Service| {
            (1..=u16::MAX).rev().map(make).find(|service| !named.contains(&(egress, *service)))
        };
        services.extend(others.iter().copied());
        services.extend([free(Service::Tcp), free(Service::Udp), Some(Service::Icmp)].into_iter().flatten());
        if egress {
            services.insert(Service::Rtde);
        }
        services.retain(|service| !service.is_judged(opened));
        for service in services {
            let known = named.contains(&(egress, service)) || others.contains(&service);
            let what = match service {
                Service::Tcp(_) if !known => "any other TCP port".to_owned(),
                Service::Udp(_) if !known => "any other UDP port".to_owned(),
                other => other.to_string(),
            };
            let mut block = Block::single(service, what, vec![Sample::Connect(service)]);
            block.opened = opened;
            space.blocks.push(block);
        }
    }
}
