//! On what was measured, so that figures can be compared.

use std::fmt;
use std::fs;

/// The machine, and how busy it was when the measurement began.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Processor, as the kernel names it.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Mean number of runnable tasks in the last minute.
    pub load: f64,
}

/// From this load on something else is running: a machine at rest is below.
const BUSY: f64 = 0.5;

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1).map(str::to_owned))
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|word| word.parse().ok());
        Self {
            processor,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.unwrap_or(0.0),
        }
    }

    /// What to say where the machine is too busy for figures to mean something.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.load > BUSY).then(|| {
            format!(
                "the machine is busy (load {:.2}): only ratios mean something, and p99 little; measure at rest",
                self.load
            )
        })
    }

    /// The core of the traffic's thread and that of what stands in the middle.
    #[must_use]
    pub fn cores_of_both(&self) -> [usize; 2] {
        if self.cores > 1 { [0, 1] } else { [0, 0] }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, kernel, load } = self;
        write!(f, "{processor}, {cores} cores, Linux {kernel}, load {load:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_machine_is_warned_of() {
        let machine = Machine::now();
        assert!(machine.cores > 0 && !machine.kernel.is_empty() && !machine.processor.is_empty());
        assert_eq!(Machine { load: 0.2, ..machine.clone() }.warning(), None);
        assert!(Machine { load: 3.0, ..machine }.warning().unwrap().contains("load 3.00"));
    }
}
