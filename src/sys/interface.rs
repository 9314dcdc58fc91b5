//! Questions and orders to one network interface by name. Source: netdevice(7).
//!
//! Any socket serves; the interface is looked for in the network namespace that the socket was made in.

use std::ffi::{c_char, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;

/// Interface flag: administratively up.
pub const UP: u16 = libc::IFF_UP as u16;
/// Interface flag: carrier is there.
pub const RUNNING: u16 = libc::IFF_RUNNING as u16;
/// Interface flag: no ARP.
pub const NOARP: u16 = libc::IFF_NOARP as u16;
/// Interface flag: multicast is spoken.
pub const MULTICAST: u16 = libc::IFF_MULTICAST as u16;
/// Interface flag: loopback.
pub const LOOPBACK: u16 = libc::IFF_LOOPBACK as u16;

/// A socket to ask through; needs no right. Not one of the Internet's, so that a process that only asks need not be let
/// have those.
///
/// # Errors
/// No descriptor is left.
pub fn any_socket() -> io::Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Flags of an interface: [`UP`], [`RUNNING`] and others of `IFF_*`.
///
/// # Errors
/// ENODEV: there is no such interface.
pub fn flags(fd: impl AsFd, name: &str) -> io::Result<u16> {
    let mut request = named(name)?;
    order(fd, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel filled in the flags, and any bits are a value of them.
    Ok(unsafe { request.ifr_ifru.ifru_flags }.cast_unsigned())
}

/// Replaces the flags of an interface.
///
/// # Errors
/// ENODEV: there is no such interface. EPERM: CAP_NET_ADMIN is missing.
pub fn set_flags(fd: impl AsFd, name: &str, flags: u16) -> io::Result<()> {
    let mut request = named(name)?;
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    order(fd, libc::SIOCSIFFLAGS, &mut request)
}

/// Largest payload of a frame in bytes, Ethernet header and VLAN tags not counted.
///
/// # Errors
/// ENODEV: there is no such interface.
pub fn mtu(fd: impl AsFd, name: &str) -> io::Result<u32> {
    let mut request = named(name)?;
    order(fd, libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: the kernel filled in the MTU, and any bits are a value of it.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.unsigned_abs())
}

/// Sets the MTU in bytes.
///
/// # Errors
/// ENODEV: there is no such interface. EINVAL: the driver can't. EPERM: CAP_NET_ADMIN is missing.
pub fn set_mtu(fd: impl AsFd, name: &str, mtu: u32) -> io::Result<()> {
    let mut request = named(name)?;
    request.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    order(fd, libc::SIOCSIFMTU, &mut request)
}

/// Has the kernel answer an ethtool command of which `buffer` holds the structure.
///
/// The caller chooses a command whose answer fits in `buffer`; [`super::ethtool`] is the only one.
pub(super) fn ethtool(fd: impl AsFd, name: &str, buffer: &mut [u32]) -> io::Result<()> {
    let mut request = named(name)?;
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast::<c_char>();
    order(fd, libc::SIOCETHTOOL as libc::Ioctl, &mut request)
}

/// A request that names an interface and holds nothing else.
fn named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is integers and a pointer, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: IFNAMSIZ counts the end mark.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as c_char;
    }
    Ok(request)
}

fn order(fd: impl AsFd, code: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let request: *mut c_void = std::ptr::from_mut(request).cast();
    // SAFETY: every code used here takes a whole ifreq, which it reads and fills in; where that holds a pointer
    // (ethtool), it is to a borrowed buffer as large as the command's answer.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), code, request) }).map(drop)
}
