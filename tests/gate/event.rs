//! The words of the product's events that the gate uses.

#[path = "../../src/event/reason.rs"]
mod reason;
#[path = "../../src/event/verdict.rs"]
mod verdict;

pub use reason::Reason;
pub use verdict::{Action, RuleId, Verdict};
