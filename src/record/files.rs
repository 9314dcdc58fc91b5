//! The event files as their readers meet them: a growing one that is turned over, older ones that are removed in the end.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::evidence::hex;

/// File that events are appended to.
pub const EVENT_FILE: &str = "eve.json";

/// Longest line in bytes. Ours have a few thousand; what is longer is damage, and is passed over.
pub const LONGEST_LINE: u64 = 1 << 20;

/// The event files of `directory`, oldest first, the growing one last. None where there is no such folder yet.
///
/// # Errors
/// The folder can't be read.
pub fn event_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(number) = number_of(&path) {
            files.push((number, path));
        }
    }
    files.sort();
    let mut files: Vec<_> = files.into_iter().map(|(_, path)| path).collect();
    let growing = directory.join(EVENT_FILE);
    if growing.is_file() {
        files.push(growing);
    }
    Ok(files)
}

/// The number in the name of an older file: `eve-00000012-20261123T135802Z.json`.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?.strip_prefix("eve-")?;
    stem.split('-').next()?.parse().ok()
}

/// How far somebody has read. It holds over renamed files, restarts and copies: a file is known by its first line, which
/// has a time and an event id and stands in no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// First 16 bytes of the SHA-256 of the file's first line, in hexadecimal digits; empty = before the oldest file.
    first: String,
    /// Bytes of it that were read.
    offset: u64,
    /// The highest event id that was read.
    last_event: u64,
}

impl Cursor {
    /// Before the growing file: of what lies there already, this much is handed out.
    ///
    /// # Errors
    /// The folder or a file can't be read.
    pub fn before_growing(directory: &Path) -> io::Result<Self> {
        let older = event_files(directory)?.into_iter().rev().find(|path| !path.ends_with(EVENT_FILE));
        let Some(path) = older else { return Ok(Self::default()) };
        let mut file = File::open(&path)?;
        let first = first_line(&mut file)?.unwrap_or_default();
        let offset = file.metadata()?.len();
        let last_event = last_event(&mut file, offset)?;
        Ok(Self { first, offset, last_event })
    }

    /// Behind the last whole line that is there now; and where that is: the growing file's inode, and bytes of it.
    ///
    /// # Errors
    /// The folder or a file can't be read.
    pub fn end_of(directory: &Path) -> io::Result<(Self, (u64, u64))> {
        let Some((mut file, first)) = opened(&directory.join(EVENT_FILE))? else {
            return Ok((Self::before_growing(directory)?, (0, 0)));
        };
        let offset = whole_len(&mut file)?;
        let last_event = last_event(&mut file, offset)?;
        Ok((Self { first, offset, last_event }, (file.metadata()?.ino(), offset)))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.first, self.offset, self.last_event)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "no place in the event files";
        let mut parts = text.split(':');
        let (Some(first), Some(offset), Some(last), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(WRONG);
        };
        if !(first.is_empty() || first.len() == 32) || !first.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| WRONG);
        Ok(Self { first: first.to_owned(), offset: number(offset)?, last_event: number(last)? })
    }
}

/// Lines that were written after a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whole lines without their ends.
    pub lines: Vec<String>,
    /// The place behind them.
    pub after: Cursor,
    /// Whether the file that was being read is gone, unread parts and all.
    pub removed: bool,
    /// Events between the last one read and the first one that is left, where files are gone: at most so many are lost
    /// (several of them may have shared a line).
    pub lost: u64,
}

/// The lines after `cursor`, up to about `most_bytes`; none where there are no new ones.
///
/// # Errors
/// The folder or a file can't be read.
pub fn read_after(directory: &Path, cursor: &Cursor, most_bytes: usize) -> io::Result<Batch> {
    // A file that is turned over between the look at the folder and its opening is found at the second look.
    for _ in 0..3 {
        if let Some(batch) = try_read(directory, cursor, most_bytes)? {
            return Ok(batch);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let files = event_files(directory)?;
    if files.is_empty() {
        return Ok(Batch { after: cursor.clone(), ..Batch::default() });
    }
    // Its file was removed: what is left begins with the oldest.
    let start = Cursor { last_event: cursor.last_event, ..Cursor::default() };
    let mut batch = try_read(directory, &start, most_bytes)?.unwrap_or_default();
    if batch.lines.is_empty() {
        return Ok(Batch { after: cursor.clone(), ..Batch::default() });
    }
    batch.removed = true;
    let first = batch.lines.iter().find_map(|line| id_of(line));
    // Where no event was read before, nobody knows how many were missed.
    let known = first.filter(|_| cursor.last_event > 0);
    batch.lost = known.map_or(0, |first| first.saturating_sub(cursor.last_event).saturating_sub(1));
    Ok(batch)
}

/// `None` where the cursor's file was not found.
fn try_read(directory: &Path, cursor: &Cursor, most_bytes: usize) -> io::Result<Option<Batch>> {
    let files = event_files(directory)?;
    let mut batch = Batch { after: cursor.clone(), ..Batch::default() };
    let mut place = None;
    if cursor.first.is_empty() {
        place = files.first().map(|_| 0);
        if place.is_none() {
            return Ok(Some(batch));
        }
    } else {
        // Readers stand near the end.
        for (index, path) in files.iter().enumerate().rev() {
            if opened(path)?.is_some_and(|(_, first)| first == cursor.first) {
                place = Some(index);
                break;
            }
        }
    }
    let Some(mut index) = place else { return Ok(None) };
    let mut room = most_bytes;
    while let Some(path) = files.get(index) {
        let Some((mut file, first)) = opened(path)? else { break };
        if index == place.unwrap_or(0) && !cursor.first.is_empty() {
            if first != cursor.first {
                return Ok(None);
            }
        } else {
            // The name may stand for another file by now: then the one between is still to be read.
            if event_files(directory)? != files {
                break;
            }
            (batch.after.first, batch.after.offset) = (first, 0);
        }
        let full = lines(&mut file, &mut batch, &mut room)?;
        if full {
            break;
        }
        index = index.saturating_add(1);
    }
    Ok(Some(batch))
}

/// A file and the digest of its first line; `None` where it is gone or has no whole line yet.
fn opened(path: &Path) -> io::Result<Option<(File, String)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(first_line(&mut file)?.map(|first| (file, first)))
}

fn first_line(file: &mut File) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    BufReader::with_capacity(4096, file.take(LONGEST_LINE)).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') && !is_longest(&line) {
        return Ok(None);
    }
    let digest = Sha256::digest(&line);
    Ok(Some(hex(digest.get(..16).unwrap_or_default())))
}

/// Bytes of the whole lines of a file.
pub(super) fn whole_len(file: &mut File) -> io::Result<u64> {
    const PIECE: u64 = 1 << 16;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(PIECE);
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        file.by_ref().take(end.saturating_sub(begin)).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin.saturating_add(u64::try_from(at).unwrap_or(0)).saturating_add(1));
        }
        end = begin;
    }
    Ok(0)
}

/// The highest event id in the last lines before `end`; 0 where none has one.
fn last_event(file: &mut File, end: u64) -> io::Result<u64> {
    const PIECE: u64 = 1 << 16;
    let begin = end.saturating_sub(PIECE);
    let mut piece = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.by_ref().take(end.saturating_sub(begin)).read_to_end(&mut piece)?;
    let text = String::from_utf8_lossy(&piece);
    Ok(text.lines().filter_map(id_of).max().unwrap_or(0))
}

fn is_longest(line: &[u8]) -> bool {
    u64::try_from(line.len()).is_ok_and(|len| len >= LONGEST_LINE)
}

/// Reads whole lines until there are no more or `room` is used up; whether the latter.
fn lines(file: &mut File, batch: &mut Batch, room: &mut usize) -> io::Result<bool> {
    file.seek(SeekFrom::Start(batch.after.offset))?;
    let mut reader = BufReader::new(file);
    loop {
        if *room == 0 {
            return Ok(true);
        }
        let mut line = Vec::new();
        reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        let whole = line.last() == Some(&b'\n');
        if !whole && !is_longest(&line) {
            return Ok(false);
        }
        batch.after.offset = batch.after.offset.saturating_add(u64::try_from(line.len()).unwrap_or(0));
        *room = room.saturating_sub(line.len());
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if whole && !text.is_empty() {
            batch.after.last_event = batch.after.last_event.max(id_of(text).unwrap_or(0));
            batch.lines.push(text.to_owned());
        }
    }
}

/// The event id of a line. In text from the wire the quotes are escaped, so that it can't feign one.
fn id_of(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("\"event_id\":")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("vambrace-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn line(id: u64) -> String {
        format!("{{\"event_id\":{id}}}\n")
    }

    fn append(directory: &Path, text: &str) {
        let path = directory.join(EVENT_FILE);
        fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn ids(batch: &Batch) -> Vec<u64> {
        batch.lines.iter().filter_map(|line| id_of(line)).collect()
    }

    fn turn(directory: &Path, number: u64) {
        fs::rename(directory.join(EVENT_FILE), directory.join(format!("eve-{number:08}-x.json"))).unwrap();
    }

    #[test]
    fn reading_goes_on_over_turned_files_and_through_text() {
        let directory = directory("turned");
        assert_eq!(read_after(&directory, &Cursor::default(), 100).unwrap().lines.len(), 0);
        append(&directory, &(line(1) + "{\"event_id\":2"));
        let first = read_after(&directory, &Cursor::default(), 1000).unwrap();
        assert_eq!(ids(&first), [1]);
        append(&directory, &format!("}}\n{}", line(3)));
        let second = read_after(&directory, &first.after, 1000).unwrap();
        assert_eq!(ids(&second), [2, 3]);
        append(&directory, &line(4));
        turn(&directory, 1);
        fs::write(directory.join(EVENT_FILE), "").unwrap();
        let third = read_after(&directory, &second.after, 1000).unwrap();
        assert_eq!(ids(&third), [4], "the turned file is read to its end");
        append(&directory, &line(5));
        let place: Cursor = third.after.to_string().parse().unwrap();
        assert_eq!(place, third.after);
        let fourth = read_after(&directory, &place, 1000).unwrap();
        assert_eq!((ids(&fourth), fourth.removed), (vec![5], false));
        assert!(read_after(&directory, &fourth.after, 1000).unwrap().lines.is_empty());
        assert_eq!(ids(&read_after(&directory, &Cursor::default(), 1).unwrap()), [1], "a small page");
        assert_eq!(ids(&read_after(&directory, &Cursor::default(), 1 << 20).unwrap()), [1, 2, 3, 4, 5]);
        assert_eq!(ids(&read_after(&directory, &Cursor::before_growing(&directory).unwrap(), 1000).unwrap()), [5]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_was_removed_unread_is_counted() {
        let directory = directory("removed");
        append(&directory, &(line(1) + &line(2)));
        let first = read_after(&directory, &Cursor::default(), 1).unwrap();
        assert_eq!(ids(&first), [1]);
        append(&directory, &line(3));
        turn(&directory, 1);
        append(&directory, &line(4));
        turn(&directory, 2);
        append(&directory, &line(5));
        fs::remove_file(directory.join("eve-00000001-x.json")).unwrap();
        let next = read_after(&directory, &first.after, 1000).unwrap();
        assert_eq!((ids(&next), next.removed, next.lost), (vec![4, 5], true, 2));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn who_begins_late_has_not_lost_what_was_before() {
        let directory = directory("late");
        append(&directory, &(700..800).map(line).collect::<String>());
        turn(&directory, 1);
        append(&directory, &(line(800) + &line(801)));
        let (before, (end, _)) = (Cursor::before_growing(&directory).unwrap(), Cursor::end_of(&directory).unwrap());
        append(&directory, &line(802));
        turn(&directory, 2);
        append(&directory, &(line(803) + &line(804)));
        for name in ["eve-00000001-x.json", "eve-00000002-x.json"] {
            fs::remove_file(directory.join(name)).unwrap();
        }
        let lost = |cursor| read_after(&directory, cursor, 1000).unwrap().lost;
        assert_eq!((lost(&before), lost(&end)), (3, 1));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn damage_is_passed_over() {
        let directory = directory("damage");
        append(&directory, &line(1));
        let mut long = "x".repeat((1 << 20) + 7);
        long.push('\n');
        append(&directory, &long);
        append(&directory, &line(2));
        let mut cursor = Cursor::default();
        let mut all = Vec::new();
        for _ in 0..4 {
            let batch = read_after(&directory, &cursor, 1 << 21).unwrap();
            all.extend(ids(&batch));
            cursor = batch.after;
        }
        assert_eq!(all, [1, 2]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn odd_places_are_refused() {
        for text in ["", "a", "::", "zz:1:2", "::1:2", "00112233445566778899aabbccddeeff:x:1", "../:1:1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
        assert_eq!(":0:0".parse(), Ok(Cursor::default()));
    }
}
