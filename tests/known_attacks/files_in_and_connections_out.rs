//! CVE-2020-10266, CVE-2020-10267, CVE-2020-10290, CVE-2016-8619 (RVD#1487, #1489, #1495, #1496) and the archives of the
//! Robot Hacking Manual: packages come in over file transfer, plug-ins go out, or ask a server.

use crate::{CELL, Guard, PLC, STRANGER, WIDE};

#[test]
fn files_in_and_connections_out() {
    let cell = Guard::new(CELL, None);
    for port in [21, 22, 80, 443, 445] {
        assert_eq!(cell.takes(PLC, port, b"x").arrived, 0, "in by {port}");
        for to in [PLC, STRANGER] {
            assert!(!cell.lets_out(to, port), "out by {port}");
        }
    }
    assert!(Guard::new(WIDE, None).lets_out(STRANGER, 443), "the connection itself is sound");
}
