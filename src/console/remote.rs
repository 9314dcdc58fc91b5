//! The remote API: the lines of the control socket over TLS, with the user's certificate in the place of the peer's uid.

use std::io::{self, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::diagnostics::Diagnostics;
use super::evidence::{self, Reading};
use super::lockout::Lockout;
use super::places::{Place, Places};
use super::relay;
use super::roles;
use super::update::{Bundle, Updates};
use super::witness::{Kept, Unkept};
use crate::config::{Console, User};
use crate::control::tls::{self, TlsError};
use crate::control::{
    Captured, Client, ControlError, FailureKind, Person, Request, RequestLine, Response, VERSION, answer, read_line,
};
use crate::record::{Cursor, read_after};

/// How long showing certificates may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who says nothing for so long is let go.
const IDLE: Duration = Duration::from_secs(60);

/// How long a request for new events waits for some.
const WAIT: Duration = Duration::from_secs(5);

/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Time between two requests of a connection: each is recorded, and nobody shall fill the records by asking. Pages of
/// events, which are not recorded one by one, come as fast as they can.
const PACE: Duration = Duration::from_millis(50);

/// Most requests that wait for the packet process at once: of its places for clients some are left for those at the box.
const ASKING: usize = 8;

/// Bytes of event lines in an answer: escaped they are at most four times as many, below the longest line.
const PAGE: usize = 192 << 10;

/// What became of connections.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// A known user.
    pub(super) accepted: AtomicU64,
    /// No certificate, a wrong one, or one of nobody's.
    pub(super) refused: AtomicU64,
    /// Not listened to, after too many failures.
    pub(super) locked_out: AtomicU64,
}

/// What is remembered of one connection.
#[derive(Debug, Default)]
struct Visit {
    /// Whether it is recorded that events are read, or checkpoints pushed.
    told: bool,
    /// Whether it is recorded that the state is looked at.
    status: bool,
    /// Whether it is recorded that checkpoints were unfit.
    unfit: bool,
    /// The evidence that is fetched.
    reading: Option<Reading>,
    /// The bundle that is handed over.
    bundle: Option<Bundle>,
}

/// The remote API of one box.
pub(super) struct Remote {
    tls: Arc<ServerConfig>,
    users: Vec<User>,
    socket: PathBuf,
    records: PathBuf,
    diagnostics: Diagnostics,
    lockout: Lockout,
    kept: Kept,
    /// Who may fetch evidence, and who may capture.
    readers: Places,
    captures: Places,
    updates: Updates,
    /// Requests that wait for the packet process.
    asking: (Mutex<usize>, Condvar),
    pub(super) outcomes: Arc<Outcomes>,
    stop: Arc<AtomicBool>,
}

impl Remote {
    /// Reads the certificates; `None` where none are configured.
    ///
    /// # Errors
    /// They can't be used.
    pub(super) fn new(
        console: &Console,
        socket: &Path,
        records: &Path,
        diagnostics: Diagnostics,
        stop: Arc<AtomicBool>,
    ) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key), Some(ca)) = (&console.certificate, &console.key, &console.client_ca) else {
            return Ok(None);
        };
        Ok(Some(Self {
            tls: tls::server(certificate, key, ca)?,
            users: console.users.clone(),
            socket: socket.to_owned(),
            records: records.to_owned(),
            diagnostics,
            lockout: Lockout::default(),
            kept: Kept::new(&console.directory),
            readers: Places::new(evidence::READERS),
            captures: Places::new(relay::CAPTURES),
            updates: Updates::default(),
            asking: Default::default(),
            outcomes: Arc::default(),
            stop,
        }))
    }

    /// Serves one connection.
    pub(super) fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let address = peer.ip().to_canonical();
        if !self.lockout.is_open(address, Instant::now()) {
            self.outcomes.locked_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut stream = match self.shake_hands(stream) {
            Ok(stream) => stream,
            Err(error) => return self.refuse(address, &format!("no certificate: {error}")),
        };
        let print = stream.conn.peer_certificates().and_then(|chain| chain.first()).map(|it| tls::fingerprint(it));
        let print = print.unwrap_or_default();
        let Some(user) = self.users.iter().find(|user| user.certificate == print) else {
            let what = format!("the certificate {print} is no user's; write it into [[console.user]]");
            let _ = answer(&mut stream, Response::failed(FailureKind::Failed, what));
            stream.conn.send_close_notify();
            let _ = stream.conn.complete_io(&mut stream.sock);
            // Records hold 64 bytes of a reason; 16 digits are enough to find the certificate by.
            return self.refuse(address, &format!("unknown certificate {}", print.get(..23).unwrap_or(&print)));
        };
        self.lockout.succeeded(address);
        self.outcomes.accepted.fetch_add(1, Ordering::Relaxed);
        let person = Person { user: user.name.clone(), role: user.role.name().to_owned(), address };
        let mut visit = Visit::default();
        if let Err(error) = self.converse(stream, user, &person, &mut visit) {
            tracing::debug!(%error, user = user.name, "left");
        }
        if let Some(reading) = visit.reading {
            self.given(reading.summary(), &person);
        }
    }

    /// Has it recorded how much somebody was given.
    fn given(&self, what: String, person: &Person) {
        let error = match self.ask(&Request::Given { what: what.clone() }, Some(person)) {
            Ok(Response::Failed { messages, .. }) => messages.join("; "),
            Ok(_) => return,
            Err(error) => error.to_string(),
        };
        tracing::error!(%error, what, user = person.user, "what was given could not be recorded");
    }

    fn shake_hands(&self, stream: TcpStream) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        tls::shake_hands(&mut stream.conn, &mut stream.sock, HANDSHAKE, &self.stop)?;
        stream.sock.set_read_timeout(Some(IDLE))?;
        stream.sock.set_write_timeout(Some(IDLE))?;
        Ok(stream)
    }

    fn refuse(&self, address: IpAddr, why: &str) {
        self.lockout.failed(address, Instant::now());
        self.outcomes.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%address, why, "refused");
        let nobody = Person { user: String::new(), role: String::new(), address };
        self.deny("connection", why, &nobody);
    }

    /// Has it recorded that somebody was refused.
    fn deny(&self, what: &str, why: &str, person: &Person) {
        let request = Request::Denied { what: what.to_owned(), why: why.to_owned() };
        let error = match self.ask(&request, Some(person)) {
            Ok(Response::Failed { messages, .. }) => messages.join("; "),
            Ok(_) => return,
            Err(error) => error.to_string(),
        };
        tracing::error!(%error, what, why, user = person.user, "a refusal could not be recorded");
    }

    fn ask(&self, request: &Request, person: Option<&Person>) -> Result<Response, ControlError> {
        let (count, left) = &self.asking;
        let taken = count.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = left.wait_while(taken, |taken| *taken >= ASKING).unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_add(1);
        drop(taken);
        let answer = Client::connect(&self.socket).and_then(|mut client| client.ask_for(request, person));
        let mut taken = count.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(1);
        left.notify_one();
        answer
    }

    fn converse(
        &self,
        stream: StreamOwned<ServerConnection, TcpStream>,
        user: &User,
        person: &Person,
        visit: &mut Visit,
    ) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while !self.stop.load(Ordering::Relaxed) {
            let Some(line) = read_line(&mut reader)? else { return Ok(()) };
            let begun = Instant::now();
            let mut paced = true;
            let response = match serde_json::from_slice::<RequestLine>(&line) {
                Ok(RequestLine { protocol: VERSION, person: None, request: request @ Request::Capture { .. } }) => {
                    match self.capture(&request, user, person) {
                        Ok((_place, captured)) => {
                            answer(reader.get_mut(), Response::Capture)?;
                            let (bytes, ended) = relay::relay(captured, reader.get_mut(), &self.stop);
                            self.given(format!("capture: {bytes} bytes"), person);
                            return ended;
                        }
                        Err(refused) => refused,
                    }
                }
                Ok(RequestLine { protocol: VERSION, person: None, request }) => {
                    paced = !matches!(
                        request,
                        Request::EventLines { .. } | Request::EvidencePart { .. } | Request::UpdatePart { .. }
                    );
                    self.obey(request, user, person, visit)
                }
                Ok(RequestLine { protocol: VERSION, .. }) => {
                    Response::failed(FailureKind::Usage, "who asks is in the certificate, not in the request")
                }
                Ok(RequestLine { protocol, .. }) => Response::failed(
                    FailureKind::Usage,
                    format!("protocol {protocol} asked, protocol {VERSION} runs; use the vambrace that runs"),
                ),
                Err(error) => Response::failed(FailureKind::Usage, format!("request not understood: {error}")),
            };
            answer(reader.get_mut(), response)?;
            if paced {
                std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
            }
        }
        Ok(())
    }

    /// Opens a capture, if a place is free.
    fn capture(&self, request: &Request, user: &User, person: &Person) -> Result<(Place, Captured), Response> {
        if let Err(why) = roles::may(user.role, request) {
            self.deny(&request.summary(), &why, person);
            return Err(Response::failed(FailureKind::Failed, why));
        }
        let Some(place) = self.captures.take() else {
            let why = format!("{} captures from afar run already; end one first", relay::CAPTURES);
            self.deny(&request.summary(), &why, person);
            return Err(Response::failed(FailureKind::Failed, why));
        };
        let opened = Client::connect(&self.socket).and_then(|client| client.capture_for(request, Some(person)));
        opened.map_err(|error| unreachable(&error))?.map(|captured| (place, captured))
    }

    /// Takes a place for fetching evidence and has it recorded, once a connection.
    fn begin_reading(&self, request: &Request, person: &Person, visit: &mut Visit) -> Result<(), Response> {
        if visit.reading.is_some() {
            return Ok(());
        }
        let Some(place) = self.readers.take() else {
            let why = format!("evidence goes to {} connections already; try again later", evidence::READERS);
            self.deny(&request.summary(), &why, person);
            return Err(Response::failed(FailureKind::Failed, why));
        };
        match self.ask(request, Some(person)) {
            Err(error) => Err(unreachable(&error)),
            Ok(failed @ Response::Failed { .. }) => Err(failed),
            Ok(_) => {
                visit.reading = Some(Reading::new(place));
                Ok(())
            }
        }
    }

    fn obey(&self, request: Request, user: &User, person: &Person, visit: &mut Visit) -> Response {
        if let Err(why) = roles::may(user.role, &request) {
            self.deny(&request.summary(), &why, person);
            return Response::failed(FailureKind::Failed, why);
        }
        if let Request::EventLines { .. } | Request::Witness { .. } = &request {
            // That somebody reads events, or pushes checkpoints, is recorded once a connection, not once a page.
            if !visit.told {
                let pushes = matches!(request, Request::Witness { .. });
                match self.ask(&request, Some(person)) {
                    // A management station keeps checkpoints without a packet process of its own.
                    Err(error) if pushes => tracing::warn!(%error, user = user.name, "a push is not recorded"),
                    Err(error) => return unreachable(&error),
                    Ok(failed @ Response::Failed { .. }) if !pushes => return failed,
                    Ok(_) => visit.told = true,
                }
            }
        }
        if let Request::EvidenceFiles { .. } | Request::EvidencePart { .. } = &request
            && let Err(refused) = self.begin_reading(&request, person, visit)
        {
            return refused;
        }
        match &request {
            Request::EvidenceFiles { after } => return evidence::files(&self.records, *after),
            Request::EvidencePart { file, from } => {
                let Some(reading) = &mut visit.reading else {
                    return Response::failed(FailureKind::Failed, "no place for it");
                };
                return reading.part(&self.records, file, *from);
            }
            Request::Diagnostics => {
                // Nothing is handed out that is not recorded.
                return match self.ask(&request, Some(person)) {
                    Ok(failed @ Response::Failed { .. }) => failed,
                    Ok(_) => self.diagnostics.answer(),
                    // A box that is half dead is what it is for.
                    Err(error) => {
                        tracing::warn!(%error, user = person.user, "diagnostics are not recorded");
                        self.diagnostics.answer()
                    }
                };
            }
            Request::UpdateStatus => return self.updates.status(),
            Request::UpdatePart { from, base64 } => return self.updates.part(&mut visit.bundle, *from, base64),
            Request::Update { order, now } => {
                // An update may be what mends a packet process that does not answer: the updater keeps its steps itself.
                if let Err(error) = self.ask(&request, Some(person)) {
                    tracing::warn!(%error, user = person.user, "an order to the updater is not recorded yet");
                }
                return self.updates.order(&mut visit.bundle, *order, *now, person);
            }
            Request::EventLines { after, wait } => return self.lines(after, *wait),
            Request::Witness { checkpoint } => {
                return match self.kept.keep(&user.name, checkpoint) {
                    Ok(()) => Response::Done,
                    Err(unkept) => {
                        let why = unkept.sentence();
                        // What contradicts is told of each time; who only pushes too much shall not fill the records.
                        if matches!(unkept, Unkept::Grave(_)) || !std::mem::replace(&mut visit.unfit, true) {
                            tracing::error!(user = user.name, why, "a checkpoint was refused");
                            self.deny("witness", why, person);
                        }
                        Response::failed(FailureKind::Failed, why)
                    }
                };
            }
            _ => {}
        }
        // The same of looking at the state: who watches it asks every second.
        let again = request == Request::Status && visit.status;
        match self.ask(&request, (!again).then_some(person)) {
            Ok(response) => {
                visit.status |= matches!(response, Response::Status(_));
                response
            }
            Err(error) => unreachable(&error),
        }
    }

    fn lines(&self, after: &str, wait: bool) -> Response {
        let cursor = match after {
            "" => Ok(Cursor::default()),
            "end" => match Cursor::end_of(&self.records) {
                Ok((cursor, _)) => Ok(cursor),
                Err(error) => {
                    return Response::failed(FailureKind::Failed, format!("{}: {error}", self.records.display()));
                }
            },
            place => place.parse::<Cursor>(),
        };
        let cursor = match cursor {
            Ok(cursor) => cursor,
            Err(error) => return Response::failed(FailureKind::Usage, error),
        };
        let begun = Instant::now();
        loop {
            match read_after(&self.records, &cursor, PAGE) {
                Ok(batch)
                    if batch.lines.is_empty()
                        && wait
                        && begun.elapsed() < WAIT
                        && !self.stop.load(Ordering::Relaxed) => {}
                Ok(batch) => {
                    let lost = batch.removed.then_some(batch.lost);
                    return Response::EventLines { lines: batch.lines, after: batch.after.to_string(), lost };
                }
                Err(error) => {
                    let what = format!("{}: {error}", self.records.display());
                    return Response::failed(FailureKind::Failed, what);
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn unreachable(error: &ControlError) -> Response {
    let kind = match error {
        ControlError::Unreachable { .. } => FailureKind::Unreachable,
        _ => FailureKind::Failed,
    };
    Response::failed(kind, format!("the box answers, its packet process does not: {error}"))
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
