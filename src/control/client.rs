use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MAX_LINE, Person, RemoteBox, Request, Response, VERSION};

/// How long an answer may take: compiling a large policy and running its tests is the slowest request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens, or may be talked to.
    #[error("{path}: {source}; {hint}", path = .path.display(), hint = hint(.source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The conversation broke.
    #[error("{path}: {source}; see the log of `vambrace run`", path = .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The box can't be talked to over its remote API.
    #[error("{address}: {what}")]
    Remote {
        /// Host and port.
        address: String,
        /// What happened, and what to do about it.
        what: String,
    },
    /// The other end speaks something else.
    #[error("{path}: {what}; is the running vambrace of the same version as this one?", path = .path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What was not understood.
        what: String,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "run as root or as a member of the socket's group",
        _ => "is `vambrace run` running? `--socket PATH` names another socket",
    }
}

/// The line that carries a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequestLine {
    /// [`VERSION`]; not called `version`, since that of the program stands beside it.
    pub protocol: u32,
    /// Who asks, where the management process passes on what somebody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// The line that carries a response.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResponseLine {
    /// [`VERSION`]; not called `version`, since that of the program stands beside it.
    pub protocol: u32,
    /// What came of it.
    #[serde(flatten)]
    pub response: Response,
}

/// What a conversation runs over.
pub(super) trait Duplex: Read + Write + Send {
    /// How long a read waits at most.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;

    /// Says that nothing more is written; the other end can go on.
    fn end_writing(&mut self) -> io::Result<()>;
}

impl Duplex for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }

    fn end_writing(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

/// One end of the control socket or of the remote API: the one that asks.
pub struct Client {
    path: PathBuf,
    stream: BufReader<Box<dyn Duplex>>,
    remote: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`] with a hint.
    pub fn connect(path: &Path) -> Result<Self, ControlError> {
        let unreachable = |source| ControlError::Unreachable { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(unreachable)?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(Box::new(stream)), remote: false })
    }

    /// Connects to the remote API of a box; both ends show their certificates.
    ///
    /// # Errors
    /// [`ControlError::Remote`]: it can't be reached, is not who it should be, or does not know the certificate.
    pub fn connect_remote(remote: &RemoteBox) -> Result<Self, ControlError> {
        let stream = remote.connect(PATIENCE)?;
        Ok(Self { path: PathBuf::from(&remote.address), stream: BufReader::new(stream), remote: true })
    }

    /// Asks and waits for the answer, at most half a minute.
    ///
    /// # Errors
    /// The conversation broke, or the other end speaks another version.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ControlError> {
        self.ask_for(request, None)
    }

    /// Asks for somebody; the other end believes it of root and of the management process.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn ask_for(&mut self, request: &Request, person: Option<&Person>) -> Result<Response, ControlError> {
        let (path, remote) = (self.path.clone(), self.remote);
        let broken = |source: io::Error| {
            if remote {
                super::remote::ended(&path, &source)
            } else {
                ControlError::Broken { path: path.clone(), source }
            }
        };
        let protocol = |what: String| ControlError::Protocol { path: self.path.clone(), what };
        let line = RequestLine { protocol: VERSION, person: person.cloned(), request: request.clone() };
        let mut text = serde_json::to_string(&line).map_err(|error| protocol(error.to_string()))?;
        text.push('\n');
        if text.len() > MAX_LINE {
            return Err(protocol(format!("the request is {} bytes long; at most {MAX_LINE} are taken", text.len())));
        }
        let stream = self.stream.get_mut();
        match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
            // Who closed before the question came has said why: the answer can still be read.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(broken(error)),
            _ => {}
        }
        let line = read_line(&mut self.stream).map_err(broken)?;
        let Some(line) = line else {
            return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, "the appliance closed the connection")));
        };
        let answer: ResponseLine = serde_json::from_slice(&line).map_err(|error| protocol(error.to_string()))?;
        if answer.protocol != VERSION {
            return Err(protocol(format!("protocol {} answered, protocol {VERSION} asked", answer.protocol)));
        }
        Ok(answer.response)
    }
}

impl Client {
    /// Asks for a stream: what follows the response. What failed is answered as by [`Client::ask`].
    ///
    /// # Errors
    /// As [`Client::ask`]; or the response says why there is no stream.
    pub fn capture(self, request: &Request) -> Result<Result<Captured, Response>, ControlError> {
        self.capture_for(request, None)
    }

    /// The same for somebody, as [`Client::ask_for`].
    ///
    /// # Errors
    /// As [`Client::capture`].
    pub fn capture_for(
        mut self,
        request: &Request,
        person: Option<&Person>,
    ) -> Result<Result<Captured, Response>, ControlError> {
        match self.ask_for(request, person)? {
            Response::Capture => {
                let broken = |source| ControlError::Broken { path: self.path.clone(), source };
                self.stream.get_ref().set_patience(LOOK).map_err(broken)?;
                Ok(Ok(Captured { stream: self.stream }))
            }
            other => Ok(Err(other)),
        }
    }
}

/// How long a read of a stream waits, so that its reader can look whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes that follow a response.
pub struct Captured {
    stream: BufReader<Box<dyn Duplex>>,
}

impl Captured {
    /// Appends what has come to `into`; says whether more may come. Waits a tenth of a second at most.
    ///
    /// # Errors
    /// The connection broke.
    pub fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        match self.stream.fill_buf() {
            Ok([]) => Ok(false),
            Ok(bytes) => {
                let len = bytes.len();
                into.extend_from_slice(bytes);
                self.stream.consume(len);
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the other end to finish: it sends what waits and closes.
    pub fn end(&mut self) {
        // Where the other end has gone already there is nobody to tell.
        let _ = self.stream.get_mut().end_writing();
    }
}

/// One line without its end, at most [`MAX_LINE`] bytes; `None` at the end of the stream.
///
/// # Errors
/// The stream broke or ended inside the line, or the line is longer (`InvalidData`).
pub fn read_line(stream: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    if stream.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        _ if line.len().saturating_add(1) >= MAX_LINE => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line of more than {MAX_LINE} bytes")))
        }
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended inside a line")),
    }
}
