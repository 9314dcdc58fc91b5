//! What a process gives up once it has what it needs: capabilities, files, system calls.
//!
//! The packet process reads what anybody sends. It keeps the sockets and the memory that it was handed, and of the rest
//! only what its work asks for: `packet_process.json` says which system calls, [`Files`] which folders. What is not there
//! is answered with EPERM or EACCES: it fails in one place and is told of, and frames go on.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The system calls of the packet process after its start, as reviewed data. Source of the format: `seccompiler`.
pub const PACKET_PROCESS: &str = include_str!("packet_process.json");

/// What is handled of Landlock; an older kernel does what it knows of it.
const LEVEL: ABI = ABI::V6;

/// Folders and files that a process goes on to use. What lies below a folder is meant with it.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// What is read.
    pub read: Vec<PathBuf>,
    /// What is read, written, made, renamed and removed.
    pub write: Vec<PathBuf>,
}

impl Files {
    /// The folder that a file lies in, to be read: files are replaced under their names.
    pub fn reads_beside(&mut self, file: &Path) {
        self.read.extend(folder(file));
    }

    /// The folder that a file lies in, to be written.
    pub fn writes_beside(&mut self, file: &Path) {
        self.write.extend(folder(file));
    }

    /// A file on a medium that may be plugged in later: the rule has to stand above the place where it appears.
    pub fn writes_on_medium(&mut self, file: &Path) {
        let place = folder(file);
        let above = place.as_deref().and_then(Path::parent).filter(|above| above.parent().is_some());
        self.write.extend(above.map(Path::to_owned).or(place));
    }
}

fn folder(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}

/// How far the kernel went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// It keeps to all of it.
    Fully,
    /// It is older and keeps to a part.
    Partly,
    /// It has no Landlock.
    Not,
}

/// Leaves the calling thread, and those that it starts from now on, these files, no TCP port, and no signal to processes
/// outside; nothing that lies there can be executed.
///
/// # Errors
/// The kernel has Landlock and refuses.
pub fn keep_files(files: &Files) -> io::Result<Confined> {
    let failed = |error: landlock::RulesetError| io::Error::other(error.to_string());
    let writes = AccessFs::from_all(LEVEL) & !AccessFs::Execute;
    let reads = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .set_compatibility(landlock::CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LEVEL))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LEVEL)))
        .and_then(|rules| rules.scope(Scope::from_all(LEVEL)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for (paths, access) in [(&files.read, reads), (&files.write, writes)] {
        for path in paths {
            // What is not there can't be used either.
            let Ok(opened) = PathFd::new(path) else { continue };
            let access: BitFlags<AccessFs> = if path.is_dir() { access } else { access & AccessFs::from_file(LEVEL) };
            rules = rules.add_rule(PathBeneath::new(opened, access)).map_err(failed)?;
        }
    }
    let status = rules.restrict_self().map_err(failed)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confined::Fully,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

/// Gives up every capability of the calling thread but these, and of those that it starts from now on; no program that is
/// executed gets any back.
///
/// # Errors
/// The kernel refuses.
pub fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let before = rustix::thread::capabilities(None)?;
    let kept = before.permitted & kept;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Leaves all threads of the process the system calls of a list.
///
/// # Errors
/// The list can't be read on this processor, or the kernel has no seccomp.
pub fn keep_calls(list: &str) -> io::Result<()> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("seccomp: {error}"));
    let arch = std::env::consts::ARCH.try_into().map_err(|error| failed(&error))?;
    let filters = seccompiler::compile_from_json(list.as_bytes(), arch).map_err(|error| failed(&error))?;
    let filter = filters.get("all").ok_or_else(|| failed(&"the list has no filter `all`"))?;
    seccompiler::apply_filter_all_threads(filter).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_and_each_call_says_why() {
        let list: serde_json::Value = serde_json::from_str(PACKET_PROCESS).unwrap();
        let calls = list["all"]["filter"].as_array().unwrap();
        assert!(calls.iter().all(|call| call["comment"].as_str().is_some_and(|why| why.len() >= 5)), "{calls:?}");
        let names: Vec<_> = calls.iter().map(|call| call["syscall"].as_str().unwrap()).collect();
        for forbidden in [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "ptrace",
            "socket",
            "connect",
            "bind",
            "mount",
            "bpf",
            "setns",
            "unshare",
            "init_module",
            "kexec_load",
            "process_vm_writev",
            "chown",
            "lchown",
            "chmod",
        ] {
            assert!(!names.contains(&forbidden), "{forbidden}");
        }
        assert!(names.is_sorted(), "in order, so that it is read at a glance");
        let bounded =
            |name: &str| calls.iter().filter(|call| call["syscall"] == name).all(|call| call["args"].is_array());
        assert!(["mmap", "mprotect", "prctl"].into_iter().all(bounded));
        let arch = std::env::consts::ARCH.try_into().unwrap();
        seccompiler::compile_from_json(PACKET_PROCESS.as_bytes(), arch).unwrap();
    }

    #[test]
    fn a_thread_keeps_what_it_was_left_and_nothing_else() {
        let own = std::env::temp_dir().join(format!("vambrace-harden-{}", std::process::id()));
        let other = own.with_extension("other");
        for folder in [&own, &other] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("old"), "x").unwrap();
        }
        let (inside, outside) = (own.clone(), other.clone());
        // Of this thread alone: the others go on as they were.
        let thread = std::thread::spawn(move || {
            keep_capabilities(CapabilitySet::empty()).unwrap();
            let files = Files { write: vec![inside.clone()], ..Files::default() };
            if keep_files(&files).unwrap() == Confined::Not {
                return false;
            }
            let left = rustix::thread::capabilities(None).unwrap();
            assert!(left.effective.is_empty() && left.permitted.is_empty());
            std::fs::write(inside.join("new"), "y").unwrap();
            std::fs::rename(inside.join("new"), inside.join("old")).unwrap();
            std::fs::remove_file(inside.join("old")).unwrap();
            assert_eq!(std::fs::read(outside.join("old")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert!(std::fs::write(outside.join("new"), "y").is_err());
            assert!(std::process::Command::new("/bin/true").status().is_err());
            assert!(std::net::TcpStream::connect("127.0.0.1:9").is_err_and(|error| error.raw_os_error() == Some(13)));
            true
        });
        if !thread.join().unwrap() {
            let _ = io::Write::write_all(&mut io::stderr(), b"SKIPPED harden: the kernel has no Landlock\n");
        }
        assert!(other.join("old").exists() && !other.join("new").exists());
        for folder in [own, other] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn folders_beside_files() {
        let mut files = Files::default();
        files.reads_beside(Path::new("/etc/vambrace/policy.toml"));
        files.reads_beside(Path::new("policy.toml"));
        files.writes_on_medium(Path::new("/media/usb/checkpoints"));
        files.writes_on_medium(Path::new("/usb/checkpoints"));
        assert_eq!(files.read, [PathBuf::from("/etc/vambrace"), PathBuf::from(".")]);
        assert_eq!(files.write, [PathBuf::from("/media"), PathBuf::from("/usb")]);
    }
}
