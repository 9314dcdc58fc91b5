#![allow(clippy::arithmetic_side_effects, reason = "a test may stop at the first surprise")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::*;
use crate::config::{Console, Role};
use crate::console::keys::Authority;

/// A box that waits to be claimed, at an address of this machine.
struct Waiting {
    directory: PathBuf,
    address: SocketAddr,
    secret: Secret,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("vambrace-claim-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let place = Place::below(&directory).unwrap();
        let (secret, _) = place.open().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let claims = Arc::new(Claims::new(place, &directory.join("no.sock"), Arc::clone(&stop)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(claims.invitation(address).ends_with(&secret.shown()));
        let serve: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync> =
            Arc::new(move |stream, peer| claims.serve(stream, peer));
        let flag = Arc::clone(&stop);
        let bounds = crate::console::listen::Bounds { all: 4, each: 4 };
        let thread =
            std::thread::spawn(move || crate::console::listen::listen(&listener, "claim", bounds, &flag, &serve));
        Self { directory, address, secret, stop, thread: Some(thread) }
    }

    fn claim(&self, secret: &Secret, user: &str) -> Result<String, ClaimError> {
        let authority = Authority::make().unwrap();
        let issued = authority.user_certificate(user).unwrap();
        let ca = authority.issued().certificate;
        let owner = Owner { authority: &authority, ca: &ca, user, fingerprint: &issued.fingerprint, names: &[] };
        claim(&self.address.to_string(), secret, &owner)
    }

    fn claimed(&self) -> Option<Console> {
        Place::below(&self.directory).unwrap().apply(&Console::default()).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn who_knows_the_secret_becomes_the_first_engineer_once() {
    let waiting = Waiting::new("once");
    assert!(waiting.claimed().is_none());
    waiting.claim(&waiting.secret, "eva").unwrap();
    let console = waiting.claimed().unwrap();
    assert_eq!((console.users[0].name.as_str(), console.users[0].role), ("eva", Role::Engineer));
    // What the remote API needs fits together.
    let [certificate, key, ca] = [console.certificate, console.key, console.client_ca].map(Option::unwrap);
    crate::control::tls::server(&certificate, &key, &ca).unwrap();
    assert!(!waiting.directory.join("claim/secret").exists(), "the secret opens nothing any more, and is gone");
    // Its management process starts again now; until then a second one is refused.
    let second = waiting.claim(&waiting.secret, "mallory");
    assert!(second.is_err(), "{second:?}");
    assert_eq!(waiting.claimed().unwrap().users[0].name, "eva");
}

#[test]
fn a_wrong_secret_claims_nothing_and_is_slowed_down() {
    let waiting = Waiting::new("wrong");
    let wrong = Secret::make().unwrap();
    for _ in 0..4 {
        let error = waiting.claim(&wrong, "mallory").unwrap_err().to_string();
        assert!(error.contains("the secret is not this box's"), "{error}");
    }
    let error = waiting.claim(&waiting.secret, "eva").unwrap_err();
    assert!(matches!(error, ClaimError::Unreachable { .. }), "{error}");
    assert!(waiting.claimed().is_none());
    std::thread::sleep(std::time::Duration::from_millis(1200));
    waiting.claim(&waiting.secret, "eva").unwrap();
}

#[test]
fn somebody_in_between_learns_nothing_to_claim_with() {
    // Answers in the box's place, with a secret of its own, and would pass on what it hears.
    let impostor = Waiting::new("impostor");
    let secret = Secret::make().unwrap();
    let error = impostor.claim(&secret, "eva").unwrap_err().to_string();
    assert!(error.contains("not this box's"), "{error}");
    // A proof holds for one connection and one end.
    let (binding, other) = ([1; 32], [2; 32]);
    let proof = secret.proof(Who::Client, &binding);
    assert!(secret.proves(Who::Client, &binding, &proof));
    assert!(!secret.proves(Who::Client, &other, &proof), "played into another connection");
    assert!(!secret.proves(Who::Box, &binding, &proof), "handed back as the box's");
    assert!(!Secret::make().unwrap().proves(Who::Client, &binding, &proof));
    for end in 0..proof.len() {
        assert!(!secret.proves(Who::Client, &binding, &proof[..end]), "{end} digits");
    }
    assert!(!secret.proves(Who::Client, &binding, "\u{e9}\u{e9}"));
}

#[test]
fn a_box_that_does_not_know_the_secret_is_told_from_the_right_one() {
    // It says yes to everybody, as one would that wants to be taken for the box.
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
    let config = crate::control::tls::anybody(certificate, &key.serialize_der()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        use std::io::{BufRead, Write};
        let (stream, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(config).unwrap();
        let mut stream = std::io::BufReader::new(rustls::StreamOwned::new(connection, stream));
        let mut hello = String::new();
        stream.read_line(&mut hello).unwrap();
        let Hello { proof, .. } = serde_json::from_str(&hello).unwrap();
        // The client's own proof, handed back.
        let welcome = Welcome::Box { proof, public_key: "04".repeat(65), name: "box".to_owned() };
        stream.get_mut().write_all((serde_json::to_string(&welcome).unwrap() + "\n").as_bytes()).unwrap();
        let mut rest = String::new();
        let _ = stream.read_line(&mut rest);
        rest
    });
    let authority = Authority::make().unwrap();
    let owner = Owner { authority: &authority, ca: "", user: "eva", fingerprint: "", names: &[] };
    let error = claim(&address, &Secret::make().unwrap(), &owner).unwrap_err();
    assert!(matches!(error, ClaimError::Stranger(_)), "{error}");
    assert_eq!(thread.join().unwrap(), "", "it was given something");
}

#[test]
fn a_certificate_of_another_key_is_not_taken() {
    let directory = std::env::temp_dir().join(format!("vambrace-claim-{}-key", std::process::id()));
    let place = Place::below(&directory).unwrap();
    place.open().unwrap();
    let authority = Authority::make().unwrap();
    let grant = |certificate: String, user: &str| Grant {
        ca: authority.issued().certificate,
        certificate,
        user: user.to_owned(),
        fingerprint: format!("sha256:{}", "0a".repeat(32)),
    };
    let stranger = authority.box_certificate(&["box".to_owned()]).unwrap().certificate;
    assert!(place.take(&grant(stranger, "eva")).is_err());
    let (_, key) = place.open().unwrap();
    let own = authority.certificate_for(&["box".to_owned()], rcgen::PublicKeyData::der_bytes(&key).to_vec()).unwrap();
    assert!(place.take(&grant(own.clone(), "../eva")).is_err());
    assert!(place.take(&Grant { fingerprint: "sha256:0A".to_owned(), ..grant(own.clone(), "eva") }).is_err());
    assert!(place.apply(&Console::default()).unwrap().is_none());
    place.take(&grant(own, "eva")).unwrap();
    assert!(place.apply(&Console::default()).unwrap().is_some());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn secrets_are_read_as_people_type_them() {
    let secret = Secret::make().unwrap();
    let shown = secret.shown();
    assert_eq!(shown.len(), 29);
    assert_eq!(Secret::read(&shown).unwrap(), secret);
    assert_eq!(Secret::read(&format!(" {} \n", shown.to_lowercase().replace('-', " "))).unwrap(), secret);
    assert_eq!(Secret::read("OIL00-00000-00000-00000-00000"), Secret::read("01100-00000-00000-00000-00000"));
    for wrong in ["", "00000", "00000-00000-00000-00000-0000U", "00000-00000-00000-00000-000000"] {
        assert_eq!(Secret::read(wrong), None, "{wrong}");
    }
    assert!(!format!("{secret:?}").contains(&shown[..5]));
}
