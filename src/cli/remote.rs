//! Which box is meant: the one at hand, or one over its remote API.

use std::path::{Path, PathBuf};

use super::{Exit, fail, mistakes};
use crate::control::{REMOTE_PORT, RemoteBox};
use crate::document::{Problems, Source, with_port};

/// The options that stand before the command.
#[derive(Debug, clap::Args)]
pub(super) struct RemoteArgs {
    /// Talk to this box over its remote API instead of the control socket: HOST or HOST:PORT.
    #[arg(long = "box", value_name = "HOST", env = "VAMBRACE_BOX")]
    name: Option<String>,
    /// With --box: your certificate (PEM).
    #[arg(long, value_name = "FILE", env = "VAMBRACE_CERT")]
    cert: Option<PathBuf>,
    /// With --box: its secret key (PEM).
    #[arg(long, value_name = "FILE", env = "VAMBRACE_KEY", hide_env_values = true)]
    key: Option<PathBuf>,
    /// With --box: the authority that issued the box's certificate (PEM).
    ///
    /// What is given neither as an option nor in the environment is looked up in ~/.config/vambrace/client.toml, under
    /// the keys cert, key and ca.
    #[arg(long, value_name = "FILE", env = "VAMBRACE_CA")]
    ca: Option<PathBuf>,
}

/// The keys of the user's file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Defaults {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl RemoteArgs {
    /// Host and port of the box that is meant; `None` for the one at hand.
    pub(super) fn address(&self) -> Result<Option<String>, Exit> {
        let Some(name) = &self.name else { return Ok(None) };
        let what = format!("--box {name:?}: write a host name or address, and a port if it is not {REMOTE_PORT}");
        with_port(name, REMOTE_PORT).map_or_else(|| Err(fail(Exit::Usage, &what)), |address| Ok(Some(address)))
    }

    /// The box that is meant; `None` for the one at hand.
    pub(super) fn resolve(self) -> Result<Option<RemoteBox>, Exit> {
        let Some(address) = self.address()? else { return Ok(None) };
        let file = home_file();
        let defaults = match &file {
            Some(path) if path.exists() => {
                let text = Problems::text(path, std::fs::read(path)).map_err(|problems| mistakes(&problems))?;
                read(path, &text).map_err(|problems| mistakes(&problems))?
            }
            _ => Defaults::default(),
        };
        let named = |given: Option<PathBuf>, kept: Option<PathBuf>, option: &str, variable: &str| {
            given.or(kept).ok_or_else(|| {
                let file = file.as_ref().map_or(String::new(), |path| format!(" or `{option}` in {}", path.display()));
                fail(Exit::Usage, &format!("--box needs --{option} FILE, {variable}{file}"))
            })
        };
        Ok(Some(RemoteBox {
            address,
            certificate: named(self.cert, defaults.cert, "cert", "VAMBRACE_CERT")?,
            key: named(self.key, defaults.key, "key", "VAMBRACE_KEY")?,
            ca: named(self.ca, defaults.ca, "ca", "VAMBRACE_CA")?,
        }))
    }
}

/// Where the user's file is, as the XDG base directories have it.
fn home_file() -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => Path::new(&std::env::var_os("HOME")?).join(".config"),
    };
    Some(folder.join("vambrace/client.toml"))
}

/// Paths in it count from its folder.
fn read(path: &Path, text: &str) -> Result<Defaults, Problems> {
    let name = path.display().to_string();
    let source = Source::parse(&name, text);
    if source.has_problems() {
        return source.finish(None);
    }
    let root = source.root();
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = |key| root.take(key).and_then(|value| value.string().map(|text| folder.join(text)));
    let defaults = Defaults { cert: file("cert"), key: file("key"), ca: file("ca") };
    root.finish();
    source.finish(Some(defaults))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_file_names_certificates() {
        let path = Path::new("/home/eva/.config/vambrace/client.toml");
        let defaults = read(path, "cert = \"eva.pem\"\nca = \"/etc/ca.pem\"\n").unwrap();
        assert_eq!(defaults.cert, Some("/home/eva/.config/vambrace/eva.pem".into()));
        assert_eq!((defaults.key, defaults.ca), (None, Some("/etc/ca.pem".into())));
        let problems = read(path, "certt = 1\n").unwrap_err().to_string();
        assert!(problems.contains("client.toml:1:1: unknown key `certt` at the top level; write `cert`"), "{problems}");
    }
}
