use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::output::{Output, Paint};
use super::{Context, Exit, ask, fail, mistakes};
use crate::appliance::patches::{Limits, Loaded, signature_path, try_all, under_mode};
use crate::appliance::{self, Failure};
use crate::config::{Config, Mode as ConfigMode};
use crate::control::{PatchReport, PatchState, PatchStatus, Request, Response};
use crate::engine::Mode;
use crate::patches::{Pack, PublicKey, SecretKey, Version};
use crate::policy::Policy;

/// What `patches` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PatchesCommand {
    /// Which known attacks are contained here; exit 3 where one that is about this controller is not.
    Status(Against),
    /// Tries what every known attack says on the wire, in the engine and as if it enforced; exit 3 where something
    /// comes through, or something harmless does not.
    Test(Against),
    /// Makes a key for whoever issues packs; prints the public one.
    Keygen {
        /// Where the secret key goes; nobody else may read it. Never written over.
        #[arg(value_name = "FILE")]
        secret: PathBuf,
    },
    /// Signs a pack; the signature goes beside it.
    Sign {
        /// The pack.
        #[arg(value_name = "PACK")]
        pack: PathBuf,
        /// File with the secret key, as `keygen` makes it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Says whether a box with this key would take a pack.
    Verify {
        /// The pack; its signature lies beside it.
        #[arg(value_name = "PACK")]
        pack: PathBuf,
        /// The issuer's public key.
        #[arg(long, value_name = "ed25519:DIGITS")]
        key: PublicKey,
    },
    /// Prints the pack that is built in: the form of a pack, and a beginning for another one.
    Show,
}

/// Against what patches are told or tried: without a configuration, the running appliance.
#[derive(Debug, clap::Args)]
pub(super) struct Against {
    /// Configuration: its devices, its policy, its mode. Without one the running appliance is asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another policy than the configuration's.
    #[arg(long, value_name = "FILE", requires = "config")]
    policy: Option<PathBuf>,
    /// Version of the controller's software; without it, every entry counts.
    #[arg(long, value_name = "VERSION", requires = "config")]
    software: Option<Version>,
}

/// Runs one of them.
pub(super) fn run(context: &Context, command: &PatchesCommand) -> Exit {
    let done = match command {
        PatchesCommand::Status(against) => report(context, against, false).map(|report| show(context, &report, false)),
        PatchesCommand::Test(against) => report(context, against, true).map(|report| show(context, &report, true)),
        PatchesCommand::Keygen { secret } => keygen(secret),
        PatchesCommand::Sign { pack, key } => sign(pack, key),
        PatchesCommand::Verify { pack, key } => verify(pack, key),
        PatchesCommand::Show => Ok(super::print(crate::patches::BUILT_IN)),
    };
    done.unwrap_or_else(|exit| exit)
}

fn failed(failure: &Failure) -> Exit {
    super::run::report(failure)
}

/// What came of trying, from a configuration or from the running appliance.
fn report(context: &Context, against: &Against, again: bool) -> Result<PatchReport, Exit> {
    let Some(path) = &against.config else {
        return match ask(context, &Request::Patches { again })? {
            Response::Patches(report) => Ok(*report),
            _ => Err(fail(Exit::Failed, &"the appliance answered something else")),
        };
    };
    let config = Config::load(path).map_err(|problems| mistakes(&problems))?;
    let loaded = Loaded::of(&config).map_err(|failure| failed(&failure))?;
    let judges = matches!(config.mode, ConfigMode::Shadow | ConfigMode::Enforce);
    let file = against.policy.as_ref().unwrap_or(&config.policy.file);
    // As `run` begins: where nothing is judged a policy may be missing.
    let own = if judges || against.policy.is_some() || file.exists() {
        appliance::policy_from(&config, file, 1).map_err(|failure| failed(&failure))?.0
    } else {
        Policy::empty(1).into()
    };
    // After the policy was compiled: a rule that was over by then is over.
    let moment = appliance::now();
    for doubt in loaded.pack.doubts(&file.display().to_string(), &own, moment.wall_ns) {
        eprintln!("{doubt}");
    }
    let policy = loaded.tighten(&own, against.software, 1, moment);
    let report = try_all(&config, &loaded, &policy, against.software, moment, Limits { deadline: None });
    let mode = if again { Mode::Enforce } else { Mode::named(config.mode.name()).unwrap_or(Mode::Observe) };
    Ok(under_mode(report, mode))
}

fn show(context: &Context, report: &PatchReport, tried: bool) -> Exit {
    let printed = if context.json { json(report) } else { super::print(&text(report, tried, Output::new())) };
    match printed {
        Exit::Fine if report.has_findings() => Exit::Findings,
        other => other,
    }
}

/// One object an entry, the last one the whole.
fn json(report: &PatchReport) -> Exit {
    let mut lines = String::new();
    for patch in &report.patches {
        match serde_json::to_value(patch) {
            Ok(serde_json::Value::Object(mut object)) => {
                object.insert("event_type".into(), "patch".into());
                lines += &format!("{}\n", serde_json::Value::Object(object));
            }
            Ok(_) => {}
            Err(error) => return fail(Exit::Failed, &error),
        }
    }
    let count = |state| report.count(state);
    let summary = serde_json::json!({
        "event_type": "summary", "pack": report.pack, "source": report.source, "attack": report.attack,
        "software": report.software, "generation": report.generation, "mode": report.mode, "peers": report.peers,
        "protected": count(PatchState::Protected), "not_protected": count(PatchState::NotProtected),
        "not_applicable": count(PatchState::NotApplicable), "not_containable": count(PatchState::NotContainable),
        "untested": count(PatchState::Untested),
        "harmless_refused": report.patches.iter().map(|it| it.harmless.saturating_sub(it.passed)).sum::<u32>(),
    });
    super::print(&format!("{lines}{summary}"))
}

fn text(report: &PatchReport, tried: bool, output: Output) -> String {
    let software = report.software.as_ref().map_or("unknown, so that every entry counts".to_owned(), String::clone);
    let mut out = format!(
        "virtual patches {} ({}), ATT&CK for ICS {}; controller's software {software}; mode {}\n",
        report.pack, report.source, report.attack, report.mode
    );
    if !report.peers.is_empty() {
        out += &format!("tried from {}\n", report.peers.join(", "));
    }
    for patch in &report.patches {
        out += &entry(patch, tried, output);
    }
    out + &format!("\n{}\n", report.summary())
}

fn entry(patch: &PatchStatus, tried: bool, output: Output) -> String {
    let paint = match patch.state {
        PatchState::NotProtected | PatchState::Untested => Paint::Bad,
        _ => Paint::Bold,
    };
    let partly = if patch.state == PatchState::Protected && patch.contained == "partly" { ", partly" } else { "" };
    let mut out = format!(
        "\n{}: {}\n",
        output.paint(paint, &format!("{} {}{partly}", patch.id, patch.state.words())),
        patch.title
    );
    if tried && patch.tried > 0 {
        out += &format!(
            "  {} of {} refused, {} of {} harmless passed\n",
            patch.refused, patch.tried, patch.passed, patch.harmless
        );
    }
    for why in &patch.why {
        out += &format!("  {why}\n");
    }
    if let (Some(open), PatchState::Protected) = (&patch.open, patch.state) {
        out += &format!("  open: {open}\n");
    }
    out
}

fn keygen(path: &Path) -> Result<Exit, Exit> {
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| fail(Exit::Failed, &error))?;
    let key = SecretKey::of_seed(&seed);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(key.secret_text().as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| fail(Exit::Failed, &format!("{}: {error}", path.display())))?;
    eprintln!("vambrace: the secret key is in {}; the public one for [patches] key:", path.display());
    Ok(super::print(&key.public().to_string()))
}

fn sign(path: &Path, key: &Path) -> Result<Exit, Exit> {
    let cannot =
        |path: &Path, error: &dyn std::fmt::Display| fail(Exit::Failed, &format!("{}: {error}", path.display()));
    let secret = fs::read_to_string(key).map_err(|error| cannot(key, &error))?;
    let secret: SecretKey = secret.parse().map_err(|error| cannot(key, &error))?;
    let bytes = fs::read(path).map_err(|error| cannot(path, &error))?;
    let signature = secret.sign(&bytes);
    // Nobody should sign what no box would take.
    let name = path.display().to_string();
    let pack = Pack::signed(&name, &bytes, &signature, &secret.public()).map_err(|error| told(&error))?;
    let beside = signature_path(path);
    fs::write(&beside, signature).map_err(|error| cannot(&beside, &error))?;
    eprintln!("vambrace: {} holds the signature of version {}", beside.display(), pack.version());
    Ok(Exit::Fine)
}

fn verify(path: &Path, key: &PublicKey) -> Result<Exit, Exit> {
    let beside = signature_path(path);
    let bytes = fs::read(path).map_err(|error| fail(Exit::Failed, &format!("{}: {error}", path.display())))?;
    let signature =
        fs::read_to_string(&beside).map_err(|error| fail(Exit::Failed, &format!("{}: {error}", beside.display())))?;
    let pack = Pack::signed(&path.display().to_string(), &bytes, &signature, key).map_err(|error| told(&error))?;
    let entries = pack.patches().len();
    Ok(super::print(&format!("{}: version {}, {entries} entries, signed by {key}", path.display(), pack.version())))
}

/// Problems with their places as they are, the rest as one line.
fn told(error: &crate::patches::PackError) -> Exit {
    match error {
        crate::patches::PackError::Problems(problems) => mistakes(problems),
        other => fail(Exit::Usage, other),
    }
}
