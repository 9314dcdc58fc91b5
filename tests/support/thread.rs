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

/// Has a thread of another process make a system call, as code that was brought into it would, and says what the kernel
/// answered: a negative number is an error. The thread must be inside a call that can be gone on with, such as a sleep;
/// `text` is put into its memory, and its address into the argument with that place.
#[cfg(target_arch = "x86_64")]
pub fn call(thread: i32, number: libc::c_long, arguments: [u64; 3], text: Option<(usize, &[u8])>) -> i64 {
    let none = std::ptr::null_mut::<libc::c_void>();
    let wait = || {
        let mut status = 0;
        // SAFETY: waits for a thread that this thread traces; the status is an int of this frame.
        let waited = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        assert!(waited == thread && libc::WIFSTOPPED(status), "{status:x}");
    };
    order(libc::PTRACE_SEIZE, thread).unwrap();
    order(libc::PTRACE_INTERRUPT, thread).unwrap();
    wait();
    // SAFETY: user_regs_struct is plain integers, and the call fills a whole one.
    let before = unsafe {
        let mut registers: libc::user_regs_struct = std::mem::zeroed();
        assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, thread, none, &raw mut registers), 0);
        registers
    };
    let mut registers = before;
    let mut words = arguments;
    if let Some((place, text)) = text {
        // Below the red zone of the frame that sleeps.
        let at = before.rsp - 1024;
        for (offset, part) in (0_u64..).step_by(8).zip([text, &[0; 8]].concat().chunks(8)) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            let word = i64::from_ne_bytes(word);
            // SAFETY: writes into the other process's stack, where nothing is in use.
            let written = unsafe { libc::ptrace(libc::PTRACE_POKEDATA, thread, at + offset, word) };
            assert_eq!(written, 0, "{}", io::Error::last_os_error());
        }
        words[place] = at;
    }
    (registers.rdi, registers.rsi, registers.rdx) = (words[0], words[1], words[2]);
    registers.rax = number.cast_unsigned();
    registers.orig_rax = u64::MAX;
    // The instruction that it sleeps in: `syscall` has two bytes.
    registers.rip -= 2;
    // SAFETY: sets whole registers, steps over one instruction, reads them again and sets back what was there.
    let answer = unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SETREGS, thread, none, &raw const registers), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_SINGLESTEP, thread, none, none), 0);
        wait();
        assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, thread, none, &raw mut registers), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_SETREGS, thread, none, &raw const before), 0);
        registers.rax.cast_signed()
    };
    order(libc::PTRACE_DETACH, thread).unwrap();
    answer
}
