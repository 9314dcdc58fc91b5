//! The lowest security epoch that may run here. It is raised when an update stays, and never goes down.
//!
//! It is kept twice, and the higher one counts: a variable of the firmware outlasts a lost data partition, and the data
//! partition a firmware that lost its variables. Where both are gone, the epoch of the image that runs counts, which the
//! firmware checked with the image.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::slots::{OWN, read_variable, write_variable};
use crate::{At, Failure};

/// Name of the firmware's variable.
const VARIABLE: &str = "VambraceEpoch";

/// Name of the file.
const FILE: &str = "epoch";

/// The lowest epoch that was kept, 0 where none was.
#[must_use]
pub fn floor(variables: &Path, folder: &Path) -> u32 {
    let variable = read_variable(variables, VARIABLE, OWN);
    let variable = variable.and_then(|bytes| bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)));
    let file = fs::read_to_string(folder.join(FILE)).ok().and_then(|text| text.trim().parse().ok());
    variable.unwrap_or(0).max(file.unwrap_or(0))
}

/// Keeps an epoch where it is higher than what is kept.
///
/// # Errors
/// One of the two places can't be written; the other one is all the same.
pub fn raise(epoch: u32, variables: &Path, folder: &Path) -> Result<(), Failure> {
    let epoch = epoch.max(floor(variables, folder));
    let variable = write_variable(variables, VARIABLE, OWN, &epoch.to_le_bytes());
    let file = || {
        let fresh = folder.join("epoch.new");
        let mut file = File::create(&fresh)?;
        writeln!(file, "{epoch}")?;
        file.sync_all()?;
        fs::rename(&fresh, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    };
    let file = file().at("the epoch on the data partition");
    variable.and(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_higher_of_both_counts_and_none_goes_down() {
        let folder = std::env::temp_dir().join(format!("vbimg-epoch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(floor(&folder, &folder), 0);
        raise(3, &folder, &folder).unwrap();
        raise(2, &folder, &folder).unwrap();
        assert_eq!(floor(&folder, &folder), 3);
        // Either place alone tells it.
        let elsewhere = folder.join("none");
        assert_eq!(floor(&elsewhere, &folder), 3);
        assert_eq!(floor(&folder, &elsewhere), 3);
        // A place that can't be written does not keep the other from it.
        assert!(raise(5, &elsewhere, &folder).is_err());
        assert_eq!(floor(&elsewhere, &folder), 5);
        fs::remove_dir_all(&folder).unwrap();
    }
}
