//! The conversations of the latest frames, found by the bytes of their headers.

use dissect::Toward;
use link::{FlowKey, checksum};
use zerocopy::IntoBytes;

use crate::flow::{FlowId, State, Table};

/// Conversations that are remembered; two of the same place push each other out, which costs a look-up and nothing else.
const PLACES: usize = 64;

/// Bytes from the start of an untagged frame to the end of the ports: Ethernet, IPv4 without options, two ports.
const HEADERS: usize = ETHERNET + IPV4 + 4;
const ETHERNET: usize = 14;
const IPV4: usize = 20;
/// Bytes of a UDP header, the least that its length field may say.
const UDP: u16 = 8;

/// What names a conversation in a frame: both MACs, EtherType and IPv4 without options, both addresses, both ports, the
/// protocol, and the direction. Everything that [`super::guard`] compares with what is bound is in it, so that it has
/// the same answer for every frame with the same name while neither bindings nor rules change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Name([u64; 4]);

/// Where a conversation was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its key, as the table has it.
    pub(super) key: FlowKey,
    /// Its place in the table.
    pub(super) id: FlowId,
}

/// The latest conversations: a cache in front of [`super::guard`] and of the flow table.
///
/// Invariant: a name stands here only where its last frame passed the guard, and where that changed no binding.
/// Forgotten as a whole where bindings or rules change. What the table says counts: a conversation that is gone, or
/// whose place is another's, is not found.
#[derive(Debug)]
pub(super) struct Recent {
    places: [Option<(Name, Known)>; PLACES],
}

impl Default for Recent {
    fn default() -> Self {
        Self { places: [None; PLACES] }
    }
}

/// A frame whose headers are read here: untagged IPv4 in one piece without options, undamaged, with hops left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    name: Name,
    /// Where [`Recent`] keeps it.
    place: usize,
    /// Protocol number inside IPv4.
    protocol: u8,
    /// Bytes of the IPv4 packet.
    total_len: u16,
}

impl Plain {
    /// Reads a frame on its way `toward` a side; absent where it is anything else.
    ///
    /// Cost: one look at each word of the headers.
    #[inline]
    pub(super) fn read(frame: &[u8], toward: Toward) -> Option<Self> {
        let headers: &[u8; HEADERS] = frame.first_chunk()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, _, len @ ..] = headers;
        let [len_high, len_low, _, _, flags, offset, ttl, protocol, _, _, ends @ ..] = len;
        let [q, r, s, t, u, v, w, x, ports @ ..] = ends;
        let is_ipv4 = [*m, *n, *o] == [0x08, 0x00, 0x45];
        // More fragments, or an offset.
        let is_whole = *flags & 0x3f == 0 && *offset == 0;
        if !is_ipv4 || !is_whole || *ttl == 0 || checksum::sum(headers.get(14..34)?) != 0xffff {
            return None;
        }
        let macs = u64::from_ne_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
        let rest = u64::from_ne_bytes([*i, *j, *k, *l, 0, 0, 0, 0]);
        let addresses = u64::from_ne_bytes([*q, *r, *s, *t, *u, *v, *w, *x]);
        let [source, source_low, destination, destination_low] = *ports;
        let ports = [source, source_low, destination, destination_low, *protocol, toward as u8, 0, 0];
        let ports = u64::from_ne_bytes(ports);
        let name = Name([macs, rest, addresses, ports]);
        // The odd constant is 2^64 / golden ratio; the highest bits depend on all others.
        let mixed = (addresses ^ ports.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = usize::try_from(mixed >> 58).unwrap_or(0);
        let total_len = u16::from_be_bytes([*len_high, *len_low]);
        Some(Self { name, place, protocol: *protocol, total_len })
    }

    /// Whether it is a datagram whose lengths agree with each other and with the frame, as [`link::parse`] sees them.
    #[inline]
    pub(super) fn is_datagram(&self, frame: &[u8]) -> bool {
        let len = frame.get(HEADERS..).and_then(<[u8]>::first_chunk).map_or(0, |len| u16::from_be_bytes(*len));
        let packet = usize::from(self.total_len);
        self.protocol == link::protocol::UDP
            && len >= UDP
            && usize::from(len).saturating_add(IPV4) <= packet
            && packet.saturating_add(ETHERNET) <= frame.len()
    }
}

impl Recent {
    /// The conversation of a frame, if it is known and still in the table.
    #[inline]
    pub(super) fn find(&self, plain: &Plain, flows: &Table) -> Option<Known> {
        let (name, known) = self.places.get(plain.place)?.as_ref()?;
        if *name != plain.name {
            return None;
        }
        let flow = flows.flow(known.id)?;
        (flow.state() != State::Free && flow.key.as_bytes() == known.key.as_bytes()).then_some(*known)
    }

    /// Remembers where the conversation of a frame is.
    #[inline]
    pub(super) fn note(&mut self, plain: &Plain, known: Known) {
        if let Some(place) = self.places.get_mut(plain.place) {
            *place = Some((plain.name, known));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.places = [None; PLACES];
    }
}
