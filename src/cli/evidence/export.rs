//! `evidence export`: segments, the key, the policy and a form in one tar file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::fetch::Fetched;
use super::{Place, at, open, segments};
use crate::cli::{Context, Exit, fail, print, progress};
use crate::document::hex;
use crate::verify::{Before, Entry, MANIFEST, Manifest, NOT_SEEN, Named, Segment, Store};

/// Arguments of `evidence export`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Segments are handed on whole: the first may begin before --from, the last end after --to.\
    \n\nExamples:\n  vambrace evidence export -o cell4.tar --from 2026-11-23 --to 2026-11-24T06:00:00Z\n  \
    vambrace evidence export /mnt/disk/evidence -o cell4.tar --policy /etc/vambrace/policy.toml\n  \
    vambrace --box cell4.plant.example evidence export -o cell4.tar\n\nWith --box all segments are fetched first, into a \
    folder beside FILE that goes when the export is whole; after an interruption the same command goes on there."
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    place: Place,
    /// The tar file to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Leave out segments that end before this (RFC 3339; UTC where no zone is named).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Leave out segments that begin after this.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// The policy that was in force.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// `2026-11-23T13:58:02Z`, or a time or date of UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let civil = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| civil().map(|zoned| zoned.timestamp()))
        .ok_or_else(|| "write it like 2026-11-23T13:58:02Z or 2026-11-23".into())
}

/// A file that goes into the export.
enum Content<'a> {
    Segment(&'a dyn Store, &'a Entry),
    Text(Vec<u8>),
}

struct Item<'a> {
    name: String,
    bytes: u64,
    content: Content<'a>,
}

impl Item<'_> {
    fn text(name: &str, text: Vec<u8>) -> Self {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Self { name: name.to_owned(), bytes, content: Content::Text(text) }
    }
}

pub(super) fn run(context: &Context, args: &ExportArgs) -> Result<Exit, Exit> {
    if args.output.exists() {
        let what = "is there already; name a file that is not, evidence is not written over";
        return Err(fail(Exit::Usage, &at(&args.output, &what)));
    }
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let fetched = match &context.remote {
        Some(_) if args.place.path.is_none() && args.place.config.is_none() => {
            Some(Fetched::beside(&args.output, context)?)
        }
        _ => None,
    };
    let (path, store) = match &fetched {
        Some(fetched) => {
            let store = fetched.store().map_err(|error| fail(Exit::Failed, &at(fetched.path(), &error)))?;
            (fetched.path().to_owned(), Box::new(store) as Box<dyn Store>)
        }
        None => open(context, &args.place)?,
    };
    let all = segments(&path, store.as_ref())?;
    let ns = |time: Timestamp| u64::try_from(time.as_nanosecond()).unwrap_or(0);
    let (from, to) = (args.from.map_or(0, ns), args.to.map_or(u64::MAX, ns));
    let inside = |segment: &&Segment| {
        segment.from_ns.is_some_and(|begin| begin <= to) && segment.to_ns.is_some_and(|end| end >= from)
    };
    // Without a hole, also where a clock went back.
    let first = all.iter().position(|segment| inside(&segment));
    let last = all.iter().rposition(|segment| inside(&segment));
    let (Some(first), Some(last)) = (first, last) else {
        return Err(fail(Exit::Failed, &at(&path, &"nothing was recorded in that time")));
    };
    let chosen = all.get(first..=last).unwrap_or_default();
    let key = crate::verify::own_key(store.as_ref()).map_err(|error| fail(Exit::Failed, &error))?;
    let Some(Ok(key)) = key else {
        return Err(fail(Exit::Failed, &at(&path, &"holds no evidence.pub that can be read")));
    };
    let mut items = Vec::new();
    for segment in chosen {
        let entry = store.entries().iter().find(|entry| entry.segment() == Some(segment.number));
        let Some(entry) = entry else { continue };
        // Of the last one, what is being written is left out; of others a verifier must see that it stands there.
        let bytes =
            if segment.number == all.last().map_or(0, |it| it.number) { segment.whole_bytes } else { entry.bytes };
        items.push(Item { name: entry.name.clone(), bytes, content: Content::Segment(store.as_ref(), entry) });
    }
    let created = Timestamp::now();
    items.push(Item::text("evidence.pub", format!("{}\n", key.line()).into_bytes()));
    items.extend(policy.map(|text| Item::text("policy.toml", text)));
    let fingerprint = key.fingerprint();
    items.push(Item::text("custody.txt", custody(key.name(), &fingerprint, created, chosen).into_bytes()));
    let manifest = Manifest {
        vambrace_evidence: 1,
        name: key.name().to_owned(),
        created: created.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        files: Vec::new(),
        before: chosen.first().and_then(|segment| Before::of(&segment.before)),
    };
    write(&args.output, manifest, &items).map_err(|error| fail(Exit::Failed, &at(&args.output, &error)))?;
    if let Some(fetched) = fetched {
        fetched.remove();
    }
    let count = chosen.len();
    let records: u64 = chosen.iter().map(|segment| segment.records).sum();
    if context.json {
        let line = serde_json::json!({
            "file": args.output, "name": key.name(), "segments": count, "records": records, "fingerprint": fingerprint,
        });
        return Ok(print(&line.to_string()));
    }
    Ok(print(&format!(
        "{}: {count} segments with {records} records of {}\nTo check it elsewhere: vambrace evidence verify {} --key \
         FILE, with the public key from the box's owner (fingerprint {fingerprint}).\n{NOT_SEEN}",
        args.output.display(),
        key.name(),
        args.output.file_name().unwrap_or_default().to_string_lossy()
    )))
}

fn read_policy(path: &Path) -> Result<Vec<u8>, Exit> {
    /// No policy is longer, in bytes.
    const ROOM: u64 = 64 << 20;
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(ROOM).read_to_end(&mut text));
    read.map_err(|error| fail(Exit::Failed, &at(path, &error)))?;
    Ok(text)
}

/// Writes beside `path` and renames when all is there.
fn write(path: &Path, manifest: Manifest, items: &[Item<'_>]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = write_tar(&part, manifest, items).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// The manifest stands first and names hashes of what follows: its place is kept, and filled in at the end.
fn write_tar(path: &Path, mut manifest: Manifest, items: &[Item<'_>]) -> io::Result<()> {
    /// As long as a hash in hex.
    const NOT_YET: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    let named = |item: &Item<'_>| Named { name: item.name.clone(), bytes: item.bytes, sha256: NOT_YET.to_owned() };
    manifest.files = items.iter().map(named).collect();
    let kept = serde_json::to_vec_pretty(&manifest)?;
    let bar = progress(items.iter().map(|item| item.bytes).sum());
    let mut tar = tar::Builder::new(File::options().write(true).create_new(true).open(path)?);
    append(&mut tar, MANIFEST, kept.len().try_into().unwrap_or(u64::MAX), kept.as_slice())?;
    for (item, named) in items.iter().zip(&mut manifest.files) {
        let from: Box<dyn Read + '_> = match &item.content {
            Content::Segment(store, entry) => store.open(entry)?,
            Content::Text(text) => Box::new(text.as_slice()),
        };
        let mut hashing = Hashing { from: from.take(item.bytes), hasher: Sha256::new(), bytes: 0 };
        append(&mut tar, &item.name, item.bytes, bar.wrap_read(&mut hashing))?;
        if hashing.bytes != item.bytes {
            let what = format!("{} became shorter while it was read; export again", item.name);
            return Err(io::Error::other(what));
        }
        named.sha256 = hex(&hashing.hasher.finalize());
    }
    let mut file = tar.into_inner()?;
    let whole = serde_json::to_vec_pretty(&manifest)?;
    // Behind the manifest's header.
    file.seek(SeekFrom::Start(512))?;
    file.write_all(&whole)?;
    file.sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

fn append(tar: &mut tar::Builder<File>, name: &str, bytes: u64, from: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o444);
    header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or(0));
    tar.append_data(&mut header, name, from)
}

/// Hashes what is read.
struct Hashing<R> {
    from: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.hasher.update(to.get(..count).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}

/// The form for those through whose hands the export goes.
fn custody(name: &str, fingerprint: &str, created: Timestamp, segments: &[Segment]) -> String {
    let time = |ns: Option<u64>| ns.map_or("-".to_owned(), super::told::time);
    let (first, last) = (segments.first(), segments.last());
    let number = |segment: Option<&Segment>| segment.map_or(0, |segment| segment.number);
    let hands = "date and time | handed over by | received by | for what | SHA-256 of the file compared\n\
                 ______________|________________|_____________|__________|_____________________________\n";
    let rows = "              |                |             |          |\n".repeat(8);
    format!(
        "Evidence of {name}\n\n\
         exported   {created:.0}, with vambrace {}\n\
         segments   {} to {}\n\
         from       {}\n\
         to         {}\n\
         key        {fingerprint}\n           (SHA-256 of the line in evidence.pub; compare it with what the owner of \
         the box says)\n\n\
         To check it: vambrace evidence verify FILE.tar --key KEY, on any machine.\n\n\
         {NOT_SEEN}\n\n\
         Case or reason: ______________________________________________\n\
         Exported by:    ______________________________________________\n\n\
         {hands}{rows}",
        env!("CARGO_PKG_VERSION"),
        number(first),
        number(last),
        time(first.and_then(|segment| segment.from_ns)),
        time(last.and_then(|segment| segment.to_ns)),
    )
}
