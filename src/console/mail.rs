//! A digest of what happened, by mail, a few times a day at most.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::smtp::{Mail, PATIENCE, Relay, TAKING, send};
use crate::config::{MailTo, Security};
use crate::control::tls;
use crate::export::{cef_severity, told};
use crate::record::{Cursor, read_after};

/// How often the event files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Wait after a mail that failed.
const WAIT: Duration = Duration::from_secs(60);

/// Time between two looks whose place is kept, where no mail is due.
const STORE: Duration = Duration::from_secs(60);

/// From this severity (of CEF) an event is a reason for a mail: refused frames and whatever is graver.
const NOTABLE: u8 = 4;

/// From this severity an event is quoted.
const QUOTED: u8 = 5;

/// Most kinds that are counted apart, and most events that are quoted: a page of text.
const MOST: (usize, usize) = (50, 20);

/// Bytes of event lines read at once.
const PAGE: usize = 1 << 20;

/// What happened since the last mail.
#[derive(Debug, Default)]
struct Digest {
    notable: u64,
    all: u64,
    lost: u64,
    kinds: BTreeMap<String, u64>,
    others: u64,
    quoted: Vec<String>,
}

impl Digest {
    fn add(&mut self, line: &Value) {
        self.all = self.all.saturating_add(1);
        let severity = cef_severity(line);
        if severity < NOTABLE {
            return;
        }
        self.notable = self.notable.saturating_add(1);
        let ours = told::ours(line);
        let word = |value: Option<&Value>| value.and_then(Value::as_str).map(told::printable).unwrap_or_default();
        let first = |keys: [&str; 2]| keys.into_iter().map(|key| word(ours.get(key))).find(|word| !word.is_empty());
        let kind =
            [word(line.get("event_type")), first(["kind", "action"]).unwrap_or_default(), word(ours.get("reason"))];
        let kind = kind.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        if self.kinds.len() < MOST.0 || self.kinds.contains_key(&kind) {
            let count = self.kinds.entry(kind).or_default();
            *count = count.saturating_add(1);
        } else {
            self.others = self.others.saturating_add(1);
        }
        if severity >= QUOTED && self.quoted.len() < MOST.1 {
            let sentence: String = word(ours.get("sentence")).chars().take(300).collect();
            self.quoted.push(format!("{} {sentence}", word(line.get("timestamp"))));
        }
    }

    fn text(&self, host: &str, held: bool) -> String {
        let mut text = format!("{host}: {} events of note among {}.\n\n", self.notable, self.all);
        if held {
            text += "More mails were due; the cap of mails a day held them back until now.\n\n";
        }
        if self.lost > 0 {
            let _ = writeln!(text, "Event files were removed unread: up to {} more are not counted here.\n", self.lost);
        }
        for (kind, count) in &self.kinds {
            let _ = writeln!(text, "{count:>8}  {kind}");
        }
        if self.others > 0 {
            let _ = writeln!(text, "{:>8}  of other kinds", self.others);
        }
        if !self.quoted.is_empty() {
            text += "\nThe first of them:\n";
            for quoted in &self.quoted {
                let _ = writeln!(text, "  {quoted}");
            }
        }
        text + "\nAll of them: vambrace events\n"
    }
}

/// What is remembered over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    /// How far the last mail told.
    cursor: String,
    /// The day (UTC) of the last mail.
    day: String,
    /// Mails on that day.
    sent: u32,
    /// When the last mail was sent, in seconds since 1970.
    last: i64,
}

fn relay_of(to: &MailTo) -> io::Result<Relay> {
    let tls = match (&to.ca, to.security) {
        (Some(ca), Security::Tls | Security::Starttls) => Some(tls::client(ca, None).map_err(io::Error::other)?),
        _ => None,
    };
    let login = match (&to.user, &to.password_file) {
        (Some(user), Some(path)) => {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            Some((user.clone(), fs::read_to_string(path).map_err(named)?.trim_end().to_owned()))
        }
        _ => None,
    };
    Ok(Relay { address: to.relay.clone(), security: to.security, tls, login, patience: (PATIENCE, TAKING) })
}

/// Sends a mail that says that it is a test.
///
/// # Errors
/// The relay can't be reached, or did not take it for all recipients.
pub(super) fn send_test(to: &MailTo) -> io::Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let subject = format!("Vambrace {host}: a test");
    let body = format!("{host}: A test, asked for by a person.\n");
    let mail = Mail { from: &to.from, to: &to.to, subject: &subject, body: &body };
    let refused = send(&relay_of(to)?, &mail, &AtomicBool::new(false))?;
    let told = || io::Error::other(format!("taken, but not for all: {}", refused.join("; ")));
    if refused.is_empty() { Ok(()) } else { Err(told()) }
}

/// Sends digests until told to stop.
pub(super) struct Mailer {
    to: MailTo,
    relay: Relay,
    records: PathBuf,
    file: PathBuf,
    saved: Saved,
    digest: Digest,
    at: Cursor,
    held: bool,
    /// When `saved` was written last.
    stored_at: Option<Instant>,
    host: String,
    stop: Arc<AtomicBool>,
}

impl Mailer {
    /// # Errors
    /// A certificate or password can't be read, or the folder not be written.
    pub(super) fn new(to: &MailTo, records: &Path, directory: &Path, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let relay = relay_of(to)?;
        fs::create_dir_all(directory)?;
        let file = directory.join("mail.json");
        let saved = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice::<Saved>(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let cursor = Cursor::before_growing(records)?.to_string();
                Saved { cursor, day: String::new(), sent: 0, last: 0 }
            }
            Err(error) => return Err(error),
        };
        let at = saved.cursor.parse().map_err(io::Error::other)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut mailer = Self {
            to: to.clone(),
            relay,
            records: records.to_owned(),
            file,
            saved,
            digest: Digest::default(),
            at,
            held: false,
            stored_at: None,
            host,
            stop,
        };
        mailer.save()?;
        Ok(mailer)
    }

    pub(super) fn run(mut self) {
        let mut told = String::new();
        while !self.stop.load(Ordering::Relaxed) {
            let wait = match self.look(jiff::Timestamp::now()) {
                Ok(()) => {
                    told.clear();
                    LOOK
                }
                Err(error) => {
                    if error.to_string() != told {
                        tracing::warn!(relay = self.to.relay, %error, "no mail; going on trying");
                        told = error.to_string();
                    }
                    WAIT
                }
            };
            let begun = Instant::now();
            while begun.elapsed() < wait && !self.stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        if let Err(error) = self.save() {
            tracing::warn!(%error, "how far mails have told is not kept");
        }
    }

    /// Reads what is new and sends a mail where one is due.
    fn look(&mut self, now: jiff::Timestamp) -> io::Result<()> {
        loop {
            let batch = read_after(&self.records, &self.at, PAGE)?;
            self.digest.lost = self.digest.lost.saturating_add(batch.lost);
            self.at = batch.after;
            if batch.lines.is_empty() {
                break;
            }
            for line in &batch.lines {
                if let Ok(line) = serde_json::from_str(line) {
                    self.digest.add(&line);
                }
            }
        }
        if self.digest.notable == 0 && self.digest.lost == 0 {
            // Nothing of it is told in a mail, so a start need not read it again, nor count it as lost once it is removed.
            self.saved.cursor = self.at.to_string();
            if self.stored_at.is_none_or(|at| at.elapsed() >= STORE) {
                self.save()?;
            }
            return Ok(());
        }
        let since = now.as_second().saturating_sub(self.saved.last);
        // A clock that went back is no reason to be silent for long.
        if (0..i64::from(self.to.every_minutes).saturating_mul(60)).contains(&since) {
            return Ok(());
        }
        let day = now.strftime("%Y-%m-%d").to_string();
        let sent = if day == self.saved.day { self.saved.sent } else { 0 };
        if sent >= self.to.per_day {
            self.held = true;
            return Ok(());
        }
        let subject = format!("Vambrace {}: {} events of note", self.host, self.digest.notable);
        let body = self.digest.text(&self.host, self.held);
        let mail = Mail { from: &self.to.from, to: &self.to.to, subject: &subject, body: &body };
        let refused = send(&self.relay, &mail, &self.stop)?;
        if !refused.is_empty() {
            tracing::warn!(relay = self.to.relay, ?refused, "the mail went to the others");
        }
        self.saved = Saved { cursor: self.at.to_string(), day, sent: sent.saturating_add(1), last: now.as_second() };
        (self.digest, self.held) = (Digest::default(), false);
        self.save()
    }

    fn save(&mut self) -> io::Result<()> {
        self.stored_at = Some(Instant::now());
        super::replace(&self.file, serde_json::to_string(&self.saved)?.as_bytes())
    }
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
