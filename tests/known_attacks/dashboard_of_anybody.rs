//! CVE-2020-10265 (RVD#1443): the Dashboard lets anybody start and stop programs, shut down and reset safety.

use vambrace::event::Reason;

use crate::{CELL, Guard, PANEL, PLC, STRANGER, WIDE};

#[test]
fn dashboard_of_anybody() {
    let dangerous = [
        "shutdown",
        "unlock protective stop",
        "restart safety",
        "close safety popup",
        "load installation attack.installation",
        "set operational mode manual",
        "clear operational mode",
        "setUserRole programmer",
    ];
    let (cell, wide) = (Guard::new(CELL, None), Guard::new(WIDE, None));
    for line in dangerous.map(|text| format!("{text}\n")) {
        cell.refuses(STRANGER, 29_999, line.as_bytes(), Reason::NoRuleForClient);
        cell.refuses(PLC, 29_999, line.as_bytes(), Reason::NoServiceRule);
        for guard in [&cell, &wide] {
            guard.patch_refuses(PANEL, 29_999, line.as_bytes(), "CVE-2020-10265");
        }
    }
    for line in ["play\n", "stop\n", "load /programs/pick.urp\n", "robotmode\n"] {
        cell.refuses(STRANGER, 29_999, line.as_bytes(), Reason::NoRuleForClient);
        cell.passes(PANEL, 29_999, line.as_bytes());
    }
    cell.refuses(PANEL, 29_999, b"power on\n", Reason::CommandNotAllowed);
}
