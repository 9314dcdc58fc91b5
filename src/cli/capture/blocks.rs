use crate::record::pcapng;

/// Longest block: a frame, its options, and room. What claims to be longer is no capture of this program.
const LONGEST: usize = 1 << 20;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Puts the streams of one packet process after the other together into one section: only whole blocks, the headers
/// once, and statistics that go on counting.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    incoming: Vec<u8>,
    /// Whether the headers of an earlier stream were passed on.
    again: bool,
    /// Of each interface what it had received and lost: by the streams before, and by this one.
    before: Vec<[u64; 2]>,
    now: Vec<[u64; 2]>,
    packets: u64,
    broken: bool,
}

impl Blocks {
    /// Where bytes that came are appended.
    pub(super) fn incoming(&mut self) -> &mut Vec<u8> {
        &mut self.incoming
    }

    /// Another stream begins: what came of the last block is forgotten.
    pub(super) fn reconnected(&mut self) {
        self.incoming.clear();
        self.again = true;
        for (before, now) in self.before.iter_mut().zip(std::mem::take(&mut self.now)) {
            for (before, now) in before.iter_mut().zip(now) {
                *before = before.saturating_add(now);
            }
        }
    }

    /// Appends the whole blocks that have come to `out`.
    pub(super) fn take_whole(&mut self, out: &mut Vec<u8>) {
        let mut at = 0_usize;
        while !self.broken {
            let rest = self.incoming.get(at..).unwrap_or_default();
            let Some(([kind @ .., a, b, c, d], _)) = rest.split_first_chunk::<8>() else { break };
            let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            let kind = kind.first_chunk().map_or(0, |kind| u32::from_le_bytes(*kind));
            if !(12..=LONGEST).contains(&length) {
                self.broken = true;
                break;
            }
            let Some(block) = rest.get(..length) else { break };
            match kind {
                SECTION_HEADER | INTERFACE if self.again => {}
                STATISTICS => match read_statistics(block) {
                    Some((interface, time_ns, counts)) => {
                        let [received, lost] = tally(&mut self.before, &mut self.now, interface, counts);
                        pcapng::statistics(out, interface, time_ns, received, lost);
                    }
                    None => out.extend_from_slice(block),
                },
                _ => {
                    self.packets = self.packets.saturating_add(u64::from(kind == PACKET));
                    out.extend_from_slice(block);
                }
            }
            at = at.saturating_add(length);
        }
        self.incoming.drain(..at);
        if self.broken {
            self.incoming.clear();
        }
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// What came, in one line.
    pub(super) fn summary(&self) -> String {
        let lost = self.before.iter().chain(&self.now).fold(0_u64, |sum, [_, lost]| sum.saturating_add(*lost));
        format!("{} packets captured, {lost} lost", self.packets)
    }
}

/// Notes the counts of an interface; gives them over all streams.
fn tally(before: &mut Vec<[u64; 2]>, now: &mut Vec<[u64; 2]>, interface: u32, counts: [u64; 2]) -> [u64; 2] {
    // Four interfaces; what names another is passed on as it is.
    let Some(at) = usize::try_from(interface).ok().filter(|at| *at < 16) else { return counts };
    for list in [&mut *before, &mut *now] {
        list.resize(list.len().max(at.saturating_add(1)), [0; 2]);
    }
    if let Some(now) = now.get_mut(at) {
        *now = counts;
    }
    let [received, lost] = before.get(at).copied().unwrap_or_default();
    let [received_now, lost_now] = counts;
    [received.saturating_add(received_now), lost.saturating_add(lost_now)]
}

/// Interface, time, and how many were received and lost, of a block as [`pcapng::statistics`] writes it.
fn read_statistics(block: &[u8]) -> Option<(u32, u64, [u64; 2])> {
    let word = |at: usize| Some(u32::from_le_bytes(*block.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_le_bytes(*block.get(at..)?.first_chunk()?));
    let time = u64::from(word(12)?).checked_shl(32)? | u64::from(word(16)?);
    let is_ours = word(20)? == 0x0008_0004 && word(32)? == 0x0008_0005;
    is_ours.then_some(())?;
    Some((word(8)?, time, [long(24)?, long(36)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::pcapng::PacketNotes;

    fn stream(packets: u8, lost: u64) -> Vec<u8> {
        let mut out = Vec::new();
        pcapng::start(&mut out, "t", &["a", "b"], 64);
        for n in 0..packets {
            let notes = PacketNotes { comment: "c", packet_id: 1, verdict: "v" };
            pcapng::packet(&mut out, 1, u64::from(n), 3, &[n; 3], &notes);
        }
        pcapng::statistics(&mut out, 1, 7 << 33, u64::from(packets), lost);
        out
    }

    #[test]
    fn streams_are_joined_into_one_section() {
        let mut blocks = Blocks::default();
        let mut out = Vec::new();
        // In pieces, and the first one cut within a block.
        let first = stream(3, 1);
        for piece in [&first[..], &first[..20]].concat().chunks(7) {
            blocks.incoming().extend_from_slice(piece);
            blocks.take_whole(&mut out);
        }
        assert_eq!(out, first);
        blocks.reconnected();
        blocks.incoming().extend(stream(2, 10));
        let mut again = Vec::new();
        blocks.take_whole(&mut again);
        let mut wanted = Vec::new();
        pcapng::statistics(&mut wanted, 1, 7 << 33, 5, 11);
        assert!(again.ends_with(&wanted));
        assert_eq!(blocks.summary(), "5 packets captured, 11 lost");
        assert!(!again.windows(4).any(|bytes| bytes == SECTION_HEADER.to_le_bytes()));
    }

    #[test]
    fn what_is_no_capture_is_not_passed_on() {
        let mut blocks = Blocks::default();
        blocks.incoming().extend_from_slice(b"hello, this is no capture");
        let mut out = Vec::new();
        blocks.take_whole(&mut out);
        assert!(out.is_empty() && blocks.incoming.is_empty());
    }
}
