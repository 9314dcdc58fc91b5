//! Back to a box that nobody owns, by a file on a stick: whoever can put one into the box and take its power away could
//! as well put the cable past it.
//!
//! The file `vambrace-reset.toml` names the box, so that a stick that is left in another one does nothing there, and has a
//! word of its own, so that one that is left in this one does it once:
//!
//! ```toml
//! box = "vambrace-766201"   # as its screen says
//! what = "factory"          # configuration, policy, owner; "wipe": evidence, identity and the key too, of a box that was reset
//! word = "2026-11-30 sold"  # another one each time
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use crate::{At, Failure, first_boot, latch, vault};

/// Name of the file on the stick.
pub const FILE: &str = "vambrace-reset.toml";

/// Words that were obeyed, one a line; on the first EFI system partition, since it outlives all of this.
const OBEYED: &str = "reset.done";

/// Longest of both files.
const LARGEST: u64 = 64 * 1024;

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Configuration, policy, owner. Identity and evidence stay.
    Factory,
    /// What a factory reset leaves.
    Wipe,
}

/// An order to reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What goes.
    pub what: What,
    word: String,
}

/// The order on a mounted medium that is for the box `name`.
///
/// # Errors
/// A file lies there and is no order for this box.
pub fn order(medium: &Path, name: &str) -> Result<Option<Order>, Failure> {
    let Some(text) = read(&medium.join(FILE))? else { return Ok(None) };
    let table: toml::Table = text.parse().map_err(|_| Failure(format!("{FILE} is no TOML")))?;
    let key = |key: &str| table.get(key).and_then(toml::Value::as_str);
    if key("box") != Some(name) {
        return Err(Failure(format!("{FILE} is for another box: this one is {name}")));
    }
    let what = match key("what") {
        Some("factory") => What::Factory,
        Some("wipe") => What::Wipe,
        _ => return Err(Failure(format!("{FILE} needs what = \"factory\" or \"wipe\""))),
    };
    let fine = |word: &&str| !word.is_empty() && word.len() <= 64 && !word.contains(char::is_control);
    let word = key("word").filter(fine);
    let word = word.ok_or_else(|| Failure(format!("{FILE} needs word = \"...\", another one each time")))?;
    Ok(Some(Order { what, word: word.to_owned() }))
}

/// Whether an order was obeyed before; `esp` is the mounted first EFI system partition.
///
/// # Errors
/// It can't be read: nothing is reset then.
pub fn is_done(esp: &Path, order: &Order) -> Result<bool, Failure> {
    Ok(read(&esp.join(OBEYED))?.is_some_and(|words| words.lines().any(|word| word == order.line())))
}

impl Order {
    fn line(&self) -> String {
        format!("{} {}", if self.what == What::Wipe { "wipe" } else { "factory" }, self.word)
    }
}

/// Carries an order out on the mounted data partition and the mounted first EFI system partition. The word is written down
/// last: what a power cut leaves half done is done at the next start.
///
/// # Errors
/// A wipe of a box that was not reset; or the disk's.
pub fn carry_out(order: &Order, data: &Path, esp: &Path) -> Result<(), Failure> {
    let config = data.join("config").join(first_boot::CONFIG);
    match order.what {
        What::Factory => {
            forget(esp)?;
            // What an update left there; the epoch stays: a box that is sold takes no older system for it.
            for place in ["config", "console", "update/incoming"] {
                empty(&data.join(place))?;
            }
            remove(&data.join("evidence/standing.json"))?;
        }
        What::Wipe if config.exists() => {
            return Err(Failure("a box that is in use is not wiped: reset it to factory state first".to_owned()));
        }
        What::Wipe => wipe(data)?,
    }
    done(order, esp)
}

/// Carries an order out on a data partition whose key the TPM keeps back, mounted at `locked`: a wipe alone, in one step,
/// since nobody can look into it, nor say which of its files are those of the owner.
///
/// # Errors
/// Another order; or the disk's.
pub fn carry_out_locked(order: &Order, locked: &Path, esp: &Path) -> Result<(), Failure> {
    if order.what != What::Wipe {
        return Err(Failure(
            "of a data partition that is locked nothing can be kept: order what = \"wipe\"".to_owned(),
        ));
    }
    forget(esp)?;
    wipe(locked)?;
    done(order, esp)
}

/// Owner's configuration and orders on the first EFI system partition.
fn forget(esp: &Path) -> Result<(), Failure> {
    for name in [first_boot::CONFIG, first_boot::POLICY] {
        remove(&esp.join(name))?;
    }
    latch::forget(esp)
}

/// The key goes, and what it opened; the lowest epoch stays.
fn wipe(data: &Path) -> Result<(), Failure> {
    vault::destroy(data)?;
    empty(&data.join("update/incoming"))
}

/// Writes down that an order was obeyed.
fn done(order: &Order, esp: &Path) -> Result<(), Failure> {
    let words = read(&esp.join(OBEYED))?.unwrap_or_default() + &order.line() + "\n";
    // The oldest go where there are very many.
    let words = words.get(words.len().saturating_sub(32 * 1024)..).unwrap_or(&words);
    let mut file = File::create(esp.join(OBEYED)).at(OBEYED)?;
    file.write_all(words.as_bytes()).and_then(|()| file.sync_all()).at(OBEYED)
}

/// Removes what is in a folder; the folder stays, with its owner.
fn empty(folder: &Path) -> Result<(), Failure> {
    let what = folder.display().to_string();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.at(&what)?,
    };
    for entry in entries {
        let entry = entry.at(&what)?;
        // Of a link the link goes, not what it leads to.
        let is_folder = entry.file_type().at(&what)?.is_dir();
        if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }.at(&what)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.at(&path.display().to_string()),
    }
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    let what = path.display().to_string();
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.at(&what)?,
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).at(&what)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use std::path::PathBuf;

    /// A data partition in use, a first EFI system partition and a stick.
    struct Used(PathBuf);

    impl Used {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("vbimg-reset-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&place);
            for file in [
                "esp/EFI/BOOT/BOOTX64.EFI",
                "esp/vambrace.toml",
                "esp/policy.toml",
                "esp/standing.json",
                "data/config/vambrace.toml",
                "data/config/policy.toml",
                "data/console/claim/user.json",
                "data/evidence/evidence.key",
                "data/evidence/standing.json",
                "data/evidence/000001.pcapng",
                "data/identity/key",
                "data/log/last",
                "data/update/epoch",
                "data/update/incoming/bundle",
                "stick/other",
            ] {
                let path = place.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
            Self(place)
        }

        fn stick(&self, text: &str) -> Result<Option<Order>, String> {
            fs::write(self.0.join("stick").join(FILE), text).unwrap();
            order(&self.0.join("stick"), "vambrace-766201").map_err(|failure| failure.0)
        }

        fn obey(&self, order: &Order) -> Result<(), String> {
            carry_out(order, &self.0.join("data"), &self.0.join("esp")).map_err(|failure| failure.0)
        }

        fn has(&self, file: &str) -> bool {
            self.0.join(file).exists()
        }
    }

    impl Drop for Used {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn text(what: &str) -> String {
        format!("box = \"vambrace-766201\"\nwhat = \"{what}\"\nword = \"sold\"\n")
    }

    #[test]
    fn a_reset_takes_the_owner_and_leaves_identity_and_evidence() {
        let used = Used::new("factory");
        let order = used.stick(&text("factory")).unwrap().unwrap();
        assert!(!is_done(&used.0.join("esp"), &order).unwrap());
        used.obey(&order).unwrap();
        for gone in [
            "esp/vambrace.toml",
            "esp/policy.toml",
            "esp/standing.json",
            "data/config/vambrace.toml",
            "data/config/policy.toml",
            "data/console/claim",
            "data/evidence/standing.json",
            "data/update/incoming/bundle",
        ] {
            assert!(!used.has(gone), "{gone}");
        }
        for kept in [
            "esp/EFI/BOOT/BOOTX64.EFI",
            "data/evidence/evidence.key",
            "data/evidence/000001.pcapng",
            "data/identity/key",
            "data/update/epoch",
        ] {
            assert!(used.has(kept), "{kept}");
        }
        assert!(is_done(&used.0.join("esp"), &order).unwrap(), "the stick may stay in the box");
        let another = Order { word: "again".to_owned(), ..order };
        assert!(!is_done(&used.0.join("esp"), &another).unwrap());
    }

    #[test]
    fn a_wipe_is_a_second_step() {
        let used = Used::new("wipe");
        let wipe = used.stick(&text("wipe")).unwrap().unwrap();
        assert!(used.obey(&wipe).unwrap_err().contains("reset it to factory state first"));
        assert!(used.has("data/evidence/000001.pcapng") && used.has("data/config/vambrace.toml"));
        assert!(!is_done(&used.0.join("esp"), &wipe).unwrap());
        used.obey(&used.stick(&text("factory")).unwrap().unwrap()).unwrap();
        used.obey(&wipe).unwrap();
        for gone in ["data/evidence/evidence.key", "data/evidence/000001.pcapng", "data/identity/key", "data/log/last"]
        {
            assert!(!used.has(gone), "{gone}");
        }
        for kept in ["data/update/epoch", "esp/EFI/BOOT/BOOTX64.EFI"] {
            assert!(used.has(kept), "{kept}");
        }
    }

    #[test]
    fn a_locked_partition_is_wiped_at_once_and_nothing_else() {
        let used = Used::new("locked");
        fs::write(used.0.join("data/key.toml"), "sealed").unwrap();
        let (data, esp) = (used.0.join("data"), used.0.join("esp"));
        let factory = used.stick(&text("factory")).unwrap().unwrap();
        let refused = carry_out_locked(&factory, &data, &esp).unwrap_err();
        assert!(refused.0.contains("order what = \"wipe\"") && used.has("data/key.toml"), "{refused}");
        let wipe = used.stick(&text("wipe")).unwrap().unwrap();
        carry_out_locked(&wipe, &data, &esp).unwrap();
        for gone in ["data/key.toml", "data/evidence", "data/config", "esp/vambrace.toml", "esp/standing.json"] {
            assert!(!used.has(gone), "{gone}");
        }
        assert!(used.has("data/update/epoch") && is_done(&esp, &wipe).unwrap());
    }

    #[test]
    fn orders_for_others_and_half_orders_do_nothing() {
        let used = Used::new("others");
        assert_eq!(order(&used.0.join("stick"), "vambrace-766201").unwrap(), None);
        for (text, why) in [
            (text("factory").replace("766201", "766202"), "is for another box: this one is vambrace-766201"),
            (text("everything"), "needs what = "),
            (text("factory").replace("\"sold\"", "\"\""), "needs word = "),
            (text("factory").replace("word", "wort"), "needs word = "),
            ("box".to_owned(), "is no TOML"),
        ] {
            let found = used.stick(&text).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
        fs::write(used.0.join("stick").join(FILE), [0xff, 0xfe]).unwrap();
        assert!(order(&used.0.join("stick"), "vambrace-766201").is_err());
    }
}
