//! The rights of each child: an account of its own and the few capabilities that it needs, for ever.
//!
//! PID 1 starts its own program again as `launch ROLE`, which gives up everything else and becomes the child's program.
//! That way no code runs between fork and exec.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Gid, Uid, umask};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, LinkNameSpaceType, clear_ambient_capability_set,
    configure_capability_in_ambient_set, move_into_link_name_space, remove_capability_from_bounding_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::management::NAMESPACE;
use crate::{At, Failure};

/// A child as its rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Supervisor and packet process.
    Guard,
    /// The management process.
    Console,
    /// The client of time servers.
    Clock,
    /// The check of a file system.
    Check,
}

/// Account and group of the guard. No file of the image belongs to it.
pub const ACCOUNT: u32 = 990;

/// Account and group of the management process: it leaves bundles and orders for the updater.
pub const CONSOLE: u32 = 991;

/// Accounts as programs look them up; that of the management process has the name of Debian's unit.
pub const PASSWD: &str = "root:x:0:0::/:/none\nvambrace:x:990:990::/:/none\nvambrace-console:x:991:991::/:/none\n\
                          vambrace-clock:x:992:992::/:/none\nvambrace-check:x:993:993::/:/none\n";

impl Role {
    /// All, by the names that `launch` takes.
    pub const NAMED: [(&'static str, Self); 4] =
        [("guard", Self::Guard), ("console", Self::Console), ("clock", Self::Clock), ("check", Self::Check)];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }

    /// Account and group.
    #[must_use]
    pub const fn account(self) -> u32 {
        match self {
            Self::Guard => ACCOUNT,
            Self::Console => CONSOLE,
            Self::Clock => 992,
            Self::Check => 993,
        }
    }

    /// Groups beside its own: the management process reads what was recorded, and uses the control socket.
    const fn groups(self) -> &'static [u32] {
        if matches!(self, Self::Console) { &[ACCOUNT] } else { &[] }
    }

    /// What it may of what root may.
    const fn kept(self) -> &'static [CapabilitySet] {
        match self {
            // Packet sockets, offloads and MTU, locked rings, thread affinity.
            Self::Guard => {
                &[CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN, CapabilitySet::IPC_LOCK, CapabilitySet::SYS_NICE]
            }
            Self::Clock => &[CapabilitySet::SYS_TIME],
            Self::Console | Self::Check => &[],
        }
    }

    /// Whether it lives where the management port is, and can't see the data ports.
    const fn is_on_management(self) -> bool {
        matches!(self, Self::Console | Self::Clock)
    }
}

/// Becomes, as the role that is named first, the program that is named then, with the rest as its arguments. Comes back
/// only if that failed.
pub fn launch(mut args: impl Iterator<Item = OsString>) -> Failure {
    let role = args.next().and_then(|name| Role::NAMED.iter().find(|(known, _)| name == *known));
    let (Some((_, role)), Some(program)) = (role, args.next()) else {
        return Failure("launch needs a role and a program".to_owned());
    };
    if let Err(failure) = become_role(*role) {
        return failure;
    }
    let error = Command::new(&program).args(args).env_clear().env("NO_COLOR", "1").current_dir("/").exec();
    Failure(format!("{}: {error}", Path::new(&program).display()))
}

fn become_role(role: Role) -> Result<(), Failure> {
    if role.is_on_management() {
        let namespace = File::open(NAMESPACE).at(NAMESPACE)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).at(NAMESPACE)?;
    }
    // The guard's group reads what was recorded; nobody else reads anything.
    umask(Mode::from_raw_mode(0o027));
    let kept = role.kept().iter().copied().fold(CapabilitySet::empty(), CapabilitySet::union);
    for capability in CapabilitySet::all().difference(kept).iter() {
        match remove_capability_from_bounding_set(capability) {
            // Newer than this kernel.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            error => error.at("bounding set")?,
        }
    }
    // Being root gives nothing, and a change of account takes nothing.
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED;
    set_capabilities_secure_bits(bits).at("secure bits")?;
    clear_ambient_capability_set().at("ambient capabilities")?;
    let (uid, gid) = (Uid::from_raw(role.account()), Gid::from_raw(role.account()));
    let groups: Vec<_> = role.groups().iter().map(|group| Gid::from_raw(*group)).collect();
    // This process has one thread: what holds for it holds for the program.
    set_thread_groups(&groups).at("groups")?;
    set_thread_res_gid(gid, gid, gid).at("group")?;
    set_thread_res_uid(uid, uid, uid).at("account")?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })
        .at("capabilities")?;
    for capability in role.kept() {
        configure_capability_in_ambient_set(*capability, true).at("ambient capabilities")?;
    }
    set_no_new_privs(true).at("no new privileges")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_an_account_of_its_own_that_has_a_name() {
        for (name, role) in Role::NAMED {
            assert_eq!(role.name(), name);
            let line = format!("x:{0}:{0}:", role.account());
            assert_eq!(PASSWD.lines().filter(|it| it.contains(&line)).count(), 1, "{name}");
        }
        assert!(PASSWD.contains("\nvambrace-console:x:991:"));
    }

    #[test]
    fn only_the_guard_may_touch_the_data_ports() {
        let network = [CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN];
        for (name, role) in Role::NAMED {
            let may = role.kept().iter().any(|kept| network.contains(kept));
            assert_eq!(may, role == Role::Guard, "{name}");
            assert!(!(may && role.is_on_management()), "{name}");
        }
    }

    #[test]
    fn launch_takes_known_roles_alone() {
        for args in [&[][..], &["guard"], &["nobody", "/bin/true"]] {
            let failure = launch(args.iter().map(OsString::from));
            assert_eq!(failure.0, "launch needs a role and a program");
        }
    }
}
