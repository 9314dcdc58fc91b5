/// Choices that look random and depend on nothing but the seed (splitmix64), or that were told byte for byte.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
    told: Vec<u8>,
    /// How many of them were used.
    used: usize,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, told: Vec::new(), used: 0 }
    }

    /// As a fuzzer has it: one byte is one choice, so that a changed byte changes one choice. When all are used, the
    /// choices are those of seed 0.
    pub(super) fn told(bytes: &[u8]) -> Self {
        Self { state: 0, told: bytes.to_vec(), used: 0 }
    }

    /// Whether all that was told was used.
    pub(super) fn is_spent(&self) -> bool {
        self.used >= self.told.len()
    }

    /// The next `N` told bytes, while there are so many.
    fn next_told<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.told.get(self.used..).and_then(|rest| rest.first_chunk::<N>().copied());
        self.used += N;
        bytes
    }

    pub(super) fn next(&mut self) -> u64 {
        if !self.is_spent()
            && let Some(bytes) = self.next_told::<2>()
        {
            // Who takes a part of it takes one of two bytes.
            return u64::from(u16::from_le_bytes(bytes)) * 0x0001_0001_0001_0001;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        if !self.is_spent()
            && end <= 256
            && let Some([byte]) = self.next_told::<1>()
        {
            return (usize::from(byte) * end) >> 8;
        }
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A number from `from` to `to`, both included.
    pub(super) fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A sequence number to begin with, often close before the wrap.
    pub(super) fn start(&mut self) -> u32 {
        match self.below(4) {
            0 => self.next() as u32,
            1 => (self.within(0, 4) as u32).wrapping_sub(2),
            _ => 0_u32.wrapping_sub(self.below(500) as u32),
        }
    }
}
