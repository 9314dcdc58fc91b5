//! Modbus as Wireshark's dissector reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Requests toward port 502 of `robot` by the client's and the robot's port, each ADU of a segment for itself; nothing,
/// visibly, where tshark is missing.
pub fn modbus_requests(test: &str, capture: &Path, robot: &str) -> Option<BTreeMap<(u64, u64), u64>> {
    if !super::has_tool(test, "tshark") {
        return None;
    }
    // What was sent twice arrives once. MRCPv2 claims ports of the robot.
    let filter = format!("mbtcp && ip.dst == {robot} && tcp.dstport == 502 && !tcp.analysis.retransmission");
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["--disable-protocol", "mrcpv2", "-Y", &filter, "-T", "fields"]);
    command.args(["-E", "occurrence=a", "-E", "aggregator=,", "-e", "tcp.srcport", "-e", "mbtcp.len"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut counts = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (port, lengths) = line.split_once('\t').unwrap();
        *counts.entry((port.parse().unwrap(), 502)).or_default() += lengths.split(',').count() as u64;
    }
    Some(counts)
}
