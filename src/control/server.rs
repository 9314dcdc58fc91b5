use std::fs;
use std::io::{self, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{RequestLine, ResponseLine, read_line};
use super::{FailureKind, Person, Request, Response, VERSION};

/// Most clients at once: a person, a few scripts, a monitor. Each costs a thread and at most two lines of memory.
const MAX_CLIENTS: usize = 16;

/// A client that says nothing for so long is let go, so that forgotten ones don't use up the places.
const IDLE: Duration = Duration::from_secs(60);

/// How often the accept loop looks whether it shall stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Pause after a client that could not be taken in.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Uid of the peer on the socket, from the kernel.
    pub uid: u32,
    /// The person for whom the management process asks.
    pub person: Option<Person>,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Does what is asked, and says what came of it. Called on a client's own thread, for several clients at once.
    fn handle(&self, request: Request, caller: &Caller) -> Response;

    /// Whether a peer with this uid may say for whom it asks, and who was refused.
    fn trusts(&self, uid: u32) -> bool {
        uid == 0
    }

    /// Opens what a request asks to be streamed; `None` where one line answers it.
    ///
    /// # Errors
    /// The response that says why not.
    fn stream(&self, request: &Request, caller: &Caller) -> Option<Result<Box<dyn Stream>, Response>> {
        let _ = (request, caller);
        None
    }
}

/// What follows a response on its connection, until either end closes.
pub trait Stream: Send {
    /// Writes to the client on its own thread until it is done, the client has gone, or `stop` is set.
    ///
    /// # Errors
    /// The client went away, or took nothing for too long.
    fn run(self: Box<Self>, to: &UnixStream, stop: &AtomicBool) -> io::Result<()>;
}

/// One end of the control socket: the one that answers, on threads of its own. Ends with its value.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path` (mode 0660; its folder is made where missing, a dead socket is replaced).
    ///
    /// # Errors
    /// The folder or socket can't be made, or another server answers there (`AddrInUse`).
    pub fn start(path: &Path, handler: Arc<dyn Handler>) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another vambrace answers on this socket"));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Bound under another name and renamed when its mode is right: nobody meets it with the umask's mode.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        let _ = fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660))?;
        fs::rename(&fresh, path)?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::Builder::new().name("control".into()).spawn(move || accept(&listener, &handler, &stop))?
        };
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, handler: &Arc<dyn Handler>, stop: &Arc<AtomicBool>) {
    let clients = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Relaxed) {
        let mut wait = [PollFd::new(listener, PollFlags::IN)];
        if !matches!(poll(&mut wait, Some(&LOOK)), Ok(ready) if ready > 0) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, mostly: who waits is still there, so the next look would come at once.
            thread::sleep(BACK_OFF);
            continue;
        };
        let place = Place::take(&clients);
        let (handler, stop) = (Arc::clone(handler), Arc::clone(stop));
        let spawned = thread::Builder::new().name("control-client".into()).spawn(move || {
            let result = match place {
                Some(_place) => serve(stream, handler.as_ref(), &stop),
                None => answer(&stream, Response::failed(FailureKind::Failed, "too many clients; try again")),
            };
            if let Err(error) = result {
                tracing::debug!(%error, "control client left");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a control client");
        }
    }
}

/// One of the places for clients; given back with its value.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let room = |taken: usize| (taken < MAX_CLIENTS).then(|| taken.saturating_add(1));
        clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok().map(|_| Self(Arc::clone(clients)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: UnixStream, handler: &dyn Handler, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let uid = rustix::net::sockopt::socket_peercred(&stream)?.uid.as_raw();
    let mut reader = BufReader::new(stream);
    while !stop.load(Ordering::Relaxed) {
        let line = match read_line(&mut reader) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    answer(reader.get_ref(), Response::failed(FailureKind::Usage, error.to_string()))?;
                }
                return Err(error);
            }
        };
        let response = match serde_json::from_slice::<RequestLine>(&line) {
            Ok(RequestLine { protocol: VERSION, person, request }) => {
                if (person.is_some() || request.is_of_the_console()) && !handler.trusts(uid) {
                    let what = "only root and the management process may say for whom they ask";
                    Response::failed(FailureKind::Usage, what)
                } else {
                    let caller = Caller { uid, person };
                    match handler.stream(&request, &caller) {
                        Some(Ok(stream)) => {
                            answer(reader.get_ref(), Response::Capture)?;
                            return stream.run(reader.get_ref(), stop);
                        }
                        Some(Err(refused)) => refused,
                        None => handler.handle(request, &caller),
                    }
                }
            }
            Ok(RequestLine { protocol, .. }) => Response::failed(
                FailureKind::Usage,
                format!("protocol {protocol} asked, protocol {VERSION} runs; use the vambrace that runs"),
            ),
            Err(error) => Response::failed(FailureKind::Usage, format!("request not understood: {error}")),
        };
        answer(reader.get_ref(), response)?;
    }
    Ok(())
}

/// Writes the line that carries `response`.
///
/// # Errors
/// The stream broke.
pub fn answer(mut stream: impl Write, response: Response) -> io::Result<()> {
    let mut text = serde_json::to_string(&ResponseLine { protocol: VERSION, response })?;
    if text.len() >= super::MAX_LINE {
        let response = Response::failed(FailureKind::Failed, "the answer is longer than the control socket takes");
        text = serde_json::to_string(&ResponseLine { protocol: VERSION, response })?;
    }
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
