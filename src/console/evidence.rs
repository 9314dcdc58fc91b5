//! Evidence over the remote API: which files there are, and their bytes, a part at a time.
//!
//! Who fetches asks for each part, so nobody is ahead of a slow network, a connection that broke goes on where it was,
//! and one part is all the memory that it takes here. The files are those that an export is made of: segments, the public
//! key, the counter. The secret key beside them can't be asked for, and could not be read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{Mode, OFlags};

use super::places::{Pace, Place};
use crate::control::{EvidenceFile, FailureKind, Response};
use crate::record::evidence::{is_segment, segment_files};

/// Most connections that fetch evidence at once: an auditor, and one more.
pub(super) const READERS: usize = 2;

/// Bytes of a file in an answer: in base64 they are four thirds of it, below the longest line.
const PART: u64 = 512 << 10;

/// Files told of in an answer, with some 50 bytes each.
const PAGE: usize = 8192;

/// Most bytes a second that a connection is given: 8 GiB take four minutes, and some tenth of a core beside the worker's.
pub(super) const BYTES_PER_SECOND: u64 = 32 << 20;

/// What lies beside the segments and belongs to the evidence.
const BESIDE: [&str; 2] = ["evidence.counter", "evidence.pub"];

/// What one connection has fetched.
#[derive(Debug)]
pub(super) struct Reading {
    _place: Place,
    pace: Pace,
    bytes: u64,
    /// The first and the last segment of which something was fetched.
    segments: Option<(String, String)>,
}

impl Reading {
    pub(super) fn new(place: Place) -> Self {
        Self { _place: place, pace: Pace::new(BYTES_PER_SECOND), bytes: 0, segments: None }
    }

    /// What was fetched, for the records; at most 48 bytes, as long as numbers have eight digits.
    pub(super) fn summary(&self) -> String {
        let number = |name: &String| name.bytes().filter(u8::is_ascii_digit).map(char::from).collect::<String>();
        let short = |name: &String| number(name).trim_start_matches('0').to_owned();
        match &self.segments {
            Some((first, last)) => format!("evidence {}-{}: {} bytes", short(first), short(last), self.bytes),
            None => format!("evidence: {} bytes", self.bytes),
        }
    }

    /// Answers for the bytes of `file` from `from` on, at the connection's pace.
    pub(super) fn part(&mut self, records: &Path, file: &str, from: u64) -> Response {
        let bytes = match read(records, file, from) {
            Ok(bytes) => bytes,
            Err(error) => return Response::failed(FailureKind::Failed, error),
        };
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if is_segment(Path::new(file)) {
            let (first, last) = self.segments.take().unwrap_or_else(|| (file.to_owned(), file.to_owned()));
            // Names of numbers with leading zeros stand in the order of the numbers, up to a hundred million.
            self.segments = Some((first.min(file.to_owned()), last.max(file.to_owned())));
        }
        self.bytes = self.bytes.saturating_add(count);
        std::thread::sleep(self.pace.sent(count, Instant::now()));
        Response::EvidencePart { base64: STANDARD.encode(bytes) }
    }
}

/// Answers which files there are: the segments behind number `after`.
pub(super) fn files(records: &Path, after: u64) -> Response {
    match list(records, after) {
        Ok((files, more)) => Response::EvidenceFiles { files, more },
        Err(error) => Response::failed(FailureKind::Failed, format!("{}: {error}", records.display())),
    }
}

fn list(records: &Path, after: u64) -> io::Result<(Vec<EvidenceFile>, bool)> {
    // Names first, then lengths from the oldest on: one that is followed by another in the list has its whole length.
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.strip_prefix("evidence-")?.parse::<u64>().ok();
    let mut paths: Vec<_> =
        segment_files(records)?.into_iter().filter(|path| number(path).is_some_and(|it| it > after)).collect();
    let more = paths.len() > PAGE;
    paths.truncate(PAGE);
    if after == 0 {
        paths.extend(BESIDE.map(|name| records.join(name)));
    }
    let mut files = Vec::new();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => files.push(EvidenceFile { name: name.to_owned(), bytes: meta.len() }),
            Ok(_) => {}
            // Removed meanwhile, to keep to the budget.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok((files, more))
}

/// The bytes of a part; the error is a sentence for who asked.
fn read(records: &Path, name: &str, from: u64) -> Result<Vec<u8>, String> {
    let path = records.join(name);
    let plain = Path::new(name).components().count() == 1 && !name.contains('/');
    if !plain || !(BESIDE.contains(&name) || is_segment(&path)) {
        return Err(format!("{name:?} is no file of the evidence"));
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("{name} was removed meanwhile, to keep to the budget"),
        _ => format!("{name}: {error}"),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let mut file = File::from(opened);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{name} is no plain file"));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from)).and_then(|_| file.take(PART).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::places::Places;

    #[test]
    fn only_evidence_is_handed_out_and_part_by_part() {
        let records = std::env::temp_dir().join(format!("vambrace-handed-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&records);
        std::fs::create_dir_all(records.join("evidence-00000009.pcapng")).unwrap();
        let long: Vec<u8> = (0..PART + 100).map(|at| at.to_le_bytes()[0]).collect();
        for (name, bytes) in [
            ("evidence-00000001.pcapng", &long[..]),
            ("evidence-00000002.pcapng", b"two"),
            ("evidence.pub", b"key"),
            ("evidence.key", b"secret"),
            ("eve.json", b"{}"),
        ] {
            std::fs::write(records.join(name), bytes).unwrap();
        }
        std::os::unix::fs::symlink("evidence.key", records.join("evidence-00000003.pcapng")).unwrap();
        let Response::EvidenceFiles { files: found, more: false } = files(&records, 0) else { panic!("files") };
        let found: Vec<_> = found.into_iter().map(|file| (file.name, file.bytes)).collect();
        let wanted = [("evidence-00000001.pcapng", PART + 100), ("evidence-00000002.pcapng", 3), ("evidence.pub", 3)];
        assert_eq!(found, wanted.map(|(name, bytes)| (name.to_owned(), bytes)));
        let Response::EvidenceFiles { files: behind, .. } = files(&records, 1) else { panic!("files") };
        assert_eq!(behind.len(), 1, "{behind:?}");
        let mut reading = Reading::new(Places::new(1).take().unwrap());
        let mut part = |name: &str, from| reading.part(&records, name, from);
        let mut whole = Vec::new();
        loop {
            let from = u64::try_from(whole.len()).unwrap();
            let Response::EvidencePart { base64 } = part("evidence-00000001.pcapng", from) else { panic!("a part") };
            let more = STANDARD.decode(base64).unwrap();
            assert!(u64::try_from(more.len()).unwrap() <= PART);
            if more.is_empty() {
                break;
            }
            whole.extend(more);
        }
        assert_eq!(whole, long);
        for name in ["evidence.key", "eve.json", "../x", "/etc/passwd", "", ".", "x/evidence-00000001.pcapng"] {
            let Response::Failed { messages, .. } = part(name, 0) else { panic!("{name} was handed out") };
            assert!(messages.concat().contains("is no file of the evidence"), "{messages:?}");
        }
        for name in ["evidence-00000003.pcapng", "evidence-00000009.pcapng"] {
            assert!(matches!(part(name, 0), Response::Failed { .. }), "{name} is no plain file");
        }
        let Response::Failed { messages, .. } = part("evidence-00000007.pcapng", 0) else { panic!("it is not there") };
        assert!(messages.concat().contains("removed meanwhile"), "{messages:?}");
        assert!(matches!(part("evidence-00000002.pcapng", u64::MAX), Response::Failed { .. }), "no such place");
        assert_eq!(reading.summary(), format!("evidence 1-1: {} bytes", PART + 100));
        std::fs::remove_dir_all(&records).unwrap();
    }
}
