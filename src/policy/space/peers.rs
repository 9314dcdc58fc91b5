//! Peers that policies tell apart, and what people call them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::policy::rule::Asset;
use crate::policy::{Client, Policy, number};

/// Peers with the same rules in every policy that is looked at.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Peer {
    /// What people call them: devices by name, else addresses and networks.
    pub(in crate::policy) names: Vec<String>,
    /// In each policy.
    pub(in crate::policy) clients: Vec<Client>,
}

/// All peers that some rule of the policies allows something.
pub(in crate::policy) struct Peers;

/// IPv4 addresses as numbers of IPv6: `::ffff:0:0/96`.
const IPV4: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

impl Peers {
    /// The peers of these policies; of `only` alone where that is given.
    pub(in crate::policy) fn of(policies: &[&Policy], assets: &[Asset], only: Option<&[IpNet]>) -> Vec<Peer> {
        let mut firsts: Vec<u128> = vec![0, IPV4.0, IPV4.1.saturating_add(1)];
        firsts.extend(policies.iter().flat_map(|policy| policy.ranges.iter().map(|(first, _)| *first)));
        for net in only.into_iter().flatten() {
            let (first, last) = ends(net);
            firsts.push(first);
            firsts.extend(last.checked_add(1));
        }
        firsts.sort_unstable();
        firsts.dedup();
        let mut nets: Vec<IpNet> = policies
            .iter()
            .flat_map(|policy| policy.rules.iter().flat_map(|rule| rule.peers.iter().copied()))
            .collect();
        nets.extend(only.into_iter().flatten());
        nets.sort_by_key(|net| (std::cmp::Reverse(net.prefix_len()), *net));
        nets.dedup();
        let lasts = firsts.iter().skip(1).map(|next| next.saturating_sub(1)).chain([u128::MAX]).collect::<Vec<_>>();
        let mut groups: BTreeMap<Vec<u16>, Peer> = BTreeMap::new();
        for (first, last) in firsts.into_iter().zip(lasts) {
            let address = address(first);
            if only.is_some_and(|only| !only.iter().any(|net| holds(net, first))) {
                continue;
            }
            let clients: Vec<Client> = policies.iter().map(|policy| policy.client(address)).collect();
            if only.is_none() && clients.iter().all(|client| *client == Client::UNKNOWN) {
                continue;
            }
            let key = clients.iter().map(|client| client.0).collect();
            let peer = groups.entry(key).or_insert(Peer { names: Vec::new(), clients });
            peer.names.push(name((first, last), &nets, assets));
        }
        let mut peers: Vec<Peer> = groups.into_values().collect();
        for peer in &mut peers {
            peer.names.sort_by_key(|name| (name.starts_with("any "), name.starts_with("the rest"), name.clone()));
            peer.names.dedup();
        }
        peers.sort_by(|a, b| {
            a.names
                .first()
                .map(|name| (name.starts_with("any "), name))
                .cmp(&b.names.first().map(|name| (name.starts_with("any "), name)))
        });
        peers
    }
}

fn address(number: u128) -> IpAddr {
    let address = Ipv6Addr::from_bits(number);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

fn ends(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (number(net.network().into()), number(net.broadcast().into())),
        IpNet::V6(net) => (number(net.network().into()), number(net.broadcast().into())),
    }
}

fn holds(net: &IpNet, address: u128) -> bool {
    let (first, last) = ends(net);
    (first..=last).contains(&address)
}

/// What a range of addresses is called; `nets` are those that rules name, the smallest first.
fn name((first, last): (u128, u128), nets: &[IpNet], assets: &[Asset]) -> String {
    if first == last {
        let address = address(first);
        let asset = assets.iter().find(|asset| asset.address == address);
        return asset.map_or_else(|| address.to_string(), |asset| asset.name.clone());
    }
    match nets.iter().find(|net| holds(net, first) && net.prefix_len() > 0) {
        Some(net) if ends(net) == (first, last) => net.to_string(),
        Some(net) => format!("the rest of {net}"),
        None if (IPV4.0..=IPV4.1).contains(&first) => "any other IPv4 address".to_owned(),
        None => "any other IPv6 address".to_owned(),
    }
}
