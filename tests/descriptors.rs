//! Out of descriptors: whoever listens waits, and turns no core hot. A program of its own, since the limit is the
//! process's.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use vambrace::control::{Caller, Client, Handler, Request, Response, Server};

struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _: Request, _: &Caller) -> Response {
        Response::Done
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn a_server_out_of_descriptors_waits_and_goes_on() {
    let path = std::env::temp_dir().join(format!("vambrace-descriptors-{}.sock", std::process::id()));
    let server = Server::start(&path, Arc::new(Nothing)).unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..before }).unwrap();
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    // One for the client; none is left for the server's end of it.
    held.pop();
    let waiting = UnixStream::connect(&path).unwrap();
    let (begun, used) = (Instant::now(), processor_time());
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_time() - used;
    assert!(used < begun.elapsed() / 5, "{used:?} of processor time in {:?}", begun.elapsed());
    drop((held, waiting));
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(Client::connect(&path).unwrap().ask(&Request::Status).unwrap(), Response::Done, "it serves again");
    drop(server);
}
