//! Packet sockets: options, binding, batched sending. Source: packet(7), sendmmsg(2).

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::checked;
use super::ring::Geometry;

/// Bytes kept free before each received frame, so that a VLAN tag can be put back in place.
pub const RESERVE: u32 = 16;
/// Most frames of one [`send_batch`].
pub const SEND_BATCH: usize = 64;
/// Every protocol, in network byte order: what makes a packet socket receive all frames.
const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Reception counters since they were last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that reached the socket, dropped ones included.
    pub packets: u32,
    /// Frames that found the ring full.
    pub drops: u32,
}

/// A packet socket with its receive ring, bound to nothing yet, so that no frame comes in before the ring is mapped.
///
/// # Errors
/// CAP_NET_RAW is missing, or the kernel lacks the memory or an option.
pub fn open_with_ring(geometry: Geometry) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // Before the ring: the kernel answers EBUSY to these afterwards.
    set_option(&fd, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as c_int))?;
    set_option(&fd, libc::PACKET_RESERVE, &RESERVE)?;
    set_option(&fd, libc::PACKET_LOSS, &1_i32)?;
    // Straight to the driver's queue: a queueing discipline would add its lock and its own drops.
    set_option(&fd, libc::PACKET_QDISC_BYPASS, &1_i32)?;
    // Kernels before 4.20 lack it; the ring then drops outgoing frames itself.
    let _ = set_option(&fd, libc::PACKET_IGNORE_OUTGOING, &1_i32);
    // A full batch of jumbo frames in flight; FORCE passes the system's limit where CAP_NET_ADMIN is there.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&fd, 8 << 20);
    let request = libc::tpacket_req {
        tp_block_size: geometry.block_bytes,
        tp_block_nr: geometry.blocks,
        tp_frame_size: geometry.frame_bytes,
        tp_frame_nr: geometry.slots(),
    };
    set_option(&fd, libc::PACKET_RX_RING, &request)?;
    Ok(fd)
}

/// Lets all frames of the interface `index` in, those to foreign addresses too; also binds anew after the interface
/// was replaced.
///
/// # Errors
/// The interface is gone (ENODEV) or down (ENETDOWN).
pub fn bind(fd: impl AsFd, index: u32) -> io::Result<()> {
    let index = c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(fd.as_fd(), libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: EVERY_PROTOCOL,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: address and length describe a whole sockaddr_ll of this frame, which the call only reads.
    let answer = unsafe {
        libc::bind(fd.as_fd().as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    checked(answer).map(drop)
}

/// The interface index that a packet socket is bound to; an unbound socket or a vanished interface has none.
///
/// # Errors
/// The descriptor is no packet socket.
pub fn bound_to(fd: impl AsFd) -> io::Result<Option<u32>> {
    // SAFETY: sockaddr_ll is plain integers, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: address and length describe a whole sockaddr_ll of this frame; the call writes no more than `length`.
    checked(unsafe { libc::getsockname(fd.as_fd().as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
    if i32::from(address.sll_family) != libc::AF_PACKET {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "descriptor is not a packet socket"));
    }
    Ok(u32::try_from(address.sll_ifindex).ok().filter(|&index| index != 0))
}

/// Reception counters since the last call.
///
/// # Errors
/// The descriptor is no packet socket.
pub fn statistics(fd: impl AsFd) -> io::Result<Statistics> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as u32;
    let (fd, level) = (fd.as_fd().as_raw_fd(), libc::SOL_PACKET);
    // SAFETY: pointer and length describe a whole tpacket_stats of this frame; the call writes no more than `length`.
    let answer =
        unsafe { libc::getsockopt(fd, level, libc::PACKET_STATISTICS, (&raw mut stats).cast(), &raw mut length) };
    checked(answer)?;
    Ok(Statistics { packets: stats.tp_packets, drops: stats.tp_drops })
}

/// Sends up to [`SEND_BATCH`] frames in order, out of the memory they lie in, and says how many the kernel took. Never
/// blocks.
///
/// # Errors
/// That of the first frame, where not even this one was taken: ENOBUFS or EAGAIN (queue full), EMSGSIZE (longer than
/// the MTU), EINVAL (shorter than a header), ENETDOWN, ENXIO.
pub fn send_batch(fd: BorrowedFd<'_>, frames: &[&[u8]]) -> io::Result<usize> {
    if let [frame] = frames {
        // The common case, which the call for one frame does without copying a list of headers into the kernel.
        return Ok(rustix::net::send(fd, frame, rustix::net::SendFlags::DONTWAIT).map(|_| 1)?);
    }
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; SEND_BATCH];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_BATCH];
    let mut count: libc::c_uint = 0;
    for ((frame, vector), message) in frames.iter().zip(&mut vectors).zip(&mut messages) {
        let vector = vector.write(libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() });
        // SAFETY: mmsghdr is integers and pointers, for which all zeroes is a value (no address, no control data).
        let message = message.write(unsafe { std::mem::zeroed() });
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
        count = count.saturating_add(1);
    }
    let flags = libc::MSG_DONTWAIT as _;
    // SAFETY: the first `count` messages are initialised above and point to vectors and frames that outlive the call;
    // the kernel reads the frames and writes only msg_len.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr().cast(), count, flags) };
    checked(sent).map(|sent| sent.unsigned_abs() as usize)
}

/// Sets a packet-level option to a value of plain integers.
fn set_option<T: Copy>(fd: impl AsFd, option: c_int, value: &T) -> io::Result<()> {
    let (fd, value) = (fd.as_fd().as_raw_fd(), std::ptr::from_ref(value).cast());
    // SAFETY: pointer and length describe a whole, initialised value, which the call only reads.
    checked(unsafe { libc::setsockopt(fd, libc::SOL_PACKET, option, value, size_of::<T>() as u32) }).map(drop)
}
