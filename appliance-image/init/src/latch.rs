//! What was in force last, kept outside the data partition: a box that loses its data goes on with the mode and the policy
//! that it had, and never falls back to learning.
//!
//! The guard writes mode and policy in force beside its records (`standing.json`). PID 1 copies that file to the first EFI
//! system partition whenever it changed, and puts it back where the data partition has lost it. Beside it lies the
//! configuration that it was ordered under: what was ordered under another one is not in force under this one, or a box that
//! learned before it was configured would go on to learn.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::rights::ACCOUNT;
use crate::{At, Failure, first_boot, mounts};

/// Below the data partition, where the guard keeps it.
const STANDING: &str = "evidence/standing.json";

/// On the EFI system partition.
const LATCHED: &str = "standing.json";

/// The configuration that it was ordered under.
const UNDER: &str = "standing.toml";

/// What stands there for a box without a configuration: its defaults depend on its disk.
const DEFAULTS: &[u8] = b"# defaults\n";

/// The copy that is being written.
const FRESH: &str = "standing.new";

/// How often it is looked whether something changed. A change is some tens of kilobytes of flash.
const LOOK: Duration = Duration::from_secs(2);

/// The latch of one box.
#[derive(Debug)]
pub struct Latch {
    esp: PathBuf,
    under: Vec<u8>,
    known: Option<Vec<u8>>,
    looked: Option<Instant>,
}

impl Latch {
    /// A latch on the EFI system partition that is the device `esp`, for a box that runs under a configuration of its own
    /// or under defaults.
    #[must_use]
    pub fn on(esp: PathBuf, config: Option<&Path>) -> Self {
        Self { esp, under: under(config), known: None, looked: None }
    }

    /// Copies what is in force where it changed since the last look. What fails is tried again.
    ///
    /// # Errors
    /// The partition can't be written.
    pub fn look(&mut self, now: Instant) -> Result<bool, Failure> {
        if self.looked.is_some_and(|last| now.saturating_duration_since(last) < LOOK) {
            return Ok(false);
        }
        self.looked = Some(now);
        self.look_now()
    }

    /// The same, whenever the last look was.
    ///
    /// # Errors
    /// The partition can't be written.
    pub fn look_now(&mut self) -> Result<bool, Failure> {
        let Some(standing) = whole(&Path::new(mounts::DATA).join(STANDING)) else { return Ok(false) };
        if self.known.as_ref() == Some(&standing) {
            return Ok(false);
        }
        let known = |place: &Path| Ok(latched(place, &self.under).is_some_and(|it| says_the_same(&it, &standing)));
        let is_there = mounts::with_esp(&self.esp, false, known)?;
        if !is_there {
            mounts::with_esp(&self.esp, true, |place| write(place, &standing, &self.under))?;
        }
        self.known = Some(standing);
        Ok(!is_there)
    }
}

/// Puts back what was in force under the same configuration, where the data partition has nothing of it. Says whether it
/// did.
///
/// # Errors
/// A partition can't be read or written.
pub fn restore(esp: &Path, config: Option<&Path>) -> Result<bool, Failure> {
    let to = Path::new(mounts::DATA).join(STANDING);
    if whole(&to).is_some() {
        return Ok(false);
    }
    let under = under(config);
    let Some(standing) = mounts::with_esp(esp, false, |place| Ok(latched(place, &under)))? else { return Ok(false) };
    let what = to.display().to_string();
    fs::write(&to, standing).at(&what)?;
    chown(&to, Some(ACCOUNT), Some(ACCOUNT)).at(&what)?;
    Ok(true)
}

/// Removes it, for a box that is to be as new.
///
/// # Errors
/// The partition can't be written.
pub fn forget(place: &Path) -> Result<(), Failure> {
    for name in [UNDER, LATCHED, FRESH] {
        match fs::remove_file(place.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at(name),
            _ => {}
        }
    }
    Ok(())
}

/// What was ordered before a new configuration was taken is not in force any more.
///
/// # Errors
/// It can't be removed.
pub fn supersede() -> Result<(), Failure> {
    match fs::remove_file(Path::new(mounts::DATA).join(STANDING)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(STANDING),
        _ => Ok(()),
    }
}

fn under(config: Option<&Path>) -> Vec<u8> {
    config.map_or_else(|| DEFAULTS.to_vec(), |config| fs::read(config).unwrap_or_default())
}

/// The old copy goes only when the new one is on the disk: a power cut leaves one of them whole. Under another configuration
/// the old one counts for nothing, and the new one when it is whole.
fn write(place: &Path, standing: &[u8], under: &[u8]) -> Result<(), Failure> {
    let is_under = fs::read(place.join(UNDER)).is_ok_and(|it| it == under);
    if !is_under {
        forget(place)?;
    }
    write_standing(place, standing)?;
    if is_under {
        return Ok(());
    }
    let mut file = File::create(place.join(UNDER)).at(UNDER)?;
    file.write_all(under).and_then(|()| file.sync_all()).at(UNDER)
}

fn write_standing(place: &Path, standing: &[u8]) -> Result<(), Failure> {
    let (latched, fresh) = (place.join(LATCHED), place.join(FRESH));
    let mut file = File::create(&fresh).at(FRESH)?;
    file.write_all(standing).and_then(|()| file.sync_all()).at(FRESH)?;
    drop(file);
    match fs::remove_file(&latched) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at(LATCHED),
        _ => {}
    }
    fs::rename(&fresh, &latched).at(LATCHED)
}

/// The copy on a mounted partition, if it was ordered under that configuration.
fn latched(place: &Path, under: &[u8]) -> Option<Vec<u8>> {
    fs::read(place.join(UNDER)).ok().filter(|it| it == under)?;
    whole(&place.join(LATCHED)).or_else(|| whole(&place.join(FRESH)))
}

/// A file that is there to its last brace.
fn whole(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(first_boot::LARGEST.saturating_mul(3)).read_to_end(&mut bytes).ok()?;
    let is_whole = bytes.first() == Some(&b'{') && bytes.trim_ascii_end().last() == Some(&b'}');
    is_whole.then_some(bytes)
}

/// Whether two copies put the same in force: the number of the generation goes up with every start.
fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        lines.filter(|line| !line.trim_ascii_start().starts_with(b"\"generation\":")).collect()
    };
    lines(one) == lines(other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]
    use super::*;

    const ENFORCE: &[u8] = b"{\n  \"mode\": \"enforce\",\n  \"generation\": 7\n}";

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("vbimg-latch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        place
    }

    #[test]
    fn a_copy_is_whole_wherever_the_power_was_cut() {
        let place = place("cut");
        write(&place, ENFORCE, b"a").unwrap();
        assert_eq!(latched(&place, b"a").unwrap(), ENFORCE);
        let newer = b"{\n  \"mode\": \"lockdown\",\n  \"generation\": 8\n}";
        // While the new copy is written, the old one counts.
        for end in 0..newer.len() {
            fs::write(place.join(FRESH), &newer[..end]).unwrap();
            assert_eq!(latched(&place, b"a").unwrap(), ENFORCE, "{end} bytes");
        }
        // Between the end of the old one and the new one's name, the new one does.
        fs::write(place.join(FRESH), newer).unwrap();
        fs::remove_file(place.join(LATCHED)).unwrap();
        assert_eq!(latched(&place, b"a").unwrap(), newer);
        // What was cut short in both places is nothing.
        fs::write(place.join(FRESH), &newer[..10]).unwrap();
        assert_eq!(latched(&place, b"a"), None);
        forget(&place).unwrap();
        forget(&place).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn what_was_ordered_under_another_configuration_is_not_in_force() {
        let place = place("under");
        let learn = b"{\n  \"mode\": \"learn\"\n}";
        // A box without a configuration learned; then it got one.
        write(&place, learn, &under(None)).unwrap();
        assert_eq!(latched(&place, &under(None)).unwrap(), learn);
        assert_eq!(latched(&place, b"mode = \"enforce\""), None);
        write(&place, ENFORCE, b"mode = \"enforce\"").unwrap();
        assert_eq!(latched(&place, b"mode = \"enforce\"").unwrap(), ENFORCE);
        assert_eq!(latched(&place, &under(None)), None);
        // A power cut before the new configuration stands beside it: nothing is latched.
        write(&place, learn, b"b").unwrap();
        fs::remove_file(place.join(UNDER)).unwrap();
        assert_eq!(latched(&place, b"b"), None);
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_start_alone_is_not_worth_flash() {
        let newer = String::from_utf8(ENFORCE.to_vec()).unwrap().replace('7', "8");
        assert!(says_the_same(ENFORCE, newer.as_bytes()));
        assert!(!says_the_same(ENFORCE, newer.replace("enforce", "learn").as_bytes()));
    }
}
