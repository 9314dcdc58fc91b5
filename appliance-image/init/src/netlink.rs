//! What PID 1 orders of the kernel about links, addresses and routes. Source: rtnetlink(7), netlink(7).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;

/// A request, and an acknowledgement is wanted.
const ORDER: u16 = 5;

/// The same, and it is to be made; what is there already is an error.
const MAKE: u16 = ORDER | 0x400 | 0x200;

const IFF_UP: u32 = 1;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_GATEWAY: u16 = 5;

/// Address family of IPv4.
const INET: u8 = 2;

/// A socket to the kernel of the network namespace that the calling thread is in.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open() -> Result<Self, Errno> {
        // Protocol 0 is that of routes and links.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// The driver or the kernel refuses.
    pub fn up(&self, index: i32) -> Result<(), Errno> {
        self.order(&up(index))
    }

    /// Moves a link into another network namespace. It is down there.
    ///
    /// # Errors
    /// The driver does not let it go, or a link of that name is there.
    pub fn move_to(&self, index: i32, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
        let fd = namespace.as_raw_fd().to_ne_bytes();
        self.order(&message(RTM_NEWLINK, ORDER, &[&link(index, 0), &attribute(IFLA_NET_NS_FD, &fd)]))
    }

    /// Gives a link an address.
    ///
    /// # Errors
    /// It has it already, or the kernel refuses.
    pub fn address(&self, index: i32, address: Ipv4Addr, prefix: u8) -> Result<(), Errno> {
        self.order(&self::address(index, address, prefix))
    }

    /// Sends what has no other way to a router.
    ///
    /// # Errors
    /// The router is in no network of this namespace.
    pub fn default_route(&self, gateway: Ipv4Addr) -> Result<(), Errno> {
        self.order(&default_route(gateway))
    }

    fn order(&self, message: &[u8]) -> Result<(), Errno> {
        send(&self.0, message, SendFlags::empty())?;
        let mut answer = [0_u8; 512];
        let (length, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        match answer.get(..length).and_then(acknowledged) {
            Some(0) => Ok(()),
            Some(code) => Err(Errno::from_raw_os_error(code.saturating_neg())),
            None => Err(Errno::PROTO),
        }
    }
}

fn up(index: i32) -> Vec<u8> {
    message(RTM_NEWLINK, ORDER, &[&link(index, IFF_UP)])
}

fn address(index: i32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
    let head = [[INET, prefix, 0, 0], index.to_ne_bytes()].concat();
    let octets = address.octets();
    message(RTM_NEWADDR, MAKE, &[&head, &attribute(IFA_LOCAL, &octets), &attribute(IFA_ADDRESS, &octets)])
}

fn default_route(gateway: Ipv4Addr) -> Vec<u8> {
    const MAIN: u8 = 254;
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    // struct rtmsg: family, two lengths of prefixes, service, table, protocol, scope, type, flags.
    let head = [INET, 0, 0, 0, MAIN, STATIC, 0, UNICAST, 0, 0, 0, 0];
    message(RTM_NEWROUTE, MAKE, &[&head, &attribute(RTA_GATEWAY, &gateway.octets())])
}

/// struct ifinfomsg with one flag changed to what it is in `flags`.
fn link(index: i32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

/// A message with its length in front.
fn message(kind: u16, flags: u16, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len().saturating_add(16)).unwrap_or(u32::MAX);
    let head = [kind.to_ne_bytes(), flags.to_ne_bytes()].concat();
    let numbers = [1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
    [length.to_ne_bytes().as_slice(), &head, &numbers, &body].concat()
}

/// An attribute of four bytes or a multiple of them: nothing is to be filled up.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), value].concat()
}

/// The code of an acknowledgement, 0 for success.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    const NLMSG_ERROR: u16 = 2;
    (u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?) == NLMSG_ERROR)
        .then(|| Some(i32::from_ne_bytes(*answer.get(16..)?.first_chunk()?)))?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn messages_to_the_kernel_have_the_bytes_of_rtnetlink() {
        assert_eq!(
            up(7),
            [32, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
        );
        let made = address(3, Ipv4Addr::new(10, 1, 0, 5), 16);
        assert_eq!(made[..8], [40, 0, 0, 0, 20, 0, 5, 6]);
        assert_eq!(made[16..], [2, 16, 0, 0, 3, 0, 0, 0, 8, 0, 2, 0, 10, 1, 0, 5, 8, 0, 1, 0, 10, 1, 0, 5]);
        let made = default_route(Ipv4Addr::new(10, 1, 0, 1));
        assert_eq!(made[16..], [2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0, 8, 0, 5, 0, 10, 1, 0, 1]);
    }

    #[test]
    fn only_an_acknowledgement_is_one() {
        let mut answer = [0_u8; 36];
        answer[4] = 2;
        answer[16..20].copy_from_slice(&(-19_i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(-19));
        assert_eq!(acknowledged(&answer[..19]), None);
        answer[4] = 3;
        assert_eq!(acknowledged(&answer), None);
    }

    #[test]
    fn a_link_that_is_not_there_is_an_error() {
        assert!(Netlink::open().unwrap().up(i32::MAX).is_err());
    }
}
