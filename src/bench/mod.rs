//! Measurements: the packet path in process, and round trips over cables with and without the box.
//!
//! `vambrace bench` is made of this, and the project's own comparison with peers (`benches/peers`) adds other boxes and
//! loads to it. Wires are network namespaces of the measurement's own, gone when their [`Lane`] is dropped; both ends of
//! an exchange belong to one spinning thread, so that no wake-up of the scheduler is measured.

mod exchange;
mod figures;
mod flood;
mod guarded;
mod in_process;
mod lane;
mod machine;
mod standing;
mod traffic;

pub use exchange::{Ends, Load, connect, modbus_exchange};
pub use figures::{Figures, median};
pub use flood::Flooded;
pub use guarded::Guarded;
pub use in_process::{Played, Playing, built_in_rules, play};
pub use lane::{Lane, Middle, inside, remove_left_behind};
pub use machine::Machine;
pub use standing::{box_runs_here, in_use};
pub use traffic::{Recorded, built_in, built_in_modbus, rtde_cycle, rtde_opening};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What clients may do while they are measured: all that one of the loads does, in process and on a wire.
const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["0..=199"]
value = "0..=255"
[[allow]]
id = "cycle"
from = "plc"
service = "rtde"
outputs = ["timestamp", "actual_q", "robot_mode", "safety_mode", "runtime_state"]
frequency = "1..=500"
[allow.inputs]
speed_slider_mask = { value = "0..=1" }
speed_slider_fraction = { value = "0..=1" }
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
class = ["read"]
[[allow]]
id = "datagrams"
from = "plc"
service = "udp/9999"
"#;

/// Why nothing was measured: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Somebody asked for the end (Ctrl-C).
    #[error("stopped before the end; what was made for it is removed")]
    Stopped,
    /// Anything else, in words.
    #[error("{0}")]
    Said(String),
}

impl BenchError {
    /// Wraps an error with what was being done.
    pub fn of<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Said(format!("{what}: {error}"))
    }
}

/// Runs a closure on a thread of its own that keeps to one core, as do the threads that it starts.
///
/// # Errors
/// There is no such core, or what the closure says.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> Result<T, BenchError> + Send) -> Result<T, BenchError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            crate::sys::pin_to(core).map_err(BenchError::of(format!("core {core}")))?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether somebody asked for the end. A measurement asks between two exchanges, so that namespaces are removed and
/// ports given back also after Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// The kernel refuses a signal handler.
    pub fn on_signals() -> Result<Self, BenchError> {
        let stop = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop.0)).map_err(BenchError::of("signal handler"))?;
        }
        Ok(stop)
    }

    /// Goes on, or ends with [`BenchError::Stopped`].
    ///
    /// # Errors
    /// The end was asked for.
    pub fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Ordering::Relaxed) { Err(BenchError::Stopped) } else { Ok(()) }
    }
}
