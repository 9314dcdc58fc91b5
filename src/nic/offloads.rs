//! Which offloads stand between the wire and the frames as they were sent. Source: ethtool(8), option -K.

use crate::sys::ethtool::Feature;

/// What a port must not do to frames: the kernel's name, and whether frames are changed if it does all the same.
///
/// Merging and marking on reception change what is handed out. Those of sending do nothing to frames that come from a
/// packet socket, and stripped tags are put back; they are off so that nothing depends on it.
const OFFLOADS: [(&str, bool); 24] = [
    ("rx-gro", true),
    ("rx-gro-hw", true),
    ("rx-gro-list", true),
    ("rx-udp-gro-forwarding", true),
    ("rx-lro", true),
    ("rx-fcs", true),
    ("loopback", true),
    ("hsr-tag-rm-offload", true),
    ("hsr-fwd-offload", true),
    ("hsr-dup-offload", true),
    ("rx-checksum", false),
    ("rx-vlan-hw-parse", false),
    ("rx-vlan-stag-hw-parse", false),
    ("rx-vlan-filter", false),
    ("rx-vlan-stag-filter", false),
    ("tx-checksum-ipv4", false),
    ("tx-checksum-ipv6", false),
    ("tx-checksum-ip-generic", false),
    ("tx-checksum-sctp", false),
    ("tx-scatter-gather", false),
    ("tx-tcp-segmentation", false),
    ("tx-tcp6-segmentation", false),
    ("tx-generic-segmentation", false),
    ("tx-vlan-hw-insert", false),
];

/// An offload that is at work and can't be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Whether frames don't come out as they went in.
    pub(super) changes_frames: bool,
}

fn active(features: &[Feature]) -> impl Iterator<Item = (Stuck, &Feature)> {
    features.iter().filter(|feature| feature.active).filter_map(|feature| {
        let (name, changes_frames) = *OFFLOADS.iter().find(|(name, _)| *name == feature.name)?;
        Some((Stuck { name, changes_frames }, feature))
    })
}

/// Switches off what stands between the wire and the frames on a port of the calling thread's namespace, and says what it
/// was, for [`switch_on`]: bit numbers of the kernel's.
///
/// # Errors
/// ENODEV: there is no such port. EPERM: CAP_NET_ADMIN is missing.
pub fn switch_off(port: &str) -> std::io::Result<Vec<usize>> {
    let socket = crate::sys::interface::any_socket()?;
    let bits: Vec<_> = to_switch(&crate::sys::ethtool::features(&socket, port)?).collect();
    if !bits.is_empty() {
        crate::sys::ethtool::switch(&socket, port, &bits, false)?;
    }
    Ok(bits)
}

/// Switches on again what [`switch_off`] found.
///
/// # Errors
/// As [`switch_off`].
pub fn switch_on(port: &str, bits: &[usize]) -> std::io::Result<()> {
    if bits.is_empty() {
        return Ok(());
    }
    crate::sys::ethtool::switch(crate::sys::interface::any_socket()?, port, bits, true)
}

/// What is at work for good.
pub(super) fn stuck(features: &[Feature]) -> Vec<Stuck> {
    active(features).filter(|(_, feature)| !feature.changeable).map(|(stuck, _)| stuck).collect()
}

/// What is at work and must be off when the port is in use: bit numbers.
pub(super) fn to_switch(features: &[Feature]) -> impl Iterator<Item = usize> {
    active(features).filter(|(_, feature)| feature.changeable).map(|(_, feature)| feature.bit)
}

/// What is at work although it was turned off, of those that change frames.
pub(super) fn still_harmful(features: &[Feature]) -> Vec<&'static str> {
    active(features).filter(|(stuck, _)| stuck.changes_frames).map(|(stuck, _)| stuck.name).collect()
}

/// What to say and to run where offloads that change frames can't be turned off.
pub(super) fn refusal(port: &str, driver: &str, names: &[&str]) -> (String, String) {
    let sentence = format!("offloads of port {port} can't be turned off and change frames: {}", names.join(", "));
    if driver == "virtio_net" {
        // The device decides: its host has to leave them out.
        let device = "-device virtio-net-pci,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_csum=off";
        return (format!("{sentence}; start the virtual machine without them"), format!("qemu-system-x86_64 {device}"));
    }
    let orders: Vec<_> = names.iter().map(|name| format!("{name} off")).collect();
    (sentence, format!("ethtool -K {port} {}", orders.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str, bit: usize, active: bool, changeable: bool) -> Feature {
        Feature { name: name.to_owned(), bit, active, changeable }
    }

    #[test]
    fn fixed_and_changeable_offloads_are_told_apart() {
        // As virtio_net tells them.
        let features = [
            feature("rx-checksum", 3, true, false),
            feature("rx-gro-hw", 9, true, false),
            feature("rx-gro", 14, true, true),
            feature("tx-tcp-segmentation", 16, true, true),
            feature("rx-lro", 15, false, false),
            feature("highdma", 5, true, false),
        ];
        let expected =
            [Stuck { name: "rx-checksum", changes_frames: false }, Stuck { name: "rx-gro-hw", changes_frames: true }];
        assert_eq!(stuck(&features), expected);
        assert_eq!(to_switch(&features).collect::<Vec<_>>(), [14, 16]);
        assert_eq!(still_harmful(&features), ["rx-gro-hw", "rx-gro"]);
        let (sentence, command) = refusal("enp1s0", "igb", &["rx-gro-hw"]);
        assert_eq!(sentence, "offloads of port enp1s0 can't be turned off and change frames: rx-gro-hw");
        assert_eq!(command, "ethtool -K enp1s0 rx-gro-hw off");
        assert!(refusal("eth0", "virtio_net", &["rx-gro-hw"]).1.contains("guest_tso4=off"));
    }
}
