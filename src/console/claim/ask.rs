//! The end of the one who claims.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use super::{Claimed, Grant, Hello, LABEL, LONGEST, Secret, VERSION, Welcome, Who, unhex};
use crate::console::keys::{Authority, KeyError};
use crate::control::tls;
use crate::document::host_of;

/// How long reaching the box, and each answer, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a box was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It can't be reached, or ended the conversation.
    #[error(
        "{address}: {source}; is it a box that shows a secret on its console? After failed attempts it waits a while"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The box says no.
    #[error("{address}: {why}")]
    Refused {
        /// Host and port.
        address: String,
        /// Its reason.
        why: String,
    },
    /// It does not know the secret: somebody else answers in its place.
    #[error("{0}: what answers there does not know the secret: it is not the box on whose console it stands")]
    Stranger(String),
    /// No certificate could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Who claims.
#[derive(Debug)]
pub struct Owner<'o> {
    /// What certifies the box, and the users from now on.
    pub authority: &'o Authority,
    /// The authority's certificate, in PEM.
    pub ca: &'o str,
    /// Name of the first engineer.
    pub user: &'o str,
    /// SHA-256 of the engineer's certificate, as configurations have it.
    pub fingerprint: &'o str,
    /// Names and addresses under which the box is reached beside that of `address`.
    pub names: &'o [String],
}

/// Claims the box at `address` (`HOST:PORT`). Gives back the box's name.
///
/// # Errors
/// It is another box, the secret is not its own, or it was claimed before.
pub fn claim(address: &str, secret: &Secret, owner: &Owner<'_>) -> Result<String, ClaimError> {
    let unreachable = |source: io::Error| ClaimError::Unreachable { address: address.to_owned(), source };
    let refused = |why: String| ClaimError::Refused { address: address.to_owned(), why };
    let mut stream = connect(address).map_err(unreachable)?;
    let binding = stream.get_ref().conn.export_keying_material([0; 32], LABEL, None);
    let binding = binding.map_err(|error| unreachable(io::Error::other(error)))?;
    let hello = Hello { claim: VERSION, proof: secret.proof(Who::Client, &binding) };
    let (public_key, name) = match ask(&mut stream, &hello).map_err(unreachable)? {
        Welcome::Failed { why } => return Err(refused(why)),
        Welcome::Box { proof, .. } if !secret.proves(Who::Box, &binding, &proof) => {
            return Err(ClaimError::Stranger(address.to_owned()));
        }
        Welcome::Box { public_key, name, .. } => (public_key, name),
    };
    let public_key = unhex(&public_key).ok_or_else(|| refused("its public key is not readable".to_owned()))?;
    let names: Vec<String> = [host_of(address).to_owned()].into_iter().chain(owner.names.iter().cloned()).collect();
    let certificate = owner.authority.certificate_for(&names, public_key)?;
    let grant = Grant {
        ca: owner.ca.to_owned(),
        certificate,
        user: owner.user.to_owned(),
        fingerprint: owner.fingerprint.to_owned(),
    };
    match ask(&mut stream, &grant).map_err(unreachable)? {
        Claimed::Done => Ok(name),
        Claimed::Failed { why } => Err(refused(why)),
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: &str) -> io::Result<BufReader<Tls>> {
    let mut stream = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in address.to_socket_addrs()? {
        stream = TcpStream::connect_timeout(&address, PATIENCE);
        if stream.is_ok() {
            break;
        }
    }
    let stream = stream?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let name = tls::server_name(host_of(address)).map_err(io::Error::other)?;
    let connection = ClientConnection::new(tls::unproven().map_err(io::Error::other)?, name);
    let mut stream = StreamOwned::new(connection.map_err(io::Error::other)?, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(BufReader::new(stream))
}

fn ask<T: serde::de::DeserializeOwned>(stream: &mut BufReader<Tls>, what: &impl serde::Serialize) -> io::Result<T> {
    let text = serde_json::to_string(what)? + "\n";
    stream.get_mut().write_all(text.as_bytes())?;
    stream.get_mut().flush()?;
    let mut line = Vec::new();
    stream.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended the conversation"));
    }
    Ok(serde_json::from_slice(&line)?)
}
