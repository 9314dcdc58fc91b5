//! Finding ports by name, MAC address or PCI address, and what is known of them.

use std::io;
use std::net::IpAddr;

use link::Mac;

use super::netlink::{Link, Netlink};
use crate::sys::ethtool::{self, Driver, Feature};
use crate::sys::interface;

/// All interfaces of the namespace at one moment.
#[derive(Debug)]
pub(super) struct Site {
    links: Vec<Link>,
    interfaces: Vec<pnet_datalink::NetworkInterface>,
    socket: std::os::fd::OwnedFd,
}

/// What is known of one interface.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) link: Link,
    pub(super) mac: Mac,
    /// Addresses and lengths of their prefixes.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Flags, see [`interface`].
    pub(super) flags: u16,
    pub(super) driver: Driver,
    pub(super) features: Vec<Feature>,
}

/// Why there is no such port.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) sentence: String,
    pub(super) command: String,
}

impl Site {
    /// Takes a look.
    pub(super) fn look() -> io::Result<Self> {
        let links = Netlink::route()?.links()?;
        Ok(Self { links, interfaces: pnet_datalink::interfaces(), socket: interface::any_socket()? })
    }

    /// The one interface that is meant.
    pub(super) fn find(&self, wanted: &str) -> Result<Known, Missing> {
        if let Some(link) = self.links.iter().find(|link| link.name == wanted) {
            return Ok(self.known(link));
        }
        let found: Vec<_> = if let Ok(mac) = wanted.parse::<Mac>() {
            self.with_mac(mac)
        } else if let Some(address) = pci_address(wanted) {
            self.links.iter().filter(|link| self.driver(link).bus == address).collect()
        } else {
            Vec::new()
        };
        let names = |links: &[&Link]| links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        match found[..] {
            [link] => Ok(self.known(link)),
            [] => {
                let all: Vec<_> = self.links.iter().filter(|link| link.name != "lo").collect();
                let there = if all.is_empty() { "none".to_owned() } else { names(&all) };
                let sentence = format!("port {wanted} is missing; there is {there}");
                Err(Missing { sentence, command: "ip -br link".to_owned() })
            }
            _ => {
                let sentence = format!("{wanted} is the address of {}; name one of them", names(&found));
                Err(Missing { sentence, command: "ip -br link".to_owned() })
            }
        }
    }

    /// Devices with this address; bridges, bonds and VLANs borrow that of their port, so they count only if nothing
    /// else has it.
    fn with_mac(&self, mac: Mac) -> Vec<&Link> {
        let all: Vec<_> = self.links.iter().filter(|link| self.mac(&link.name) == Some(mac)).collect();
        let own: Vec<_> = all.iter().copied().filter(|link| link.kind.is_empty() || link.kind == "veth").collect();
        if own.is_empty() { all } else { own }
    }

    fn mac(&self, name: &str) -> Option<Mac> {
        let interface = self.interfaces.iter().find(|interface| interface.name == name)?;
        interface.mac.map(|mac| Mac(mac.octets()))
    }

    fn driver(&self, link: &Link) -> Driver {
        ethtool::driver(&self.socket, &link.name).unwrap_or_default()
    }

    fn known(&self, link: &Link) -> Known {
        // Addresses with a label are told under it: `enp1s0:1`.
        let mine = |name: &str| name.split(':').next() == Some(link.name.as_str());
        let addresses = self.interfaces.iter().filter(|interface| mine(&interface.name));
        Known {
            mac: self.mac(&link.name).unwrap_or(Mac([0; 6])),
            addresses: addresses.flat_map(|it| &it.ips).map(|network| (network.ip(), network.prefix())).collect(),
            flags: interface::flags(&self.socket, &link.name).unwrap_or(0),
            driver: self.driver(link),
            features: ethtool::features(&self.socket, &link.name).unwrap_or_default(),
            link: link.clone(),
        }
    }

    /// Interfaces that sit on another one.
    pub(super) fn above(&self, index: u32) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.below == Some(index))
    }

    /// Kind and name of an interface.
    pub(super) fn described(&self, index: u32) -> String {
        match self.links.iter().find(|link| link.index == index) {
            Some(link) if link.kind.is_empty() => link.name.clone(),
            Some(link) => format!("{} {}", link.kind, link.name),
            None => format!("interface {index}"),
        }
    }
}

/// `0000:01:00.0`, also without its domain or with `pci-` before it, as the kernel writes it.
fn pci_address(text: &str) -> Option<String> {
    let text = text.strip_prefix("pci-").unwrap_or(text).to_ascii_lowercase();
    let (rest, function) = text.split_once('.')?;
    let parts: Vec<_> = rest.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [domain, bus, device] => (domain, bus, device),
        [bus, device] => ("0000", bus, device),
        _ => return None,
    };
    let is_hex = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    // Domains of virtual root complexes have up to eight digits.
    let is_address = is_hex(domain, 4..=8) && is_hex(bus, 2..=2) && is_hex(device, 2..=2) && is_hex(function, 1..=1);
    is_address.then(|| format!("{domain}:{bus}:{device}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_read_in_all_usual_forms() {
        for text in ["0000:01:00.0", "01:00.0", "pci-0000:01:00.0"] {
            assert_eq!(pci_address(text).as_deref(), Some("0000:01:00.0"));
        }
        assert_eq!(pci_address("10000:E1:00.1").as_deref(), Some("10000:e1:00.1"));
        for text in ["", "enp1s0", "eth0.5", "01:00", "0000:01:00.x", "1:2:3:4.5", "02:00:00:00:00:01"] {
            assert_eq!(pci_address(text), None, "{text}");
        }
    }
}
