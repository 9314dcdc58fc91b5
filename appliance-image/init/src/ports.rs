//! Network ports: found by name, MAC address or PCI address as the configuration names them, and set up.

use std::fs;
use std::path::Path;

use crate::netlink::Netlink;
use crate::{At, Failure};

/// A network interface with hardware behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// PCI address, such as `0000:02:00.0`; ports are ordered by it.
    pub pci: String,
    /// The kernel's name, which changes with the order of loading.
    pub name: String,
    /// MAC address, in small letters.
    pub mac: String,
    /// The kernel's number.
    pub index: i32,
}

/// All ports on the PCI bus, by address.
#[must_use]
pub fn ports() -> Vec<Port> {
    let mut found: Vec<_> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| port(&entry.path()))
        .collect();
    found.sort();
    found
}

fn port(folder: &Path) -> Option<Port> {
    let read = |file: &str| Some(fs::read_to_string(folder.join(file)).ok()?.trim().to_owned());
    let device = fs::canonicalize(folder.join("device")).ok()?;
    Some(Port {
        pci: pci(&device)?,
        name: folder.file_name()?.to_str()?.to_owned(),
        mac: read("address")?.to_ascii_lowercase(),
        index: read("ifindex")?.parse().ok()?,
    })
}

/// The PCI address nearest to a device: below it there may be another bus, such as virtio's.
fn pci(device: &Path) -> Option<String> {
    device.iter().rev().filter_map(|part| part.to_str()).find(|part| is_pci(part)).map(str::to_owned)
}

/// `dddd:bb:dd.f` in hexadecimal.
fn is_pci(text: &str) -> bool {
    text.len() == 12
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b':',
            10 => byte == b'.',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The port that is meant by a name, a MAC address or a PCI address with or without its domain.
#[must_use]
pub fn find<'p>(ports: &'p [Port], wanted: &str) -> Option<&'p Port> {
    let wanted = wanted.to_ascii_lowercase();
    let full = format!("0000:{wanted}");
    ports.iter().find(|port| port.name == wanted || port.mac == wanted || port.pci == wanted || port.pci == full)
}

/// The name of the box: the last half of its first port's MAC address tells it from others of its kind.
#[must_use]
pub fn box_name(ports: &[Port]) -> String {
    let digits: String = ports.first().map_or("", |port| &port.mac).chars().filter(char::is_ascii_hexdigit).collect();
    format!("vambrace-{}", digits.get(6..).unwrap_or("unknown"))
}

/// The data ports of `[ports]` in a configuration.
#[must_use]
pub fn configured(config: &str) -> Vec<String> {
    let Ok(table) = config.parse::<toml::Table>() else { return Vec::new() };
    let ports = table.get("ports").and_then(toml::Value::as_table);
    let named = |key: &str| Some(ports?.get(key)?.as_str()?.to_owned());
    ["plant", "robot"].into_iter().filter_map(named).collect()
}

/// Before a link comes up: the kernel has nothing to say on any port. IPv6 alone would announce itself.
pub fn silence(tell: &mut dyn FnMut(String)) {
    for setting in ["ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"] {
        let path = format!("/proc/sys/net/{setting}");
        if let Err(error) =
            fs::write(&path, "1").or_else(|error| if Path::new(&path).exists() { Err(error) } else { Ok(()) })
        {
            tell(format!("{setting}: {error}"));
        }
    }
}

/// Sets a link up.
///
/// # Errors
/// The driver or the kernel refuses.
pub fn up(port: &Port) -> Result<(), Failure> {
    let what = format!("port {} ({})", port.name, port.pci);
    Netlink::open().and_then(|kernel| kernel.up(port.index)).at(&what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn three() -> Vec<Port> {
        let port =
            |pci: &str, name: &str, mac: &str| Port { pci: pci.into(), name: name.into(), mac: mac.into(), index: 2 };
        vec![
            port("0000:01:00.0", "eth2", "52:54:00:00:00:01"),
            port("0000:02:00.0", "eth0", "52:54:00:00:00:02"),
            port("0001:02:00.0", "eth1", "52:54:00:00:00:03"),
        ]
    }

    #[test]
    fn a_port_is_found_by_what_does_not_change() {
        let ports = three();
        let name = |wanted: &str| find(&ports, wanted).map(|port| port.name.as_str());
        assert_eq!(name("0000:01:00.0"), Some("eth2"));
        assert_eq!(name("02:00.0"), Some("eth0"));
        assert_eq!(name("52:54:00:00:00:03"), Some("eth1"));
        assert_eq!(name("52:54:00:00:00:0A"), None);
        assert_eq!(name("eth1"), Some("eth1"));
        assert_eq!(name(""), None);
    }

    #[test]
    fn the_box_is_named_after_its_first_port() {
        assert_eq!(box_name(&three()), "vambrace-000001");
        assert_eq!(box_name(&[]), "vambrace-unknown");
    }

    #[test]
    fn the_pci_address_is_found_above_another_bus() {
        let path = Path::new("/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/virtio2");
        assert_eq!(pci(path).unwrap(), "0000:03:00.0");
        assert_eq!(pci(Path::new("/sys/devices/platform/eth")), None);
        assert!(!is_pci("0000:03:00,0") && !is_pci("pci0000:00:0"));
    }

    #[test]
    fn ports_are_read_from_the_configuration() {
        let text = "mode = \"learn\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n";
        assert_eq!(configured(text), ["a", "b"]);
        assert!(configured("[ports").is_empty() && configured("ports = 1").is_empty());
    }

    /// In a namespace of its own, as root: the kernel does what it is asked.
    #[test]
    fn a_link_that_is_not_there_is_an_error() {
        let absent = Port { pci: "0000:00:00.0".into(), name: "absent".into(), mac: String::new(), index: i32::MAX };
        assert!(up(&absent).unwrap_err().0.starts_with("port absent (0000:00:00.0): "));
    }
}
