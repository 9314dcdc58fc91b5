//! The receive ring of a packet socket: memory that the kernel writes frames into and this process reads them out of.
//!
//! Source: kernel documentation `networking/packet_mmap`, TPACKET_V2. The kernel fills slots in order and marks each
//! with a status word; a slot belongs to the kernel while the word is 0 and to this process while it is not.
//!
//! The socket outlives the process that works on the ring: a second process maps the ring again ([`Ring::attach`]) and
//! goes on where the first one stopped. Slots that were handed out carry a mark of ours; the heir gives those back
//! unread, because they may have been sent already, and because one of them may be what ended the first process.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{sockaddr_ll, tpacket2_hdr};
use rustix::mm::{MapFlags, ProtFlags};

use super::packet::RESERVE;

/// Most frames that one [`Ring::take`] hands out.
pub const BATCH: usize = 64;
/// Bytes before a frame's slot data: header, address and the kernel's alignment.
const OVERHEAD: u32 = 96 + RESERVE;
/// Bytes of an Ethernet header and two VLAN tags.
const ETHERNET: u32 = 14 + 2 * 4;
/// Where the kernel puts the address of a frame behind its header.
const ADDRESS: usize = size_of::<tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
/// Where the kernel says whether a frame came in or went out.
const PACKET_TYPE: usize = ADDRESS + offset_of!(sockaddr_ll, sll_pkttype);
/// Smallest offset at which frame bytes may begin.
const FIRST_BYTE: usize = ADDRESS + size_of::<sockaddr_ll>();
/// Our mark in a status word: handed out. A bit the kernel leaves alone (it uses 0 to 8 and 29 to 31).
const HANDED_OUT: u32 = 1 << 24;
/// Slots looked at in one go while the place is being searched for.
const SEARCH_STEP: usize = 64;
/// Bytes of the two addresses that start a frame.
const ADDRESSES: usize = 12;
/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// Shape of a receive ring.
///
/// Invariant where it is used: every number a power of two, so that slots lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block, the unit in which the kernel allocates.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// Bytes of a slot: one frame and its header.
    pub frame_bytes: u32,
}

impl Geometry {
    /// The shape for frames of up to `mtu` bytes of payload: blocks of 256 KiB, at least 16 of them, slots of at least
    /// 2 KiB, 1024 or more of them while that takes no more than 64 MiB.
    #[must_use]
    pub fn for_mtu(mtu: u32) -> Self {
        const BLOCK: u32 = 256 << 10;
        let frame_bytes = mtu.saturating_add(OVERHEAD + ETHERNET).clamp(2048, BLOCK).next_power_of_two();
        let blocks = 1024_u32.saturating_mul(frame_bytes).div_ceil(BLOCK).clamp(16, 256);
        Self { block_bytes: BLOCK, blocks, frame_bytes }
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(self) -> u32 {
        self.block_bytes.checked_div(self.frame_bytes).unwrap_or(0).saturating_mul(self.blocks)
    }

    /// Bytes of the whole ring.
    #[must_use]
    pub fn bytes(self) -> usize {
        (self.block_bytes as usize).saturating_mul(self.blocks as usize)
    }

    fn check(self) -> io::Result<Self> {
        let powers = [self.block_bytes, self.blocks, self.frame_bytes].iter().all(|number| number.is_power_of_two());
        if powers && self.frame_bytes >= 1024 && self.frame_bytes <= self.block_bytes && self.blocks <= 1 << 14 {
            Ok(self)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "ring shape: block, frame and count must be powers of two"))
        }
    }
}

/// A frame that [`Ring::take`] handed out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken<'a> {
    /// The bytes, VLAN tag in place.
    pub bytes: &'a [u8],
    /// What the kernel says of it.
    pub info: Info,
}

/// What the kernel says of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
    /// Bytes on the wire, tag included.
    pub wire_len: u32,
    /// Whether a checksum was left to an offload.
    pub checksum_partial: bool,
}

/// Events counted since the ring was mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames handed out.
    pub taken: u64,
    /// Frames that the kernel sent from this port, ignored.
    pub echoes: u64,
    /// Frames longer than a slot, given back unread: sent on they would be other frames.
    pub truncated: u64,
    /// Frames whose transport checksum was left to an offload.
    pub unfinished: u64,
    /// Frames that an earlier process had in hand when it ended, given back unread.
    pub abandoned: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    at: usize,
    len: usize,
    info: Info,
}

/// Where the next frame will appear.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At the cursor.
    Known,
    /// At the cursor, unless it shows up elsewhere; that is looked for from here on.
    Assumed { probe: usize },
}

/// A mapped receive ring.
///
/// Invariant: one process at a time works on a ring; `held` slots from `cursor` on belong to this process and stay
/// unchanged until [`Ring::release`].
#[derive(Debug)]
pub struct Ring {
    base: NonNull<u8>,
    geometry: Geometry,
    cursor: usize,
    place: Place,
    held: usize,
    frames: [Held; BATCH],
    handed: usize,
    counts: Counts,
}

// SAFETY: the mapping belongs to the value alone, and any thread may use or unmap it.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of a socket that was made with this geometry, at a cursor where that is known.
    ///
    /// A wrong or missing cursor costs no frame: the place is searched for, at once where frames wait and with the
    /// next frame otherwise.
    ///
    /// # Errors
    /// The socket has no ring, or one of another shape.
    pub fn attach(fd: impl AsFd, geometry: Geometry, cursor: Option<u32>) -> io::Result<Self> {
        let geometry = geometry.check()?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other. The kernel refuses any length
        // but that of the whole ring, so all slots of `geometry` lie within.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), geometry.bytes(), access, MapFlags::SHARED, fd, 0) }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let slots = geometry.slots() as usize;
        let cursor = cursor.map_or(0, |cursor| cursor as usize).checked_rem(slots).unwrap_or(0);
        let mut ring = Self {
            base,
            geometry,
            cursor,
            place: Place::Assumed { probe: 0 },
            held: 0,
            frames: [Held::default(); BATCH],
            handed: 0,
            counts: Counts::default(),
        };
        ring.settle(slots);
        Ok(ring)
    }

    /// Gives back what an earlier process had in hand and finds the oldest waiting frame.
    fn settle(&mut self, slots: usize) {
        let mut waiting = 0_usize;
        let mut oldest = (u64::MAX, self.cursor);
        let mut last_abandoned = None;
        for slot in 0..slots {
            let status = self.status(slot).load(Ordering::Acquire);
            if status & HANDED_OUT != 0 {
                self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
                self.counts.abandoned = self.counts.abandoned.wrapping_add(1);
                last_abandoned = Some(slot);
            } else if status != libc::TP_STATUS_KERNEL {
                waiting = waiting.wrapping_add(1);
                let header = self.header(slot);
                let stamp = u64::from(header.tp_sec) << 32 | u64::from(header.tp_nsec);
                oldest = oldest.min((stamp, slot));
            }
        }
        if waiting == slots {
            // Full all round: only the stamps tell where it begins.
            self.cursor = oldest.1;
            self.place = Place::Known;
        } else if waiting > 0 {
            self.begin_of_run(oldest.1);
        } else if let Some(slot) = last_abandoned {
            // The batch in hand may lie around the end of the ring.
            self.cursor = self.next(slot);
        }
    }

    /// Walks back from a waiting slot to the first of its run: there the kernel started.
    fn begin_of_run(&mut self, mut slot: usize) {
        for _ in 0..self.geometry.slots() {
            let before = slot.wrapping_sub(1) & self.mask();
            if self.status(before).load(Ordering::Acquire) == libc::TP_STATUS_KERNEL {
                break;
            }
            slot = before;
        }
        self.cursor = slot;
        self.place = Place::Known;
    }

    /// Looks for a waiting frame away from the assumed place, a few slots a call.
    fn search(&mut self, probe: usize) {
        for step in 0..SEARCH_STEP {
            let slot = probe.wrapping_add(step) & self.mask();
            if self.status(slot).load(Ordering::Acquire) != libc::TP_STATUS_KERNEL {
                return self.begin_of_run(slot);
            }
        }
        self.place = Place::Assumed { probe: probe.wrapping_add(SEARCH_STEP) & self.mask() };
    }

    /// Takes up to `most` (and [`BATCH`]) waiting frames and says how many; releases the earlier ones first.
    ///
    /// Cost: two cache lines a frame, one of them the frame's own.
    pub fn take(&mut self, most: usize) -> usize {
        self.release();
        if let Place::Assumed { probe } = self.place {
            if self.status(self.cursor).load(Ordering::Acquire) == libc::TP_STATUS_KERNEL {
                self.search(probe);
            } else {
                self.begin_of_run(self.cursor);
            }
        }
        // No more than there are slots: a small ring that is full would go round to what is in hand already.
        let most = most.min(BATCH).min(self.geometry.slots() as usize);
        while self.held < most {
            let slot = self.cursor.wrapping_add(self.held) & self.mask();
            let status = self.status(slot).load(Ordering::Acquire);
            if status & libc::TP_STATUS_USER == 0 {
                break;
            }
            self.status(slot).store(status | HANDED_OUT, Ordering::Relaxed);
            self.held = self.held.wrapping_add(1);
            if self.packet_type(slot) == libc::PACKET_OUTGOING {
                self.counts.echoes = self.counts.echoes.wrapping_add(1);
                continue;
            }
            let header = self.header(slot);
            if header.tp_snaplen < header.tp_len {
                self.counts.truncated = self.counts.truncated.wrapping_add(1);
                continue;
            }
            let frame = self.read(slot, status, header);
            if let Some(free) = self.frames.get_mut(self.handed) {
                *free = frame;
                self.handed = self.handed.wrapping_add(1);
            }
        }
        self.counts.taken = self.counts.taken.wrapping_add(self.handed as u64);
        self.handed
    }

    /// Frame `index` of the last [`Ring::take`]; an empty one beyond its count.
    #[must_use]
    pub fn frame(&self, index: usize) -> Taken<'_> {
        match self.frames.get(index) {
            Some(held) if index < self.handed => {
                // SAFETY: `read` checked the range against its slot; the slot is this process's until `release`, which
                // needs the ring mutably and so outlives this borrow.
                let bytes = unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(held.at), held.len) };
                Taken { bytes, info: held.info }
            }
            _ => Taken::default(),
        }
    }

    /// Gives the taken slots back to the kernel.
    pub fn release(&mut self) {
        for _ in 0..self.held {
            self.status(self.cursor).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.cursor = self.next(self.cursor);
        }
        self.held = 0;
        self.handed = 0;
    }

    /// The first slot that is not released yet: where a second process goes on.
    #[must_use]
    pub fn cursor(&self) -> u32 {
        u32::try_from(self.cursor).unwrap_or(0)
    }

    /// The shape.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads the header of a slot in hand and puts its VLAN tag back.
    fn read(&mut self, slot: usize, status: u32, header: tpacket2_hdr) -> Held {
        let (at, len) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let end = at.saturating_add(len);
        if at < FIRST_BYTE.saturating_add(TAG) || end > self.geometry.frame_bytes as usize {
            // The kernel never writes this; an empty frame is harmless.
            return Held::default();
        }
        let mut held = Held {
            at: self.offset(slot).wrapping_add(at),
            len,
            info: Info {
                seconds: header.tp_sec,
                nanoseconds: header.tp_nsec,
                wire_len: header.tp_len,
                checksum_partial: status & libc::TP_STATUS_CSUMNOTREADY != 0,
            },
        };
        if held.info.checksum_partial {
            self.counts.unfinished = self.counts.unfinished.wrapping_add(1);
        }
        // The flag counts, not the value: a priority tag has id 0, and the tag of id 0 and priority 0 is all zeroes.
        if status & libc::TP_STATUS_VLAN_VALID != 0 && len >= ADDRESSES {
            let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let tpid = if known { header.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
            held.at = held.at.wrapping_sub(TAG);
            held.len = len.wrapping_add(TAG);
            held.info.wire_len = header.tp_len.saturating_add(TAG as u32);
            // SAFETY: the slot is this process's and `&mut self` the only access; [held.at, held.at + held.len) lies
            // behind the slot's headers (`at` checked above) and before its end, and is at least 16 bytes long.
            let frame = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(held.at), held.len) };
            frame.copy_within(TAG..TAG + ADDRESSES, 0);
            if let Some(tag) = frame.get_mut(ADDRESSES..).and_then(<[u8]>::first_chunk_mut::<TAG>) {
                let ([a, b], [c, d]) = (tpid.to_be_bytes(), header.tp_vlan_tci.to_be_bytes());
                *tag = [a, b, c, d];
            }
        }
        held
    }

    fn mask(&self) -> usize {
        (self.geometry.slots() as usize).wrapping_sub(1)
    }

    fn next(&self, slot: usize) -> usize {
        slot.wrapping_add(1) & self.mask()
    }

    /// Offset of a slot; any number is brought into the ring.
    fn offset(&self, slot: usize) -> usize {
        (slot & self.mask()).wrapping_mul(self.geometry.frame_bytes as usize)
    }

    fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: a slot starts with its status word, aligned because slots are powers of two in a page-aligned
        // mapping; kernel and processes change it atomically only.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(self.offset(slot)).cast()) }
    }

    /// The header of a slot that is this process's, status word apart.
    fn header(&self, slot: usize) -> tpacket2_hdr {
        // SAFETY: a slot starts with its aligned header of plain integers, which the kernel leaves alone meanwhile.
        unsafe { self.base.as_ptr().add(self.offset(slot)).cast::<tpacket2_hdr>().read() }
    }

    fn packet_type(&self, slot: usize) -> u8 {
        let at = self.offset(slot).wrapping_add(PACKET_TYPE);
        // SAFETY: within the slot, whose address area follows the header and which is this process's.
        unsafe { self.base.as_ptr().add(at).read() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the range is this value's own mapping, and nothing can borrow it any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.geometry.bytes()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_fits_frames_and_kernel() {
        let normal = Geometry::for_mtu(1500);
        assert_eq!((normal.block_bytes, normal.blocks, normal.frame_bytes), (256 << 10, 16, 2048));
        for mtu in [0, 68, 1500, 1508, 1900, 1920, 9000, 9216, 65_535, u32::MAX] {
            let shape = Geometry::for_mtu(mtu);
            assert!(shape.check().is_ok() && shape.blocks >= 16 && shape.bytes() <= 64 << 20, "{mtu}: {shape:?}");
            assert!(shape.frame_bytes >= mtu.min(65_535) + OVERHEAD + ETHERNET, "{mtu}: {shape:?}");
            assert_eq!(shape.slots() as usize * shape.frame_bytes as usize, shape.bytes());
        }
    }

    #[test]
    fn odd_shapes_are_refused() {
        for (block_bytes, blocks, frame_bytes) in [(4096, 16, 1000), (4096, 3, 2048), (2048, 16, 4096), (0, 0, 0)] {
            assert!(Geometry { block_bytes, blocks, frame_bytes }.check().is_err());
        }
    }
}
