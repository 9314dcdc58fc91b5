//! An authority of one's own, and the certificates that it issues: for the box and for those who may ask it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm,
};

use crate::control::tls::fingerprint;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The library refuses a name or a key.
    #[error("{0}")]
    Certificate(#[from] rcgen::Error),
    /// A file can't be read or written; one that exists is not written over.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A certificate and its key, as text.
#[derive(Debug)]
pub struct Issued {
    /// The certificate in PEM.
    pub certificate: String,
    /// Its secret key in PEM.
    pub key: String,
    /// SHA-256 of the certificate, as configurations have it.
    pub fingerprint: String,
}

/// What issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    issued: Issued,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Vambrace");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Years that certificates last: a robot cell's life; who leaves is taken out of the configuration at once.
const YEARS: i32 = 20;

fn lasting(params: &mut CertificateParams) {
    let now = jiff::Zoned::now().date();
    let day = |year: i16| rcgen::date_time_ymd(year.into(), 1, 1);
    params.not_before = day(now.year());
    params.not_after = day(now.year().saturating_add(i16::try_from(YEARS).unwrap_or(20)));
}

impl Authority {
    /// A new one, on the curve P-256.
    ///
    /// # Errors
    /// The library refuses.
    pub fn make() -> Result<Self, KeyError> {
        let key = KeyPair::generate()?;
        let text = key.serialize_pem();
        let mut params = Self::params(&key);
        lasting(&mut params);
        let certificate = params.self_signed(&key)?;
        let issued = Issued { certificate: certificate.pem(), key: text, fingerprint: fingerprint(certificate.der()) };
        Ok(Self { issuer: Issuer::new(params, key), issued })
    }

    /// The one whose files are `ca.pem` and `ca.key` in `directory`.
    ///
    /// # Errors
    /// They are missing or hold something else.
    pub fn load(directory: &Path) -> Result<Self, KeyError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| KeyError::File { path, source })
        };
        let (certificate, text) = (read("ca.pem")?, read("ca.key")?);
        let key = KeyPair::from_pem(&text)?;
        let issued = Issued { certificate, key: text, fingerprint: String::new() };
        Ok(Self { issuer: Issuer::new(Self::params(&key), key), issued })
    }

    /// Its name follows from its key, so that the key is all that issuing needs.
    fn params(key: &KeyPair) -> CertificateParams {
        let print = fingerprint(key.public_key_raw());
        let mut params = named(&format!("Vambrace CA {}", print.get(7..23).unwrap_or_default()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// Its own certificate and key.
    #[must_use]
    pub fn issued(&self) -> Issued {
        let Issued { certificate, key, fingerprint } = &self.issued;
        Issued { certificate: certificate.clone(), key: key.clone(), fingerprint: fingerprint.clone() }
    }

    /// A certificate for a box under its names and addresses, for its remote API and toward receivers of events.
    ///
    /// # Errors
    /// A name can't stand in a certificate.
    pub fn box_certificate(&self, names: &[String]) -> Result<Issued, KeyError> {
        self.issue(Self::of_box(names)?)
    }

    /// The same, in PEM, for a box that keeps its key to itself; `public_key` is its point of P-256.
    ///
    /// # Errors
    /// A name can't stand in a certificate.
    pub fn certificate_for(&self, names: &[String], public_key: Vec<u8>) -> Result<String, KeyError> {
        let mut params = Self::of_box(names)?;
        bound(&mut params);
        Ok(params.signed_by(&Point(public_key), &self.issuer)?.pem())
    }

    fn of_box(names: &[String]) -> Result<CertificateParams, KeyError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        let first = names.first().map_or("box", String::as_str);
        params.distinguished_name = named(first).distinguished_name;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params)
    }

    /// A certificate for a user.
    ///
    /// # Errors
    /// The name can't stand in a certificate.
    pub fn user_certificate(&self, name: &str) -> Result<Issued, KeyError> {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, KeyError> {
        bound(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let fingerprint = fingerprint(certificate.der());
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), fingerprint })
    }
}

/// What every certificate has that an authority issues.
fn bound(params: &mut CertificateParams) {
    lasting(params);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
}

/// A public key of P-256 whose secret half is elsewhere.
struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Writes `NAME.pem` and `NAME.key` (mode 0600) into `directory`; files that exist are left alone unless `force`.
///
/// # Errors
/// A file exists or can't be written.
pub fn write(directory: &Path, name: &str, issued: &Issued, force: bool) -> Result<(), KeyError> {
    fs::create_dir_all(directory).map_err(|source| KeyError::File { path: directory.to_owned(), source })?;
    for (ending, text, mode) in [("key", &issued.key, 0o600), ("pem", &issued.certificate, 0o644)] {
        let path = directory.join(format!("{name}.{ending}"));
        if force {
            let _ = fs::remove_file(&path);
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(|source| KeyError::File { path, source })?;
    }
    Ok(())
}
