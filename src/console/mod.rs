//! The management process, `vambrace console`: what people and other machines reach of a box.
//!
//! It has no right on the data ports. It follows the event files like any reader and asks the packet process over the
//! control socket like anybody, but says for whom. Each of these runs where it is configured: senders of events to
//! syslog receivers, digests by mail, checkpoints to witnesses, the remote API, and counters for Prometheus. When it dies, the wire goes on, and so do
//! the records. The manual's chapter is `console.md`.

#[cfg(test)]
mod certificates;
pub mod claim;
mod clock;
pub mod diagnostics;
mod evidence;
pub mod keys;
mod listen;
mod lockout;
mod mail;
mod metrics;
#[cfg(test)]
mod monitoring_tests;
mod parts;
mod places;
mod relay;
mod remote;
mod rights;
mod roles;
mod sender;
mod smtp;
mod syslog;
mod update;
mod witness;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use self::claim::{Claims, Place};
use self::clock::Clock;
use self::diagnostics::Diagnostics;
use self::listen::{Bounds, listen};
use self::mail::Mailer;
use self::metrics::Metrics;
use self::parts::Parts;
use self::remote::Remote;
use self::sender::Sender;
use self::witness::Pusher;
use crate::config::{Account, Config};

/// Most connections at once to the remote API: people, scripts, a few that follow events.
const REMOTE: Bounds = Bounds { all: 32, each: 16 };

/// The same for claims: one person claims a box once.
const CLAIMS: Bounds = Bounds { all: 8, each: 4 };

/// How often the secret is shown again while nobody has claimed the box: screens scroll.
const SHOW: Duration = Duration::from_secs(60);

/// The same for metrics: two scrapers and somebody who looks.
const METRICS: Bounds = Bounds { all: 4, each: 2 };

/// Why the management process does not run.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The configuration gives it nothing to do.
    #[error(
        "[console] has no `listen`, [[console.syslog]], [[console.witness]], [console.mail] or `metrics.listen`: there is nothing to do"
    )]
    Nothing,
    /// Something that it needs.
    #[error("{what}: {source}")]
    Needs {
        /// What.
        what: String,
        /// Why it is not to be had.
        source: std::io::Error,
    },
}

fn needs(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ConsoleError {
    let what = what.into();
    move |source| ConsoleError::Needs { what, source }
}

/// Sends a test event to each receiver of events, and a test mail; their names, each with what became of it.
#[must_use]
pub fn test(config: &Config) -> Vec<(String, std::io::Result<()>)> {
    let receivers = config.console.syslog.iter().map(|to| (to.name.clone(), sender::send_test(to)));
    let mail = config.console.mail.iter().map(|to| (format!("mail by {}", to.relay), mail::send_test(to)));
    receivers.chain(mail).collect()
}

/// Replaces a file as a whole. It lies in a folder that the account owns and root writes to at the start: nothing that
/// stands there is followed.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&fresh, path)
}

/// Runs until SIGTERM or Ctrl-C, or until the box is claimed. `file` is where the configuration was read from.
///
/// # Errors
/// There is nothing to do, an address or a folder can't be used, or rights can't be given up.
pub fn run(config: &Config, file: &Path) -> Result<(), ConsoleError> {
    if config.console.claim {
        let place = Place::below(&config.console.directory).map_err(needs("the claim"))?;
        return match place.apply(&config.console).map_err(needs("the claim"))? {
            Some(console) => manage(&Config { console, ..config.clone() }, file),
            None => wait_for_claim(config, place),
        };
    }
    manage(config, file)
}

/// Listens for the one who claims the box, and does nothing else. Comes back when the box is claimed, to be started again.
fn wait_for_claim(config: &Config, place: Place) -> Result<(), ConsoleError> {
    let Some(address) = config.console.listen else { return Err(ConsoleError::Nothing) };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(needs("signal handler"))?;
    }
    let account =
        config.console.account.as_deref().map(Account::named).transpose().map_err(needs("console.account"))?;
    let listener = TcpListener::bind(address).map_err(needs(address.to_string()))?;
    if let Some(account) = account
        && rustix::process::geteuid().is_root()
    {
        let (records, socket) = (&config.record.directory, &config.control.socket);
        rights::share(account, records, socket, &config.console.directory).map_err(needs("console.account"))?;
        place.give(account).map_err(needs("the claim"))?;
    }
    rights::give_up(account).map_err(needs("giving up rights"))?;
    let claims = Claims::new(place, &config.control.socket, Arc::clone(&stop)).map_err(needs("the claim"))?;
    let invitation = claims.invitation(address);
    let shown = {
        let stop = Arc::clone(&stop);
        let show = move || {
            let mut last: Option<Instant> = None;
            while !stop.load(Ordering::Relaxed) {
                if last.is_none_or(|last| last.elapsed() >= SHOW) {
                    // Not into the log, which is kept and handed to those who help: whoever sees the screen may claim the
                    // box. A screen that is gone is no reason to end.
                    let _ = writeln!(std::io::stdout(), "{invitation}");
                    last = Some(Instant::now());
                }
                thread::sleep(Duration::from_millis(100));
            }
        };
        thread::Builder::new().name("invitation".to_owned()).spawn(show).map_err(needs("thread"))?
    };
    let claims = Arc::new(claims);
    let serve: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync> =
        Arc::new(move |stream, peer| claims.serve(stream, peer));
    listen(&listener, "claim", CLAIMS, &stop, &serve);
    let _ = shown.join();
    Ok(())
}

fn manage(config: &Config, file: &Path) -> Result<(), ConsoleError> {
    let console = &config.console;
    let sends = !console.syslog.is_empty() || !console.witnesses.is_empty() || console.mail.is_some();
    if console.listen.is_none() && !sends && console.metrics.listen.is_none() {
        return Err(ConsoleError::Nothing);
    }
    // Where the packet process is on this machine, its worker's core is not ours.
    for core in &config.fast_path.cores {
        if let Err(error) = crate::sys::keep_off(usize::from(*core)) {
            tracing::warn!(core, %error, "may run on the worker's core");
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(needs("signal handler"))?;
    }
    let (records, socket) = (&config.record.directory, &config.control.socket);
    let account = console.account.as_deref().map(Account::named).transpose().map_err(needs("console.account"))?;

    // What root may open and the account may not: ports below 1024, secret keys.
    let bind = |address: SocketAddr| TcpListener::bind(address).map_err(needs(address.to_string()));
    let mut parts = Parts::default();
    let remote = match console.listen {
        None => {
            tracing::info!("the remote API is off: [console] has no `listen`");
            None
        }
        Some(address) => {
            let made = match Remote::new(console, socket, records, Diagnostics::new(file), Arc::clone(&stop)) {
                Ok(Some(remote)) => Ok(remote),
                Ok(None) => Err("it has no certificates; see `vambrace console keygen --help`".to_owned()),
                Err(error) => Err(format!("{error}; see `vambrace console keygen --help`")),
            };
            parts.note("remote API", made).map(|remote| Ok((remote, bind(address)?))).transpose()?
        }
    };
    let metrics = console.metrics.listen.map(bind).transpose()?;
    // The folder is what all of them need; the rest is each one's own.
    std::fs::create_dir_all(&console.directory).map_err(needs(console.directory.display().to_string()))?;
    let mut senders = Vec::new();
    let clock = Arc::new(Clock::new(socket));
    for to in &console.syslog {
        let made = Sender::new(to, records, &console.directory, Arc::clone(&clock), Arc::clone(&stop));
        senders.extend(parts.note(&format!("receiver {}", to.name), made).map(|sender| (to.name.clone(), sender)));
    }
    let mailer = console
        .mail
        .as_ref()
        .and_then(|to| parts.note("mailer", Mailer::new(to, records, &console.directory, Arc::clone(&stop))));
    let pushers = console.witnesses.iter().map(|to| Pusher::new(to, records, Arc::clone(&stop))).collect::<Vec<_>>();
    if let Some(account) = account
        && rustix::process::geteuid().is_root()
    {
        rights::share(account, records, socket, &console.directory).map_err(needs("console.account"))?;
    }
    rights::give_up(account).map_err(needs("giving up rights"))?;

    let metrics = metrics.map(|listener| {
        let senders = senders.iter().map(|(name, sender)| (name.clone(), sender.progress()));
        let outcomes = remote.as_ref().map(|(remote, _)| Arc::clone(&remote.outcomes));
        let witnesses = console.witnesses.iter().zip(&pushers).map(|(to, pusher)| (to.name.clone(), pusher.pushed()));
        let (senders, witnesses) = (senders.collect(), witnesses.collect());
        (Metrics { socket: socket.clone(), parts: parts.clone(), senders, witnesses, outcomes }, listener)
    });
    let mut threads = Vec::new();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(needs(format!("thread {name}")))
    };
    let troubles = parts.troubles();
    if !troubles.is_empty() {
        let (socket, stop) = (socket.clone(), Arc::clone(&stop));
        threads.push(spawn("troubles", Box::new(move || parts::tell(&socket, &troubles, &stop)))?);
    }
    for (_, sender) in senders {
        threads.push(spawn("sender", Box::new(move || sender.run()))?);
    }
    if let Some(mailer) = mailer {
        threads.push(spawn("mailer", Box::new(move || mailer.run()))?);
    }
    for pusher in pushers {
        threads.push(spawn("pusher", Box::new(move || pusher.run()))?);
    }
    if let Some((remote, listener)) = remote {
        tracing::info!(address = ?listener.local_addr(), "the remote API listens");
        let (remote, stop) = (Arc::new(remote), Arc::clone(&stop));
        let serve: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync> =
            Arc::new(move |stream, peer| remote.serve(stream, peer));
        threads.push(spawn("remote", Box::new(move || listen(&listener, "remote", REMOTE, &stop, &serve)))?);
    }
    if let Some((metrics, listener)) = metrics {
        tracing::info!(address = ?listener.local_addr(), "metrics are served");
        let stop = Arc::clone(&stop);
        let serve: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync> = Arc::new(move |stream, _| {
            let _ = metrics.serve(&stream);
        });
        threads.push(spawn("metrics", Box::new(move || listen(&listener, "metrics", METRICS, &stop, &serve)))?);
    }
    wait(&stop, threads);
    Ok(())
}

fn wait(stop: &AtomicBool, threads: Vec<JoinHandle<()>>) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
    }
    for thread in threads {
        let _ = thread.join();
    }
}
