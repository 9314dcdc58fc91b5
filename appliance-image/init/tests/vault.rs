//! Encrypted folders with a kernel, an ext4 file system in a file and an emulated TPM. Needs root, for mounts in a namespace
//! of its own, swtpm and e2fsprogs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vambrace_init::tpm::Tpm;
use vambrace_init::vault::{self, State};

/// Seen nowhere else.
const SECRET: &str = "what a box keeps, written down";

/// Tells a process of this test what to do, and where.
const STEP: &str = "VAMBRACE_VAULT_STEP";

struct Place(PathBuf, Vec<Child>);

impl Drop for Place {
    fn drop(&mut self) {
        for child in &mut self.1 {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    fn tpm(&mut self, name: &str) {
        let state = self.0.join(name);
        fs::create_dir_all(&state).unwrap();
        let socket = state.join("socket");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .spawn();
        self.1.push(child.unwrap());
        for _ in 0..1000 {
            if socket.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("swtpm does not begin");
    }

    fn file_system(&self, features: &str) {
        let image = self.0.join("image");
        let _ = fs::remove_file(&image);
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-b", "4096", "-O", features])
            .arg(&image)
            .arg("32M")
            .status();
        assert!(made.unwrap().success());
    }

    /// Mounts the file system in a namespace that ends with the step, and the key with it.
    fn step(&self, name: &str, tpm: &str) {
        let data = self.0.join("data");
        fs::create_dir_all(&data).unwrap();
        let script = "mount -o loop,data=journal \"$1\" \"$2\" && \"$3\" --exact steps --nocapture && umount \"$2\"";
        let done = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .args([self.0.join("image"), data.clone(), std::env::current_exe().unwrap()])
            .env(STEP, format!("{name} {} {}", data.display(), self.0.join(tpm).join("socket").display()))
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{name}: {}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn is_told(&self, what: &str) -> bool {
        let bytes = fs::read(self.0.join("image")).unwrap();
        bytes.windows(what.len()).any(|it| it == what.as_bytes())
    }
}

/// One mount of the file system; does nothing unless the test below asks for it.
#[test]
fn steps() {
    let Ok(asked) = std::env::var(STEP) else { return };
    let mut words = asked.split(' ');
    let (step, data, socket) =
        (words.next().unwrap(), PathBuf::from(words.next().unwrap()), words.next().unwrap().to_owned());
    let tpm = || Ok(Tpm::over(UnixStream::connect(socket).unwrap()));
    let open = |is_secure| vault::open(&data, is_secure, tpm);
    let file = data.join("evidence/000001.pcapng");
    let key = || fs::read(data.join(vault::FILE));
    match step {
        "begin" => {
            assert_eq!(open(true), State::Encrypted);
            for name in vault::FOLDERS {
                assert!(vambrace_fscrypt::is_encrypted(&data.join(name)).unwrap(), "{name}");
            }
            fs::write(file, SECRET).unwrap();
            fs::create_dir(data.join("update")).unwrap();
            fs::write(data.join("update/epoch"), "not encrypted").unwrap();
        }
        "again" => {
            assert_eq!(open(true), State::Encrypted);
            assert_eq!(fs::read_to_string(file).unwrap(), SECRET);
        }
        "locked" => {
            let (kept, names) = (key().unwrap(), listed(&data.join("evidence")));
            let State::Locked(why) = open(true) else { panic!("it opened") };
            assert!(why.contains("this TPM does not know its key"), "{why}");
            assert!(!file.exists() && !names.is_empty());
            assert_eq!((key().unwrap(), listed(&data.join("evidence"))), (kept, names));
        }
        "wipe" => {
            let before = key().unwrap();
            vault::destroy(&data).unwrap();
            assert!(!data.join("evidence").exists() && data.join("update/epoch").exists());
            assert_eq!(open(true), State::Encrypted);
            assert!(key().unwrap() != before);
        }
        "cut" => {
            // The key was kept, and the power went before the folders were made.
            for name in vault::FOLDERS {
                fs::remove_dir_all(data.join(name)).unwrap();
            }
            fs::create_dir(data.join("evidence")).unwrap();
            assert_eq!(open(true), State::Encrypted);
            assert!(vambrace_fscrypt::is_encrypted(&data.join("evidence")).unwrap());
        }
        "plain" => {
            let State::Plain(why) = open(true) else { panic!("it is encrypted") };
            assert!(why.contains("that of an earlier image"), "{why}");
            assert!(key().is_err());
        }
        "insecure" => {
            let State::Plain(why) = open(false) else { panic!("it is encrypted") };
            assert!(why.starts_with("Secure Boot is off") && key().is_err(), "{why}");
        }
        other => panic!("{other}"),
    }
}

fn listed(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn the_kernel_encrypts_with_a_key_that_one_tpm_gives() {
    let has = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let can = rustix::process::geteuid().is_root()
        && Path::new("/sys/fs/ext4/features/encryption").exists()
        && ["swtpm", "mke2fs", "debugfs", "unshare"].into_iter().all(has);
    if !can {
        let why = "SKIPPED the kernel's encryption with two TPMs: needs root, swtpm, e2fsprogs and a kernel with encrypted ext4";
        eprintln!("{why}");
        if let Some(list) = std::env::var_os("VAMBRACE_SKIPPED") {
            let mut list = fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
            std::io::Write::write_all(&mut list, format!("{why}\n").as_bytes()).unwrap();
        }
        return;
    }
    let place = std::env::temp_dir().join(format!("vbimg-vault-kernel-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    let mut place = Place(place, Vec::new());
    place.tpm("one");
    place.tpm("other");
    place.file_system("64bit,resize_inode,encrypt");
    place.step("insecure", "one");
    place.step("begin", "one");
    assert!(place.is_told("not encrypted"), "this is how it would be seen");
    assert!(!place.is_told(SECRET) && !place.is_told("000001.pcapng"));
    place.step("again", "one");
    place.step("locked", "other");
    place.step("again", "one");
    place.step("cut", "one");
    place.step("wipe", "other");
    place.file_system("64bit,resize_inode,^encrypt");
    place.step("plain", "one");
}
