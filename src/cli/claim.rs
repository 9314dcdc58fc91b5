use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::{Exit, fail};
use crate::console::claim::{ClaimError, Owner, Secret, claim, is_name};
use crate::console::keys::{self, Authority, KeyError};
use crate::control::tls;

/// Arguments of `claim`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  vambrace --box 192.168.77.1 claim -d keys --name eva\n\n\
                             The folder gets ca.pem and ca.key, where it has none yet, and NAME.pem and NAME.key. ca.key \
                             certifies further boxes and users: keep it where only you get at it.")]
pub(super) struct ClaimArgs {
    /// The secret that the box shows on its console; read from standard input where it is not given.
    #[arg(long, value_name = "SECRET", env = "VAMBRACE_CLAIM_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Folder of the authority and of your certificate.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Your name in the box's records.
    #[arg(long, value_name = "NAME", default_value = "engineer")]
    name: String,
    /// Further host names and addresses under which the box will be reached.
    #[arg(value_name = "HOST")]
    names: Vec<String>,
}

/// Makes the one who asks the first engineer of a box that nobody has claimed.
pub(super) fn run(address: Option<&str>, args: &ClaimArgs) -> Exit {
    let Some(address) = address else {
        return fail(Exit::Usage, &"claim needs the box: vambrace --box HOST claim");
    };
    if !is_name(&args.name) {
        let what = format!("{:?} names no file: use up to 32 letters, digits, - and _, not ca or box", args.name);
        return fail(Exit::Usage, &what);
    }
    let Some(secret) = args.secret.clone().or_else(ask).as_deref().and_then(Secret::read) else {
        return fail(Exit::Usage, &"that is no secret: write the five groups that the box shows on its console");
    };
    let done = certificates(&args.directory, &args.name).map_err(ClaimError::from).and_then(|own| {
        let owner = Owner {
            authority: &own.authority,
            ca: &own.authority.issued().certificate,
            user: &args.name,
            fingerprint: &own.fingerprint,
            names: &args.names,
        };
        claim(address, &secret, &owner)
    });
    match done {
        Ok(name) => {
            let own = |file: &str| args.directory.join(file).display().to_string();
            eprintln!("vambrace: {name} is yours; it knows you by {}", own(&format!("{}.pem", args.name)));
            super::print(&format!(
                "vambrace --box {} --ca {} --cert {} --key {} status",
                address.trim_end_matches(":7443"),
                own("ca.pem"),
                own(&format!("{}.pem", args.name)),
                own(&format!("{}.key", args.name))
            ))
        }
        Err(error @ ClaimError::Unreachable { .. }) => fail(Exit::Unreachable, &error),
        Err(error) => fail(Exit::Failed, &error),
    }
}

/// Asks for the secret, so that it stands in no list of processes.
fn ask() -> Option<String> {
    eprint!("Secret on the box's console: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    Some(line)
}

struct Own {
    authority: Authority,
    fingerprint: String,
}

/// The authority and the user's certificate of a folder, made where they are not there.
fn certificates(directory: &Path, name: &str) -> Result<Own, KeyError> {
    let has = |file: &str| directory.join(file).exists();
    let authority = if has("ca.key") || has("ca.pem") {
        Authority::load(directory)?
    } else {
        let authority = Authority::make()?;
        keys::write(directory, "ca", &authority.issued(), false)?;
        authority
    };
    let path = directory.join(format!("{name}.pem"));
    let fingerprint = if path.exists() {
        tls::fingerprint_of(&path)
            .map_err(|error| KeyError::File { path: path.clone(), source: std::io::Error::other(error) })?
    } else {
        let issued = authority.user_certificate(name)?;
        keys::write(directory, name, &issued, false)?;
        issued.fingerprint
    };
    Ok(Own { authority, fingerprint })
}
