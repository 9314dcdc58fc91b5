//! CVE-2016-0634 (RVD#1488): bash runs what stands in a host name, once somebody logs in.

use crate::{CELL, Guard, PLC};

#[test]
fn a_login_for_the_shell() {
    for port in [22, 23] {
        assert_eq!(Guard::new(CELL, None).takes(PLC, port, b"root\r\n").arrived, 0);
    }
}
