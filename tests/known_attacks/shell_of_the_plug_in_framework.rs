//! RVD#1406: the Felix shell on port 6666 takes `shutdown` from anybody, by netcat.

use vambrace::event::Reason;

use crate::{CELL, Guard, PLC, WIDE};

#[test]
fn shell_of_the_plug_in_framework() {
    Guard::new(CELL, None).patch_refuses(PLC, 6666, b"shutdown\n", "RVD-1406");
    Guard::bare(CELL).refuses(PLC, 6666, b"shutdown\n", Reason::NoServiceRule);
    let wide = Guard::new(WIDE, None);
    wide.patch_refuses(PLC, 6666, b"shutdown\n", "RVD-1406");
    wide.passes(PLC, 6667, b"shutdown\n");
    // The port has nothing to do with it on an e-Series.
    Guard::new(WIDE, Some("5.12.0")).passes(PLC, 6666, b"hello\n");
    Guard::new(WIDE, Some("3.12.1")).patch_refuses(PLC, 6666, b"shutdown\n", "RVD-1406");
}
