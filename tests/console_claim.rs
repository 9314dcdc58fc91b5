//! A box is claimed from the command line, as a person does it: the secret from the console's standard output, one command,
//! and the remote API knows who claimed.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::TcpStream;
use std::time::Instant;

use support::console::{Ending, Folder, as_user, free, said, start, vambrace, wait_for};

#[test]
fn a_box_is_claimed_with_the_secret_that_it_shows() {
    let folder = Folder::new("claim");
    let (remote, own) = (free(), folder.0.display());
    let config = folder.file("vambrace.toml");
    let text = format!(
        "mode = \"learn\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n[[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n\
         [record]\ndirectory = \"{own}/evidence\"\n[control]\nsocket = \"{own}/control.sock\"\n\
         [console]\nclaim = true\nlisten = \"{remote}\"\ndirectory = \"{own}/console\"\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir(folder.file("evidence")).unwrap();
    let mut command = vambrace();
    command.args(["console", "--config"]).arg(&config).stdout(std::fs::File::create(folder.file("screen")).unwrap());
    let log = std::fs::File::create(folder.file("first.log")).unwrap();
    let mut waiting = Ending(command.stderr(log).spawn().unwrap());
    wait_for("the secret", || folder.log("screen").contains("claim --secret "));
    let screen = folder.log("screen");
    let secret = screen.split("claim --secret ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(!folder.log("first.log").contains("claim --secret"), "a log is kept, and read by others");

    // Nobody is a user yet, whatever they show; and an address must be named.
    let claim = |secret: &str, extra: &[&str]| {
        let mut command = vambrace();
        command.args(extra).args(["claim", "--name", "eva", "--secret", secret, "-d"]).arg(folder.file("keys"));
        said(&command.output().unwrap())
    };
    let box_at = ["--box", &remote.to_string()];
    assert_eq!(claim(&secret, &[]).0, Some(2));
    let (code, told) = claim("not a secret", &box_at);
    assert!(code == Some(2) && told.contains("five groups"), "{told}");
    let (code, told) = claim("00000-00000-00000-00000-00000", &box_at);
    assert!(code == Some(1) && told.contains("not this box's"), "{told}");
    // Small letters and blanks are as good.
    let (code, told) = claim(&secret.to_lowercase().replace('-', " "), &box_at);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is yours") && told.contains("--cert"), "{told}");
    for name in ["ca.key", "eva.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.file("keys").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    // It ends, to be started again: then it knows eva, and asks nobody to claim it.
    let begun = Instant::now();
    while waiting.0.try_wait().unwrap().is_none() {
        assert!(begun.elapsed().as_secs() < 20, "it goes on: {}", folder.log("first.log"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(waiting.0.try_wait().unwrap().unwrap().success(), "{}", folder.log("first.log"));
    let _again = start(&folder, &["console"], &config, "second.log");
    wait_for("the remote API", || TcpStream::connect(remote).is_ok());
    let answer = as_user(&folder, remote, "eva", &["status"]).output().unwrap();
    let (code, told) = said(&answer);
    assert!(code == Some(5) && told.contains("the box answers, its packet process does not"), "{code:?}: {told}");
    assert!(!folder.log("second.log").contains("claim --secret"), "{}", folder.log("second.log"));
    assert!(!folder.log("first.log").contains(&secret), "{}", folder.log("first.log"));
    assert_ne!(claim(&secret, &box_at).0, Some(0), "a second claim");
}
