//! None is missed: commands that an independent reader finds in captures of real clients, and that tshark finds, against
//! those that `replay` judges. Under an empty policy all of them are refused; under the one learned from the capture none.
//!
//! The captures do not belong to the project. Where they don't lie beside it, `tests/real_clients.rs` makes the same
//! comparison on traffic of its own.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use support::{reader, replayed, skipped, time_travel};

/// A capture of `../shared/captures`, if there is one.
fn capture(test: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures").join(name);
    if !path.is_file() {
        skipped(test, &format!("no ../shared/captures/{name}, which is no part of the project"));
        return None;
    }
    Some(path)
}

/// What `replay` finds with and without the policy learned from the capture.
fn judge(test: &str, capture: &Path) -> [replayed::Replayed; 2] {
    let policy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}.toml", std::process::id()));
    replayed::learn(capture, &["--robot", "127.0.0.1"], &policy);
    let found = [
        replayed::replay(capture, &[]),
        replayed::replay(capture, &["--policy", policy.to_str().unwrap(), "--robot", "127.0.0.1"]),
    ];
    std::fs::remove_file(policy).unwrap();
    found
}

#[test]
fn every_command_of_the_robot_clients_is_judged() {
    let test = "every_command_of_the_robot_clients_is_judged";
    let Some(capture) = capture(test, "ur_clients_lo.pcapng") else { return };
    let streams = reader::streams(&capture, Ipv4Addr::LOCALHOST);
    let [refused, learned] = judge(test, &capture);
    assert_eq!(refused.by_service(), reader::count(&streams));
    assert_eq!(refused.by_connection, reader::count_by_connection(&streams));
    assert_eq!((refused.number("allowed"), refused.number("refused")), (0, 75));
    assert_eq!((learned.number("allowed"), learned.number("refused")), (75, 0));
}

#[test]
fn every_command_of_the_modbus_clients_is_judged() {
    let test = "every_command_of_the_modbus_clients_is_judged";
    let Some(capture) = capture(test, "modbus_clients_lo.pcapng") else { return };
    let streams = reader::streams(&capture, Ipv4Addr::LOCALHOST);
    let [refused, learned] = judge(test, &capture);
    assert_eq!(refused.by_service(), reader::count(&streams));
    assert_eq!(refused.by_connection, reader::count_by_connection(&streams));
    assert_eq!((refused.number("allowed"), refused.number("refused")), (0, 24));
    assert_eq!((learned.number("allowed"), learned.number("refused")), (24, 0));
    if let Some(counted) = support::tshark::modbus_requests(test, &capture, "127.0.0.1") {
        assert_eq!(refused.by_connection, counted);
    }
}

/// The records of a capture say under each policy what the capture itself says.
#[test]
fn records_are_judged_again_as_the_capture_is() {
    let test = "records_are_judged_again_as_the_capture_is";
    // Of ur_rtde's scripts the records hold only the beginning.
    for (name, robots, judged) in [("ur_clients_lo.pcapng", 75, 60), ("modbus_clients_lo.pcapng", 24, 24)] {
        let Some(capture) = capture(test, name) else { return };
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let arguments = ["--robot", "127.0.0.1"];
        let [learned, half, none] = ["learned", "half", "none"].map(|file| directory.join(file).with_extension("toml"));
        replayed::learn(&capture, &arguments, &learned);
        let text = std::fs::read_to_string(&learned).unwrap();
        std::fs::write(&half, time_travel::every_second_rule(&text)).unwrap();
        std::fs::write(&none, "version = 1\nrobot = \"127.0.0.1\"\n").unwrap();
        for recorded in [&learned, &none] {
            let others = [&*half, &*none, &*learned];
            let (again, untold) = time_travel::assert_same(&capture, &arguments, recorded, &others);
            assert_eq!(again + untold, 4 * robots);
            assert!(again >= 4 * judged, "{again} judged again, {untold} not, of {name}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}

mod the_reader_itself {
    //! An oracle that counts less than there is would agree with a product that misses the same.

    use super::support::reader::Stream;

    fn units(port: u16, bytes: &[u8]) -> Vec<Vec<u8>> {
        let address = |port| std::net::SocketAddrV4::new([10, 0, 0, 1].into(), port);
        Stream { client: address(40_000), robot: address(port), bytes: bytes.to_vec() }.units()
    }

    #[test]
    fn pipelined_units_count_each() {
        let read = [0, 7, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];
        assert_eq!(units(502, &[read, read, read].concat()), [read, read, read]);
        let (version, controller) = (&[0, 5, 86, 0, 2][..], &[0, 3, 118][..]);
        assert_eq!(units(30004, &[version, controller].concat()), [version, controller]);
        assert_eq!(units(29999, b"robotmode\nplay\n"), [&b"robotmode"[..], b"play"]);
    }

    #[test]
    fn programs_end_at_their_own_end() {
        let text = b"def a():\n  if x:\n    y()\n  end\nend\n# note\n\npopup(\"end\")\nsec b():\n  z()\nend\n";
        let found = units(30003, text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1], b"popup(\"end\")\n");
        assert!(found[0].starts_with(b"def a") && found[2].ends_with(b"end\n"));
    }

    #[test]
    #[should_panic(expected = "fewer than a header")]
    fn a_rest_is_not_passed_over() {
        units(30004, &[0, 3, 118, 0]);
    }

    #[test]
    #[should_panic(expected = "a program without its end")]
    fn a_cut_program_is_not_passed_over() {
        units(30001, b"def a():\n  b()\n");
    }
}
