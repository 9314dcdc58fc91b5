//! A mail to a relay: RFC 5321, with TLS from the start or by STARTTLS (RFC 3207), and AUTH PLAIN (RFC 4616) inside TLS
//! alone.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::Security;
use crate::control::tls;
use crate::document::host_of;

/// How long the relay may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to take the mail, once it has all of it (RFC 5321, 4.5.3.2.6): one that is given up sooner may
/// have been taken, and would come twice.
pub(super) const TAKING: Duration = Duration::from_secs(600);

/// How often is looked meanwhile whether to end.
const LOOK: Duration = Duration::from_millis(200);

/// Longest answer: RFC 5321 has 512 bytes a line; EHLO lists a few dozen.
const ANSWER: u64 = 16 << 10;

/// Where mails go first.
pub(super) struct Relay {
    /// `HOST:PORT`.
    pub(super) address: String,
    /// How the conversation is protected.
    pub(super) security: Security,
    /// What TLS needs; absent without.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// User and password, where the relay asks for them.
    pub(super) login: Option<(String, String)>,
    /// How long an answer may take, and how long the one to the whole mail.
    pub(super) patience: (Duration, Duration),
}

/// A mail of plain text.
pub(super) struct Mail<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a [String],
    pub(super) subject: &'a str,
    pub(super) body: &'a str,
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Hands the mail to the relay; the recipients that it refused, each with its words. The mail says so to the others.
///
/// # Errors
/// It can't be reached, is not who it should be, or refuses the mail or all recipients: with its words. Or `stop` was set.
pub(super) fn send(relay: &Relay, mail: &Mail<'_>, stop: &AtomicBool) -> io::Result<Vec<String>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut socket = None;
    for address in relay.address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => {
                socket = Some(stream);
                break;
            }
            Err(error) => last = error,
        }
    }
    let Some(socket) = socket else { return Err(last) };
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match relay.security {
        Security::None => Talk::new(Box::new(socket), relay, stop).whole(relay, mail, true),
        Security::Tls => Talk::new(Box::new(relay.secured(socket, stop)?), relay, stop).whole(relay, mail, true),
        Security::Starttls => {
            let mut talk = Talk::new(Box::new(socket.try_clone()?), relay, stop);
            talk.greeted()?;
            talk.ask("STARTTLS", 220)?;
            // What came in the clear behind the answer is of nobody known.
            if !talk.stream.buffer().is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the relay spoke before TLS began"));
            }
            drop(talk);
            Talk::new(Box::new(relay.secured(socket, stop)?), relay, stop).whole(relay, mail, false)
        }
    }
}

impl Relay {
    fn secured(
        &self,
        mut socket: TcpStream,
        stop: &AtomicBool,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let config = self.tls.as_ref().ok_or_else(|| io::Error::other("no certificates for TLS"))?;
        let name = tls::server_name(host_of(&self.address)).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        tls::shake_hands(&mut connection, &mut socket, self.patience.0, stop)?;
        Ok(StreamOwned::new(connection, socket))
    }
}

struct Talk<'s> {
    stream: BufReader<Box<dyn Stream>>,
    patience: Duration,
    taking: Duration,
    stop: &'s AtomicBool,
}

/// What the relay said to a line.
enum Said {
    Wanted,
    Refused(String),
}

impl<'s> Talk<'s> {
    fn new(stream: Box<dyn Stream>, relay: &Relay, stop: &'s AtomicBool) -> Self {
        let (patience, taking) = relay.patience;
        Self { stream: BufReader::new(stream), patience, taking, stop }
    }

    /// The relay's greeting, and ours.
    fn greeted(&mut self) -> io::Result<()> {
        wanted(self.answer(&[220], self.patience)?)?;
        self.hello()
    }

    fn hello(&mut self) -> io::Result<()> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
        self.ask(&format!("EHLO {}", if host.is_empty() { "vambrace" } else { &host }), 250)
    }

    fn whole(mut self, relay: &Relay, mail: &Mail<'_>, greets: bool) -> io::Result<Vec<String>> {
        if greets {
            self.greeted()?
        } else {
            self.hello()?
        }
        if let Some((user, password)) = &relay.login {
            if relay.security == Security::None {
                return Err(io::Error::other("a password does not travel without TLS"));
            }
            let text = STANDARD.encode(format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {text}"), 235)?;
        }
        self.ask(&format!("MAIL FROM:<{}>", mail.from), 250)?;
        let mut refused = Vec::new();
        for to in mail.to {
            self.say(&format!("RCPT TO:<{to}>"))?;
            if let Said::Refused(said) = self.answer(&[250, 251], self.patience)? {
                refused.push(format!("{to}: {said}"));
            }
        }
        if refused.len() == mail.to.len() {
            return Err(io::Error::other(format!("the relay refused every recipient: {}", refused.join("; "))));
        }
        self.ask("DATA", 354)?;
        let mut text = mail.body.to_owned();
        for one in &refused {
            text.push_str(&format!("\nThe relay does not take mails for {one}\n"));
        }
        // Base64 has no dots and no long lines, so nothing in it can end the mail or be wrapped.
        self.say(&format!("{}\r\n{}.", head(mail), body(&text)))?;
        wanted(self.answer(&[250], self.taking)?)?;
        // The relay has it: whatever it says now, the mail is not to be sent again.
        let _ = self.ask("QUIT", 221);
        Ok(refused)
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        stream.flush()
    }

    /// Says a line; any answer but the wanted one is an error.
    fn ask(&mut self, line: &str, code: u16) -> io::Result<()> {
        self.say(line)?;
        wanted(self.answer(&[code], self.patience)?)
    }

    /// Reads an answer, all of it within a time: a relay that drips does not hold anybody for longer.
    fn answer(&mut self, codes: &[u16], within: Duration) -> io::Result<Said> {
        let begun = Instant::now();
        let mut room = ANSWER;
        loop {
            let line = self.line(&mut room, begun, within)?;
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let is_wanted = code.is_some_and(|code| codes.contains(&code));
            if line.as_bytes().get(3) == Some(&b'-') && code.is_some() {
                continue;
            }
            if is_wanted {
                return Ok(Said::Wanted);
            }
            return Ok(Said::Refused(line.trim_end().chars().filter(|c| !c.is_control()).take(200).collect()));
        }
    }

    fn line(&mut self, room: &mut u64, begun: Instant, within: Duration) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let before = line.len();
            let read = self.stream.by_ref().take(*room).read_until(b'\n', &mut line);
            let count = line.len().saturating_sub(before);
            *room = room.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
            match read {
                _ if line.last() == Some(&b'\n') => return Ok(String::from_utf8_lossy(&line).into_owned()),
                Ok(_) if *room == 0 => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the relay's answer has no end"));
                }
                Ok(_) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the relay ended the conversation"));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
            if begun.elapsed() > within {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the relay did not answer in time"));
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
            }
        }
    }
}

fn wanted(said: Said) -> io::Result<()> {
    match said {
        Said::Wanted => Ok(()),
        Said::Refused(said) => Err(io::Error::other(format!("the relay refused: {said}"))),
    }
}

fn head(mail: &Mail<'_>) -> String {
    let now = jiff::Timestamp::now();
    let subject: String =
        mail.subject.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    format!(
        "From: <{from}>\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}.{pid}@{domain}>\r\n\
         Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: base64\r\n",
        from = mail.from,
        to = mail.to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(",\r\n "),
        date = now.strftime("%a, %d %b %Y %H:%M:%S +0000"),
        id = now.as_nanosecond(),
        pid = std::process::id(),
        domain = mail.from.rsplit_once('@').map_or("vambrace", |(_, domain)| domain),
    )
}

/// The body in base64, in lines as long as RFC 2045 lets them be.
fn body(text: &str) -> String {
    const WIDTH: usize = 76;
    let all = STANDARD.encode(text);
    all.as_bytes().chunks(WIDTH).flat_map(|line| [String::from_utf8_lossy(line), "\r\n".into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_lines_that_relays_take() {
        assert_eq!((body(""), body("foobar")), (String::new(), "Zm9vYmFy\r\n".to_owned()));
        let long = body(&"\u{fc}".repeat(250));
        assert!(long.ends_with("\r\n") && long.lines().all(|line| line.len() <= 76));
        let whole: String = long.lines().collect();
        assert_eq!(STANDARD.decode(whole).unwrap(), "\u{fc}".repeat(250).as_bytes());
    }
}
