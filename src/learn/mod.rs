//! From what was seen to rules that people review. Never on a worker.
//!
//! [`Observations`] count every command by what it would need a rule to say; [`Observations::propose`] writes the
//! narrowest rules that allow them again. What a rule covers beyond what was seen is said beside it. Commands of
//! dangerous classes, and what was seen that no rule should allow, stand in the proposal switched off; what was seen
//! once among much else stands on a line of its own: an attack during learning shows up in the review.

mod coverage;
mod denials;
mod observe;
mod program;
mod propose;
mod spread;

#[cfg(test)]
mod poisoning_tests;
#[cfg(test)]
mod tests;

pub use coverage::{CONFIDENCE, Coverage};
pub use denials::denials;
pub use observe::{Observations, Seen};
pub use propose::ProposalOptions;
