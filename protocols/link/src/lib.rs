//! Layer 2 to 4: views of Ethernet, VLAN, ARP, IPv4, IPv6, TCP, UDP and ICMP; the flow key; frame crafting.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]
