//! Kernel modules: those that always load, and those that a device asks for.
//!
//! The image holds the modules, and beside them a table with one line each: when it is loaded, its file, the files that
//! it needs, in the order of loading. A second table holds the patterns that devices are matched with, as depmod found
//! them. The kernel checks every module's signature.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Where the image keeps modules and tables.
pub const FOLDER: &str = "/usr/lib/modules";

/// When a module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At every boot.
    Always,
    /// When a device asks for it.
    Device,
    /// When the init asks for it by name.
    Named,
}

/// A module of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// When it is loaded.
    pub when: When,
    /// Its name, underscores for dashes.
    pub name: String,
    /// Files to load, what it needs first and itself last.
    pub files: Vec<String>,
}

/// The tables and what was loaded.
#[derive(Debug, Default)]
pub struct Modules {
    folder: PathBuf,
    table: Vec<Module>,
    /// Pattern and name of the module.
    aliases: Vec<(String, String)>,
    loaded: BTreeSet<String>,
}

impl Modules {
    /// Reads the tables of a folder. An unreadable line loads nothing.
    ///
    /// # Errors
    /// A table is missing.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let table = fs::read_to_string(folder.join("table"))?.lines().filter_map(module).collect();
        let aliases = fs::read_to_string(folder.join("aliases"))?.lines().filter_map(alias).collect();
        Ok(Self { folder: folder.to_owned(), table, aliases, loaded: BTreeSet::new() })
    }

    /// Loads what always loads. What fails is told.
    pub fn load_always(&mut self, tell: &mut dyn FnMut(String)) {
        let names: Vec<String> =
            self.table.iter().filter(|it| it.when == When::Always).map(|it| it.name.clone()).collect();
        names.iter().for_each(|name| self.load(name, tell));
    }

    /// Loads what the devices of the machine ask for, and says how many modules that were. Devices that one brings to
    /// light may ask for more: call again until it is 0.
    pub fn load_for_devices(&mut self, tell: &mut dyn FnMut(String)) -> usize {
        let wanted = self.wanted(&devices(Path::new("/sys/devices")));
        wanted.iter().for_each(|name| self.load(name, tell));
        wanted.len()
    }

    fn wanted(&self, devices: &BTreeSet<String>) -> BTreeSet<String> {
        let asked = |name: &String| {
            self.table.iter().any(|it| it.when == When::Device && it.name == *name && !self.loaded.contains(name))
        };
        self.aliases
            .iter()
            .filter(|(_, name)| asked(name))
            .filter(|(pattern, _)| devices.iter().any(|device| matches(pattern.as_bytes(), device.as_bytes())))
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Loads a module of the table with what it needs.
    pub fn load(&mut self, name: &str, tell: &mut dyn FnMut(String)) {
        let Some(module) = self.table.iter().find(|it| it.name == name) else {
            return tell(format!("module {name} is not in the image"));
        };
        for file in &module.files {
            if !self.loaded.insert(stem(file)) {
                continue;
            }
            let inserted = File::open(self.folder.join(file))
                .and_then(|it| Ok(rustix::system::finit_module(it, parameters(&stem(file)), 0)?));
            match inserted {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => tell(format!("module {file}: {error}")),
            }
        }
        self.loaded.insert(name.to_owned());
    }
}

/// Watchdogs go on after the process that feeds them is gone, and give a boot half a minute.
fn parameters(name: &str) -> &'static std::ffi::CStr {
    match name {
        "i6300esb" | "iTCO_wdt" | "sp5100_tco" => c"nowayout=1 heartbeat=30",
        "softdog" => c"nowayout=1 soft_margin=30",
        "wdat_wdt" => c"nowayout=1 timeout=30",
        _ => c"",
    }
}

fn stem(file: &str) -> String {
    file.trim_end_matches(".ko").replace('-', "_")
}

/// `always ext4 crc16.ko mbcache.ko jbd2.ko ext4.ko`
fn module(line: &str) -> Option<Module> {
    let mut words = line.split_ascii_whitespace();
    let when = match words.next()? {
        "always" => When::Always,
        "device" => When::Device,
        "named" => When::Named,
        _ => return None,
    };
    let name = words.next()?.to_owned();
    let files: Vec<String> = words.map(str::to_owned).collect();
    (!files.is_empty()).then_some(Module { when, name, files })
}

/// `alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e`
fn alias(line: &str) -> Option<(String, String)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// What devices say they are. Links are not followed: they lead in circles.
fn devices(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if entry.file_name() == "modalias" {
                found.extend(fs::read_to_string(entry.path()).ok().map(|text| text.trim().to_owned()));
            }
        }
    }
    found
}

/// Shell patterns as depmod writes them: `*`, `?` and `[0-9a]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when what follows the last star does not fit after all.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (pattern.split_first(), text.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                again = text.split_first().map(|(_, later)| (pattern, later));
                Some((rest, text))
            }
            (Some((b'?', rest)), Some((_, later))) => Some((rest, later)),
            (Some((b'[', rest)), Some((byte, later))) => {
                class(rest, *byte).and_then(|(fits, rest)| fits.then_some((rest, later)))
            }
            (Some((wanted, rest)), Some((byte, later))) if wanted == byte => Some((rest, later)),
            _ => None,
        };
        match step.or_else(|| again.take()) {
            Some((rest, later)) => (pattern, text) = (rest, later),
            None => return false,
        }
    }
}

/// Whether a byte is in a class, and what follows the class.
fn class(class: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let end = class.iter().position(|it| *it == b']')?;
    let (members, rest) = (class.get(..end)?, class.get(end.saturating_add(1)..)?);
    let mut fits = false;
    let mut at = members;
    while let Some((first, later)) = at.split_first() {
        (fits, at) = match later {
            [b'-', last, later @ ..] => (fits || (*first..=*last).contains(&byte), later),
            _ => (fits || *first == byte, later),
        };
    }
    Some((fits, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn patterns_are_those_of_depmod() {
        let e1000e = "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00";
        assert!(fits("pci:v00008086d000010D3sv*sd*bc*sc*i*", e1000e));
        assert!(!fits("pci:v00008086d000010D4sv*sd*bc*sc*i*", e1000e));
        assert!(fits("usb:v*p*d*dc*dsc*dp*ic08isc0[6-8a]ip50in*", "usb:v1p2d3dc0dsc0dp0ic08isc06ip50in00"));
        assert!(!fits("usb:v*p*d*dc*dsc*dp*ic08isc0[6-8a]ip50in*", "usb:v1p2d3dc0dsc0dp0ic08isc09ip50in00"));
        assert!(fits("usb:isc0[6-8a]", "usb:isc0a"));
        assert!(fits("a*b*c", "axxbyybzzc"));
        assert!(!fits("a*b*c", "axxbyyb"));
        assert!(fits("*", "") && fits("", "") && !fits("", "a") && !fits("a", ""));
        assert!(!fits("a[", "ab"), "a class without end");
        // Many stars take no time without end.
        assert!(!fits(&"*a".repeat(200), &"a".repeat(199)));
    }

    #[test]
    fn a_device_asks_for_its_module_once() {
        let mut modules = Modules {
            table: ["device e1000e ptp.ko e1000e.ko", "always ext4 ext4.ko", "nonsense", "device empty"]
                .into_iter()
                .filter_map(module)
                .collect(),
            aliases: ["alias pci:v1d2* e1000e", "alias pci:v1d2* ext4", "alias"]
                .into_iter()
                .filter_map(alias)
                .collect(),
            ..Modules::default()
        };
        assert_eq!(modules.table.len(), 2);
        assert_eq!(modules.table.first().unwrap().files, ["ptp.ko", "e1000e.ko"]);
        let devices = BTreeSet::from(["pci:v1d2sv3".to_owned()]);
        assert_eq!(modules.wanted(&devices), BTreeSet::from(["e1000e".to_owned()]));
        modules.loaded.insert("e1000e".to_owned());
        assert!(modules.wanted(&devices).is_empty());
        assert!(modules.wanted(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn what_is_not_in_the_image_is_told() {
        let mut told = Vec::new();
        Modules::default().load("floppy", &mut |line| told.push(line));
        assert_eq!(told, ["module floppy is not in the image"]);
    }
}
