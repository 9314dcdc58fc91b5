//! Any bytes as a frame: headers, checksums, the flow key.
#![no_main]

use dissect::Toward;
use libfuzzer_sys::fuzz_target;
use link::{FlowKey, Packet, Transport};

fuzz_target!(|frame: &[u8]| {
    let _ = Packet::link(frame);
    match link::parse(frame) {
        Err(error) => assert!(error.offset as usize <= frame.len()),
        Ok(packet) => {
            assert!(packet.network_offset <= frame.len());
            let _ = (packet.checksums_ok(), packet.link_protocol(), packet.addresses());
            if let Some(tcp) = packet.tcp() {
                assert_eq!(&frame[tcp.payload_offset..][..tcp.payload.len()], tcp.payload);
                assert_eq!(tcp.timestamps(), tcp.option_summary().timestamps);
            }
            let icmp = matches!(packet.transport(), Some(Transport::Icmp(_)));
            let has_flow = packet.tcp().is_some() || packet.udp().is_some() || icmp;
            for toward in [Toward::Robot, Toward::Plant] {
                assert_eq!(FlowKey::of(&packet, toward).is_some(), has_flow);
            }
        }
    }
});
