//! The log: a ring of the last lines in memory, which goes to the console as it grows and to the data partition at the end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of lines that are kept: some thousand lines, and little beside the memory of the guard.
pub const KEPT: usize = 256 * 1024;

/// Longest line in bytes; a longer one is kept in pieces, so that a child without line ends can't take the memory.
pub const LONGEST: usize = 1024;

/// The last lines, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    lines: VecDeque<String>,
    bytes: usize,
    has_new: bool,
}

impl Ring {
    /// Takes a line in; the oldest go where there is no room.
    pub fn push(&mut self, line: String) {
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
        self.has_new = true;
        while self.bytes > KEPT {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &str> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(String::as_str)
    }
}

/// The log of this boot. Its clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Ring>>);

impl Log {
    /// Writes a line to the console and keeps it, with the seconds since the kernel began.
    pub fn say(&self, who: &str, line: &str) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let line = format!("[{:>5}.{:03}] {who}: {}", now.tv_sec, now.tv_nsec / 1_000_000, printable(line));
        // A console that is gone is no reason to end.
        let _ = writeln!(std::io::stderr(), "{line}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Writes a line to the console and keeps nothing of it: what whoever stands before the box may know and those who
    /// read its log may not.
    pub fn show(&self, who: &str, line: &str) {
        let _ = writeln!(std::io::stderr(), "{who}: {}", printable(line));
    }

    /// Shows what a child writes until it closes its end, in a thread of its own.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn show_all(&self, who: &'static str, from: impl Read + Send + 'static) -> std::io::Result<()> {
        let log = self.clone();
        std::thread::Builder::new().name(format!("screen of {who}")).spawn(move || {
            for_each_line(from, |line| log.show(who, line));
        })?;
        Ok(())
    }

    /// Follows what a child writes until it closes its end, in a thread of its own.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn follow(&self, who: &'static str, from: impl Read + Send + 'static) -> std::io::Result<()> {
        let log = self.clone();
        std::thread::Builder::new().name(format!("log of {who}")).spawn(move || {
            for_each_line(from, |line| log.say(who, line));
        })?;
        Ok(())
    }

    /// Writes the lines that are kept into a file in memory that a group may read, if there are new ones.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn share(&self, file: &Path, group: u32) -> std::io::Result<()> {
        {
            let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut ring.has_new) {
                return Ok(());
            }
        }
        file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let fresh = file.with_extension("new");
        self.save(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o640))?;
        std::os::unix::fs::chown(&fresh, None, Some(group))?;
        std::fs::rename(fresh, file)
    }

    /// Writes the lines that are kept into a file, in place of what was in it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, file: &Path) -> std::io::Result<()> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(ring.bytes.saturating_add(ring.lines.len()));
        for line in ring.last(usize::MAX) {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(file, text)
    }
}

/// Calls `take` for each line, and for each [`LONGEST`] bytes of one that is longer.
fn for_each_line(from: impl Read, mut take: impl FnMut(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::with_capacity(LONGEST);
    loop {
        line.clear();
        let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        match from.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

/// What a child writes can hold bytes from the wire: nothing of it may steer a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|char| if char.is_control() && char != '\t' { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_and_stays_within_its_bytes() {
        let mut ring = Ring::default();
        for number in 0..100_000 {
            ring.push(format!("line {number}"));
            assert!(ring.bytes <= KEPT);
        }
        assert_eq!(ring.last(2).collect::<Vec<_>>(), ["line 99998", "line 99999"]);
        assert_eq!(ring.bytes, ring.lines.iter().map(String::len).sum::<usize>());
        assert!(ring.bytes > KEPT - 20, "{}", ring.bytes);
    }

    #[test]
    fn the_shared_log_is_the_groups_alone_and_written_when_it_grew() {
        let file = std::env::temp_dir().join(format!("vbimg-log-{}", std::process::id()));
        let log = Log::default();
        log.say("test", "one");
        log.share(&file, rustix::process::getegid().as_raw()).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("test: one\n"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::remove_file(&file).unwrap();
        log.share(&file, 0).unwrap();
        assert!(!file.exists(), "nothing was said since");
    }

    #[test]
    fn a_line_without_end_is_kept_in_pieces() {
        let mut pieces = Vec::new();
        for_each_line(&[b'a'; 2 * LONGEST + 1][..], |line| pieces.push(line.len()));
        assert_eq!(pieces, [LONGEST, LONGEST, 1]);
    }

    #[test]
    fn bytes_from_the_wire_steer_no_terminal() {
        let mut lines = Vec::new();
        for_each_line(&b"one\n\x1b[2Jtwo\xff\n"[..], |line| lines.push(printable(line)));
        assert_eq!(lines, ["one", "\u{fffd}[2Jtwo\u{fffd}"]);
    }
}
