//! Layers 2 and 3: what passes by its EtherType, and what no receiver should have to interpret.

use std::net::{IpAddr, Ipv4Addr};

use dissect::Toward;
use link::{EtherType, Ipv4Options, Ipv6, Ipv6Extensions, LinkProtocol, Mac, Network, Packet, Transport};

use super::arena::Binding;
use super::flux::Flux;
use super::rules::{Device, Rules};
use crate::event::Reason;

/// Frame ids of PROFINET DCP requests, and the service id of Set.
/// Source: IEC 61158-6-10, DCP: frame id 0xFEFD (get or set), service id 0x04 (set).
const DCP_GET_SET: [u8; 2] = [0xfe, 0xfd];
const DCP_SET: u8 = 0x04;

/// Whether a frame passes below the level of connections.
///
/// `Ok(true)`: it is IP and goes on to the flow table; `Ok(false)`: it passes as it is.
///
/// # Errors
/// Why it must not pass while enforcing.
pub(super) fn check(packet: &Packet<'_>, toward: Toward, rules: &Rules, bindings: &[Binding]) -> Result<bool, Reason> {
    if comes_from_other_side(bindings, packet.source, toward) {
        return Err(Reason::MacMismatch);
    }
    match &packet.network {
        Network::Ipv4(ip) => {
            if ip.fragment || matches!(ip.transport, Transport::Fragment) {
                return Err(Reason::Fragment);
            }
            if matches!(ip.options, Ipv4Options::RecordRoute | Ipv4Options::SourceRoute) {
                return Err(Reason::IpOptions);
            }
            if ip.ttl == 0 {
                return Err(Reason::TtlZero);
            }
            if !ip.header_checksum_ok() {
                return Err(Reason::BadChecksum);
            }
            check_binding(bindings, ip.source, packet.source, toward).map_or(Ok(true), |_| Err(Reason::MacMismatch))
        }
        Network::Ipv6(ip) if rules.ipv6 => ipv6(ip),
        Network::Ipv6(_) => Err(Reason::Ipv6),
        Network::Arp(arp) => {
            if arp.sender_mac != packet.source {
                return Err(Reason::ArpConflict);
            }
            check_binding(bindings, arp.sender_ip, arp.sender_mac, toward)
                .map_or(Ok(false), |_| Err(Reason::ArpConflict))
        }
        Network::IpInLlc => Err(Reason::LlcIp),
        Network::TooManyTags => Err(Reason::VlanStack),
        Network::Other => match packet.link_protocol() {
            LinkProtocol::Stp if rules.pass_stp => Ok(false),
            _ if rules.pass_stp && is_link_local(packet.destination) => Ok(false),
            LinkProtocol::EtherType(EtherType::PROFINET) if is_dcp_set(packet) && toward == Toward::Robot => {
                if rules.dcp_set { Ok(false) } else { Err(Reason::ProfinetDcpSet) }
            }
            LinkProtocol::EtherType(ether_type) if rules.pass.contains(&ether_type) => Ok(false),
            _ => Err(Reason::EtherTypeNotListed),
        },
    }
}

/// IPv6 where it may pass: what finds neighbours and joins groups goes on as it is, the rest is for the policy. Nothing
/// with extension headers but the one that group membership always has.
fn ipv6(ip: &Ipv6<'_>) -> Result<bool, Reason> {
    let kind = match &ip.transport {
        Transport::Icmp(icmp) => Some(icmp.kind),
        _ => None,
    };
    match (kind, ip.extensions, ip.hop_limit) {
        // Source: RFC 4861, section 6.1 and 7.1: a hop limit of 255 shows that no router passed it on. Redirects are not
        // among them: a robot has one way.
        (Some(133..=136), extensions, 255) if extensions.is_empty() => Ok(false),
        // Source: RFC 2710 section 3, RFC 3810 section 5.
        (Some(130..=132 | 143), Ipv6Extensions::HOP_BY_HOP, 1) => Ok(false),
        (_, extensions, _) if !extensions.is_empty() => Err(Reason::Ipv6),
        (Some(133..=137 | 130..=132 | 143), ..) => Err(Reason::Ipv6),
        (_, _, 0) => Err(Reason::TtlZero),
        _ => Ok(true),
    }
}

/// Whether a frame is one that goes on or not by its headers alone, and that a robot can miss for a while: to everybody or
/// to a group, and datagrams. Spanning tree is not among them: without it a ring of bridges is a storm.
pub(super) fn is_unenforced(packet: &Packet<'_>) -> bool {
    if is_link_local(packet.destination) {
        return false;
    }
    packet.destination.is_multicast()
        || match packet.transport() {
            // Modbus over UDP is read.
            Some(Transport::Udp(udp)) => udp.destination_port != 502,
            Some(Transport::Icmp(_)) => true,
            _ => false,
        }
}

/// Whether a group address is one that no bridge forwards: spanning tree and its relatives, link aggregation, port access.
/// Source: IEEE 802.1Q-2018, table 8-1.
fn is_link_local(destination: Mac) -> bool {
    matches!(destination.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}

/// Whether the device with this MAC lives on the side that the frame travels to.
fn comes_from_other_side(bindings: &[Binding], source: Mac, toward: Toward) -> bool {
    let used = bindings.iter().take_while(|binding| binding.address != [0; 4]);
    let mut known = used.filter(|binding| binding.mac != [0; 6]);
    known.any(|binding| binding.mac == source.0 && binding.side == toward as u8)
}

fn is_dcp_set(packet: &Packet<'_>) -> bool {
    let payload = packet.link_payload();
    payload.get(..2) == Some(DCP_GET_SET.as_slice()) && payload.get(2) == Some(&DCP_SET)
}

/// The binding that a sender contradicts, by MAC or by side.
fn check_binding(bindings: &[Binding], address: Ipv4Addr, mac: Mac, toward: Toward) -> Option<&Binding> {
    // A probe asks for an address without claiming it (RFC 5227), and 0.0.0.0 marks a free entry.
    if address.is_unspecified() {
        return None;
    }
    let used = bindings.iter().take_while(|binding| binding.address != [0; 4]);
    used.filter(|binding| binding.address == address.octets()).find(|binding| {
        // Frames from the robot's side travel toward the plant.
        let sent_from = match toward {
            Toward::Plant => Toward::Robot,
            Toward::Robot => Toward::Plant,
        };
        binding.side != sent_from as u8 || (binding.mac != [0; 6] && binding.mac != mac.0)
    })
}

/// Writes the configuration's devices into the bindings; what was learned of the same address stays where the
/// configuration gives no MAC.
pub(super) fn configure(bindings: &mut [Binding], devices: &[Device], flux: &Flux) {
    for device in devices {
        let IpAddr::V4(address) = device.address else { continue };
        let octets = address.octets();
        let side = if device.is_robot { Toward::Robot } else { Toward::Plant } as u8;
        let place = bindings
            .iter()
            .position(|binding| binding.address == octets)
            .or_else(|| bindings.iter().position(|binding| binding.address == [0; 4]));
        let Some((place, binding)) = place.and_then(|at| Some((at, bindings.get_mut(at)?))) else { return };
        let learned = if binding.address == octets && binding.configured == 0 { binding.mac } else { [0; 6] };
        flux.binding(place, binding);
        *binding = Binding {
            address: octets,
            mac: device.mac.map_or(learned, |mac| mac.0),
            side,
            configured: u8::from(device.mac.is_some()),
        };
        flux.settled(binding);
    }
}

/// Learns the MAC of a bound address from a frame of its own side: always where none is known, and anew outside
/// enforcement, where a device may have been replaced. Says whether a binding changed.
pub(super) fn learn(bindings: &mut [Binding], packet: &Packet<'_>, toward: Toward, enforce: bool, flux: &Flux) -> bool {
    let (address, mac) = match &packet.network {
        Network::Arp(arp) => (arp.sender_ip, arp.sender_mac),
        Network::Ipv4(ip) => (ip.source, packet.source),
        _ => return false,
    };
    if address.is_unspecified() || mac.is_multicast() {
        return false;
    }
    let octets = address.octets();
    let used = bindings.iter_mut().take_while(|binding| binding.address != [0; 4]);
    let mut changed = false;
    let learns = |binding: &Binding| binding.address == octets && binding.configured == 0;
    for (place, binding) in used.enumerate().filter(|(_, binding)| learns(binding)) {
        let own_side = binding.side == toward.reverse() as u8;
        if own_side && binding.mac != mac.0 && (binding.mac == [0; 6] || !enforce) {
            flux.binding(place, binding);
            binding.mac = mac.0;
            flux.settled(binding);
            changed = true;
        }
    }
    changed
}
