//! The command line: one file a subcommand, one line an error, exit codes that scripts can rely on.

mod bench;
mod bypass;
mod capture;
mod claim;
mod config;
mod console;
mod diagnostics;
mod doctor;
mod events;
mod evidence;
mod explain;
mod filter;
mod identity;
mod learn;
mod manual;
mod mode;
mod output;
mod patches;
mod policy;
mod question;
mod remote;
mod replay;
mod rule_text;
mod run;
mod status;
mod top;
mod update;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::control::{Client, ControlError, FailureKind, RemoteBox, Request, Response};
use crate::document::Problems;
use crate::export::told;

/// Lets through to a robot exactly the commands that its work needs.
#[derive(Debug, Parser)]
#[command(name = "vambrace", version, propagate_version = true)]
pub struct Cli {
    /// Control socket of the running appliance.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/vambrace/control.sock")]
    socket: PathBuf,
    /// One JSON object a line on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// Say less: errors only.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(flatten)]
    remote: remote::RemoteArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bridge, judge and record.
    Run(run::RunArgs),
    /// The management process: remote API, senders of events, metrics.
    Console(console::ConsoleArgs),
    /// Become the first engineer of a box that nobody owns yet.
    ///
    /// With --box HOST, by the secret that the box shows on its console.
    Claim(claim::ClaimArgs),
    /// Check, describe or print configurations.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check, test, apply, roll back or show policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Which known attacks on this controller are contained, tried and not believed.
    #[command(subcommand)]
    Patches(patches::PatchesCommand),
    /// Propose a policy from captures, or learn on the running appliance.
    Learn(learn::LearnArgs),
    /// What `run` would refuse on, and the command that mends it.
    Doctor(doctor::DoctorArgs),
    /// Change what is done with traffic.
    Mode(mode::ModeArgs),
    /// Lead frames past the box for a while, over its relay.
    #[command(subcommand)]
    Bypass(bypass::BypassCommand),
    /// The appliance on one screen.
    Status,
    /// The appliance on the whole terminal, live: wire, latency, conversations, refusals.
    Top,
    /// Which rule decided an event or a frame of a capture, and what would have allowed it.
    Explain(explain::ExplainArgs),
    /// Print or follow events.
    Events(events::EventsArgs),
    /// Verify, list or export what was recorded, as evidence.
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Bring, keep or take back another version of the appliance image.
    #[command(subcommand)]
    Update(update::UpdateCommand),
    /// Show what passes, live, with verdicts: pcapng for Wireshark.
    Capture(capture::CaptureArgs),
    /// What Wireshark asks of an extcap program; see `vambrace-extcap`.
    #[command(hide = true)]
    Extcap(capture::extcap::ExtcapArgs),
    /// The same engine over captures, without root.
    Replay(replay::ReplayArgs),
    /// The virtual robot cell in network namespaces (root).
    #[cfg(feature = "lab")]
    #[command(subcommand)]
    Lab(crate::lab::LabCommand),
    /// How fast this machine is as a box, against a kernel bridge.
    Bench(bench::BenchArgs),
    /// What those need who help: state, configuration, log, events, without secrets.
    #[command(subcommand)]
    Diagnostics(diagnostics::DiagnosticsCommand),
    /// Completions for a shell, to be written where it looks for them.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Manual pages: this program's to standard output, or all of them into a folder.
    Man {
        /// Folder for one page a command.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// The process that judges; started by `run`.
    #[command(hide = true)]
    PacketProcess(crate::appliance::Handed),
}

/// How a command ended. Source: the contract of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Fine.
    Fine = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Something would be refused or differs.
    Findings = 3,
    /// Evidence is altered or missing.
    Unsound = 4,
    /// The appliance is not reachable.
    Unreachable = 5,
    /// Refused for safety.
    Unsafe = 6,
    /// The appliance works less well than configured.
    Degraded = 10,
    /// Frames go past the policy.
    Bypassed = 11,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every command may ask for.
pub(crate) struct Context {
    socket: PathBuf,
    json: bool,
    remote: Option<RemoteBox>,
    quiet: bool,
}

impl Context {
    /// Reaches the appliance that is meant.
    pub(crate) fn connect(&self) -> Result<Client, ControlError> {
        match &self.remote {
            Some(remote) => Client::connect_remote(remote),
            None => Client::connect(&self.socket),
        }
    }
}

/// Parses the arguments and runs one command.
#[must_use]
pub fn main() -> ExitCode {
    if capture::extcap::is_meant(std::env::args_os().next().as_deref()) {
        return capture::extcap::run(&capture::extcap::ExtcapArgs::parse()).into();
    }
    let Cli { socket, json, quiet, remote, command } = Cli::parse();
    start_log(quiet);
    // The one command to a box that knows no certificate yet.
    if let Command::Claim(args) = &command {
        return match remote.address() {
            Ok(address) => claim::run(address.as_deref(), args).into(),
            Err(exit) => exit.into(),
        };
    }
    let remote = match remote.resolve() {
        Ok(remote) => remote,
        Err(exit) => return exit.into(),
    };
    let context = Context { socket, json, remote, quiet };
    let exit = match command {
        Command::Run(args) => run::run(&args),
        Command::Console(args) => console::run(&args),
        Command::Claim(args) => claim::run(None, &args),
        Command::Config(command) => config::run(&command),
        Command::Policy(command) => policy::run(&context, &command),
        Command::Patches(command) => patches::run(&context, &command),
        Command::Learn(args) => learn::run(&context, &args),
        Command::Doctor(args) => doctor::run(&context, &args),
        Command::Mode(args) => mode::run(&context, &args),
        Command::Bypass(command) => bypass::run(&context, &command),
        Command::Status => status::run(&context),
        Command::Top => top::run(&context),
        Command::Explain(args) => explain::run(&context, &args),
        Command::Events(args) => events::run(&context, &args),
        Command::Evidence(command) => evidence::run(&context, &command),
        Command::Update(command) => update::run(&context, &command),
        Command::Capture(args) => capture::run(&context, &args),
        Command::Extcap(args) => capture::extcap::run(&args),
        Command::Bench(args) => bench::run(&context, &args),
        Command::Diagnostics(command) => diagnostics::run(&context, &command),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { directory } => manual::man(directory.as_deref()),
        Command::Replay(args) => replay::run(&context, &args),
        #[cfg(feature = "lab")]
        Command::Lab(command) => match crate::lab::run(command) {
            Ok(()) => Exit::Fine,
            Err(error) => fail(Exit::Failed, &error),
        },
        Command::PacketProcess(handed) => match crate::appliance::run_packet_process(&handed) {
            Ok(()) => Exit::Fine,
            Err(failure) => run::report(&failure),
        },
    };
    exit.into()
}

/// Log lines go to standard error; `VAMBRACE_LOG` sets what is said (`info` unless told).
fn start_log(quiet: bool) {
    let unless_told = if quiet { "error" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("VAMBRACE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(unless_told));
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}

/// Prints one line for people and passes the exit on.
pub(crate) fn fail(exit: Exit, what: &dyn std::fmt::Display) -> Exit {
    eprintln!("vambrace: {what}");
    exit
}

/// Prints the mistakes of a file, each as it is: editors and scripts look for `file:line:column:` at the begin of a line.
pub(crate) fn mistakes(problems: &Problems) -> Exit {
    eprintln!("{problems}");
    Exit::Usage
}

/// Prints a line that came from elsewhere, a mistake as it is.
fn complain(line: &str) {
    if crate::document::has_place(line) { eprintln!("{line}") } else { eprintln!("vambrace: {line}") }
}

/// Asks the running appliance; failures are printed and become an exit.
pub(crate) fn ask(context: &Context, request: &Request) -> Result<Response, Exit> {
    match context.connect().and_then(|mut client| client.ask(request)) {
        Ok(Response::Failed { kind, messages }) => Err(failed(kind, &messages)),
        Ok(response) => Ok(response),
        Err(error) => Err(fail(unreachable_or_failed(&error), &error)),
    }
}

/// Prints why something was not done.
pub(crate) fn failed(kind: FailureKind, messages: &[String]) -> Exit {
    messages.iter().for_each(|message| complain(message));
    match kind {
        FailureKind::Usage => Exit::Usage,
        FailureKind::Unsafe => Exit::Unsafe,
        FailureKind::Findings => Exit::Findings,
        FailureKind::Unreachable => Exit::Unreachable,
        FailureKind::Failed => Exit::Failed,
    }
}

fn unreachable_or_failed(error: &ControlError) -> Exit {
    match error {
        ControlError::Unreachable { .. } | ControlError::Remote { .. } => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// Prints text for programs or people to read; who stops reading is not told twice.
pub(crate) fn print(text: &str) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(Exit::Fine as i32),
        Err(error) => fail(Exit::Failed, &error),
    }
}

/// A progress bar over bytes, on standard error when it is a terminal.
pub(crate) fn progress(bytes: u64) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(bytes);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    bar
}
