//! What a user is told of a file that can't be used: golden output, bare `file:line:column:` lines where a line is to blame.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;

const CONFIG: &str = r#"mode = "enforc"
mdoe = "learn"
[ports]
plant = "enp1s0"
robto = "enp2s0"
[fast_path]
workers = "one"
[[asset]]
name = "robot"
ip = "10.20.0"
side = "robot"
"#;

const GOOD_CONFIG: &str = r#"mode = "learn"
[ports]
plant = "enp1s0"
robot = "enp2s0"
[[asset]]
name = "robot"
ip = "10.20.0.40"
side = "robot"
[[asset]]
name = "plc"
ip = "10.20.0.21"
side = "plant"
"#;

const POLICY: &str = r#"version = 1
robot = "robot"
[[alow]]
[[allow]]
id = "a"
from = "pcl"
service = "modbuss"
[[allow]]
id = "b"
from = "plc"
service = "modbus"
fucntion = ["read_coils"]
value = "9..=1"
[[allow]]
id = "c"
from = "plc"
service = "modbus"
function = ["read_coil"]
[[allow]]
id = "c"
from = "plc"
service = "dashboard"
command = ["plya"]
"#;

const FAILING: &str = r#"version = 1
robot = "robot"
[[test]]
name = "the PLC may play"
from = "plc"
service = "dashboard"
command = "play"
expect = "allowed"
"#;

/// A pcap header for a link type, then a packet of which `have` of 60 bytes are there.
fn pcap(link_type: u32, have: usize) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let header = [words(&[0xa1b2_c3d4]), vec![2, 0, 4, 0], words(&[0, 0, 65_535, link_type])].concat();
    [header, words(&[1, 0, 60, 60]), vec![0x5a; have]].concat()
}

fn write_files(directory: &Path) {
    let files: [(&str, &[u8]); 11] = [
        ("wrong.toml", CONFIG.as_bytes()),
        ("good.toml", GOOD_CONFIG.as_bytes()),
        ("torn.toml", b"mode = \"learn\"\n[ports\n"),
        ("latin.toml", b"mode = \"learn\"\nname = \"B\xfcro\"\n"),
        ("policy.toml", POLICY.as_bytes()),
        ("failing.toml", FAILING.as_bytes()),
        ("empty.pcap", b""),
        ("text.pcap", b"hello, this is no capture"),
        ("cut.pcap", &pcap(1, 20)),
        ("usb.pcap", &pcap(220, 60)),
        ("whole.pcap", &pcap(1, 60)),
    ];
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).unwrap();
    }
    fs::create_dir(directory.join("folder")).unwrap();
}

const COMMANDS: &[&str] = &[
    "config check wrong.toml",
    "config check torn.toml",
    "config check latin.toml",
    "config check missing.toml",
    "config check folder",
    "config check good.toml",
    "run --config wrong.toml",
    "doctor --config wrong.toml",
    "policy check policy.toml --config good.toml",
    "policy check policy.toml --config wrong.toml",
    "policy check torn.toml --config good.toml",
    "policy check missing.toml",
    "policy check folder",
    "policy check latin.toml",
    "policy check failing.toml --config good.toml",
    "policy diff missing.toml policy.toml",
    "replay whole.pcap --robot 10.20.0.40 --policy policy.toml --config good.toml",
    "replay whole.pcap --robot 10.20.0.40 --policy missing.toml",
    "replay missing.pcap",
    "replay folder",
    "replay empty.pcap",
    "replay text.pcap",
    "replay usb.pcap",
    "replay cut.pcap --robot 10.20.0.40",
    "replay whole.pcap",
    "learn cut.pcap --robot 10.20.0.40",
    "learn usb.pcap",
    "learn whole.pcap --robot 10.20.0.40 -o missing/policy.toml",
    "explain cut.pcap#1 --robot 10.20.0.40",
    "explain missing.pcap#1",
];

#[test]
fn every_mistake_is_told_with_its_place_and_how_to_mend_it() {
    let directory = std::env::temp_dir().join(format!("vambrace-mistakes-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    write_files(&directory);
    let mut told = String::new();
    for command in COMMANDS {
        let output = Command::new(env!("CARGO_BIN_EXE_vambrace"))
            .args(command.split(' '))
            .current_dir(&directory)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        told += &format!("$ vambrace {command}\n");
        told += &String::from_utf8(output.stdout).unwrap();
        told += &String::from_utf8(output.stderr).unwrap();
        told += &format!("exit {}\n\n", output.status.code().unwrap());
    }
    fs::remove_dir_all(&directory).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mistakes.txt");
    if std::env::var_os("VAMBRACE_WRITE_GOLDEN").is_some() {
        fs::write(&golden, &told).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert!(told == expected, "expected\n{expected}\nfound\n{told}\nrun with VAMBRACE_WRITE_GOLDEN=1 if on purpose");
}
