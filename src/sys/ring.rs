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
use std::time::{Duration, Instant};

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
/// Slots looked at in one go for a frame that waits elsewhere than at the cursor. All of them are their status words'
/// cache lines, which fit into a second level cache.
const PROBE_STEP: usize = 4;

/// Of so many calls that find nothing one looks elsewhere. Each slot's state is a cache line and lies on half a page of its
/// own: a worker that waits and looks through them all the time pushes out what it needs when a frame comes.
const PROBE_EVERY: u32 = 16;
/// How long a frame must wait elsewhere, and none at the cursor, until the cursor goes there. Slots get their status out
/// of order where two processors receive at once, but only for as long as it takes to copy a frame.
const PATIENCE: Duration = Duration::from_millis(1);
/// A frame that came so much earlier than the one before it was left behind, and comes too late for anything. Where the
/// clock is set back, one frame is taken for such a one.
const LATE_NS: u64 = 1_000_000_000;
/// Slots ahead of the one that is taken whose headers are fetched. An estimate: a line takes some 100 ns from another core's
/// cache, and reading a header some 25.
const AHEAD: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;
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

/// Bytes of a block.
const BLOCK: u32 = 256 << 10;

/// Blocks of the largest ring: 64 MiB.
const MOST_BLOCKS: u32 = 256;

/// Bytes of a slot for a frame of `mtu` bytes of payload.
fn frame_bytes(mtu: u32) -> u32 {
    mtu.saturating_add(OVERHEAD + ETHERNET).clamp(2048, BLOCK).next_power_of_two()
}

impl Geometry {
    /// The shape for frames of up to `mtu` bytes of payload: blocks of 256 KiB, at least 16 of them, slots of at least
    /// 2 KiB, 1024 or more of them while that takes no more than 64 MiB.
    #[must_use]
    pub fn for_mtu(mtu: u32) -> Self {
        let frame_bytes = frame_bytes(mtu);
        let blocks = 1024_u32.saturating_mul(frame_bytes).div_ceil(BLOCK).clamp(16, MOST_BLOCKS);
        Self { block_bytes: BLOCK, blocks, frame_bytes }
    }

    /// The shape for `frames` frames of up to `mtu` bytes of payload: so many while that takes no more than 64 MiB, and
    /// never less than a batch.
    #[must_use]
    pub fn for_frames(mtu: u32, frames: u32) -> Self {
        let frame_bytes = frame_bytes(mtu);
        let bytes = u64::from(frames).saturating_mul(frame_bytes.into());
        let blocks = u32::try_from(bytes.div_ceil(BLOCK.into())).unwrap_or(MOST_BLOCKS).next_power_of_two();
        // A slot of the largest frames fills a block.
        let least = (BATCH as u32).saturating_mul(frame_bytes).div_ceil(BLOCK);
        Self { block_bytes: BLOCK, blocks: blocks.clamp(least, MOST_BLOCKS), frame_bytes }
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
    /// Frames that an earlier process had in hand when it ended, or had left behind, given back unread.
    pub abandoned: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    at: usize,
    len: usize,
    info: Info,
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
    /// Whether the cursor is assumed: no frame was taken there yet.
    assumed: bool,
    /// The next slot to look at for a frame that waits elsewhere.
    probe: usize,
    /// Calls that found nothing since the last look elsewhere.
    empty: u32,
    /// Where one waits, and since when.
    elsewhere: Option<(usize, Instant)>,
    /// When the last frame in hand came, nanoseconds since 1970.
    newest_ns: u64,
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
    /// next frame otherwise. May sleep for a millisecond.
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
            assumed: true,
            probe: 0,
            empty: 0,
            elsewhere: None,
            newest_ns: now_ns(),
            held: 0,
            frames: [Held::default(); BATCH],
            handed: 0,
            counts: Counts::default(),
        };
        ring.settle(slots);
        Ok(ring)
    }

    /// Gives back what an earlier process had in hand and finds where the waiting frames begin.
    fn settle(&mut self, slots: usize) {
        let (mut waiting, mut last_abandoned) = (false, None);
        for slot in 0..slots {
            let status = self.status(slot).load(Ordering::Acquire);
            if status & HANDED_OUT != 0 {
                self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
                self.counts.abandoned = self.counts.abandoned.wrapping_add(1);
                last_abandoned = Some(slot);
            }
            waiting |= status & HANDED_OUT == 0 && status != libc::TP_STATUS_KERNEL;
        }
        if waiting {
            // The first of them may be one that the kernel is still writing, which looks as if it were free.
            std::thread::sleep(PATIENCE);
            self.begin_at_newest(slots);
        } else if let Some(slot) = last_abandoned {
            // The batch in hand may lie around the end of the ring.
            self.cursor = self.next(slot);
        }
    }

    /// Goes to the waiting frames. They follow one another, but for one that was left behind in an earlier round: so it
    /// is the newest, not the oldest, that shows where they are.
    fn begin_at_newest(&mut self, slots: usize) {
        let (mut newest, mut oldest) = ((0, self.cursor), (u64::MAX, self.cursor));
        let mut waiting = 0_usize;
        for slot in 0..slots {
            if self.waits(slot) {
                let stamp = stamp_ns(&self.header(slot));
                newest = newest.max((stamp, slot));
                oldest = oldest.min((stamp, slot));
                waiting = waiting.wrapping_add(1);
            }
        }
        if waiting == slots {
            // Full all round: only the stamps tell where it begins.
            self.cursor = oldest.1;
            self.assumed = false;
        } else {
            self.begin_of_run(newest.1);
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
        self.assumed = false;
    }

    /// Whether a slot holds a frame that nobody has taken.
    fn waits(&self, slot: usize) -> bool {
        self.status(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Nothing waits at the cursor: looks whether something waits elsewhere, a few slots a call, and goes there where
    /// that lasts. A cursor that was assumed or found wrongly is set right by this, whatever the reason.
    fn look_elsewhere(&mut self) {
        if let Some((slot, since)) = self.elsewhere {
            if !self.waits(slot) {
                self.elsewhere = None;
            } else if since.elapsed() >= PATIENCE && !self.waits(self.cursor) {
                self.elsewhere = None;
                self.begin_of_run(slot);
            }
            return;
        }
        let found =
            (0..PROBE_STEP).map(|step| self.probe.wrapping_add(step) & self.mask()).find(|slot| self.waits(*slot));
        self.elsewhere = found.map(|slot| (slot, Instant::now()));
        self.probe = self.probe.wrapping_add(PROBE_STEP) & self.mask();
    }

    /// Takes up to `most` (and [`BATCH`]) waiting frames and says how many; releases the earlier ones first.
    ///
    /// Cost: two cache lines a frame, one of them the frame's own.
    pub fn take(&mut self, most: usize) -> usize {
        self.release();
        if self.assumed && self.waits(self.cursor) {
            self.begin_of_run(self.cursor);
        }
        // No more than there are slots: a small ring that is full would go round to what is in hand already.
        let most = most.min(BATCH).min(self.geometry.slots() as usize);
        while self.held < most {
            let slot = self.cursor.wrapping_add(self.held) & self.mask();
            let status = self.status(slot).load(Ordering::Acquire);
            if status & libc::TP_STATUS_USER == 0 {
                break;
            }
            self.fetch(slot.wrapping_add(AHEAD), 0);
            self.status(slot).store(status | HANDED_OUT, Ordering::Relaxed);
            self.held = self.held.wrapping_add(1);
            if self.packet_type(slot) == libc::PACKET_OUTGOING {
                self.counts.echoes = self.counts.echoes.wrapping_add(1);
                continue;
            }
            let header = self.header(slot);
            let came_ns = stamp_ns(&header);
            let newest_ns = std::mem::replace(&mut self.newest_ns, came_ns);
            if came_ns.saturating_add(LATE_NS) < newest_ns {
                self.counts.abandoned = self.counts.abandoned.wrapping_add(1);
                continue;
            }
            if header.tp_snaplen < header.tp_len {
                self.counts.truncated = self.counts.truncated.wrapping_add(1);
                continue;
            }
            let frame = self.read(slot, status, header);
            // Ethernet to TCP, without options: what is looked at first, when the batch is complete.
            self.fetch(slot, usize::from(header.tp_mac));
            self.fetch(slot, usize::from(header.tp_mac).wrapping_add(LINE));
            if let Some(free) = self.frames.get_mut(self.handed) {
                *free = frame;
                self.handed = self.handed.wrapping_add(1);
            }
        }
        if self.held == 0 {
            self.empty = self.empty.wrapping_add(1);
            if self.empty >= PROBE_EVERY {
                self.empty = 0;
                self.look_elsewhere();
            }
        } else {
            self.elsewhere = None;
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

    /// Has the processor fetch the cache line at an offset of a slot, which another one wrote: it is there when it is
    /// looked at, and meanwhile the next ones come, too.
    #[inline]
    fn fetch(&self, slot: usize, at: usize) {
        let at = self.offset(slot).wrapping_add(at & (self.geometry.frame_bytes as usize).wrapping_sub(1));
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which reads nothing and can't fail; the address lies in the mapping.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.base.as_ptr().add(at).cast_const().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
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

/// When a frame came, nanoseconds since 1970.
fn stamp_ns(header: &tpacket2_hdr) -> u64 {
    u64::from(header.tp_sec).wrapping_mul(1_000_000_000).wrapping_add(u64::from(header.tp_nsec))
}

/// The clock of the stamps.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(now.tv_nsec).unwrap_or(0))
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
    fn a_ring_has_the_frames_that_were_asked_for_up_to_64_mib() {
        for (mtu, frames, slots, bytes) in [
            (1500, 2048, 2048, 4 << 20),
            (1500, 256, 256, 512 << 10),
            (1500, 65_536, 32_768, 64 << 20),
            (9000, 2048, 2048, 32 << 20),
            (200_000, 256, 256, 64 << 20),
        ] {
            let shape = Geometry::for_frames(mtu, frames).check().unwrap();
            assert_eq!((shape.slots(), shape.bytes()), (slots, bytes), "{frames} frames of {mtu}");
        }
        assert_eq!(Geometry::for_frames(1500, 2048), Geometry::for_mtu(1500), "the default is what was measured");
    }

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

    /// A ring in plain memory, whose kernel a test plays.
    struct Kernel {
        file: std::os::fd::OwnedFd,
        ring: Ring,
        head: usize,
    }

    const SHAPE: Geometry = Geometry { block_bytes: 64 << 10, blocks: 16, frame_bytes: 2048 };

    impl Kernel {
        fn new(head: usize) -> Self {
            let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&file, SHAPE.bytes() as u64).unwrap();
            let ring = Ring::attach(&file, SHAPE, Some(0)).unwrap();
            Self { file, ring, head }
        }

        fn attach(&self) -> Ring {
            Ring::attach(&self.file, SHAPE, None).unwrap()
        }

        /// Takes the next slot for a frame and says which; it is the reader's only when [`Kernel::finish`]ed.
        fn reserve(&mut self) -> usize {
            let slot = self.head & self.ring.mask();
            self.head = self.head.wrapping_add(1);
            slot
        }

        fn finish(&self, slot: usize, came_ns: u64) {
            let second = 1_000_000_000;
            let header = tpacket2_hdr {
                tp_status: 0,
                tp_len: 64,
                tp_snaplen: 64,
                tp_mac: 96,
                tp_net: 110,
                tp_sec: (came_ns / second) as u32,
                tp_nsec: (came_ns % second) as u32,
                tp_vlan_tci: 0,
                tp_vlan_tpid: 0,
                tp_padding: [0; 4],
            };
            let at = self.ring.base.as_ptr().wrapping_add(self.ring.offset(slot));
            // SAFETY: the slot is the kernel's, which this is, and the header fits into it; then one byte of the frame.
            unsafe {
                at.cast::<tpacket2_hdr>().write(header);
                at.add(96).write(slot as u8);
            }
            self.ring.status(slot).store(libc::TP_STATUS_USER, Ordering::Release);
        }

        fn write(&mut self, frames: usize) {
            for _ in 0..frames {
                let slot = self.reserve();
                self.finish(slot, now_ns());
            }
        }
    }

    /// Takes until `frames` frames came; says of each in which slot it lay.
    fn take(ring: &mut Ring, frames: usize) -> Vec<u8> {
        let (begun, mut slots) = (std::time::Instant::now(), Vec::new());
        while slots.len() < frames && begun.elapsed().as_secs() < 10 {
            let taken = ring.take(BATCH);
            slots.extend((0..taken).map(|index| ring.frame(index).bytes[0]));
            std::thread::yield_now();
        }
        ring.release();
        slots
    }

    #[test]
    fn a_reader_that_knows_nothing_finds_the_next_frame_anywhere() {
        for head in [0, 1, 63, 300, 511] {
            let mut kernel = Kernel::new(head);
            let mut ring = kernel.attach();
            assert_eq!(ring.take(BATCH), 0);
            kernel.write(3);
            let slots = [head, head + 1, head + 2].map(|slot| (slot & 511) as u8);
            assert_eq!(take(&mut ring, 3), slots, "{head}");
        }
    }

    #[test]
    fn a_frame_that_the_kernel_still_writes_is_waited_for() {
        let mut kernel = Kernel::new(10);
        let mut ring = kernel.attach();
        let first = kernel.reserve();
        kernel.write(2);
        // As long as it takes another processor to copy a frame, and much longer.
        assert_eq!(ring.take(BATCH), 0);
        kernel.finish(first, now_ns());
        assert_eq!(take(&mut ring, 3), [10, 11, 12]);
    }

    #[test]
    fn a_frame_left_behind_does_not_keep_a_successor_from_what_comes() {
        let mut kernel = Kernel::new(10);
        let left = kernel.reserve();
        // A first reader begins behind the frame that was still being written.
        kernel.write(2);
        let mut first = kernel.attach();
        assert_eq!(take(&mut first, 2), [11, 12]);
        kernel.finish(left, now_ns() - 5_000_000_000);
        kernel.write(100);
        assert_eq!(take(&mut first, 100).len(), 100);
        drop(first);
        // Another one follows seconds later. Frames wait, behind the one left.
        kernel.write(3);
        let mut second = kernel.attach();
        assert_eq!(take(&mut second, 3), [113, 114, 115]);
        kernel.write(3);
        assert_eq!(take(&mut second, 3), [116, 117, 118]);
        // Nothing waits when the third begins but the one that was left.
        drop(second);
        let mut third = kernel.attach();
        kernel.write(3);
        assert_eq!(take(&mut third, 3), [119, 120, 121]);
        assert_eq!((third.counts().taken, third.counts().abandoned), (3, 1), "what comes so late is no use to anybody");
    }

    #[test]
    fn odd_shapes_are_refused() {
        for (block_bytes, blocks, frame_bytes) in [(4096, 16, 1000), (4096, 3, 2048), (2048, 16, 4096), (0, 0, 0)] {
            assert!(Geometry { block_bytes, blocks, frame_bytes }.check().is_err());
        }
    }
}
