//! A mail to a relay: RFC 5321, with TLS from the start or by STARTTLS (RFC 3207), and AUTH PLAIN (RFC 4616) inside TLS
//! alone.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::Security;
use crate::control::tls;
use crate::document::host_of;

/// How long the relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Hands the mail to the relay.
///
/// # Errors
/// It can't be reached, is not who it should be, or refuses: with its words.
pub(super) fn send(relay: &Relay, mail: &Mail<'_>) -> io::Result<()> {
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
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match relay.security {
        Security::None => Talk::new(Box::new(socket)).whole(relay, mail, true),
        Security::Tls => Talk::new(Box::new(relay.secured(socket)?)).whole(relay, mail, true),
        Security::Starttls => {
            let mut talk = Talk::new(Box::new(socket.try_clone()?));
            talk.greeted()?;
            talk.ask("STARTTLS", 220)?;
            // What came in the clear behind the answer is of nobody known.
            if !talk.stream.buffer().is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the relay spoke before TLS began"));
            }
            drop(talk);
            Talk::new(Box::new(relay.secured(socket)?)).whole(relay, mail, false)
        }
    }
}

impl Relay {
    fn secured(&self, socket: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let config = self.tls.as_ref().ok_or_else(|| io::Error::other("no certificates for TLS"))?;
        let name = tls::server_name(host_of(&self.address)).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, socket))
    }
}

struct Talk {
    stream: BufReader<Box<dyn Stream>>,
}

impl Talk {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The relay's greeting, and ours.
    fn greeted(&mut self) -> io::Result<()> {
        self.answer(220)?;
        self.hello()
    }

    fn hello(&mut self) -> io::Result<()> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
        self.ask(&format!("EHLO {}", if host.is_empty() { "vambrace" } else { &host }), 250)
    }

    fn whole(mut self, relay: &Relay, mail: &Mail<'_>, greets: bool) -> io::Result<()> {
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
        for to in mail.to {
            self.ask(&format!("RCPT TO:<{to}>"), 250)?;
        }
        self.ask("DATA", 354)?;
        // Base64 has no dots and no long lines, so nothing in it can end the mail or be wrapped.
        self.ask(&format!("{}\r\n{}.", head(mail), body(mail.body)), 250)?;
        // The relay has it: whatever it says now, the mail is not to be sent again.
        let _ = self.ask("QUIT", 221);
        Ok(())
    }

    /// Says a line; any answer but `wanted` is an error.
    fn ask(&mut self, line: &str, wanted: u16) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        stream.flush()?;
        self.answer(wanted)
    }

    fn answer(&mut self, wanted: u16) -> io::Result<()> {
        let mut limited = self.stream.by_ref().take(ANSWER);
        loop {
            let mut line = String::new();
            if limited.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the relay ended the conversation"));
            }
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            if line.as_bytes().get(3) == Some(&b'-') && code == Some(wanted) {
                continue;
            }
            if code == Some(wanted) {
                return Ok(());
            }
            let said: String = line.trim_end().chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(io::Error::other(format!("the relay refused: {said}")));
        }
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
