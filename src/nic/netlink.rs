//! The kernel's view of interfaces, and what keeps its own stack off a port, over netlink.
//!
//! Source: netlink(7), rtnetlink(7), `linux/if_link.h`, `linux/netfilter/nf_tables.h`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Longest answer that the kernel puts in one datagram of a dump.
const ANSWER_BYTES: usize = 64 << 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// Mark of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Subsystem 10 of nfnetlink, in the upper byte.
const NFT_NEW_TABLE: u16 = 10 << 8;
const NFT_DELETE_TABLE: u16 = NFT_NEW_TABLE | 2;
const NFT_NEW_CHAIN: u16 = NFT_NEW_TABLE | 3;
const NFT_NEW_RULE: u16 = NFT_NEW_TABLE | 6;
/// Family of chains that sit on one interface.
const NETDEV_FAMILY: u8 = 5;
/// The table goes when the socket that made it is closed.
const TABLE_OWNED: u32 = 2;

/// Hardware type of Ethernet in `ifi_type`.
pub(super) const ETHERNET: u16 = 1;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Hardware type, [`ETHERNET`] or another ARPHRD number.
    pub(super) hardware: u16,
    /// Bytes of payload.
    pub(super) mtu: u32,
    /// Kind of a virtual interface, such as `veth`; empty for a device.
    pub(super) kind: String,
    /// The bridge or bond that it is a member of.
    pub(super) master: Option<u32>,
    /// The interface that it sits on, of the same namespace.
    pub(super) below: Option<u32>,
    /// Queueing discipline.
    pub(super) qdisc: String,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(fd))
    }

    /// For links and queueing disciplines.
    pub(super) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// All interfaces of the namespace.
    pub(super) fn links(&self) -> io::Result<Vec<Link>> {
        let mut message = Message::default();
        message.start(GET_LINK, REQUEST | DUMP);
        message.bytes(&[0; 16]);
        let mut links = Vec::new();
        self.ask(message, None, |kind, body| {
            if kind == NEW_LINK {
                links.extend(link(body));
            }
        })?;
        Ok(links)
    }

    /// Has all that the kernel itself would send on an interface thrown away. Packet sockets that bypass queueing
    /// disciplines send on.
    pub(super) fn mute(&self, index: u32) -> io::Result<()> {
        self.qdisc(NEW_QDISC, CREATE | REPLACE, index, Some("blackhole"))
    }

    /// Gives an interface the system's own queueing discipline again.
    pub(super) fn unmute(&self, index: u32) -> io::Result<()> {
        self.qdisc(DELETE_QDISC, 0, index, None)
    }

    fn qdisc(&self, kind: u16, flags: u16, index: u32, name: Option<&str>) -> io::Result<()> {
        const ROOT: u32 = 0xffff_ffff;
        let mut message = Message::default();
        message.start(kind, REQUEST | ACK | flags);
        // struct tcmsg: family and padding, interface, handle, parent, info.
        [0, index, 0, ROOT, 0].iter().for_each(|word| message.bytes(&word.to_ne_bytes()));
        if let Some(name) = name {
            message.text(1, name);
        }
        self.ask(message, Some(1), |_, _| {})
    }

    fn ask(&self, message: Message, acks: Option<usize>, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        rustix::net::sendto(&self.0, &message.finish(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0_u8; ANSWER_BYTES];
        let mut missing = acks;
        loop {
            let (len, _) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..len).unwrap_or_default();
            // struct nlmsghdr: length, type, flags, sequence number, port.
            while let Some((header, _)) = rest.split_first_chunk::<16>() {
                let [l0, l1, l2, l3, k0, k1, ..] = *header;
                let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
                let Some(body) = rest.get(16..length) else { break };
                match u16::from_ne_bytes([k0, k1]) {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                        if code != 0 {
                            return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                        }
                        missing = missing.map(|missing| missing.saturating_sub(1));
                        if missing == Some(0) {
                            return Ok(());
                        }
                    }
                    kind => each(kind, body),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// What becomes of frames that arrive at a port, after packet sockets have seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ingress {
    /// The kernel's own stack does not get them.
    Shielded,
    /// The kernel sends them out of another interface, given by its index.
    Forwarded(u32),
}

/// A rule of the kernel at the ingress of a port. Ends with the value, also when the process is killed.
#[derive(Debug)]
pub(super) struct Table {
    owner: Netlink,
    table: String,
}

impl Table {
    /// Puts it up at an interface. Of two, the later one comes first.
    ///
    /// EPERM, EEXIST or EBUSY: another process holds one at this interface. EOPNOTSUPP and the like: the kernel was
    /// built without it.
    pub(super) fn raise(name: &str, index: u32, ingress: Ingress) -> io::Result<Self> {
        let owner = Netlink::open(Some(NETFILTER))?;
        let table = match ingress {
            Ingress::Shielded => format!("vambrace-{index}"),
            Ingress::Forwarded(_) => format!("vambrace-open-{index}"),
        };
        let mut message = Message::batch();
        message.start(NFT_NEW_TABLE, REQUEST | ACK | CREATE | EXCLUSIVE);
        message.bytes(&[NETDEV_FAMILY, 0, 0, 0]);
        message.text(1, &table);
        message.attribute(2, &TABLE_OWNED.to_be_bytes());
        message.start(NFT_NEW_CHAIN, REQUEST | ACK | CREATE);
        message.bytes(&[NETDEV_FAMILY, 0, 0, 0]);
        message.text(1, &table);
        message.text(3, "ingress");
        let mut hook = Message::default();
        hook.attribute(1, &[0; 4]);
        // First of all chains.
        hook.attribute(2, &i32::MIN.to_be_bytes());
        hook.text(3, name);
        message.attribute(4 | NESTED, &hook.buffer);
        // Policy: drop.
        message.attribute(5, &[0; 4]);
        message.text(7, "filter");
        let mut acks = 2;
        if let Ingress::Forwarded(to) = ingress {
            message.start(NFT_NEW_RULE, REQUEST | ACK | CREATE | APPEND);
            message.bytes(&[NETDEV_FAMILY, 0, 0, 0]);
            message.text(1, &table);
            message.text(2, "ingress");
            message.attribute(4 | NESTED, &[immediate(to), forward()].concat());
            acks = 3;
        }
        message.end_batch();
        owner.ask(message, Some(acks), |_, _| {})?;
        Ok(Self { owner, table })
    }
}

/// Register 1 of the kernel's rules.
const REGISTER: [u8; 4] = 1_u32.to_be_bytes();

/// The expression that loads the index of an interface.
fn immediate(index: u32) -> Vec<u8> {
    let (mut value, mut data) = (Message::default(), Message::default());
    value.attribute(1, &index.to_ne_bytes());
    data.attribute(1, &REGISTER);
    data.attribute(2 | NESTED, &value.buffer);
    expression("immediate", &data)
}

/// The expression that sends the frame out of the interface of [`immediate`].
fn forward() -> Vec<u8> {
    let mut data = Message::default();
    data.attribute(1, &REGISTER);
    expression("fwd", &data)
}

fn expression(name: &str, data: &Message) -> Vec<u8> {
    let (mut inner, mut outer) = (Message::default(), Message::default());
    inner.text(1, name);
    inner.attribute(2 | NESTED, &data.buffer);
    outer.attribute(1 | NESTED, &inner.buffer);
    outer.buffer
}

impl Drop for Table {
    /// Takes it down now: a program that is just being started may hold a copy of the socket for a while longer.
    fn drop(&mut self) {
        let mut message = Message::batch();
        message.start(NFT_DELETE_TABLE, REQUEST | ACK);
        message.bytes(&[NETDEV_FAMILY, 0, 0, 0]);
        message.text(1, &self.table);
        message.end_batch();
        if let Err(error) = self.owner.ask(message, Some(1), |_, _| {}) {
            // It goes with the socket, or went with its interface.
            tracing::debug!(table = self.table, %error, "a rule at a port's ingress was not taken down by itself");
        }
    }
}

/// Netlink messages being written, one after the other.
#[derive(Debug, Default)]
struct Message {
    buffer: Vec<u8>,
    /// Where the header of the last one lies.
    started: usize,
}

impl Message {
    /// The beginning of changes that nfnetlink makes all together or not at all.
    fn batch() -> Self {
        let mut message = Self::default();
        message.start(BATCH_BEGIN, REQUEST);
        message.bytes(&[0, 0, 0, 10]);
        message
    }

    fn end_batch(&mut self) {
        self.start(BATCH_END, REQUEST);
        self.bytes(&[0, 0, 0, 10]);
    }

    fn start(&mut self, kind: u16, flags: u16) {
        self.close();
        self.started = self.buffer.len();
        self.bytes(&[0; 4]);
        self.bytes(&kind.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&[0; 8]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.bytes(&length.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        self.bytes(value);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat());
    }

    /// Writes the length of the last message into its header.
    fn close(&mut self) {
        let length = self.buffer.len().saturating_sub(self.started);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes();
        if let Some(place) = self.buffer.get_mut(self.started..).and_then(<[u8]>::first_chunk_mut) {
            *place = length;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.close();
        self.buffer
    }
}

/// Attributes of a message: kind and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & !NESTED, value))
    })
}

fn link(body: &[u8]) -> Option<Link> {
    // struct ifinfomsg: family, padding, hardware type, index, flags, change mask.
    let (header, rest) = body.split_first_chunk::<16>()?;
    let [_, _, h0, h1, i0, i1, i2, i3, ..] = *header;
    let mut link =
        Link { index: u32::from_ne_bytes([i0, i1, i2, i3]), hardware: u16::from_ne_bytes([h0, h1]), ..Link::default() };
    let mut elsewhere = false;
    for (kind, value) in attributes(rest) {
        match kind {
            3 => link.name = text(value),
            4 => link.mtu = number(value)?,
            5 => link.below = number(value),
            6 => link.qdisc = text(value),
            10 => link.master = number(value),
            18 => {
                link.kind = attributes(value).find(|(kind, _)| *kind == 1).map_or(String::new(), |(_, it)| text(it));
            }
            // IFLA_LINK_NETNSID: what it sits on is in another namespace.
            37 => elsewhere = true,
            _ => {}
        }
    }
    // The other end of a veth pair is told as if it lay below.
    link.below = link.below.filter(|below| *below != 0 && !elsewhere && link.kind != "veth");
    Some(link)
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_link_is_read() {
        let mut info = Message::default();
        info.text(1, "vlan");
        let mut message = Message::default();
        message.bytes(&[0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.text(3, "enp1s0.5");
        message.attribute(4, &1500_u32.to_ne_bytes());
        message.attribute(5, &3_u32.to_ne_bytes());
        message.text(6, "noqueue");
        message.attribute(18 | NESTED, &info.buffer);
        let expected = Link {
            index: 7,
            name: "enp1s0.5".to_owned(),
            hardware: ETHERNET,
            mtu: 1500,
            kind: "vlan".to_owned(),
            master: None,
            below: Some(3),
            qdisc: "noqueue".to_owned(),
        };
        assert_eq!(link(&message.buffer), Some(expected));
        // A cut message is read as far as it goes, and never past its end.
        for len in 0..message.buffer.len() {
            let cut = link(&message.buffer[..len]);
            assert_eq!(cut.is_some(), len >= 16);
        }
    }

    #[test]
    fn loopback_is_found_without_any_right() {
        let links = Netlink::route().unwrap().links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((loopback.index, loopback.hardware), (1, 772));
    }
}
