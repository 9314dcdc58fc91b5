//! What a box keeps of its claim: a folder of its own, readable for the management process alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use serde::{Deserialize, Serialize};

use super::{Grant, Secret, is_name};
use crate::config::{Account, Console, Role, User};
use crate::console::replace;
use crate::control::tls;

/// The folder below `console.directory`.
#[derive(Clone, Debug)]
pub(in crate::console) struct Place(PathBuf);

/// The first engineer, as the folder keeps it. Its file is written last: where it lies, the box is claimed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    name: String,
    certificate: String,
}

impl Place {
    /// The folder of a management process; made where it is not there.
    ///
    /// # Errors
    /// The disk's.
    pub(in crate::console) fn below(directory: &Path) -> io::Result<Self> {
        let folder = directory.join("claim");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        Ok(Self(folder))
    }

    /// Makes it the account's, before root's rights are given up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in crate::console) fn give(&self, account: Account) -> io::Result<()> {
        std::os::unix::fs::lchown(&self.0, Some(account.uid), Some(account.gid))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The configuration with what the claim brought; `None` while nobody has claimed the box.
    ///
    /// # Errors
    /// A file is not as it was written.
    pub(in crate::console) fn apply(&self, console: &Console) -> io::Result<Option<Console>> {
        let text = match fs::read(self.file("user.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let First { name, certificate } = serde_json::from_slice(&text)?;
        let mut console = console.clone();
        // Who stands in the configuration under that name or with that certificate is that, and not more.
        if !console.users.iter().any(|user| user.name == name || user.certificate == certificate) {
            console.users.push(User { name, role: Role::Engineer, certificate });
        }
        console.certificate = Some(self.file("box.pem"));
        console.key = Some(self.file("box.key"));
        console.client_ca = Some(self.file("ca.pem"));
        Ok(Some(console))
    }

    /// The secret and the box's key; made at the first start.
    ///
    /// # Errors
    /// The disk's; or a file is not as it was written.
    pub(super) fn open(&self) -> io::Result<(Secret, KeyPair)> {
        let (secret, key) = (self.file("secret"), self.file("box.key"));
        if !secret.exists() {
            replace(&secret, Secret::make()?.shown().as_bytes())?;
        }
        if !key.exists() {
            let made = KeyPair::generate().map_err(io::Error::other)?;
            replace(&key, made.serialize_pem().as_bytes())?;
        }
        let bad = |what: &Path| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: not as it was written; remove it", what.display()))
        };
        let shown = Secret::read(&fs::read_to_string(&secret)?).ok_or_else(|| bad(&secret))?;
        let pair = KeyPair::from_pem(&fs::read_to_string(&key)?).map_err(|_| bad(&key))?;
        Ok((shown, pair))
    }

    /// Takes what the one who claims gave. The secret is gone then: it opens nothing any more.
    ///
    /// # Errors
    /// It does not fit together, or the disk's error; nothing is claimed then.
    pub(super) fn take(&self, grant: &Grant) -> io::Result<()> {
        let refused = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if !is_name(&grant.user) {
            return Err(refused("the user has no usable name".to_owned()));
        }
        let digits = grant.fingerprint.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(refused("the fingerprint of the user's certificate is not readable".to_owned()));
        }
        let (certificate, ca) = (self.file("box.pem"), self.file("ca.pem"));
        replace(&certificate, grant.certificate.as_bytes())?;
        replace(&ca, grant.ca.as_bytes())?;
        // As the remote API will: the certificate must be of the box's own key.
        tls::server(&certificate, &self.file("box.key"), &ca).map_err(|error| refused(error.to_string()))?;
        let first = First { name: grant.user.clone(), certificate: grant.fingerprint.clone() };
        replace(&self.file("user.json"), &serde_json::to_vec(&first)?)?;
        fs::remove_file(self.file("secret"))?;
        fs::File::open(&self.0)?.sync_all()
    }
}
