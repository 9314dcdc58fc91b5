//! MAC addresses, EtherTypes and the names under which link protocols are passed.

use core::fmt;
use core::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A text that names no MAC address, EtherType or link protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError {
    expected: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl core::error::Error for NameError {}

/// A 48-bit MAC address (IEEE 802-2014, clause 8), in wire order.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The bridge group address, to which STP is sent (IEEE 802.1D-2004, table 7-10).
    pub const STP: Self = Self([0x01, 0x80, 0xc2, 0, 0, 0]);

    /// Whether the address names a group (I/G bit), broadcast included.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 1
    }

    /// Whether the address is locally administered (U/L bit).
    #[must_use]
    pub const fn is_local(self) -> bool {
        let [first, ..] = self.0;
        first & 2 == 2
    }

    /// Whether bridges keep frames to this address on their link: 01-80-C2-00-00-00 to 0F (IEEE 802.1Q-2018, table
    /// 8-1), the home of STP, pause, LACP, 802.1X and LLDP.
    #[must_use]
    pub const fn is_link_local_group(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = NameError;

    /// Six pairs of hexadecimal digits with colons or hyphens between them.
    fn from_str(text: &str) -> Result<Self, NameError> {
        const ERROR: NameError = NameError { expected: "a MAC address such as 00:1b:1b:aa:bb:cc" };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or(ERROR)?;
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(ERROR);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ERROR)?;
        }
        if parts.next().is_some() { Err(ERROR) } else { Ok(Self(octets)) }
    }
}

/// What follows the MAC addresses and tags (IEEE 802 numbers registry), in host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// Stands for every value below 0x0600: the field is a length and LLC follows (IEEE 802.3-2018, 3.2.6).
    pub const LLC: Self = Self(0);
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// C-VLAN tag (IEEE 802.1Q): as a tag protocol identifier.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// Ethernet flow control: pause and priority flow control (IEEE 802.3, annex 31).
    pub const PAUSE: Self = Self(0x8808);
    /// Slow protocols, such as LACP.
    pub const SLOW: Self = Self(0x8809);
    /// Port access entity (IEEE 802.1X).
    pub const EAPOL: Self = Self(0x888e);
    /// PROFINET RT and DCP (IEC 61158-6-10).
    pub const PROFINET: Self = Self(0x8892);
    /// EtherCAT (IEC 61158-4-12).
    pub const ETHERCAT: Self = Self(0x88a4);
    /// S-VLAN tag (IEEE 802.1ad): as a tag protocol identifier.
    pub const S_VLAN: Self = Self(0x88a8);
    /// GOOSE (IEC 61850-8-1).
    pub const GOOSE: Self = Self(0x88b8);
    /// LLDP (IEEE 802.1AB).
    pub const LLDP: Self = Self(0x88cc);
    /// Media Redundancy Protocol (IEC 62439-2).
    pub const MRP: Self = Self(0x88e3);
    /// Precision Time Protocol over Ethernet (IEEE 1588, annex E).
    pub const PTP: Self = Self(0x88f7);

    const NAMES: [(Self, &'static str); 15] = [
        (Self::LLC, "llc"),
        (Self::IPV4, "ipv4"),
        (Self::ARP, "arp"),
        (Self::VLAN, "vlan"),
        (Self::IPV6, "ipv6"),
        (Self::PAUSE, "pause"),
        (Self::SLOW, "slow"),
        (Self::EAPOL, "eapol"),
        (Self::PROFINET, "profinet"),
        (Self::ETHERCAT, "ethercat"),
        (Self::S_VLAN, "s-vlan"),
        (Self::GOOSE, "goose"),
        (Self::LLDP, "lldp"),
        (Self::MRP, "mrp"),
        (Self::PTP, "ptp"),
    ];

    /// The short name used in configurations and records, if it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(value, _)| *value == self).map(|(_, name)| *name)
    }

    /// Whether a VLAN tag follows that a Linux receiver takes for one: 0x8100 or 0x88a8.
    #[must_use]
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::S_VLAN)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtherType({:#06x})", self.0)
    }
}

impl FromStr for EtherType {
    type Err = NameError;

    /// A name such as `profinet`, or hexadecimal digits after `0x`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        const ERROR: NameError = NameError { expected: "an EtherType such as profinet or 0x8892" };
        if let Some((value, _)) = Self::NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*value);
        }
        let digits = text.strip_prefix("0x").ok_or(ERROR)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ERROR);
        }
        match u16::from_str_radix(digits, 16) {
            Ok(value) if value >= 0x0600 => Ok(Self(value)),
            _ => Err(ERROR),
        }
    }
}

/// What a pass list of non-IP traffic names: an EtherType, or LLC with or without a bridge's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkProtocol {
    /// LLC to 01-80-C2-00-00-00 to 0F: spanning tree and its relatives; named `stp`.
    Stp,
    /// Everything else, LLC to any other address included.
    EtherType(EtherType),
}

impl fmt::Display for LinkProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stp => f.pad("stp"),
            Self::EtherType(ether_type) => fmt::Display::fmt(ether_type, f),
        }
    }
}

impl FromStr for LinkProtocol {
    type Err = NameError;

    /// `stp`, or whatever names an [`EtherType`].
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "stp" { Ok(Self::Stp) } else { text.parse().map(Self::EtherType) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_both_ways() {
        let mac: Mac = "00:1B:1b:aa-bb".parse().unwrap_or_default();
        assert_eq!(mac, Mac::default());
        let mac: Mac = "00:1B:1b:aa:bb:cc".parse().unwrap();
        assert_eq!(mac.to_string(), "00:1b:1b:aa:bb:cc");
        assert_eq!("00-1b-1b-aa-bb-cc".parse(), Ok(mac));
        for bad in
            ["", "00:1b:1b:aa:bb", "00:1b:1b:aa:bb:cc:dd", "0:1b:1b:aa:bb:cc", "+1:1b:1b:aa:bb:cc", "zz:1b:1b:aa:bb:cc"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mac_bits() {
        assert!(Mac::BROADCAST.is_multicast());
        assert!(!Mac::BROADCAST.is_link_local_group());
        assert!(Mac::STP.is_link_local_group());
        assert!(Mac([1, 0x80, 0xc2, 0, 0, 0x0f]).is_link_local_group());
        assert!(!Mac([1, 0x80, 0xc2, 0, 0, 0x10]).is_link_local_group());
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_local());
    }

    #[test]
    fn names_both_ways() {
        for (value, name) in EtherType::NAMES {
            assert_eq!(name.parse(), Ok(value));
            assert_eq!(value.to_string(), name);
        }
        assert_eq!("0x88ba".parse(), Ok(EtherType(0x88ba)));
        assert_eq!(EtherType(0x88ba).to_string(), "0x88ba");
        assert_eq!("0x8892".parse(), Ok(EtherType::PROFINET));
        for bad in ["0x05ff", "0x+892", "0x18892", "8892", "Profinet", ""] {
            assert!(bad.parse::<EtherType>().is_err(), "{bad}");
        }
        assert_eq!("stp".parse(), Ok(LinkProtocol::Stp));
        assert_eq!("lldp".parse(), Ok(LinkProtocol::EtherType(EtherType::LLDP)));
        assert_eq!(LinkProtocol::Stp.to_string(), "stp");
    }
}
