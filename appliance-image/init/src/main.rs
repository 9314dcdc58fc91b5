//! PID 1, and under `launch` the short step between PID 1 and a child with few rights. Two children are this program too:
//! under `clock`, the client of time servers; under `updater`, the one that alone writes slots.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_deref() == Some("launch".as_ref()) {
        let failure = vambrace_init::rights::launch(args);
        eprintln!("init: {failure}");
        return ExitCode::FAILURE;
    }
    if first.as_deref() == Some(vambrace_init::clock::COMMAND.as_ref()) {
        return vambrace_init::clock::run(args);
    }
    if first.as_deref() == Some("updater".as_ref())
        && let Some(config) = args.next()
    {
        return vambrace_init::update::updater::run(config.as_ref());
    }
    if std::process::id() != 1 {
        eprintln!("init: this is PID 1 of the appliance image; it runs nowhere else");
        return ExitCode::from(2);
    }
    vambrace_init::boot::run()
}
