//! What a box tells of itself for those who help from afar, without what must stay in it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::control::{DiagnosticText, Response};

/// The log of the appliance's PID 1, where there is one.
const LOG: &str = "/run/log/vambrace";

/// Most bytes of a file: the end of a log, and more than any configuration that people write.
const MOST: u64 = 256 * 1024;

/// Which files are told of.
#[derive(Debug)]
pub(super) struct Diagnostics {
    config: PathBuf,
}

impl Diagnostics {
    /// Of the management process that runs with this configuration.
    pub(super) fn new(config: &Path) -> Self {
        Self { config: config.to_owned() }
    }

    /// The texts that only the box has.
    pub(super) fn answer(&self) -> Response {
        let files = [("vambrace.toml", self.config.as_path()), ("log.txt", Path::new(LOG))];
        let texts = files.into_iter().filter_map(|(name, path)| text(name, path));
        Response::Diagnostics { texts: texts.collect() }
    }
}

/// A file's end without its secrets; `None` where it is not there or not to be read.
#[must_use]
pub fn text(name: &str, path: &Path) -> Option<DiagnosticText> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST))).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(DiagnosticText { name: name.to_owned(), text: without_secrets(&String::from_utf8_lossy(&bytes)) })
}

/// What stands where something was left out.
const LEFT_OUT: &str = "[left out]";

/// A text without secret keys, passwords and the secret of an unclaimed box. What looks like one is left out with its line:
/// a line too few does less harm than a word too many.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut in_key = false;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        if begins || in_key {
            in_key = !line.contains("-----END");
            // Once a key, also where it was cut off before its end.
            if begins {
                out.push_str(LEFT_OUT);
                out.push('\n');
            }
            continue;
        }
        out.push_str(if is_secret(line) { LEFT_OUT } else { line });
        out.push('\n');
    }
    out
}

fn is_secret(line: &str) -> bool {
    // Keys of the evidence and of auditors; the invitation of an unclaimed box.
    if line.contains("PRIVATE+KEY+") || line.contains("claim --secret") {
        return true;
    }
    // A value under a name that says what it is; names of files may stay.
    let Some((name, _)) = line.split_once(['=', ':']) else { return false };
    let name = name.trim().trim_matches('"').to_ascii_lowercase();
    let words = ["password", "passphrase", "secret", "token", "credential"];
    words.iter().any(|word| name.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_the_rest_stays() {
        let text = "mode = \"enforce\"\n\
                    password_file = \"/etc/vambrace/mail.password\"\n\
                    password = \"hunter2\"\n\
                    \"api_token\": \"abc\",\n\
                    nobody has claimed this box: vambrace --box 192.168.77.1 claim --secret AAAAA-BBBBB\n\
                    -----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n\
                    PRIVATE+KEY+box+00000000+AAAA\n\
                    certificate = \"sha256:00\"\n";
        assert_eq!(
            without_secrets(text),
            "mode = \"enforce\"\npassword_file = \"/etc/vambrace/mail.password\"\n[left out]\n[left out]\n[left out]\n\
             [left out]\n[left out]\ncertificate = \"sha256:00\"\n"
        );
        // A key whose end was cut off takes what follows with it.
        assert_eq!(without_secrets("a\n-----BEGIN PRIVATE KEY-----\nMHcC\n"), "a\n[left out]\n");
    }

    #[test]
    fn of_a_long_file_the_end_is_told() {
        let path = std::env::temp_dir().join(format!("vambrace-diagnostics-{}", std::process::id()));
        std::fs::write(&path, "x\n".repeat(1 << 20) + "the end\n").unwrap();
        let told = text("log.txt", &path).unwrap().text;
        assert!(told.len() <= 256 * 1024 + 1 && told.ends_with("the end\n"));
        std::fs::remove_file(path).unwrap();
        assert_eq!(text("log.txt", Path::new("/nonexistent")), None);
    }
}
