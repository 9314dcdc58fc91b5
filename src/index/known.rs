use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::IndexError;

/// Most bytes of a first line that tell one file from another.
const HEAD: u64 = 4096;

/// By what a file is known again under another name: its inode, and the hash of its first line, which bears a time and an
/// event's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    inode: i64,
    head: Vec<u8>,
}

impl Known {
    /// What the file at `path` is known by; `None` where it has no whole line yet, or is gone.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino().cast_signed();
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head)?;
        let end = head.iter().position(|byte| *byte == b'\n');
        let full = u64::try_from(head.len()).is_ok_and(|len| len >= HEAD);
        let Some(end) = end.or(full.then_some(head.len())) else { return Ok(None) };
        head.truncate(end);
        Ok(Some(Self { inode, head: Sha256::digest(&head).to_vec() }))
    }

    /// The files that an index knows: number, what it is known by, how far it was read.
    pub(super) fn all(db: &Connection) -> Result<Vec<(i64, Self, u64)>, IndexError> {
        let mut query = db.prepare("SELECT id, inode, head, position FROM file ORDER BY id")?;
        let rows = query.query_map([], |row| {
            let position: i64 = row.get(3)?;
            Ok((row.get(0)?, Self { inode: row.get(1)?, head: row.get(2)? }, position.unsigned_abs()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Number and position of this file; it is entered where it is not known.
    pub(super) fn take_up(&self, db: &Connection) -> Result<(i64, u64), IndexError> {
        if let Some((id, _, position)) = Self::all(db)?.into_iter().find(|(_, known, _)| known == self) {
            return Ok((id, position));
        }
        db.execute(
            "INSERT INTO file (inode, head, position) VALUES (?1, ?2, 0)",
            rusqlite::params![self.inode, self.head],
        )?;
        Ok((db.last_insert_rowid(), 0))
    }
}
