//! Faults that were found, each as the smallest case that shows it.

use super::bench::{Ended, Sent};
use super::examples::{fast, units};
use super::toy::*;
use super::*;
