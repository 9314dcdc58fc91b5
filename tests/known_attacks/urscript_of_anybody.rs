//! CVE-2018-10635 (ICSA-18-191-01, RVD#673), IOActive 2017: ports 30001 to 30003 execute any URScript of anybody.

use vambrace::event::Reason;

use crate::{CELL, Guard, PANEL, PLC, STRANGER, WIDE};

#[test]
fn urscript_of_anybody() {
    let program = b"def attack():\n  movej([0,-1.57,0,-1.57,0,0], a=1.4, v=1.05)\nend\n";
    for port in [30001, 30002, 30003] {
        let guard = Guard::new(CELL, None);
        guard.refuses(STRANGER, port, program, Reason::NoRuleForClient);
        guard.refuses(PLC, port, program, Reason::NoServiceRule);
        guard.refuses(PANEL, port, program, Reason::CommandNotAllowed);
        guard.refuses(PANEL, port, b"set unlock protective stop\n", Reason::CommandNotAllowed);
        guard.passes(PANEL, port, b"set_digital_out(0, True)\n");
        let wide = Guard::new(WIDE, None);
        wide.patch_refuses(PLC, port, b"powerdown()\n", "CVE-2018-10635");
        wide.patch_refuses(PLC, port, b"def x():\n  if True:\n    powerdown()\n  end\nend\n", "CVE-2018-10635");
        wide.passes(PLC, port, program);
    }
}
