//! Holds one thread of another process, as nothing that the process does itself could: what a loop without end or a call
//! that does not return looks like from outside.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::Pid;

/// A thread that stands until its process is ended.
#[derive(Debug)]
pub struct Held {
    since: Receiver<Instant>,
    holder: JoinHandle<()>,
}

impl Held {
    /// Stops the thread with this number.
    pub fn hold(thread: Pid) -> Self {
        let (told, since) = channel();
        // Whoever holds a thread must be there when it ends, or its process is never quite gone.
        let holder = std::thread::spawn(move || {
            let id = thread.as_raw_nonzero().get();
            order(libc::PTRACE_SEIZE, id).unwrap();
            order(libc::PTRACE_INTERRUPT, id).unwrap();
            let mut status = 0;
            // SAFETY: waits for a thread that this thread traces; the status is an int of this frame.
            let stopped = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) };
            assert_eq!(stopped, id, "{}", io::Error::last_os_error());
            told.send(Instant::now()).unwrap();
            while !libc::WIFSIGNALED(status) && !libc::WIFEXITED(status) {
                // SAFETY: as above.
                if unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) } < 0 {
                    break;
                }
            }
        });
        Self { since, holder }
    }

    /// Since when it stands.
    pub fn since(&self) -> Instant {
        self.since.recv().unwrap()
    }

    /// Waits until it is gone.
    pub fn gone(self) {
        self.holder.join().unwrap();
    }
}

fn order(request: libc::c_uint, id: i32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these two requests take neither address nor data.
    if unsafe { libc::ptrace(request, id, none, none) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
