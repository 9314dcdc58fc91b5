//! Files on other media that keep checkpoints, each with a thread of its own: a medium that hangs holds up nobody.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Largest witness file: two months of checkpoints every ten seconds. Then it is put aside and another one begun.
const MOST: u64 = 128 << 20;

/// Longest that the end of a run waits for a medium.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest end of a file that is looked at for its last whole note; a note is some 300 bytes.
const TAIL: u64 = 1 << 16;

/// How a witness fares; read by others at any time.
#[derive(Debug)]
pub struct WitnessState {
    path: PathBuf,
    since: Instant,
    latest: Mutex<(Option<Instant>, Option<String>)>,
}

impl WitnessState {
    /// The file that keeps checkpoints.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long ago it took a checkpoint; `None` where it has taken none in this run.
    #[must_use]
    pub fn took_one_ago(&self) -> Option<Duration> {
        self.latest().0.map(|at| at.elapsed())
    }

    /// Since when it has taken none: since its last one, or since this run began.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.latest().0.unwrap_or(self.since).elapsed()
    }

    /// What its medium refused with, while it does.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.latest().1.clone()
    }

    fn latest(&self) -> MutexGuard<'_, (Option<Instant>, Option<String>)> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One witness.
#[derive(Debug)]
pub(super) struct Witness {
    state: Arc<WitnessState>,
    notes: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    late: bool,
}

impl Witness {
    /// Starts the thread that writes to `path`.
    ///
    /// # Errors
    /// No thread can be made.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (notes, waiting) = sync_channel(1);
        let state = Arc::new(WitnessState { path, since: Instant::now(), latest: Mutex::default() });
        let of_thread = Arc::clone(&state);
        let thread = thread::Builder::new().name("witness".into()).spawn(move || write(&of_thread, &waiting))?;
        Ok(Self { state, notes: Some(notes), thread: Some(thread), late: false })
    }

    pub(super) fn state(&self) -> Arc<WitnessState> {
        Arc::clone(&self.state)
    }

    /// Hands a note over, unless the one before still waits for the medium.
    pub(super) fn push(&mut self, note: &str) {
        let Some(notes) = &self.notes else { return };
        match notes.try_send(note.to_owned()) {
            Ok(()) => self.late = false,
            Err(TrySendError::Full(_)) if !self.late => {
                self.late = true;
                tracing::warn!(path = %self.state.path.display(), "the witness takes no checkpoints; its medium hangs");
            }
            Err(_) => {}
        }
    }
}

impl Witness {
    /// Hands over the last note of a run, which says that nothing came after; waits for a medium that is slow.
    pub(super) fn push_last(&mut self, note: &str) {
        let Some(notes) = &self.notes else { return };
        let start = Instant::now();
        while matches!(notes.try_send(note.to_owned()), Err(TrySendError::Full(_))) && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.notes = None;
        let Some(thread) = self.thread.take() else { return };
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

fn write(state: &WitnessState, notes: &Receiver<String>) {
    let (path, mut failing) = (state.path.as_path(), false);
    while let Ok(note) = notes.recv() {
        let done = append(path, &note);
        {
            let mut latest = state.latest();
            latest.1 = done.as_ref().err().map(ToString::to_string);
            latest.0 = if done.is_ok() { Some(Instant::now()) } else { latest.0 };
        }
        match done {
            Ok(()) if failing => {
                failing = false;
                tracing::info!(path = %path.display(), "the witness takes checkpoints again");
            }
            Ok(()) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(path = %path.display(), %error, "no checkpoint reaches the witness; is its medium there?");
                }
                failing = true;
            }
        }
    }
}

/// Appends a note and an empty line. The folder is not made: where the medium is missing, nothing shall be put into the
/// place where it would be.
fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let len = file.metadata()?.len();
    if len > MOST {
        drop(file);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".1");
        fs::rename(path, path.with_file_name(name))?;
        return append(path, note);
    }
    let whole = whole_notes(&mut file, len, note)?;
    if whole < len {
        file.set_len(whole)?;
    }
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_data()
}

/// Length up to the end of the last note that was written whole: a signature's line and an empty one.
fn whole_notes(file: &mut (impl Read + Seek), len: u64, note: &str) -> io::Result<u64> {
    let start = len.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let end = (0..=tail.len()).rev().find(|end| {
        let before = tail.get(..*end).unwrap_or_default();
        let line = before.strip_suffix(b"\n\n").and_then(|before| before.rsplit(|byte| *byte == b'\n').next());
        line.is_some_and(|line| line.starts_with("\u{2014} ".as_bytes()))
    });
    if let Some(end) = end {
        return Ok(start.saturating_add(u64::try_from(end).unwrap_or(0)));
    }
    // Only what can be the beginning of the first note is cut off: the path may be that of somebody else's file.
    let origin = note.split_inclusive('\n').next().unwrap_or_default().as_bytes();
    let begun = tail.iter().zip(origin).all(|(found, expected)| found == expected);
    if start == 0 && begun {
        return Ok(0);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds something else; name another one as witness"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn notes_stand_one_after_the_other_and_a_torn_one_is_cut() {
        let directory = std::env::temp_dir().join(format!("vambrace-witness-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let path = directory.join("vambrace.checkpoints");
        let note = |leaves: u32| format!("vambrace/cell\n{leaves}\nroot\n\n\u{2014} vambrace/cell AAAA\n");
        // No medium: told of, waited for by nobody, nothing made in its place.
        let mut witness = Witness::start(path.clone()).unwrap();
        let state = witness.state();
        witness.push(&note(1));
        drop(witness);
        assert!(!directory.exists());
        assert!(state.took_one_ago().is_none() && state.error().is_some_and(|error| error.contains("No such file")));
        fs::create_dir(&directory).unwrap();
        let mut witness = Witness::start(path.clone()).unwrap();
        let state = witness.state();
        witness.push(&note(2));
        drop(witness);
        assert!(state.took_one_ago().is_some_and(|ago| ago <= state.lag()) && state.error().is_none());
        let whole = format!("{}\n", note(2));
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        // Of many at once some find no place; the last one waits for its own.
        let mut witness = Witness::start(path.clone()).unwrap();
        (0..50).for_each(|leaves| witness.push(&note(leaves)));
        witness.push_last(&note(99));
        drop(witness);
        assert!(fs::read_to_string(&path).unwrap().ends_with(&format!("{}\n", note(99))));
        fs::write(&path, &whole).unwrap();
        let torn = format!("{}\n", note(3));
        for cut in (0..torn.len()).filter(|cut| torn.is_char_boundary(*cut)) {
            fs::write(&path, format!("{whole}{}", &torn[..cut])).unwrap();
            append(&path, &note(4)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{whole}{}\n", note(4)), "cut at {cut}");
        }
        fs::write(&path, "root:x:0:0\n").unwrap();
        assert!(append(&path, &note(5)).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "root:x:0:0\n");
        fs::remove_dir_all(&directory).unwrap();
    }
}
