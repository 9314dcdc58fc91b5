//! The configuration of the first boot: taken once from a medium, or safe defaults.
//!
//! A box that has no configuration of its own takes `vambrace.toml`, and `policy.toml` where one lies beside it, from its
//! first EFI system partition or from a stick. What does not pass the guard's own check is not taken. From then on the
//! data partition's is the only one, whatever media say.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use crate::ports::Port;
use crate::{At, Failure};

/// Name of the configuration, on media and on the box.
pub const CONFIG: &str = "vambrace.toml";

/// Name of the policy.
pub const POLICY: &str = "policy.toml";

/// Largest file that is taken, in bytes: ten thousand rules are half of it.
pub const LARGEST: u64 = 4 * 1024 * 1024;

/// What becomes of a medium.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It holds no configuration.
    Nothing,
    /// Its configuration was taken, with a policy or without.
    Taken {
        /// Whether a policy came with it.
        policy: bool,
    },
}

/// Takes the configuration of a medium that is mounted at `from` into the folder `to`. `check` is given the files, the
/// policy only where there is one, and says what is wrong with them.
///
/// # Errors
/// Something lies there and can't be taken: too large, or the check refuses it. The folder is as it was.
pub fn import(
    from: &Path,
    to: &Path,
    mut check: impl FnMut(&Path, Option<&Path>) -> Result<(), String>,
) -> Result<Found, Failure> {
    let Some(config) = read(&from.join(CONFIG))? else { return Ok(Found::Nothing) };
    let policy = read(&from.join(POLICY))?;
    let (fresh_config, fresh_policy) = (to.join("fresh.toml"), to.join("fresh-policy.toml"));
    let write = || {
        put(&fresh_config, &config)?;
        policy.as_ref().map_or(Ok(()), |policy| put(&fresh_policy, policy))
    };
    let checked =
        write().and_then(|()| check(&fresh_config, policy.as_ref().map(|_| fresh_policy.as_path())).map_err(Failure));
    if let Err(failure) = checked {
        let _ = fs::remove_file(&fresh_config);
        let _ = fs::remove_file(&fresh_policy);
        return Err(failure);
    }
    // The configuration last: where it stands, the import is over.
    if policy.is_some() {
        fs::rename(&fresh_policy, to.join(POLICY)).at(POLICY)?;
    }
    fs::rename(&fresh_config, to.join(CONFIG)).at(CONFIG)?;
    File::open(to).and_then(|folder| folder.sync_all()).at(&to.display().to_string())?;
    Ok(Found::Taken { policy: policy.is_some() })
}

/// Copies configuration and policy to another folder, the configuration last.
///
/// # Errors
/// One can't be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    for name in [POLICY, CONFIG] {
        if let Some(bytes) = read(&from.join(name))? {
            put(&to.join(name), &bytes)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let what = path.display().to_string();
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.at(&what)?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST.saturating_add(1)).read_to_end(&mut bytes).at(&what)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(Failure(format!("{what} is larger than {LARGEST} bytes")));
    }
    Ok(Some(bytes))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let what = path.display().to_string();
    let mut file = File::create(path).at(&what)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at(&what)
}

/// Address of the management port of a box that nobody has configured. One that is rarely used: the box is claimed from a
/// laptop that is plugged in there.
pub const ADDRESS: &str = "192.168.77.1";

/// Share of the data partition that records may take; the rest is for what else lies there.
const RECORDS: u64 = 2;

/// The configuration of a box that nobody has configured: the two first ports by PCI address, every frame passes, and
/// nothing listens but, on a third port, for the one who claims the box. The address of the robot stands for one: what
/// learning says of "robot" is empty until it is set. `room` is that of the data partition, in bytes.
///
/// `None` where there are not two ports.
#[must_use]
pub fn defaults(ports: &[Port], processors: usize, room: u64) -> Option<String> {
    let [plant, robot, others @ ..] = ports else { return None };
    let (core, polling) = if processors > 1 { (1, "busy") } else { (0, "blocking") };
    let management = others.first().map(|port| format!("management = \"{}\"\n", port.pci)).unwrap_or_default();
    let console = format!(
        "[management]\naddress = \"{ADDRESS}/24\"\n\n\
         [console]\nclaim = true\nlisten = \"{ADDRESS}:7443\"\naccount = \"vambrace-console\"\n\n"
    );
    let console = if others.is_empty() { String::new() } else { console };
    // 8 GiB is what the guard takes where nothing is said; 1 MiB the least that makes sense.
    let budget = (room / RECORDS).clamp(1 << 20, 8 << 30) >> 20;
    Some(format!(
        "# Safe defaults, made at a boot without a configuration.\n\
         mode = \"learn\"\n\n\
         [ports]\nplant = \"{}\"\nrobot = \"{}\"\n{management}\n{console}\
         [record]\nsize_budget = \"{budget} MiB\"\n\n\
         [fast_path]\ncores = [{core}]\npolling = \"{polling}\"\n\n\
         [[asset]]\nname = \"robot\"\nip = \"192.168.0.10\"\nside = \"robot\"\n",
        plant.pci, robot.pci
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use std::path::PathBuf;

    /// A medium and a folder, gone at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("vbimg-{name}-{}", std::process::id()));
            fs::create_dir_all(place.join("medium")).unwrap();
            fs::create_dir_all(place.join("config")).unwrap();
            Self(place)
        }

        fn medium(&self) -> PathBuf {
            self.0.join("medium")
        }

        fn config(&self) -> PathBuf {
            self.0.join("config")
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(self.config())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_medium_without_configuration_changes_nothing() {
        let place = Place::new("nothing");
        fs::write(place.medium().join(POLICY), "version = 1").unwrap();
        let found = import(&place.medium(), &place.config(), |_, _| unreachable!()).unwrap();
        assert_eq!((found, place.names()), (Found::Nothing, Vec::new()));
    }

    #[test]
    fn configuration_and_policy_are_taken_after_their_check() {
        let place = Place::new("taken");
        fs::write(place.medium().join(CONFIG), "a").unwrap();
        fs::write(place.medium().join(POLICY), "b").unwrap();
        let mut seen = String::new();
        let check = |config: &Path, policy: Option<&Path>| {
            seen = fs::read_to_string(config).unwrap() + &fs::read_to_string(policy.unwrap()).unwrap();
            Ok(())
        };
        assert_eq!(import(&place.medium(), &place.config(), check).unwrap(), Found::Taken { policy: true });
        assert_eq!(seen, "ab");
        assert_eq!(place.names(), [POLICY, CONFIG]);
        assert_eq!(fs::read_to_string(place.config().join(CONFIG)).unwrap(), "a");
    }

    #[test]
    fn a_copy_is_taken_like_the_original() {
        let place = Place::new("copy");
        fs::write(place.config().join(CONFIG), "a").unwrap();
        fs::write(place.config().join(POLICY), "b").unwrap();
        copy(&place.config(), &place.medium()).unwrap();
        let check = |_: &Path, policy: Option<&Path>| policy.map(|_| ()).ok_or_else(String::new);
        assert_eq!(import(&place.medium(), &place.config(), check).unwrap(), Found::Taken { policy: true });
    }

    #[test]
    fn what_the_check_refuses_leaves_nothing_behind() {
        let place = Place::new("refused");
        fs::write(place.medium().join(CONFIG), "a").unwrap();
        let failure =
            import(&place.medium(), &place.config(), |_, _| Err("fresh.toml:1:1: no".to_owned())).unwrap_err();
        assert_eq!((failure.0.as_str(), place.names()), ("fresh.toml:1:1: no", Vec::new()));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_taken() {
        let place = Place::new("large");
        File::create(place.medium().join(CONFIG)).unwrap().set_len(LARGEST + 1).unwrap();
        let failure = import(&place.medium(), &place.config(), |_, _| unreachable!()).unwrap_err();
        assert!(failure.0.ends_with("is larger than 4194304 bytes"), "{failure}");
        assert!(place.names().is_empty());
    }

    #[test]
    fn defaults_learn_and_take_the_first_ports() {
        let port = |pci: &str| Port { pci: pci.into(), name: String::new(), mac: String::new(), index: 0 };
        let ports = ["0000:01:00.0", "0000:02:00.0", "0000:03:00.0"].map(port);
        let text = defaults(&ports, 2, 1 << 30).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["mode"].as_str(), Some("learn"));
        assert_eq!(crate::ports::configured(&text), ["0000:01:00.0", "0000:02:00.0"]);
        assert_eq!(table["record"]["size_budget"].as_str(), Some("512 MiB"));
        let management = crate::management::configured(&text).unwrap();
        assert_eq!((management.port.as_str(), management.address.unwrap().1), ("0000:03:00.0", 24));
        let two = defaults(&ports[..2], 2, 0).unwrap();
        let table: toml::Table = two.parse().unwrap();
        assert!(table.get("console").is_none() && table.get("management").is_none(), "something listens");
        assert_eq!(crate::management::configured(&two), None);
        assert!(defaults(&ports, 1, 0).unwrap().contains("cores = [0]\npolling = \"blocking\""));
        assert_eq!(defaults(&ports[..1], 2, 0), None);
    }
}
