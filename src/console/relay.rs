//! A live capture over the remote API: what the control socket streams goes on over TLS.
//!
//! Nothing is gathered here. A reader that is slow, or beyond the pace, makes the packet process's buffer for it grow
//! full; what finds no room there is counted, and told in the capture's statistics blocks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::places::Pace;
use crate::control::Captured;

/// Most captures at once from afar: half of those that the packet process takes, so that those at the box have room.
pub(super) const CAPTURES: usize = 2;

/// Most bytes a second that go to one reader: a cell sends less, and a flood shall not take a core.
const BYTES_PER_SECOND: u64 = 32 << 20;

/// A reader that takes nothing for so long is let go; the packet process waits as long for this process.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long is listened whether the reader has ended the capture.
const LISTEN: Duration = Duration::from_millis(1);

/// How long the last packets may take, once the reader has asked for the end.
const ENDING: Duration = Duration::from_secs(3);

/// Passes on until either end closes, or `stop` is set; how many bytes, and how it ended.
pub(super) fn relay(
    mut captured: Captured,
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    stop: &AtomicBool,
) -> (u64, io::Result<()>) {
    let mut passed = 0;
    let ended = pass(&mut captured, stream, stop, &mut passed);
    (passed, ended)
}

fn pass(
    captured: &mut Captured,
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    stop: &AtomicBool,
    passed: &mut u64,
) -> io::Result<()> {
    stream.sock.set_read_timeout(Some(LISTEN))?;
    stream.sock.set_write_timeout(Some(PATIENCE))?;
    let (mut pace, mut bytes) = (Pace::new(BYTES_PER_SECOND), Vec::new());
    let mut ending: Option<Instant> = None;
    loop {
        if ending.is_none() && (stop.load(Ordering::Relaxed) || has_ended(stream)?) {
            captured.end();
            ending = Some(Instant::now());
        }
        bytes.clear();
        let more = captured.read(&mut bytes)?;
        stream.write_all(&bytes)?;
        stream.flush()?;
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        *passed = passed.saturating_add(count);
        if !more {
            stream.conn.send_close_notify();
            stream.flush()?;
            return stream.sock.shutdown(std::net::Shutdown::Write);
        }
        if ending.is_some_and(|since| since.elapsed() > ENDING) {
            return Ok(());
        }
        std::thread::sleep(pace.sent(count, Instant::now()));
    }
}

/// Whether the reader has closed its side; what it says is not listened to.
fn has_ended(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> io::Result<bool> {
    let mut heard = [0; 256];
    match stream.read(&mut heard) {
        Ok(0) => Ok(true),
        Ok(_) => Ok(false),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
