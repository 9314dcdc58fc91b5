//! A small index over event files, so that a question does not read every line: SQLite, in one file.
//!
//! It knows where each line stands, when it was written, the words that questions are asked by, which registers were
//! written, and what was done for the first time. What a line says is the asker's to read ([`Facts`]); the index narrows
//! down, and whoever asks looks at the lines themselves. Lines that it does not know yet are told of as such
//! ([`Found::from`]), so that an index that is behind, or can't be written, costs time and never an answer.
//!
//! It is made from the files and nothing else: what is lost, of another version or damaged is made anew; the rows of files
//! that were removed go with them.

mod condition;
mod known;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

pub use condition::Condition;
use known::Known;

/// Number of the layout; another one is made anew.
const LAYOUT: i64 = 1;

/// Columns of words that a layout has room for.
pub const COLUMNS: usize = 12;

/// Lines between two commits: what is written when power fails is less than so many, and memory stays small.
const BATCH: u32 = 20_000;

/// How long another one that writes the index is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Widest span of registers in one row, so that those around an address are found by a range. A wider one is kept in
/// several.
const SPAN: i64 = 1024;

/// What a question may narrow by, out of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Microseconds since 1970; `None` where its time has an odd form, so that it is looked at whatever the time.
    pub time_us: Option<i64>,
    /// Of each column what stands there; columns that are missing are absent.
    pub words: Vec<Word>,
    /// First and last register or coil that it tells to have been written, or would have.
    pub written: Option<(u16, u16)>,
    /// What it did, without its values: whoever does the same again is no news.
    pub behaviour: Option<String>,
}

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing.
    Absent,
    /// Something that is no text: the line is looked at.
    Odd,
    /// This text.
    Text(String),
}

/// Numbers of words in rows: what is no text has one as well.
const ABSENT: i64 = 0;
const ODD: i64 = 1;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the files that were asked about.
    pub file: usize,
    /// First byte.
    pub offset: u64,
    /// Bytes, without line end.
    pub length: u64,
}

/// Lines that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In the order of the files and within them.
    pub places: Vec<Place>,
    /// Of each file, up to which byte the index knows it: what stands behind is to be looked at.
    pub from: Vec<u64>,
}

/// Why the index can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The files.
    #[error("{0}")]
    Files(#[from] std::io::Error),
    /// The index.
    #[error("{0}")]
    Index(#[from] rusqlite::Error),
}

/// The index of one folder.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    db: Connection,
}

impl Index {
    /// Opens the index at `path`; makes it where it is missing, of another layout, or no index.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        match Self::try_open(path) {
            Ok(index) => Ok(index),
            Err(_) if path.exists() => {
                remove(path)?;
                Self::try_open(path)
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &Path) -> Result<Self, IndexError> {
        let db = Connection::open(path)?;
        db.busy_timeout(PATIENCE)?;
        // Tests make hundreds of them, and no power fails.
        #[cfg(test)]
        db.execute_batch("PRAGMA synchronous = OFF")?;
        let layout: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if layout != LAYOUT {
            if tables > 0 {
                // Somebody else's, or an older one: never added to.
                return Err(rusqlite::Error::InvalidQuery.into());
            }
            db.execute_batch(&create())?;
        }
        Ok(Self { path: path.to_owned(), db })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it anew.
    fn renew(&mut self) -> Result<(), IndexError> {
        self.db = Connection::open_in_memory()?;
        remove(&self.path)?;
        self.db = Self::try_open(&self.path)?.db;
        Ok(())
    }

    /// Takes in what was written since the last time; `files` are those of the folder, oldest first. What is damaged is
    /// made anew.
    ///
    /// # Errors
    /// A file can't be read, or the index not be written.
    pub fn update(&mut self, files: &[PathBuf], facts: &impl Fn(&str) -> Option<Facts>) -> Result<(), IndexError> {
        match self.try_update(files, facts) {
            Err(IndexError::Index(error)) if is_damage(&error) => {
                self.renew()?;
                self.try_update(files, facts)
            }
            done => done,
        }
    }

    fn try_update(&mut self, files: &[PathBuf], facts: &impl Fn(&str) -> Option<Facts>) -> Result<(), IndexError> {
        let here: Vec<Option<Known>> = files.iter().map(|path| Known::of(path)).collect::<Result<_, _>>()?;
        if !self.forget(&here)? {
            // A file that is older than what is known: rows stand in the order of the files.
            self.renew()?;
        }
        for (path, known) in files.iter().zip(&here) {
            if let Some(known) = known {
                self.read(path, known, facts)?;
            }
        }
        Ok(())
    }

    /// Removes the rows of files that are gone; says whether what is left stands in the order of the files.
    fn forget(&mut self, here: &[Option<Known>]) -> Result<bool, IndexError> {
        let there = Known::all(&self.db)?;
        let gone: Vec<i64> =
            there.iter().filter(|(_, known, _)| !here.iter().flatten().any(|it| it == known)).map(|it| it.0).collect();
        if !gone.is_empty() {
            let change = self.db.transaction()?;
            for file in gone {
                change.execute("DELETE FROM written WHERE line IN (SELECT id FROM line WHERE file = ?1)", [file])?;
                change.execute("DELETE FROM line WHERE file = ?1", [file])?;
                change.execute("DELETE FROM file WHERE id = ?1", [file])?;
            }
            change.execute("DELETE FROM first", [])?;
            change.execute(
                "INSERT INTO first SELECT behaviour, min(id) FROM line WHERE behaviour IS NOT NULL GROUP BY behaviour",
                [],
            )?;
            // Words that no line has any more are few: rules, clients, programs. They go when the index is made anew.
            change.commit()?;
        }
        let ids = here.iter().flatten().map(|known| there.iter().find(|(_, it, _)| it == known).map(|it| it.0));
        // Known ones first, growing; then those that are not known yet.
        let ids: Vec<Option<i64>> = ids.collect();
        let known = ids.iter().take_while(|id| id.is_some()).count();
        Ok(ids.iter().flatten().is_sorted() && ids.iter().skip(known).all(Option::is_none))
    }

    /// Takes in what stands behind the part of a file that is known.
    fn read(&mut self, path: &Path, known: &Known, facts: &impl Fn(&str) -> Option<Facts>) -> Result<(), IndexError> {
        let (file, mut offset) = known.take_up(&self.db)?;
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        if reader.get_ref().metadata()?.len() <= offset {
            return Ok(());
        }
        reader.seek(SeekFrom::Start(offset))?;
        let mut line = Vec::new();
        let mut more = true;
        while more {
            let change = self.db.transaction()?;
            {
                let mut rows = Rows::of(&change)?;
                for _ in 0..BATCH {
                    line.clear();
                    more = reader.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n');
                    if !more {
                        break;
                    }
                    let length = i64::try_from(line.len()).unwrap_or(i64::MAX);
                    if let Ok(text) = std::str::from_utf8(&line)
                        && let Some(facts) = facts(text.trim_end_matches(['\r', '\n']))
                    {
                        rows.add(file, offset, length, &facts)?;
                    }
                    offset = offset.saturating_add(length.unsigned_abs());
                }
            }
            let position = i64::try_from(offset).unwrap_or(i64::MAX);
            change.execute("UPDATE file SET position = ?2 WHERE id = ?1", [file, position])?;
            change.commit()?;
        }
        Ok(())
    }

    /// The numbers of the words of a column for which `holds`; of what is absent too, where `absent` is asked for.
    ///
    /// # Errors
    /// The index can't be read.
    pub fn words(&self, column: usize, holds: &mut dyn FnMut(&str) -> bool) -> Result<Vec<i64>, IndexError> {
        let column = i64::try_from(column).unwrap_or(i64::MAX);
        let mut query = self.db.prepare("SELECT id, text FROM word WHERE col = ?1")?;
        let mut rows = query.query([column])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let text: String = row.get(1)?;
            if holds(&text) {
                found.push(row.get(0)?);
            }
        }
        Ok(found)
    }

    /// Whether a line that it knows does this.
    ///
    /// # Errors
    /// The index can't be read.
    pub fn knows(&self, behaviour: &str) -> Result<bool, IndexError> {
        let mut query = self
            .db
            .prepare("SELECT 1 FROM first WHERE behaviour = (SELECT id FROM word WHERE col = ?1 AND text = ?2)")?;
        Ok(query.exists(rusqlite::params![i64::try_from(BEHAVIOURS).unwrap_or(i64::MAX), behaviour])?)
    }

    /// The lines of `files` for which `condition` may hold; `None` where they are more than `most`.
    ///
    /// # Errors
    /// The index or a file can't be read.
    pub fn find(&self, files: &[PathBuf], condition: &Condition, most: usize) -> Result<Option<Found>, IndexError> {
        let there = Known::all(&self.db)?;
        let mut from = vec![0; files.len()];
        let mut numbers = Vec::new();
        for (at, path) in files.iter().enumerate() {
            let Some(known) = Known::of(path)? else { continue };
            if let (Some((id, _, position)), Some(from)) = (there.iter().find(|it| it.1 == known), from.get_mut(at)) {
                *from = *position;
                numbers.push((*id, at));
            }
        }
        let text = format!("SELECT file, offset, length FROM line WHERE {} ORDER BY id", condition.sql());
        let mut query = self.db.prepare(&text)?;
        let mut rows = query.query([])?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            if places.len() >= most {
                return Ok(None);
            }
            let id: i64 = row.get(0)?;
            let Some((_, file)) = numbers.iter().find(|(number, _)| *number == id) else { continue };
            let [offset, length]: [i64; 2] = [row.get(1)?, row.get(2)?];
            places.push(Place { file: *file, offset: offset.unsigned_abs(), length: length.unsigned_abs() });
        }
        places.sort_by_key(|place| (place.file, place.offset));
        Ok(Some(Found { places, from }))
    }
}

/// The statements that rows are added with.
struct Rows<'c> {
    db: &'c Connection,
    line: rusqlite::Statement<'c>,
    word: rusqlite::Statement<'c>,
    new_word: rusqlite::Statement<'c>,
    written: rusqlite::Statement<'c>,
    first: rusqlite::Statement<'c>,
    /// Words of late, so that most lines ask nothing.
    recent: std::collections::HashMap<(usize, String), i64>,
}

/// Most words that are remembered at once.
const RECENT: usize = 4096;

/// The place of behaviours among the words.
const BEHAVIOURS: usize = COLUMNS;

impl<'c> Rows<'c> {
    fn of(db: &'c Connection) -> Result<Self, IndexError> {
        let columns: String = (0..COLUMNS).map(|at| format!(", w{at}")).collect();
        let values: String = (0..COLUMNS).map(|at| format!(", ?{}", at.saturating_add(6))).collect();
        Ok(Self {
            db,
            line: db.prepare(&format!(
                "INSERT INTO line (file, offset, length, time, behaviour{columns}) VALUES (?1, ?2, ?3, ?4, ?5{values})"
            ))?,
            word: db.prepare("SELECT id FROM word WHERE col = ?1 AND text = ?2")?,
            new_word: db.prepare("INSERT INTO word (col, text) VALUES (?1, ?2)")?,
            written: db.prepare("INSERT INTO written (low, high, line) VALUES (?1, ?2, ?3)")?,
            first: db.prepare("INSERT OR IGNORE INTO first (behaviour, line) VALUES (?1, ?2)")?,
            recent: std::collections::HashMap::new(),
        })
    }

    fn add(&mut self, file: i64, offset: u64, length: i64, facts: &Facts) -> Result<(), IndexError> {
        let behaviour = facts.behaviour.as_deref().map(|text| self.number(BEHAVIOURS, text)).transpose()?;
        let mut words = [ABSENT; COLUMNS];
        for (at, word) in facts.words.iter().enumerate().take(COLUMNS) {
            let number = match word {
                Word::Absent => ABSENT,
                Word::Odd => ODD,
                Word::Text(text) => self.number(at, text)?,
            };
            if let Some(place) = words.get_mut(at) {
                *place = number;
            }
        }
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let length = length.saturating_sub(1);
        let fixed = [Some(file), Some(offset), Some(length), facts.time_us, behaviour];
        self.line.execute(rusqlite::params_from_iter(fixed.into_iter().chain(words.map(Some))))?;
        let id = self.db.last_insert_rowid();
        if let Some((low, high)) = facts.written {
            let mut low = i64::from(low);
            while low <= i64::from(high) {
                let last = low.saturating_add(SPAN).saturating_sub(1).min(i64::from(high));
                self.written.execute([low, last, id])?;
                low = last.saturating_add(1);
            }
        }
        if let Some(behaviour) = behaviour {
            self.first.execute([behaviour, id])?;
        }
        Ok(())
    }

    /// The number of a word.
    fn number(&mut self, column: usize, text: &str) -> Result<i64, IndexError> {
        let key = (column, text.to_owned());
        if let Some(number) = self.recent.get(&key) {
            return Ok(*number);
        }
        let at = i64::try_from(column).unwrap_or(i64::MAX);
        let known = self.word.query_row(rusqlite::params![at, text], |row| row.get(0));
        let number = match known {
            Ok(number) => number,
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                self.new_word.execute(rusqlite::params![at, text])?;
                self.db.last_insert_rowid()
            }
            Err(error) => return Err(error.into()),
        };
        if self.recent.len() >= RECENT {
            self.recent.clear();
        }
        self.recent.insert(key, number);
        Ok(number)
    }
}

fn create() -> String {
    let columns: String = (0..COLUMNS).map(|at| format!(", w{at} INTEGER NOT NULL")).collect();
    format!(
        "BEGIN;
         CREATE TABLE file (id INTEGER PRIMARY KEY, inode INTEGER NOT NULL, head BLOB NOT NULL, position INTEGER NOT NULL);
         CREATE TABLE word (id INTEGER PRIMARY KEY, col INTEGER NOT NULL, text TEXT NOT NULL);
         CREATE UNIQUE INDEX word_text ON word (col, text);
         CREATE TABLE line (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, offset INTEGER NOT NULL,
             length INTEGER NOT NULL, time INTEGER, behaviour INTEGER{columns});
         CREATE TABLE written (low INTEGER NOT NULL, high INTEGER NOT NULL, line INTEGER NOT NULL,
             PRIMARY KEY (low, high, line)) WITHOUT ROWID;
         CREATE TABLE first (behaviour INTEGER PRIMARY KEY, line INTEGER NOT NULL);
         INSERT INTO word (id, col, text) VALUES ({ODD}, -1, '');
         PRAGMA user_version = {LAYOUT};
         COMMIT;"
    )
}

/// Removes an index and what SQLite keeps beside it.
fn remove(path: &Path) -> std::io::Result<()> {
    for end in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the file is no sound index, as against one that can't be written.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SchemaChanged | ErrorCode::Unknown
        ),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
