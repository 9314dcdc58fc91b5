//! PID 1, and under `launch` the short step between PID 1 and a child with few rights.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "launch") {
        let failure = vambrace_init::rights::launch(args);
        eprintln!("init: {failure}");
        return ExitCode::FAILURE;
    }
    if std::process::id() != 1 {
        eprintln!("init: this is PID 1 of the appliance image; it runs nowhere else");
        return ExitCode::from(2);
    }
    vambrace_init::boot::run()
}
