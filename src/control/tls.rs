//! Certificates: how both ends of the remote API, and receivers of events, know each other. TLS 1.2 and 1.3 by `rustls`
//! with the `ring` provider.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ConnectionCommon, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::document::hex;

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or holds something else.
    #[error("{path}: {what}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key don't fit, or the library refuses them.
    #[error("{path}: {source}", path = .path.display())]
    Refused {
        /// The certificate's file.
        path: PathBuf,
        /// The library's word.
        source: rustls::Error,
    },
    /// A name that no certificate could bear.
    #[error("\"{0}\" is no host name or address")]
    Name(String),
}

fn file(path: &Path, what: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), what: what.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| file(path, error))?;
    if found.is_empty() {
        return Err(file(path, "holds no certificate in PEM"));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file(path, error))
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Refused { path: path.to_owned(), source })?;
    }
    Ok(Arc::new(roots))
}

/// What a client needs: the authority of the server's certificate, and its own certificate with its key where the
/// server asks for one.
///
/// # Errors
/// A file can't be used.
pub fn client(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(roots(ca)?, provider()).build().map_err(|error| file(ca, error))?;
    let refused = |source| TlsError::Refused { path: ca.to_owned(), source };
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(refused)?.with_webpki_verifier(verifier);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, secret)) => builder
            .with_client_auth_cert(certificates(certificate)?, key(secret)?)
            .map_err(|source| TlsError::Refused { path: certificate.to_owned(), source })?,
    };
    // Connections last for days: nothing is gained by resuming, and a certificate is looked at each time.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// What a server needs: its certificate with its key, and the authority of the clients' certificates. A client without
/// one is refused.
///
/// # Errors
/// A file can't be used.
pub fn server(certificate: &Path, secret: &Path, client_ca: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(client_ca)?, provider())
        .build()
        .map_err(|error| file(client_ca, error))?;
    let refused = |source| TlsError::Refused { path: certificate.to_owned(), source };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(certificate)?, key(secret)?)
        .map_err(refused)?;
    // Each connection shows its certificate: no tickets, and no sessions of TLS 1.2 that are remembered by a number.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// What a server needs whose clients have no certificate yet: its own, and its key in PKCS #8. TLS 1.3 alone.
///
/// # Errors
/// They don't fit.
pub fn anybody(certificate: Vec<u8>, secret: &[u8]) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(secret.to_vec()));
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.into()], key)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a client needs for a server that no authority has certified yet: that it holds the key of the certificate which it
/// shows is looked at, and nothing else. Who it is must be proven over the connection. TLS 1.3 alone.
///
/// # Errors
/// The library refuses.
pub fn unproven() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let verifier = Arc::new(HoldsItsKey(algorithms));
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Takes any certificate whose key the server holds.
#[derive(Debug)]
struct HoldsItsKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for HoldsItsKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// SHA-256 of the first certificate in a file, as configurations have it.
///
/// # Errors
/// It holds none.
pub fn fingerprint_of(path: &Path) -> Result<String, TlsError> {
    certificates(path)?.first().map(|it| fingerprint(it)).ok_or_else(|| file(path, "holds no certificate in PEM"))
}

/// Shakes hands over a socket whose reads and writes end soon. The time is asked for at every step: an end that sends a
/// byte now and then does not hold the place for long.
///
/// # Errors
/// The other end went away, is not who it should be, or took too long; or `stop` was set.
pub fn shake_hands<D>(
    connection: &mut ConnectionCommon<D>,
    socket: &mut TcpStream,
    within: Duration,
    stop: &AtomicBool,
) -> io::Result<()> {
    let begun = Instant::now();
    while connection.is_handshaking() || connection.wants_write() {
        if begun.elapsed() > within || stop.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no certificate in time"));
        }
        let step = if connection.wants_write() { connection.write_tls(socket) } else { connection.read_tls(socket) };
        match step {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end closed the connection")),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Err(error) = connection.process_new_packets() {
            // The alert that says why.
            let _ = connection.write_tls(socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    Ok(())
}

/// The name that the server's certificate must bear.
///
/// # Errors
/// It is no host name or address.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// SHA-256 of a certificate as configurations have it: `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(certificate)))
}
