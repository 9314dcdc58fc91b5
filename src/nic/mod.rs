//! Ports: where frames come from and go to.
//!
//! [`FramePort`] is the one trait between the packet path and the world. Its backends are AF_PACKET rings, captures and
//! memory.

pub mod af_packet;
mod discover;
mod examine;
pub mod impairment;
pub mod memory;
mod netlink;
mod offloads;
pub mod polling;
pub mod prepare;
pub mod replay;

pub use af_packet::{AfPacket, Counters, Geometry};
pub use impairment::Impairment;
pub use offloads::{switch_off as switch_offloads_off, switch_on as switch_offloads_on};
pub use polling::{Idle, Polling, wait};

use std::os::fd::BorrowedFd;

/// Most frames that one [`FramePort::receive`] hands out.
pub const BATCH: usize = 64;

/// One received frame, borrowed from the port's memory, VLAN tags in place, without frame check sequence.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The bytes, Ethernet header first.
    pub bytes: &'a [u8],
    /// What is known beside the bytes.
    pub meta: FrameMeta,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// When the kernel (or the capture) received it: nanoseconds since 1970, wall clock. For records only.
    pub received_ns: u64,
    /// Length on the wire in bytes; more than `bytes.len()` where the capture cut it.
    pub wire_len: u32,
    /// Whether transport checksums may be unfinished, because an offload was to fill them in.
    pub checksum_partial: bool,
}

/// A port that frames are received from and sent to.
///
/// Single-threaded: the worker that owns a port owns both directions of it.
pub trait FramePort {
    /// Takes up to [`BATCH`] frames that have arrived and says how many; 0 when there is none. Never blocks.
    ///
    /// The frames stay where they are until [`FramePort::release`]; calling again before releases the earlier ones.
    ///
    /// # Errors
    /// The port is gone or down.
    fn receive(&mut self) -> Result<usize, PortError>;

    /// Frame `index` of the last [`FramePort::receive`]; an empty frame beyond its count.
    fn frame(&self, index: usize) -> Frame<'_>;

    /// Gives the frames of the last [`FramePort::receive`] back.
    fn release(&mut self);

    /// Sends frames in order and says how many were taken; the rest was dropped (the kernel's queue was full after a
    /// bounded number of tries) and counted.
    ///
    /// # Errors
    /// The port is gone or down.
    fn transmit(&mut self, frames: &[&[u8]]) -> Result<usize, PortError>;

    /// What becomes readable when a frame arrives; absent where waiting makes no sense.
    fn readiness(&self) -> Option<BorrowedFd<'_>>;

    /// Frames that were dropped before they could be received, since the port was opened. May be a system call.
    fn kernel_drops(&mut self) -> u64 {
        0
    }
}

/// Why a port can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The interface vanished.
    #[error("port {port} is gone; check the cable or the driver, then `ip link show {port}`")]
    Gone {
        /// Interface name.
        port: String,
    },
    /// The interface is administratively down.
    #[error("port {port} is down; run `ip link set {port} up`")]
    Down {
        /// Interface name.
        port: String,
    },
    /// A capture that is replayed is cut, damaged or of a kind that is not read.
    #[error("{port}: {source}")]
    Capture {
        /// File name.
        port: String,
        /// Where and what.
        source: replay::CaptureError,
    },
    /// A system call failed.
    #[error("port {port}: {call}: {source}")]
    System {
        /// Interface name.
        port: String,
        /// The call that failed.
        call: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}
