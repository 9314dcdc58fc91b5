//! The rights of the guard: an account of its own and four capabilities, for ever.
//!
//! PID 1 starts its own program again as `launch`, which gives up everything else and becomes the guard. That way no code
//! runs between fork and exec.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use crate::{At, Failure};

/// Account and group of the guard. No file of the image belongs to it.
pub const ACCOUNT: u32 = 990;

/// Account and group of the management process: it leaves bundles and orders for the updater.
pub const CONSOLE: u32 = 991;

/// Packet sockets, offloads and MTU, locked rings, thread affinity.
const KEPT: [CapabilitySet; 4] =
    [CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN, CapabilitySet::IPC_LOCK, CapabilitySet::SYS_NICE];

/// Becomes the program that is named first, with the rest as its arguments. Comes back only if that failed.
pub fn launch(mut args: impl Iterator<Item = OsString>) -> Failure {
    let Some(program) = args.next() else { return Failure("launch needs a program".to_owned()) };
    if let Err(failure) = give_up() {
        return failure;
    }
    let error = Command::new(&program)
        .args(args)
        .uid(ACCOUNT)
        .gid(ACCOUNT)
        .env_clear()
        .env("NO_COLOR", "1")
        .current_dir("/")
        .exec();
    Failure(format!("{}: {error}", program.display()))
}

fn give_up() -> Result<(), Failure> {
    let kept = KEPT.into_iter().fold(CapabilitySet::empty(), CapabilitySet::union);
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
    // The two that change the account are gone with exec: they are not ambient.
    let until_exec = kept | CapabilitySet::SETUID | CapabilitySet::SETGID;
    let sets = CapabilitySets { effective: until_exec, permitted: until_exec, inheritable: kept };
    set_capabilities(None, sets).at("capabilities")?;
    for capability in KEPT {
        configure_capability_in_ambient_set(capability, true).at("ambient capabilities")?;
    }
    set_no_new_privs(true).at("no new privileges")
}
