//! Whether the worker hangs, or is only not given a processor.

use std::time::Duration;

/// A worker that does not turn for this long hangs: with the time between two looks it is seen within 200 ms. Source: the
/// product's specification, S14.
const HANG: Duration = Duration::from_millis(160);

/// What the kernel says of the worker's thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    /// It could run: if it does not, others have the processor.
    runnable: bool,
    /// Time that it ran so far, nanoseconds.
    ran_ns: u64,
}

impl Thread {
    /// The main thread of a process, on which its worker runs.
    pub(super) fn main_of(process: u32) -> Option<Self> {
        let of = |file: &str| std::fs::read_to_string(format!("/proc/{process}/task/{process}/{file}")).ok();
        // The name before the state is in parentheses and may hold any character.
        let stat = of("stat")?;
        let runnable = stat.rsplit_once(") ")?.1.starts_with('R');
        let ran_ns = of("schedstat")?.split_whitespace().next()?.parse().ok()?;
        Some(Self { runnable, ran_ns })
    }
}

/// Looks at the worker's turns again and again.
///
/// Time in which the worker waited for a processor does not count: a successor would wait as long, and the process that
/// is ended in the middle of an event costs a connection.
#[derive(Debug, Default)]
pub(super) struct Hang {
    turns: Option<u64>,
    ran_ns: u64,
    stood: Duration,
}

impl Hang {
    /// Whether the worker hangs, `since` the last look; `thread` is absent where the kernel does not tell.
    pub(super) fn look(&mut self, turns: u64, thread: Option<Thread>, since: Duration) -> bool {
        let ran = thread.map(|thread| Duration::from_nanos(thread.ran_ns.saturating_sub(self.ran_ns)));
        self.ran_ns = thread.map_or(self.ran_ns, |thread| thread.ran_ns);
        if self.turns != Some(turns) {
            self.turns = Some(turns);
            self.stood = Duration::ZERO;
            return false;
        }
        let counts = match (thread, ran) {
            (Some(Thread { runnable: true, .. }), Some(ran)) => ran.min(since),
            _ => since,
        };
        self.stood = self.stood.saturating_add(counts);
        self.stood > HANG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(20);

    /// Looks until the worker counts as hanging, at most 100 times.
    fn looks(mut thread: impl FnMut(u64) -> Option<Thread>, turns: impl Fn(u64) -> u64) -> Option<u64> {
        let mut hang = Hang::default();
        (0..100).find(|look| hang.look(turns(*look), thread(*look), LOOK))
    }

    #[test]
    fn who_turns_does_not_hang() {
        assert_eq!(looks(|look| Some(Thread { runnable: true, ran_ns: look * 20_000_000 }), |look| look / 9), None);
        assert_eq!(looks(|_| None, |look| look / 9), None);
    }

    #[test]
    fn who_spins_or_waits_for_anything_else_than_a_processor_hangs() {
        assert_eq!(looks(|look| Some(Thread { runnable: true, ran_ns: look * 20_000_000 }), |_| 7), Some(9));
        assert_eq!(looks(|_| Some(Thread { runnable: false, ran_ns: 5 }), |_| 7), Some(9));
        assert_eq!(looks(|_| None, |_| 7), Some(9));
    }

    #[test]
    fn who_gets_no_processor_does_not_hang() {
        assert_eq!(looks(|_| Some(Thread { runnable: true, ran_ns: 5 }), |_| 7), None);
        // A tenth of a processor: a loop without end is found all the same, ten times as late.
        let slow = looks(|look| Some(Thread { runnable: true, ran_ns: look * 3_000_000 }), |_| 7);
        assert_eq!(slow, Some(54));
    }

    #[test]
    fn the_kernel_tells_of_the_main_thread() {
        let thread = Thread::main_of(std::process::id()).unwrap();
        assert!(thread.ran_ns > 0);
    }
}
