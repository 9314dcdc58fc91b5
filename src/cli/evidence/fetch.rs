//! Evidence of a box far away, over its remote API.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::{Context, Exit, fail, failed, progress, unreachable_or_failed};
use crate::control::{Client, ControlError, Request, Response};
use crate::verify::{Entry, Folder, Store};

/// How often the list is asked for anew, where the box removed a file to keep to its budget before it was fetched.
const ATTEMPTS: usize = 5;

/// How much of the end of what was fetched before is compared with the box's, in bytes: as long as an evidence block is
/// at most, so that a trailer lies in it, which stands for all that is before.
const COMPARED: u64 = 64 << 10;

/// The store of a box far away.
pub(super) struct Remote {
    client: RefCell<Client>,
    entries: Vec<Entry>,
}

impl Remote {
    /// Reaches the box and notes which files there are and how long they are now.
    pub(super) fn open(context: &Context) -> Result<Self, Exit> {
        let unreachable = |error: ControlError| fail(unreachable_or_failed(&error), &error);
        let mut client = context.connect().map_err(unreachable)?;
        let mut entries = Vec::new();
        let mut after = 0;
        loop {
            match client.ask(&Request::EvidenceFiles { after }).map_err(unreachable)? {
                Response::EvidenceFiles { files, more } => {
                    entries.extend(files.into_iter().map(|file| Entry { name: file.name, bytes: file.bytes }));
                    let last = entries.iter().filter_map(Entry::segment).max().unwrap_or(0);
                    if !more || last <= after {
                        break;
                    }
                    after = last;
                }
                Response::Failed { kind, messages } => return Err(failed(kind, &messages)),
                _ => return Err(fail(Exit::Failed, &"the box answered something else")),
            }
        }
        // Names are the box's word, and some become files here.
        entries.retain(|entry| entry.segment().is_some() || BESIDE.contains(&entry.name.as_str()));
        entries.sort_by_key(|entry| (entry.segment(), entry.name.clone()));
        Ok(Self { client: RefCell::new(client), entries })
    }

    fn part(&self, file: &str, from: u64) -> io::Result<Vec<u8>> {
        let request = Request::EvidencePart { file: file.to_owned(), from };
        match self.client.borrow_mut().ask(&request).map_err(io::Error::other)? {
            Response::EvidencePart { base64 } => STANDARD.decode(base64).map_err(io::Error::other),
            Response::Failed { messages, .. } => Err(io::Error::other(messages.join("; "))),
            _ => Err(io::Error::other("the box answered something else")),
        }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

/// What belongs to the evidence beside the segments.
const BESIDE: [&str; 2] = ["evidence.counter", "evidence.pub"];

impl Store for Remote {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, entry: &Entry) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Parts { of: self, name: entry.name.clone(), at: 0, left: entry.bytes, part: Vec::new(), read: 0 }))
    }
}

/// A file that is asked for part by part.
struct Parts<'r> {
    of: &'r Remote,
    name: String,
    /// From which byte on the next part is asked for, and how many bytes are to come with it and after it.
    at: u64,
    left: u64,
    part: Vec<u8>,
    read: usize,
}

impl Read for Parts<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.part.get(self.read..).unwrap_or_default().is_empty() && self.left > 0 {
            let mut part = self.of.part(&self.name, self.at)?;
            part.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            let count = u64::try_from(part.len()).unwrap_or(u64::MAX);
            if count == 0 {
                let what = format!("{} became shorter while it was read; try again", self.name);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            (self.at, self.left) = (self.at.saturating_add(count), self.left.saturating_sub(count));
            (self.part, self.read) = (part, 0);
        }
        let count = self.part.get(self.read..).unwrap_or_default().read(to)?;
        self.read = self.read.saturating_add(count);
        Ok(count)
    }
}

/// A folder beside an export, where what was fetched for it lies until the export is whole.
pub(super) struct Fetched {
    path: PathBuf,
}

impl Fetched {
    /// Fetches all files of the box into `OUTPUT.parts`; what lies there of an earlier attempt is not fetched again.
    pub(super) fn beside(output: &Path, context: &Context) -> Result<Self, Exit> {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(".parts");
        let path = output.with_file_name(name);
        let here = |error: &dyn std::fmt::Display| fail(Exit::Failed, &super::at(&path, error));
        let mut attempt = 0;
        loop {
            let remote = Remote::open(context)?;
            attempt = usize::saturating_add(attempt, 1);
            // Once it is known that the box hands it out; a folder above it that is missing is a mistake.
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(here(&error)),
                _ => {}
            }
            match fetch(&remote, &path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("was removed meanwhile") => {}
                Err(error) => {
                    let what = format!("{error}; what was fetched stays there: the same command goes on with it");
                    return Err(here(&what));
                }
            }
        }
    }

    /// The files, as a store.
    pub(super) fn store(&self) -> io::Result<Folder> {
        Folder::open(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The export is whole: its parts are no longer needed.
    pub(super) fn remove(self) {
        let removed = files_of(&self.path)
            .and_then(|files| files.iter().try_for_each(fs::remove_file))
            .and_then(|()| fs::remove_dir(&self.path));
        if let Err(error) = removed {
            fail(Exit::Fine, &super::at(&self.path, &error));
        }
    }
}

/// The files of a folder of parts. What else lies there is somebody's: it is neither removed nor written over.
fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let is_ours = Entry { name: name.clone(), bytes: 0 }.segment().is_some() || BESIDE.contains(&name.as_str());
        if !is_ours || !entry.file_type()?.is_file() {
            return Err(io::Error::other(format!("{name:?} lies there, which is no part of an export; move it away")));
        }
        files.push(entry.path());
    }
    Ok(files)
}

fn fetch(remote: &Remote, into: &Path) -> io::Result<()> {
    for path in files_of(into)? {
        let known = path.file_name().and_then(|name| name.to_str()).and_then(|name| remote.entry(name));
        // Of another store, or longer than the box's: not what is there now.
        let fits = known.is_some_and(|known| fs::metadata(&path).is_ok_and(|meta| meta.len() <= known.bytes));
        if !fits {
            fs::remove_file(&path)?;
        }
    }
    let bar = progress(remote.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes)));
    for entry in &remote.entries {
        let path = into.join(&entry.name);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let begun = resumed(remote, entry, &mut file)?;
        bar.inc(begun);
        let left = entry.bytes.saturating_sub(begun);
        let mut parts = Parts { of: remote, name: entry.name.clone(), at: begun, left, part: Vec::new(), read: 0 };
        io::copy(&mut parts, &mut bar.wrap_write(&mut file))?;
        file.flush()?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// How much of the file is there already, its end compared with the box's; the file stands behind it.
fn resumed(remote: &Remote, entry: &Entry, file: &mut File) -> io::Result<u64> {
    let there = file.metadata()?.len();
    let compared = if entry.segment().is_some() { COMPARED } else { there };
    if there > 0 {
        let from = there.saturating_sub(compared);
        let mut own = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.take(compared).read_to_end(&mut own)?;
        if remote.part(&entry.name, from)?.get(..own.len()) == Some(&own[..]) {
            return Ok(there);
        }
        file.set_len(0)?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(0)
}
