//! Layer 2 to 4: views of Ethernet, VLAN, ARP, IPv4, IPv6, TCP, UDP and ICMP; the flow key; frame crafting.
//!
//! [`parse`] reads a frame once, from the outside in, with one bounds check a layer, and hands out a [`Packet`] whose
//! parts borrow from the frame. Checksums are not read unless asked for. [`FlowKey`] names a conversation by the two
//! sides of the box; [`craft`] builds frames of its own; [`seq`] is the arithmetic of TCP sequence numbers.
//!
//! Zero-copy, no I/O, no clock, no allocation on the packet path, never panics.

#![forbid(unsafe_code)]

mod arp;
mod bytes;
pub mod checksum;
pub mod craft;
mod ether;
mod flow;
mod icmp;
mod ipv4;
mod ipv6;
mod packet;
pub mod seq;
mod tags;
mod tcp;
mod tcp_option;
mod transport;
mod udp;

pub use arp::Arp;
pub use checksum::Checksum;
pub use ether::{EtherType, LinkProtocol, Mac, NameError};
pub use flow::{Endpoint, FlowKey};
pub use icmp::{Icmp, Quoted};
pub use ipv4::{Ipv4, Ipv4Options};
pub use ipv6::{Ipv6, Ipv6Extensions};
pub use packet::{Network, Packet, parse};
pub use tags::{Tag, Tags};
pub use tcp::{Tcp, TcpFlags};
pub use tcp_option::{SackBlocks, TcpOption, TcpOptionSummary, TcpOptions};
pub use transport::{Transport, protocol};
pub use udp::Udp;
