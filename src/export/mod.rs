//! One event, several renderings. EVE JSON is the first, Zeek's the second. EVE's own types are described in the manual,
//! `eve-events.md`. Others, such as CEF, are made from its lines by who reads the event files.

mod attack;
mod cef;
mod community;
pub mod eve;
mod json;
mod names;
mod registers;
mod sentence;
mod sid;
mod stats;
mod summary;
pub mod told;
pub mod zeek;

pub use attack::{Technique, technique};
pub use cef::{cef, severity as cef_severity};
pub use community::community_id;
pub use names::{KnownAttack, Names};
pub use registers::register_words;
pub use sentence::sentence;
pub use sid::signature_id;
pub use stats::Stats;
pub use summary::Summary;

#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;
