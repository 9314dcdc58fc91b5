//! Community ID: the same short name for a conversation in every tool.
//!
//! Source: Community ID Flow Hashing, version 1 (seed 0). ICMP, whose types stand in for ports there, has no flow key
//! here and so no id.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use link::{Endpoint, FlowKey};
use sha1::{Digest, Sha1};

/// SHA-1 over seed, ordered ends, protocol and ports: what the id is the text of.
pub(super) fn digest(key: &FlowKey) -> [u8; 20] {
    let (plant, robot) = (&key.plant, &key.robot);
    let in_order = (address(plant, key.ip_version), plant.port) <= (address(robot, key.ip_version), robot.port);
    let (low, high) = if in_order { (plant, robot) } else { (robot, plant) };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    hash.update(address(low, key.ip_version));
    hash.update(address(high, key.ip_version));
    hash.update([key.protocol, 0]);
    hash.update(low.port.to_be_bytes());
    hash.update(high.port.to_be_bytes());
    hash.finalize().into()
}

/// The id: `1:` and base64.
#[must_use]
pub fn community_id(key: &FlowKey) -> String {
    text(&digest(key))
}

/// The id of a conversation with this digest.
pub(super) fn text(digest: &[u8; 20]) -> String {
    let mut id = String::from("1:");
    STANDARD.encode_string(digest, &mut id);
    id
}

/// The address as it stands in packets: 4 bytes or 16.
fn address(end: &Endpoint, ip_version: u8) -> &[u8] {
    let bytes = if ip_version == 4 { end.address.get(12..) } else { None };
    bytes.unwrap_or(&end.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// The TCP and UDP rows of the specification's published baseline for seed 0.
    const BASELINE: [(u8, &str, u16, &str, u16, &str); 4] = [
        (
            6,
            "2001:470:e5bf:dead:4957:2174:e82c:4887",
            63943,
            "2607:f8b0:400c:c03::1a",
            25,
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
        ),
        (6, "128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (17, "192.168.1.52", 54585, "8.8.8.8", 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        // SCTP between equal ports: the order of addresses decides.
        (132, "192.168.170.8", 7, "192.168.170.56", 7, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
    ];

    #[test]
    fn published_baseline_either_way_round() {
        for (protocol, a, a_port, b, b_port, id) in BASELINE {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            let version = if a.is_ipv4() { 4 } else { 6 };
            let (a, b) = (Endpoint::new(a, a_port), Endpoint::new(b, b_port));
            assert_eq!(community_id(&FlowKey::new(a, b, protocol, version)), id);
            assert_eq!(community_id(&FlowKey::new(b, a, protocol, version)), id);
        }
    }
}
