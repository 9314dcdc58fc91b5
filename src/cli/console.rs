use std::path::PathBuf;

use clap::Subcommand;

use super::{Exit, fail, mistakes};
use crate::config::Config;
use crate::console::ConsoleError;
use crate::console::keys::{self, Authority, Issued, KeyError};

/// Arguments of `console`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ConsoleArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<ConsoleCommand>,
}

#[derive(Debug, Subcommand)]
enum ConsoleCommand {
    /// Makes certificates: first an authority, then one for the box and one for each user.
    #[command(
        subcommand,
        after_long_help = "Examples:\n  vambrace console keygen ca -d keys\n  vambrace console keygen box -d keys \
                           cell4.plant.example 192.168.1.5\n  vambrace console keygen user -d keys eva\n\n\
                           ca.key stays with whoever issues certificates: neither the box nor a user needs it. The box \
                           gets box.pem, box.key and ca.pem; a user gets NAME.pem, NAME.key and ca.pem."
    )]
    Keygen(KeygenCommand),
    /// Sends each receiver of events a test event, and a test mail, and says what became of them.
    Test {
        /// Configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum KeygenCommand {
    /// An authority: ca.pem and ca.key.
    Ca(Place),
    /// The box's certificate, for its names and addresses: box.pem and box.key.
    Box {
        #[command(flatten)]
        place: Place,
        /// Host names and addresses under which the box is reached.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// A user's certificate: NAME.pem and NAME.key. Prints the lines for the configuration.
    User {
        #[command(flatten)]
        place: Place,
        /// The user.
        name: String,
        /// What the user may ask for.
        #[arg(long, value_name = "ROLE", default_value = "viewer", value_parser = ["viewer", "auditor", "operator", "engineer", "witness"])]
        role: String,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Folder of the authority and of what it issues.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Write over files that exist.
    #[arg(long)]
    force: bool,
}

/// Runs the management process, or makes its certificates.
pub(super) fn run(args: &ConsoleArgs) -> Exit {
    let command = match (&args.command, &args.config) {
        (Some(ConsoleCommand::Keygen(command)), _) => command,
        (Some(ConsoleCommand::Test { config }), _) => {
            return match Config::load(config) {
                Err(problems) => mistakes(&problems),
                Ok(config) => test(&config),
            };
        }
        (None, Some(path)) => {
            return match Config::load(path) {
                Err(problems) => mistakes(&problems),
                Ok(config) => match crate::console::run(&config, path) {
                    Ok(()) => Exit::Fine,
                    Err(error @ ConsoleError::Nothing) => fail(Exit::Usage, &error),
                    Err(error) => fail(Exit::Failed, &error),
                },
            };
        }
        (None, None) => return fail(Exit::Usage, &"console needs --config FILE"),
    };
    match keygen(command) {
        Ok(text) => super::print(&text),
        Err(exit) => exit,
    }
}

fn test(config: &Config) -> Exit {
    let results = crate::console::test(config);
    if results.is_empty() {
        return fail(Exit::Usage, &"the configuration has no [[console.syslog]] and no [console.mail]");
    }
    let mut exit = Exit::Fine;
    for (name, result) in results {
        match result {
            Ok(()) => {
                super::print(&format!("{name}: taken, as far as the connection can tell"));
            }
            Err(error) => exit = fail(Exit::Failed, &format!("{name}: {error}")),
        }
    }
    exit
}

fn keygen(command: &KeygenCommand) -> Result<String, Exit> {
    let told = |error: KeyError| match &error {
        KeyError::File { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            fail(Exit::Failed, &format!("{error}; --force writes over it"))
        }
        KeyError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            fail(Exit::Failed, &format!("{error}; make the authority first: vambrace console keygen ca"))
        }
        _ => fail(Exit::Failed, &error),
    };
    let save = |place: &Place, name: &str, issued: &Issued| {
        keys::write(&place.directory, name, issued, place.force).map_err(told)?;
        let at = place.directory.join(name);
        eprintln!("vambrace: the certificate is in {0}.pem, its secret key in {0}.key", at.display());
        Ok(())
    };
    match command {
        KeygenCommand::Ca(place) => {
            let issued = Authority::make().map_err(told)?.issued();
            save(place, "ca", &issued)?;
            Ok(issued.fingerprint)
        }
        KeygenCommand::Box { place, names } => {
            let issued = Authority::load(&place.directory).and_then(|it| it.box_certificate(names)).map_err(told)?;
            save(place, "box", &issued)?;
            Ok(issued.fingerprint)
        }
        KeygenCommand::User { place, name, role } => {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let taken = ["ca", "box"].contains(&name.as_str());
            if name.is_empty() || name.len() > 32 || taken || name.starts_with('.') || !name.bytes().all(fine) {
                let what = format!("{name:?} names no file: use up to 32 letters, digits, - and _, not ca or box");
                return Err(fail(Exit::Usage, &what));
            }
            let issued = Authority::load(&place.directory).and_then(|it| it.user_certificate(name)).map_err(told)?;
            save(place, name, &issued)?;
            let print = &issued.fingerprint;
            Ok(format!("[[console.user]]\nname = \"{name}\"\nrole = \"{role}\"\ncertificate = \"{print}\""))
        }
    }
}
