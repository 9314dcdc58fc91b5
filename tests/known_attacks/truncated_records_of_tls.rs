//! CVE-2017-3731 (RVD#1426): OpenSSL reads beyond a truncated record; only where a TLS service is open at all.

use vambrace::event::Reason;

use crate::{CELL, Guard, PLC};

#[test]
fn truncated_records_of_tls() {
    for port in [443, 802] {
        Guard::new(CELL, None).refuses(PLC, port, &[0x16, 3, 1, 0, 5, 1], Reason::NoServiceRule);
    }
}
