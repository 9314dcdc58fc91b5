//! A box whose checkpoints a management station keeps, all of it by the running programs: what the station holds is what
//! `evidence verify` takes, and a disk that was put back is found, on the disk and at the station.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::can_make_namespaces;
use support::console::{Ending, Folder, free, keygen, said, start, vambrace, wait_for};
use support::wire::{PLANT, ROBOT, Wire};

struct Cell {
    run: Option<Ending>,
    console: Option<Ending>,
    station: Option<Ending>,
    folder: Folder,
    wire: Wire,
}

impl Cell {
    fn new() -> Self {
        let folder = Folder::new("witness");
        keygen(&folder, &["ca"]);
        keygen(&folder, &["box", "127.0.0.1"]);
        let pushes = keygen(&folder, &["user", "cell4", "--role", "witness"]);
        let (address, own) = (free(), folder.0.display());
        let least = format!(
            "mode = \"observe\"\n[ports]\nplant = \"{PLANT}\"\nrobot = \"{ROBOT}\"\n[fast_path]\npolling = \"blocking\"\n\
             [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n"
        );
        let of_box = format!(
            "{least}[control]\nsocket = \"{own}/run/control.sock\"\n[record]\ndirectory = \"{own}/records\"\n\
             [console]\ndirectory = \"{own}/console\"\n[[console.witness]]\nname = \"station\"\naddress = \"{address}\"\n\
             ca = \"{own}/keys/ca.pem\"\ncertificate = \"{own}/keys/cell4.pem\"\nkey = \"{own}/keys/cell4.key\"\n"
        );
        // A management station has no guard: nobody answers on its socket.
        let of_station = format!(
            "{least}[control]\nsocket = \"{own}/station/none.sock\"\n[record]\ndirectory = \"{own}/station/records\"\n\
             [console]\ndirectory = \"{own}/station\"\nlisten = \"{address}\"\ncertificate = \"{own}/keys/box.pem\"\n\
             key = \"{own}/keys/box.key\"\nclient_ca = \"{own}/keys/ca.pem\"\n{pushes}"
        );
        std::fs::write(folder.file("box.toml"), of_box).unwrap();
        std::fs::write(folder.file("station.toml"), of_station).unwrap();
        let wire = Wire::new("vbwit", 1508);
        let station = start(&folder, &["console"], &folder.file("station.toml"), "station.log");
        wait_for("the station", || folder.log("station.log").contains("the remote API listens"));
        Self { run: None, console: None, station: Some(station), folder, wire }
    }

    fn begin(&mut self) {
        let mut command = self.wire.inside.command(support::vambrace());
        command.args(["run", "--config"]).arg(self.folder.file("box.toml")).stdout(Stdio::null());
        let log = std::fs::File::create(self.folder.file("run.log")).unwrap();
        self.run = Some(Ending(command.stderr(log).spawn().unwrap()));
        let socket = self.folder.file("run/control.sock");
        wait_for("the box", || {
            vambrace().arg("--socket").arg(&socket).arg("status").output().unwrap().status.success()
        });
        self.console = Some(start(&self.folder, &["console"], &self.folder.file("box.toml"), "console.log"));
    }

    fn end(&mut self) {
        (self.console, self.run) = (None, None);
    }

    /// Checkpoints that the station holds in a file: their numbers of leaves.
    fn held(&self, name: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.folder.file("station").join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let heads = lines.windows(2).filter(|pair| pair[0].starts_with("vambrace/"));
        heads.filter_map(|pair| pair[1].parse().ok()).collect()
    }

    fn verify(&self, witness: &str) -> (Option<i32>, String) {
        let witness = self.folder.file("station").join(witness);
        let mut command = vambrace();
        command
            .args(["evidence", "verify"])
            .arg(self.folder.file("records"))
            .arg("--key")
            .arg(self.folder.file("box.pub"));
        said(&command.arg("--witness").arg(witness).output().unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

const KEPT: &str = "witness-cell4.checkpoints";
const ASIDE: &str = "witness-cell4.aside-1.checkpoints";

#[test]
fn a_disk_that_was_put_back_is_found_by_the_station() {
    if !can_make_namespaces("a_disk_that_was_put_back_is_found_by_the_station") {
        return;
    }
    let mut cell = Cell::new();
    let (records, image): (PathBuf, PathBuf) = (cell.folder.file("records"), cell.folder.file("image"));
    cell.begin();
    std::fs::copy(records.join("evidence.pub"), cell.folder.file("box.pub")).unwrap();
    wait_for("a first checkpoint at the station", || !cell.held(KEPT).is_empty());
    cell.end();
    // The disk as it was that evening.
    copy(&records, &image);
    cell.begin();
    let first = cell.held(KEPT).last().copied();
    // The end of the first run may be the newest at first; what comes in this one is what matters.
    wait_for("a checkpoint of the second run", || cell.held(KEPT).len() > 1 && cell.held(KEPT).last().copied() > first);
    std::thread::sleep(std::time::Duration::from_secs(11));
    cell.end();
    let (code, text) = cell.verify(KEPT);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("itness"), "the answer says what the witness holds: {text}");
    let grown = cell.held(KEPT);
    assert!(grown.is_sorted() && grown.windows(2).all(|pair| pair[0] < pair[1]), "each says more: {grown:?}");

    copy(&image, &records);
    let (code, text) = cell.verify(KEPT);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("was cut off"), "{text}");

    // The box goes on from there, as if nothing had been: the station refuses it, says so, and keeps the proof.
    cell.begin();
    wait_for("the refusal", || cell.folder.log("station.log").contains("a checkpoint was refused"));
    assert!(cell.folder.log("station.log").contains("the log went back"), "{}", cell.folder.log("station.log"));
    wait_for("its word at the box", || cell.folder.log("console.log").contains("the log went back"));
    wait_for("the proof", || !cell.held(ASIDE).is_empty());
    cell.end();
    assert_eq!(cell.held(KEPT), grown, "what was kept stays");
    let (code, text) = cell.verify(KEPT);
    assert_eq!(code, Some(4), "{text}");
    cell.station = None;
}
