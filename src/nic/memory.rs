//! Ports in memory: what one sends, the other receives. For pipelines under test and for benches.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BATCH, Frame, FrameMeta, FramePort, PortError};

/// One frame on its way.
#[derive(Clone, Debug, Default)]
struct Parcel {
    bytes: Vec<u8>,
    sent_ns: u64,
}

#[derive(Debug, Default)]
struct Wire {
    /// Frames toward end 0 and end 1.
    toward: [VecDeque<Parcel>; 2],
    capacity: usize,
    now_ns: u64,
    down: bool,
    dropped: u64,
}

/// One end of a wire in memory; see [`pair`].
#[derive(Debug)]
pub struct MemoryPort {
    wire: Arc<Mutex<Wire>>,
    end: usize,
    batch: Vec<Parcel>,
}

/// The two ends of a wire that holds up to `capacity` frames each way and drops more, as a full queue does.
#[must_use]
pub fn pair(capacity: usize) -> (MemoryPort, MemoryPort) {
    let wire = Arc::new(Mutex::new(Wire { capacity, ..Wire::default() }));
    let end = |end| MemoryPort { wire: Arc::clone(&wire), end, batch: Vec::with_capacity(BATCH) };
    (end(0), end(1))
}

impl MemoryPort {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the time that frames sent from now on are stamped with, in nanoseconds.
    pub fn set_time(&mut self, now_ns: u64) {
        self.wire().now_ns = now_ns;
    }

    /// Takes the wire down or brings it up again; frames on it are lost.
    pub fn set_down(&mut self, down: bool) {
        let mut wire = self.wire();
        wire.down = down;
        wire.toward.iter_mut().for_each(VecDeque::clear);
    }

    /// Frames that the wire had no room for, both directions.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.wire().dropped
    }

    /// Takes all frames that wait at this end, for tests that need no batches.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let end = self.end;
        let mut wire = self.wire();
        let waiting = wire.toward.get_mut(end).map(std::mem::take).unwrap_or_default();
        waiting.into_iter().map(|parcel| parcel.bytes).collect()
    }

    fn down(&self) -> PortError {
        PortError::Down { port: format!("memory{}", self.end) }
    }
}

impl FramePort for MemoryPort {
    fn receive(&mut self) -> Result<usize, PortError> {
        self.release();
        let wire = Arc::clone(&self.wire);
        let mut wire = wire.lock().unwrap_or_else(PoisonError::into_inner);
        if wire.down {
            return Err(self.down());
        }
        if let Some(waiting) = wire.toward.get_mut(self.end) {
            let count = waiting.len().min(BATCH);
            self.batch.extend(waiting.drain(..count));
        }
        Ok(self.batch.len())
    }

    fn frame(&self, index: usize) -> Frame<'_> {
        let (bytes, received_ns) = self.batch.get(index).map_or((&[][..], 0), |it| (it.bytes.as_slice(), it.sent_ns));
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Frame { bytes, meta: FrameMeta { received_ns, wire_len, checksum_partial: false } }
    }

    fn release(&mut self) {
        self.batch.clear();
    }

    fn transmit(&mut self, frames: &[&[u8]]) -> Result<usize, PortError> {
        let other = 1_usize.saturating_sub(self.end);
        let mut wire = self.wire();
        if wire.down {
            drop(wire);
            return Err(self.down());
        }
        let (capacity, sent_ns) = (wire.capacity, wire.now_ns);
        let mut taken = 0_usize;
        if let Some(queue) = wire.toward.get_mut(other) {
            taken = frames.len().min(capacity.saturating_sub(queue.len()));
            queue.extend(frames.iter().take(taken).map(|bytes| Parcel { bytes: bytes.to_vec(), sent_ns }));
        }
        wire.dropped = wire.dropped.wrapping_add(frames.len().saturating_sub(taken) as u64);
        Ok(taken)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_order_and_only_to_the_other_end() {
        let (mut left, mut right) = pair(100);
        left.set_time(7);
        assert_eq!(left.transmit(&[b"one", b"two"]).unwrap(), 2);
        assert_eq!(left.receive().unwrap(), 0);
        assert_eq!(right.receive().unwrap(), 2);
        assert_eq!((right.frame(0).bytes, right.frame(1).bytes), (&b"one"[..], &b"two"[..]));
        assert_eq!((right.frame(1).meta.received_ns, right.frame(1).meta.wire_len), (7, 3));
        assert_eq!(right.frame(2).bytes, b"");
        assert_eq!(right.receive().unwrap(), 0);
    }

    #[test]
    fn a_batch_is_bounded_and_a_full_wire_drops() {
        let (mut left, mut right) = pair(70);
        let frames = [&b"x"[..]; 80];
        assert_eq!((left.transmit(&frames).unwrap(), left.dropped()), (70, 10));
        assert_eq!(right.receive().unwrap(), BATCH);
        assert_eq!(right.receive().unwrap(), 70 - BATCH);
    }

    #[test]
    fn a_wire_that_is_down_says_so() {
        let (mut left, mut right) = pair(4);
        left.transmit(&[b"lost"]).unwrap();
        left.set_down(true);
        assert!(matches!(right.receive(), Err(PortError::Down { .. })));
        assert!(matches!(right.transmit(&[b"x"]), Err(PortError::Down { .. })));
        left.set_down(false);
        assert_eq!(right.receive().unwrap(), 0);
    }
}
