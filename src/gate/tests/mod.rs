//! The gate against adversaries, lossy links and two models of either end.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_lossless
)]

mod bench;
mod cases;
mod cell;
mod endpoint;
mod examples;
mod live;
mod random;
mod regressions;
mod toy;

use super::*;
