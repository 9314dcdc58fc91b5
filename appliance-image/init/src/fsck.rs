//! The check of the data partition's file system before it is mounted, by `e2fsck` of the image, as a process that may
//! touch that partition and nothing else.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::rights::Role;
use crate::{At, Failure};

/// The program in the image.
const PROGRAM: &str = "/usr/bin/e2fsck";

/// The robot's network waits for it: what takes longer is mounted as it is.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether it has ended.
const TURN: Duration = Duration::from_millis(20);

/// What became of a check. Source: e2fsck(8), exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing was wrong, or all of it is mended.
    Sound,
    /// It needs answers: all of them are yes then.
    Unmended,
    /// It could not look: a superblock that a power cut tore is one cause, and of its copies `-p` takes none.
    Failed(i32),
}

fn outcome(code: i32) -> Outcome {
    match code {
        // 1: mended; 2: mended, of a file system that was mounted, which this one is not.
        0..=3 => Outcome::Sound,
        _ if code & 4 != 0 && code & !7 == 0 => Outcome::Unmended,
        _ => Outcome::Failed(code),
    }
}

/// Checks and mends the file system of a device. `alive` is called all the while.
///
/// # Errors
/// It is not sound, or was not looked at; it may be mounted all the same.
pub fn check(launcher: &str, device: &Path, log: &Log, alive: &mut dyn FnMut()) -> Result<(), Failure> {
    let account = Role::Check.account();
    chown(device, Some(account), Some(account)).at(&device.display().to_string())?;
    mended(launcher, device, log, alive)
}

fn mended(launcher: &str, device: &Path, log: &Log, alive: &mut dyn FnMut()) -> Result<(), Failure> {
    let begun = Instant::now();
    // What is safe to mend without asking; if that is not enough, whatever it takes: nobody is there to answer, and a box
    // that keeps most of its records is better than one that keeps none.
    let mut last = Outcome::Unmended;
    for how in ["-p", "-fy"] {
        let mut child = Command::new(launcher)
            .args(["launch", Role::Check.name(), PROGRAM, how])
            .arg(device)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .at(PROGRAM)?;
        let followed = [
            child.stdout.take().map(|it| log.follow("e2fsck", it)),
            child.stderr.take().map(|it| log.follow("e2fsck", it)),
        ];
        for failed in followed.into_iter().flatten().filter_map(Result::err) {
            log.say("init", &format!("what e2fsck says is lost: {failed}"));
        }
        last = outcome(end_of(&mut child, begun, alive)?);
        if last == Outcome::Sound {
            return Ok(());
        }
    }
    Err(Failure(match last {
        Outcome::Failed(code) => format!("the data partition was not checked: code {code}"),
        _ => "the data partition could not be mended".to_owned(),
    }))
}

fn end_of(child: &mut Child, begun: Instant, alive: &mut dyn FnMut()) -> Result<i32, Failure> {
    loop {
        alive();
        if let Some(status) = child.try_wait().at(PROGRAM)? {
            return Ok(status.code().unwrap_or(8));
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure(format!("the check of the data partition took more than {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(TURN);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::fs::{self, File, OpenOptions, Permissions};
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    /// A power cut can leave one half of the superblock as it was: it is 1024 bytes, disks write 512 at once.
    #[test]
    fn a_superblock_that_is_half_new_is_mended_from_its_copy() {
        let folder = std::env::temp_dir().join(format!("vbimg-fsck-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (device, launcher) = (folder.join("data"), folder.join("launcher"));
        File::create(&device).unwrap().set_len(192 << 20).unwrap();
        // As `build` makes it.
        let made = Command::new("/sbin/mke2fs").args(["-q", "-t", "ext4", "-b", "4096"]).arg(&device).status();
        assert!(made.unwrap().success(), "mke2fs of e2fsprogs");
        // As PID 1 starts it, without the rights: `launch check /usr/bin/e2fsck HOW DEVICE`.
        fs::write(&launcher, "#!/bin/sh\nshift 3\nexec /sbin/e2fsck \"$@\"\n").unwrap();
        fs::set_permissions(&launcher, Permissions::from_mode(0o755)).unwrap();
        let launcher = launcher.display().to_string();
        let look = || mended(&launcher, &device, &Log::default(), &mut || ());
        look().unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&device).unwrap();
        // The time of the last mount, in its first half; its checksum is in the second.
        file.write_all_at(&[1, 2, 3, 4], 1024 + 0x2c).unwrap();
        look().unwrap();
        let sound = Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&device).output().unwrap();
        assert!(sound.status.success(), "{sound:?}");
        // Where there is no file system it says so.
        file.set_len(0).unwrap();
        file.set_len(192 << 20).unwrap();
        assert!(look().unwrap_err().0.contains("was not checked: code 8"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn codes_are_those_of_e2fsck() {
        assert_eq!([0, 1, 2, 3].map(outcome), [Outcome::Sound; 4]);
        assert_eq!([4, 5, 6].map(outcome), [Outcome::Unmended; 3]);
        for code in [8, 12, 16, 32, 128] {
            assert_eq!(outcome(code), Outcome::Failed(code));
        }
    }
}
