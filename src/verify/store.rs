//! Where the files of a store come from: a folder, an export, or memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without folders.
    pub name: String,
    /// Its length when the store was opened, in bytes.
    pub bytes: u64,
}

impl Entry {
    /// Number of the segment that it is, if any.
    #[must_use]
    pub fn segment(&self) -> Option<u64> {
        let digits = self.name.strip_prefix("evidence-")?.strip_suffix(".pcapng")?;
        let number = digits.parse().ok()?;
        (segment_name(number) == self.name && number > 0).then_some(number)
    }
}

/// Name of the file of a segment.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("evidence-{number:08}.pcapng")
}

/// Files that can be read.
pub trait Store {
    /// The files, in order.
    fn entries(&self) -> &[Entry];

    /// Whether a manifest must name the files.
    fn is_export(&self) -> bool {
        false
    }

    /// Begins to read a file, up to the length that its entry says.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, entry: &Entry) -> io::Result<Box<dyn Read + '_>>;
}

/// A folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Folder {
    /// Notes which files there are and how long they are now; one that grows is read up to there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Names first: a segment that is followed by one in the list has its whole length by the time that it is asked.
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        // The oldest are asked first: what tells of one that is removed meanwhile stands in those that are asked after it.
        names.sort_by_key(|name| Entry { name: name.clone(), bytes: 0 }.segment());
        let mut entries = Vec::new();
        for name in names {
            let is_ours = Entry { name: name.clone(), bytes: 0 }.segment().is_some();
            if is_ours || ["evidence.pub", "evidence.counter"].contains(&name.as_str()) {
                match std::fs::metadata(path.join(&name)) {
                    Ok(meta) => entries.push(Entry { name, bytes: meta.len() }),
                    // Removed meanwhile, to keep to the budget.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        entries.sort_by_key(|entry| (entry.segment(), entry.name.clone()));
        Ok(Self { path: path.to_owned(), entries })
    }
}

impl Store for Folder {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn open(&self, entry: &Entry) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(self.path.join(&entry.name))?.take(entry.bytes)))
    }
}

/// An export.
#[derive(Debug)]
pub struct Export {
    path: PathBuf,
    entries: Vec<Entry>,
    places: Vec<u64>,
}

impl Export {
    /// Reads the table of contents of a tar file.
    ///
    /// # Errors
    /// What the system says, or that this is no tar file as exports are.
    pub fn open(path: &Path) -> io::Result<Self> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let (mut entries, mut places): (Vec<Entry>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut archive = tar::Archive::new(File::open(path)?);
        let mut end = 0;
        for entry in archive.entries_with_seek()? {
            // What the library says of garbage quotes it.
            let entry = entry.map_err(|_| {
                wrong(match entries.last() {
                    None => "is neither a folder nor a tar file".into(),
                    Some(last) => {
                        format!("is no whole tar file: what stands behind {} is none of its files", last.name)
                    }
                })
            })?;
            let name = entry.path()?.to_str().map(str::to_owned).unwrap_or_default();
            if !entry.header().entry_type().is_file() || name.is_empty() || name.contains('/') {
                return Err(wrong(format!("holds something that is no plain file: {name:?}")));
            }
            let (place, bytes) = (entry.raw_file_position(), entry.size());
            end = place.saturating_add(bytes);
            if end > length {
                return Err(wrong(format!("is cut short in {name}")));
            }
            let padding = end.next_multiple_of(512).saturating_sub(end);
            are_zeros(&mut file, end, padding)?;
            entries.push(Entry { name, bytes });
            places.push(place);
        }
        if entries.is_empty() {
            return Err(wrong("is neither a folder nor a tar file".into()));
        }
        are_zeros(&mut file, end, length.saturating_sub(end))?;
        Ok(Self { path: path.to_owned(), entries, places })
    }
}

/// What lies between the files of a tar file holds nothing.
fn are_zeros(file: &mut File, from: u64, count: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut rest = file.by_ref().take(count);
    let mut buffer = [0; 4096];
    loop {
        let read = rest.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        if buffer.iter().take(read).any(|byte| *byte != 0) {
            let what = format!("holds bytes between its files, behind byte {from}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    }
}

impl Store for Export {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn is_export(&self) -> bool {
        true
    }

    fn open(&self, entry: &Entry) -> io::Result<Box<dyn Read + '_>> {
        let at = self.entries.iter().position(|own| own == entry);
        let place = at.and_then(|at| self.places.get(at)).ok_or(io::ErrorKind::NotFound)?;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(*place))?;
        Ok(Box::new(file.take(entry.bytes)))
    }
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    entries: Vec<Entry>,
    contents: Vec<Vec<u8>>,
    export: bool,
}

impl Memory {
    /// A store of these files; `export` says whether a manifest must name them.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>, export: bool) -> Self {
        let mut files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        let number = |name: &str| Entry { name: name.to_owned(), bytes: 0 }.segment();
        if !export {
            files.sort_by_key(|(name, _)| (number(name), name.clone()));
        }
        let bytes = |content: &Vec<u8>| u64::try_from(content.len()).unwrap_or(u64::MAX);
        let entries = files.iter().map(|(name, content)| Entry { name: name.clone(), bytes: bytes(content) }).collect();
        Self { entries, contents: files.into_iter().map(|(_, content)| content).collect(), export }
    }
}

impl Store for Memory {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn is_export(&self) -> bool {
        self.export
    }

    fn open(&self, entry: &Entry) -> io::Result<Box<dyn Read + '_>> {
        let at = self.entries.iter().position(|own| own == entry);
        let content = at.and_then(|at| self.contents.get(at)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(content.as_slice()))
    }
}
