//! The box's end of the claim.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rcgen::{KeyPair, PublicKeyData};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::lockout::Lockout;
use super::{Claimed, Grant, Hello, LABEL, LONGEST, Place, Secret, VERSION, Welcome, Who, hex};
use crate::control::{Client, Person, Request, tls};

/// How long the whole conversation may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a read or write may take.
const STEP: Duration = Duration::from_secs(5);

/// A box that waits to be claimed.
pub(in crate::console) struct Claims {
    tls: Arc<ServerConfig>,
    secret: Secret,
    public_key: String,
    place: Place,
    socket: PathBuf,
    lockout: Lockout,
    /// One claim at a time: the second finds the box claimed.
    done: Mutex<bool>,
    /// Set when the box is claimed: its management process starts again then.
    stop: Arc<AtomicBool>,
}

impl Claims {
    /// Gets ready, with a secret and a key that are made at the first start.
    ///
    /// # Errors
    /// They can't be kept.
    pub(in crate::console) fn new(place: Place, socket: &Path, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let (secret, key) = place.open()?;
        let public_key = hex(key.der_bytes());
        Ok(Self {
            tls: tls::anybody(certificate(&key)?, &key.serialize_der()).map_err(io::Error::other)?,
            secret,
            public_key,
            place,
            socket: socket.to_owned(),
            lockout: Lockout::default(),
            done: Mutex::new(false),
            stop,
        })
    }

    /// What stands on the console until the box is claimed.
    pub(in crate::console) fn invitation(&self, address: SocketAddr) -> String {
        format!("nobody has claimed this box: vambrace --box {address} claim --secret {}", self.secret.shown())
    }

    /// Serves one connection.
    pub(in crate::console) fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let address = peer.ip().to_canonical();
        if !self.lockout.is_open(address, Instant::now()) {
            return;
        }
        let (request, user) = match self.converse(stream) {
            Ok(user) => {
                tracing::info!(%address, user, "the box is claimed");
                (Request::Given { what: "claim of the box".to_owned() }, user)
            }
            Err(error) => {
                self.lockout.failed(address, Instant::now());
                tracing::warn!(%address, %error, "not claimed");
                (Request::Denied { what: "claim of the box".to_owned(), why: error.to_string() }, String::new())
            }
        };
        let role = if user.is_empty() { String::new() } else { "engineer".to_owned() };
        let person = Person { user, role, address };
        if let Err(error) = Client::connect(&self.socket).and_then(|mut client| client.ask_for(&request, Some(&person)))
        {
            tracing::error!(%error, "a claim could not be recorded");
        }
        if !person.user.is_empty() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Name of the user who claimed the box.
    fn converse(&self, stream: TcpStream) -> io::Result<String> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP))?;
        stream.set_write_timeout(Some(STEP))?;
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let begun = Instant::now();
        tls::shake_hands(&mut stream.conn, &mut stream.sock, PATIENCE, &self.stop)?;
        let binding = stream.conn.export_keying_material([0; 32], LABEL, None).map_err(io::Error::other)?;
        let mut stream = BufReader::new(stream);
        let Hello { claim, proof } = line(&mut stream)?;
        if claim != VERSION {
            return self.refuse(&mut stream, "another version of vambrace runs here; use the box's own");
        }
        if !self.secret.proves(Who::Client, &binding, &proof) {
            return self.refuse(&mut stream, "the secret is not this box's");
        }
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (proof, public_key) = (self.secret.proof(Who::Box, &binding), self.public_key.clone());
        say(&mut stream, &Welcome::Box { proof, public_key, name })?;
        let grant: Grant = line(&mut stream)?;
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the claim took too long"));
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = if *done {
            Err(io::Error::other("somebody else has claimed this box meanwhile"))
        } else {
            self.place.take(&grant)
        };
        let last = taken.as_ref().map_or_else(|error| Claimed::Failed { why: error.to_string() }, |()| Claimed::Done);
        *done |= taken.is_ok();
        // Whether or not the last word arrives: what was taken is taken.
        let _ = say(&mut stream, &last);
        end(&mut stream);
        taken.map(|()| grant.user)
    }

    fn refuse(&self, stream: &mut BufReader<Tls>, why: &str) -> io::Result<String> {
        say(stream, &Welcome::Failed { why: why.to_owned() })?;
        end(stream);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

fn line<T: serde::de::DeserializeOwned>(stream: &mut BufReader<Tls>) -> io::Result<T> {
    let mut text = Vec::new();
    stream.by_ref().take(LONGEST).read_until(b'\n', &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn say(stream: &mut BufReader<Tls>, what: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string(what)? + "\n";
    stream.get_mut().write_all(text.as_bytes())?;
    stream.get_mut().flush()
}

fn end(stream: &mut BufReader<Tls>) {
    let stream = stream.get_mut();
    stream.conn.send_close_notify();
    let _ = stream.conn.complete_io(&mut stream.sock);
}

/// What the box shows until an authority has certified it. Nobody believes what stands in it: the proofs count.
fn certificate(key: &KeyPair) -> io::Result<Vec<u8>> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Vambrace, not claimed");
    Ok(params.self_signed(key).map_err(io::Error::other)?.der().to_vec())
}
