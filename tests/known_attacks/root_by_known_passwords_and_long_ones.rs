//! CVE-2018-10633 (ICSA-18-191-01, RVD#672): hard-coded credentials for root. CVE-2016-6515 and CVE-2016-6210 (RVD#921):
//! long passwords stop the old SSH server, its answers tell which users exist. All need a connection to port 22.

use vambrace::control::PatchState;
use vambrace::event::Reason;

use crate::{CELL, Guard, PANEL, PLC, STRANGER, WIDE, state};

#[test]
fn root_by_known_passwords_and_long_ones() {
    let guard = Guard::new(CELL, None);
    for from in [PLC, PANEL] {
        guard.refuses(from, 22, b"SSH-2.0-OpenSSH_9.2\r\n", Reason::NoServiceRule);
    }
    guard.refuses(STRANGER, 22, b"SSH-2.0-OpenSSH_9.2\r\n", Reason::NoRuleForClient);
    // Whoever opens the port to a whole network is told so.
    Guard::new(WIDE, None).passes(PLC, 22, b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(state(WIDE, "CVE-2018-10633"), PatchState::NotProtected);
    assert_eq!(state(WIDE, "CVE-2016-6515"), PatchState::NotProtected);
}
