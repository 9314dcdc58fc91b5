//! What is handed to those who help: it has state, policy, configuration and events, and no key, password or secret of the
//! box, of its users or of its authority, in any form.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use support::console::{Folder, as_user, free, keygen, said, start, vambrace, wait_for};
use support::guarded::Guarded;

/// Every form in which something of a secret file could stand in a text: its lines, and its bytes in other clothes.
fn forms(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    // What stands in every key says nothing; the rest is long enough to be no accident.
    let mut forms: Vec<Vec<u8>> =
        lines.filter(|line| line.len() >= 12 && !line.starts_with(b"-----")).map(<[u8]>::to_vec).collect();
    forms.extend(forms.clone().iter().filter_map(|line| STANDARD.decode(line).ok()).filter(|raw| raw.len() >= 12));
    let hex = |raw: &Vec<u8>| raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    forms.extend(forms.clone().iter().map(hex));
    forms.extend(forms.clone().iter().map(|raw| STANDARD.encode(raw).into_bytes()));
    assert!(!forms.is_empty(), "{}: no secret to look for", path.display());
    forms
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

fn texts(path: &Path) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(std::fs::File::open(path).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, std::fs::File>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.trim_start_matches("diagnostics/").to_owned(), text)
    };
    tar.entries().unwrap().map(read).collect()
}

#[test]
fn an_export_tells_much_and_no_secret() {
    let Some(cell) = Guarded::up("diagnostics") else { return };
    let folder = Folder::new("diagnostics");
    keygen(&folder, &["ca"]);
    keygen(&folder, &["box", "127.0.0.1"]);
    let users = [keygen(&folder, &["user", "engineer", "--role", "engineer"]), keygen(&folder, &["user", "viewer"])];
    let password = folder.file("mail.password");
    std::fs::write(&password, "correct horse battery staple\n").unwrap();
    let (remote, own) = (free(), folder.0.display());
    let text = std::fs::read_to_string(cell.vambrace.directory().join("vambrace.toml")).unwrap();
    let config = folder.file("console.toml");
    // Somebody wrote into a comment what belongs into a file.
    let careless = "# password = \"correct horse battery staple\"\n";
    let console = format!(
        "{careless}{text}[console]\ndirectory = \"{own}/console\"\nlisten = \"{remote}\"\n\
         certificate = \"{own}/keys/box.pem\"\nkey = \"{own}/keys/box.key\"\nclient_ca = \"{own}/keys/ca.pem\"\n{}\n{}\n\
         [console.mail]\nrelay = \"127.0.0.1:1\"\nsecurity = \"none\"\nfrom = \"a@b.example\"\nto = [\"c@d.example\"]\n",
        users[0], users[1]
    );
    std::fs::write(&config, console).unwrap();
    let _console = start(&folder, &["console"], &config, "console.log");
    wait_for("the remote API", || TcpStream::connect(remote).is_ok());

    // From afar; a viewer gets nothing of it that the role does not give.
    let (near, far) = (folder.file("near.tar"), folder.file("far.tar"));
    let export = |user: &str, to: &Path| {
        as_user(&folder, remote, user, &["diagnostics", "export", "-o", to.to_str().unwrap()]).output().unwrap()
    };
    let (code, told) = said(&export("engineer", &far));
    assert_eq!(code, Some(0), "{told}");
    let viewers = folder.file("viewer.tar");
    let (code, told) = said(&export("viewer", &viewers));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("your role is viewer") && !texts(&viewers).contains_key("vambrace.toml"), "{told}");
    // At the box.
    let mut command = vambrace();
    command.arg("--socket").arg(cell.vambrace.directory().join("control.sock"));
    command.args(["diagnostics", "export", "--config"]).arg(&config).arg("-o").arg(&near);
    let (code, told) = said(&command.output().unwrap());
    assert_eq!(code, Some(0), "{told}");

    let mut secrets: Vec<PathBuf> =
        ["ca.key", "box.key", "engineer.key", "viewer.key"].map(|name| folder.file("keys").join(name)).to_vec();
    secrets.push(password);
    let records = cell.vambrace.directory().join("records");
    let evidence_key = std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path());
    secrets.extend(evidence_key.filter(|path| path.extension().is_some_and(|it| it == "key")));
    assert_eq!(secrets.len(), 6, "the evidence's key too: {secrets:?}");
    for path in [&near, &far] {
        let found = texts(path);
        for name in ["about.json", "status.json", "policy.toml", "events.json", "vambrace.toml"] {
            assert!(found.get(name).is_some_and(|text| !text.is_empty()), "{name} of {}", path.display());
        }
        assert!(found["vambrace.toml"].contains("c@d.example") && found["status.json"].contains("enforce"));
        let bytes = std::fs::read(path).unwrap();
        for secret in &secrets {
            for form in forms(secret) {
                let shown = String::from_utf8_lossy(&form).into_owned();
                assert!(!contains(&bytes, &form), "{} has of {}: {shown}", path.display(), secret.display());
            }
        }
    }
    // The search finds what it looks for: the configuration itself has the careless line.
    assert!(forms(&secrets[4]).iter().any(|form| contains(&std::fs::read(&config).unwrap(), form)));
    let events = as_user(&folder, remote, "engineer", &["--json", "events"]).output().unwrap();
    assert!(said(&events).1.contains("diagnostics"), "who was given them is recorded");
}

#[test]
fn a_box_that_does_not_answer_gives_no_file() {
    let folder = Folder::new("diagnostics-none");
    let mut command = vambrace();
    command.args(["--socket", "/nonexistent/control.sock", "diagnostics", "export", "--config", "/nonexistent", "-o"]);
    let (code, told) = said(&command.arg(folder.file("none.tar")).output().unwrap());
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("left out: status") && !folder.file("none.tar").exists(), "{told}");
}
