//! ARP for IPv4 over Ethernet (RFC 826).

use crate::bytes::header;
use crate::ether::Mac;
use core::net::Ipv4Addr;
use dissect::DissectError;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub(crate) const LEN: usize = 28;

/// An ARP packet that binds IPv4 to Ethernet addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What is asked or said: 1 request, 2 reply; any value may come.
    pub operation: u16,
    /// The MAC address that the sender claims.
    pub sender_mac: Mac,
    /// The IPv4 address that the sender claims; 0.0.0.0 in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// The MAC address asked for; without meaning in a request.
    pub target_mac: Mac,
    /// The IPv4 address asked for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Who has `target_ip`?
    pub const REQUEST: u16 = 1;
    /// `sender_ip` is at `sender_mac`.
    pub const REPLY: u16 = 2;

    /// Reads what follows the EtherType; `offset` is where that is in the frame.
    ///
    /// # Errors
    /// Truncated; unsupported for anything but IPv4 over Ethernet (hardware type 1, or 6 as Linux also takes it).
    pub(crate) fn parse(bytes: &[u8], offset: usize) -> Result<Self, DissectError> {
        let (start, rest) = header::<8>(bytes, "ARP header", offset)?;
        let &[h0, h1, p0, p1, hardware_len, protocol_len, o0, o1] = start;
        let (hardware, protocol) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]));
        if !matches!(hardware, 1 | 6) || protocol != 0x0800 || hardware_len != 6 || protocol_len != 4 {
            return Err(DissectError::unsupported("ARP hardware or protocol type", offset));
        }
        let (addresses, _) = header::<{ LEN - 8 }>(rest, "ARP addresses", offset.saturating_add(8))?;
        let &[s0, s1, s2, s3, s4, s5, a, b, c, d, t0, t1, t2, t3, t4, t5, e, f, g, h] = addresses;
        Ok(Self {
            operation: u16::from_be_bytes([o0, o1]),
            sender_mac: Mac([s0, s1, s2, s3, s4, s5]),
            sender_ip: Ipv4Addr::new(a, b, c, d),
            target_mac: Mac([t0, t1, t2, t3, t4, t5]),
            target_ip: Ipv4Addr::new(e, f, g, h),
        })
    }

    /// Whether the sender announces itself: both addresses are the same (RFC 5227, 3).
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Whether the sender only asks whether an address is free and claims none (RFC 5227, 1.1).
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.sender_ip.is_unspecified()
    }
}
