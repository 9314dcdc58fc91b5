//! PID 1, and under `launch` the short step between PID 1 and a child with few rights. One child is this program too: under
//! `clock`, the client of time servers.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == "launch") {
        let failure = vambrace_init::rights::launch(args);
        eprintln!("init: {failure}");
        return ExitCode::FAILURE;
    }
    if first.as_ref().is_some_and(|first| first == vambrace_init::clock::COMMAND) {
        return vambrace_init::clock::run(args);
    }
    if std::process::id() != 1 {
        eprintln!("init: this is PID 1 of the appliance image; it runs nowhere else");
        return ExitCode::from(2);
    }
    vambrace_init::boot::run()
}
