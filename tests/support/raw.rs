//! A raw socket for the ends of a wire: shares no code with the ports under test.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A raw socket on one interface. Received frames have their VLAN tag where it was on the wire.
#[derive(Debug)]
pub struct RawSocket {
    fd: OwnedFd,
}

impl RawSocket {
    /// Opens the interface in the calling thread's namespace.
    pub fn open(port: &str) -> io::Result<Self> {
        // SAFETY: plain system calls on owned values; the structures are plain integers and outlive the calls.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = OwnedFd::from_raw_fd(fd);
            for (level, option, value) in [
                (libc::SOL_PACKET, libc::PACKET_AUXDATA, 1),
                (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
                (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20),
            ] {
                let value: libc::c_int = value;
                let length = size_of::<libc::c_int>() as u32;
                if libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            let index = rustix::net::netdevice::name_to_index(&fd, port)? as i32;
            let mut membership: libc::packet_mreq = zeroed();
            membership.mr_ifindex = index;
            membership.mr_type = libc::PACKET_MR_PROMISC as u16;
            let length = size_of::<libc::packet_mreq>() as u32;
            let option = libc::PACKET_ADD_MEMBERSHIP;
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, (&raw const membership).cast(), length);
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index;
            let length = size_of::<libc::sockaddr_ll>() as u32;
            if libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd })
        }
    }

    /// Sends one frame as it is.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, rustix::net::SendFlags::empty())?;
        Ok(())
    }

    /// The next frame, or none within `patience`.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut set = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
            let timeout =
                rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            if rustix::event::poll(&mut set, Some(&timeout))? == 0 {
                return Ok(None);
            }
            match self.take() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other.map(Some),
            }
        }
    }

    fn take(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0_u8; 70_000];
        let mut control = [0_u64; 16];
        // SAFETY: all pointers are to live buffers of the lengths given; the control messages are walked with the
        // C library's own macros, and a header of type PACKET_AUXDATA is followed by a whole tpacket_auxdata.
        unsafe {
            let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let mut message: libc::msghdr = zeroed();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control) as _;
            let length = libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
            if length < 0 {
                return Err(io::Error::last_os_error());
            }
            buffer.truncate(length as usize);
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while !header.is_null() {
                if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                    let aux: libc::tpacket_auxdata =
                        libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                    if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                        assert!(aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0, "kernel tells no tag type");
                        let tag = [aux.tp_vlan_tpid.to_be_bytes(), aux.tp_vlan_tci.to_be_bytes()].concat();
                        buffer.splice(12..12, tag);
                    }
                }
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
        }
        Ok(buffer)
    }
}
