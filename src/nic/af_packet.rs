//! The wire: a packet socket with a TPACKET_V2 receive ring, sending with `sendmmsg` straight out of ring memory.
//!
//! One socket a port serves both directions: a separate one for sending would get every frame back as an echo. A
//! transmit ring brought nothing over `sendmmsg` in measurements.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{BATCH, Frame, FrameMeta, FramePort, PortError};
pub use crate::sys::ring::Geometry;
use crate::sys::{interface, packet, ring};

/// How many tries one [`FramePort::transmit`] spends on a full queue before it drops frames. About 50 microseconds: a
/// 100 Mbit/s port sends four full frames meanwhile, and the robot's period is 2000.
const TRIES: u32 = 128;
/// How often an idle port asks whether its interface is still there.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// What a port counted since it was opened or attached. Frames unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed out by [`FramePort::receive`].
    pub received: u64,
    /// Taken by the kernel for sending.
    pub sent: u64,
    /// Lost by the kernel because the ring was full.
    pub kernel_drops: u64,
    /// Not sent: the queue stayed full or the carrier was off.
    pub refused_full: u64,
    /// Not sent: longer than the port's MTU allows, or shorter than an Ethernet header.
    pub refused_size: u64,
    /// Sent by this port and seen again, ignored.
    pub echoes: u64,
    /// Longer than a ring slot, so that only a part came in; dropped, because passing on a part would be another frame.
    pub truncated: u64,
    /// Received with a transport checksum that an offload should have filled in.
    pub checksum_partial: u64,
    /// In the hands of an earlier process when it ended: given back unread and unsent.
    pub abandoned: u64,
    /// Times the interface went down or away.
    pub outages: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down,
    Gone,
}

/// A port on a network interface.
///
/// Receiving makes no system call while frames wait. An interface that goes down is told as [`PortError::Down`] until
/// it is up again, when the same port goes on; one that vanishes is [`PortError::Gone`] until [`AfPacket::rebind`].
#[derive(Debug)]
pub struct AfPacket {
    name: String,
    ring: ring::Ring,
    fd: OwnedFd,
    link: Link,
    checked_ns: u64,
    congested: bool,
    counters: Counters,
}

impl AfPacket {
    /// Opens the interface `name`: makes the ring, then lets frames in, promiscuously.
    ///
    /// # Errors
    /// The interface is missing or down, CAP_NET_RAW is missing, or memory for the ring.
    pub fn open(name: &str, geometry: Geometry) -> Result<Self, PortError> {
        let fd = packet::open_with_ring(geometry).map_err(|source| system(name, "packet socket with ring", source))?;
        let ring =
            ring::Ring::attach(&fd, geometry, Some(0)).map_err(|source| system(name, "mmap of the ring", source))?;
        let index =
            rustix::net::netdevice::name_to_index(&fd, name).map_err(|_| PortError::Gone { port: name.to_owned() })?;
        let port = Self::with(name.to_owned(), ring, fd);
        packet::bind(&port.fd, index).map_err(|source| port.failed("bind", source))?;
        if port.flags()? & interface::UP == 0 {
            return Err(PortError::Down { port: port.name });
        }
        Ok(port)
    }

    /// Takes over a socket that another process opened with this geometry, and goes on at its cursor.
    ///
    /// A wrong or missing cursor costs no frame. What the other process had in hand is given back unread and counted
    /// as abandoned. That process must be gone: two at one ring take each other's frames.
    ///
    /// # Errors
    /// The descriptor is no packet socket with a ring of this shape, or its interface is gone.
    pub fn attach(fd: OwnedFd, geometry: Geometry, cursor: Option<u32>) -> Result<Self, PortError> {
        let unnamed = |call, source| system("(inherited)", call, source);
        let index = packet::bound_to(&fd).map_err(|source| unnamed("getsockname", source))?;
        let name = index
            .and_then(|index| rustix::net::netdevice::index_to_name(&fd, index).ok())
            .ok_or_else(|| PortError::Gone { port: "(inherited)".to_owned() })?;
        let ring =
            ring::Ring::attach(&fd, geometry, cursor).map_err(|source| system(&name, "mmap of the ring", source))?;
        Ok(Self::with(name, ring, fd))
    }

    fn with(name: String, ring: ring::Ring, fd: OwnedFd) -> Self {
        Self { name, ring, fd, link: Link::Up, checked_ns: 0, congested: false, counters: Counters::default() }
    }

    /// Binds to an interface of the same name that came after the one that vanished. The caller prepares it first.
    ///
    /// # Errors
    /// There is none, or it is down.
    pub fn rebind(&mut self) -> Result<(), PortError> {
        let index = rustix::net::netdevice::name_to_index(&self.fd, &self.name)
            .map_err(|_| PortError::Gone { port: self.name.clone() })?;
        packet::bind(&self.fd, index).map_err(|source| self.failed("bind", source))?;
        let _ = rustix::net::sockopt::socket_error(&self.fd);
        self.link = Link::Up;
        Ok(())
    }

    /// Interface name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first ring slot that is not released yet: hand it to [`AfPacket::attach`].
    #[must_use]
    pub fn cursor(&self) -> u32 {
        self.ring.cursor()
    }

    /// Shape of the ring: hand it to [`AfPacket::attach`].
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.ring.geometry()
    }

    /// What was counted. One system call; not for every batch.
    pub fn counters(&mut self) -> Counters {
        // Asking sets the kernel's counter back, so it is summed here.
        if let Ok(statistics) = packet::statistics(&self.fd) {
            self.counters.kernel_drops = self.counters.kernel_drops.wrapping_add(u64::from(statistics.drops));
        }
        let ring = self.ring.counts();
        Counters {
            received: ring.taken,
            echoes: ring.echoes,
            truncated: ring.truncated,
            checksum_partial: ring.unfinished,
            abandoned: ring.abandoned,
            ..self.counters
        }
    }

    /// Whether the interface is up and has a carrier.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn carrier(&self) -> Result<bool, PortError> {
        Ok(self.flags()? & (interface::UP | interface::RUNNING) == interface::UP | interface::RUNNING)
    }

    /// Whether the interface is administratively up, and whether it has a carrier.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn link(&self) -> Result<(bool, bool), PortError> {
        let flags = self.flags()?;
        Ok((flags & interface::UP != 0, flags & interface::RUNNING != 0))
    }

    /// Takes the interface down or up.
    ///
    /// # Errors
    /// The interface is gone, or CAP_NET_ADMIN is missing.
    pub fn set_up(&self, up: bool) -> Result<(), PortError> {
        let flags = self.flags()?;
        let wanted = if up { flags | interface::UP } else { flags & !interface::UP };
        interface::set_flags(&self.fd, &self.name, wanted).map_err(|source| self.failed("SIOCSIFFLAGS", source))
    }

    /// Whether the interface vanished and another one has its name now.
    #[must_use]
    pub fn is_succeeded(&self) -> bool {
        packet::bound_to(&self.fd).is_ok_and(|bound| bound.is_none())
            && rustix::net::netdevice::name_to_index(&self.fd, &self.name).is_ok()
    }

    fn flags(&self) -> Result<u16, PortError> {
        interface::flags(&self.fd, &self.name).map_err(|source| self.failed("SIOCGIFFLAGS", source))
    }

    /// Looks after the interface, at most once in [`CHECK_EVERY`]. The ring itself never tells that it dried up.
    fn check_link(&mut self) -> Result<(), PortError> {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        let now_ns = u64::try_from(now.tv_sec)
            .unwrap_or(0)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(now.tv_nsec.cast_unsigned());
        if u128::from(now_ns.wrapping_sub(self.checked_ns)) >= CHECK_EVERY.as_nanos() {
            self.checked_ns = now_ns;
            self.look_at_link();
        }
        match self.link {
            Link::Up => Ok(()),
            Link::Down => Err(PortError::Down { port: self.name.clone() }),
            Link::Gone => Err(PortError::Gone { port: self.name.clone() }),
        }
    }

    #[cold]
    fn look_at_link(&mut self) {
        // Read even when up: an error that stays unread would make every poll return at once.
        let told = rustix::net::sockopt::socket_error(&self.fd).is_ok_and(|told| told.is_err());
        if self.link == Link::Up && !told {
            return;
        }
        let before = self.link;
        self.link = match packet::bound_to(&self.fd) {
            Ok(Some(_)) => match interface::flags(&self.fd, &self.name) {
                Ok(flags) if flags & interface::UP != 0 => Link::Up,
                Ok(_) => Link::Down,
                Err(_) => Link::Gone,
            },
            _ => Link::Gone,
        };
        // Down and up again between two looks is an outage too.
        if before == Link::Up {
            self.counters.outages = self.counters.outages.wrapping_add(1);
        }
    }

    fn failed(&self, call: &'static str, source: std::io::Error) -> PortError {
        match source.raw_os_error() {
            Some(libc::ENETDOWN) => PortError::Down { port: self.name.clone() },
            Some(libc::ENXIO | libc::ENODEV) => PortError::Gone { port: self.name.clone() },
            _ => system(&self.name, call, source),
        }
    }
}

fn system(port: &str, call: &'static str, source: std::io::Error) -> PortError {
    PortError::System { port: port.to_owned(), call, source }
}

impl FramePort for AfPacket {
    fn receive(&mut self) -> Result<usize, PortError> {
        let taken = self.ring.take(BATCH);
        if taken == 0 {
            self.check_link()?;
        }
        Ok(taken)
    }

    fn frame(&self, index: usize) -> Frame<'_> {
        let taken = self.ring.frame(index);
        let received_ns =
            u64::from(taken.info.seconds).wrapping_mul(1_000_000_000).wrapping_add(u64::from(taken.info.nanoseconds));
        Frame {
            bytes: taken.bytes,
            meta: FrameMeta {
                received_ns,
                wire_len: taken.info.wire_len,
                checksum_partial: taken.info.checksum_partial,
            },
        }
    }

    fn release(&mut self) {
        self.ring.release();
    }

    fn transmit(&mut self, frames: &[&[u8]]) -> Result<usize, PortError> {
        let mut taken = 0_usize;
        let mut rest = frames;
        // Where the last batch ended in a full queue (a cable is out, say), one try must do until a frame goes out.
        let mut tries = if self.congested { 1 } else { TRIES };
        while let Some((_, behind_first)) = rest.split_first() {
            match packet::send_batch(self.fd.as_fd(), rest) {
                Ok(sent) => {
                    taken = taken.saturating_add(sent);
                    self.counters.sent = self.counters.sent.wrapping_add(sent as u64);
                    rest = rest.get(sent.max(1)..).unwrap_or(&[]);
                    self.congested = false;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ENOMEM) if tries > 0 => {
                        tries = tries.saturating_sub(1);
                        std::hint::spin_loop();
                    }
                    Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ENOMEM) => {
                        self.counters.refused_full = self.counters.refused_full.wrapping_add(rest.len() as u64);
                        self.congested = true;
                        break;
                    }
                    Some(libc::EMSGSIZE | libc::EINVAL) => {
                        self.counters.refused_size = self.counters.refused_size.wrapping_add(1);
                        rest = behind_first;
                    }
                    _ => {
                        self.counters.refused_full = self.counters.refused_full.wrapping_add(rest.len() as u64);
                        return Err(self.failed("sendmmsg", error));
                    }
                },
            }
        }
        Ok(taken)
    }

    fn kernel_drops(&mut self) -> u64 {
        self.counters().kernel_drops
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}

impl AsFd for AfPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
