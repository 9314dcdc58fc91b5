//! The process gives its rights up: from root to an account that may read the event files and use the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::config::Account;
use crate::export::event_files;

/// Lets the account's group into what it needs: event files and control socket, also those that are made later, since
/// files in a folder with the set-group-id bit get the folder's group. The secret key beside the records stays root's.
///
/// # Errors
/// A folder can't be made, or its group not be set.
pub(super) fn share(account: Account, records: &Path, socket: &Path, own: &Path) -> io::Result<()> {
    fs::create_dir_all(records)?;
    share_folder(account, records)?;
    for path in event_files(records)? {
        give(&path, None, account.gid, 0o640)?;
    }
    if let Some(folder) = socket.parent()
        && fs::metadata(folder).is_ok_and(|it| it.mode() & 0o1000 == 0)
        && !["/", "/run", "/var/run"].map(Path::new).contains(&folder)
    {
        share_folder(account, folder)?;
    }
    if fs::symlink_metadata(socket).is_ok_and(|it| it.file_type().is_socket()) {
        give(socket, None, account.gid, 0o660)?;
    }
    fs::create_dir_all(own)?;
    give(own, Some(account.uid), account.gid, 0o750)?;
    for entry in fs::read_dir(own)? {
        give(&entry?.path(), Some(account.uid), account.gid, 0o640)?;
    }
    Ok(())
}

fn share_folder(account: Account, folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.mode() & 0o7777;
    give(folder, None, account.gid, mode | 0o2050)
}

fn give(path: &Path, uid: Option<u32>, gid: u32, mode: u32) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    // A link is not followed: it could lead anywhere.
    std::os::unix::fs::lchown(path, uid, Some(gid)).map_err(named)?;
    if fs::symlink_metadata(path).map_err(named)?.is_symlink() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(named)
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
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    if rustix::thread::set_thread_uid(Uid::ROOT).is_ok() {
        return Err(io::Error::other("rights given up could be taken back"));
    }
    Ok(())
}
