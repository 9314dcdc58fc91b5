//! The process gives its rights up: from root to an account that may read the event files and use the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::config::Account;
use crate::record::event_files;

/// Lets the account's group into what it needs: event files and control socket, also those that are made later, since
/// files in a folder with the set-group-id bit get the folder's group. The secret key beside the records stays root's.
///
/// # Errors
/// A folder can't be made, or its group not be set.
pub(super) fn share(account: Account, records: &Path, socket: &Path, own: &Path) -> io::Result<()> {
    fs::create_dir_all(records)?;
    share_folder(account, records)?;
    let segments = fs::read_dir(records)?.filter_map(Result::ok).map(|entry| entry.path());
    let segments = segments.filter(|path| path.extension().is_some_and(|it| it == "pcapng"));
    for path in event_files(records)?.into_iter().chain(segments) {
        match give(&path, None, account.gid, 0o640) {
            // Removed meanwhile, to keep to the budget.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            given => given?,
        }
    }
    if let Some(folder) = socket.parent()
        && fs::metadata(folder).is_ok_and(|it| it.mode() & 0o1000 == 0)
        && !["/", "/run", "/var/run"].map(Path::new).contains(&folder)
    {
        share_folder(account, folder)?;
    }
    if fs::symlink_metadata(socket).is_ok_and(|it| it.file_type().is_socket()) {
        // Only root writes in its folder.
        std::os::unix::fs::lchown(socket, None, Some(account.gid))?;
    }
    fs::create_dir_all(own)?;
    give(own, Some(account.uid), account.gid, 0o750)?;
    for entry in fs::read_dir(own)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "json" || it == "checkpoints") {
            give(&path, Some(account.uid), account.gid, 0o640)?;
        }
    }
    Ok(())
}

fn share_folder(account: Account, folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.mode() & 0o7777;
    give(folder, None, account.gid, mode | 0o2050)
}

/// Changes whose a file or folder is. The account may write in its own folder, so nothing there is trusted: a link of
/// either kind could lead to what is root's.
fn give(path: &Path, uid: Option<u32>, gid: u32, mode: u32) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| named(error.into()))?);
    let meta = file.metadata().map_err(named)?;
    if !(meta.is_dir() || meta.is_file() && meta.nlink() == 1) {
        return Err(named(io::Error::other("is no plain file; remove it")));
    }
    std::os::unix::fs::fchown(&file, uid, Some(gid)).map_err(named)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(named)
}

/// Becomes the account for good, or stays who it is where there is none; either way nothing that it starts can gain
/// rights. Only while the process has one thread: the kernel's calls are about threads.
///
/// # Errors
/// The kernel refuses, or the rights could be taken back.
pub(super) fn give_up(account: Option<Account>) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let Some(account) = account else { return Ok(()) };
    if rustix::process::geteuid().as_raw() != account.uid {
        let threads = fs::read_dir("/proc/self/task")?.count();
        if threads != 1 {
            return Err(io::Error::other(format!("{threads} threads run while rights are given up")));
        }
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // Where its unit gives it none, it need not be let drop any.
    if rustix::thread::capabilities(None)? != none {
        rustix::thread::set_capabilities(None, none)?;
    }
    if rustix::thread::set_thread_uid(Uid::ROOT).is_ok() {
        return Err(io::Error::other("rights given up could be taken back"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_given_to_nobody() {
        let folder = std::env::temp_dir().join(format!("vambrace-rights-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (secret, soft, hard) = (folder.join("secret"), folder.join("a.json"), folder.join("b.json"));
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&secret, &soft).unwrap();
        fs::hard_link(&secret, &hard).unwrap();
        let own = rustix::process::getegid().as_raw();
        for path in [&soft, &hard] {
            let error = give(path, None, own, 0o644).unwrap_err();
            assert!(error.to_string().contains(".json: "), "{error}");
        }
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(&hard).unwrap();
        give(&secret, None, own, 0o640).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o640);
        fs::remove_dir_all(&folder).unwrap();
    }
}
