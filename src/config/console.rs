//! `[console]`: the management process, its remote API, senders and metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::mail::{MailTo, mail};
use super::read::path;
use crate::document::{Table, Value};

/// The management process, `vambrace console`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Address and port of the remote API; without one it is off.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// The box's certificate (PEM, with its chain).
    pub certificate: Option<PathBuf>,
    /// Its secret key (PEM).
    pub key: Option<PathBuf>,
    /// The authority that issued the users' certificates (PEM).
    pub client_ca: Option<PathBuf>,
    /// Whether the box may be claimed by who knows the secret that it shows, in the place of the three files above.
    pub claim: bool,
    /// The account that the process becomes once it has opened what it needs root for.
    pub account: Option<String>,
    /// Folder for what it must remember: how far events were sent.
    pub directory: PathBuf,
    /// Who may use the remote API.
    #[serde(rename = "user")]
    pub users: Vec<User>,
    /// Receivers of events.
    pub syslog: Vec<Syslog>,
    /// Other boxes, or management stations, that keep this box's checkpoints.
    #[serde(rename = "witness")]
    pub witnesses: Vec<WitnessBox>,
    /// Digests by mail.
    pub mail: Option<MailTo>,
    /// Counters for Prometheus.
    pub metrics: Metrics,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            listen: None,
            certificate: None,
            key: None,
            client_ca: None,
            claim: false,
            account: None,
            directory: PathBuf::from("/var/lib/vambrace/console"),
            users: Vec::new(),
            syslog: Vec::new(),
            witnesses: Vec::new(),
            mail: None,
            metrics: Metrics::default(),
        }
    }
}

/// A person or a program that may use the remote API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name in the records.
    pub name: String,
    /// What it may ask for.
    pub role: Role,
    /// SHA-256 of the user's certificate (DER), `sha256:` and 64 hexadecimal digits.
    #[schemars(regex(pattern = r"^sha256:[0-9A-Fa-f]{64}$"))]
    pub certificate: String,
}

/// What somebody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Status, events, the policy in force.
    Viewer,
    /// The same, and evidence.
    Auditor,
    /// What a viewer may, and modes that do not weaken.
    Operator,
    /// Everything.
    Engineer,
    /// Another box that pushes its checkpoints here, and nothing else.
    Witness,
}

impl Role {
    /// Names and roles.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("viewer", Self::Viewer),
        ("auditor", Self::Auditor),
        ("operator", Self::Operator),
        ("engineer", Self::Engineer),
        ("witness", Self::Witness),
    ];

    /// The name in configurations and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
            Self::Witness => "witness",
        }
    }
}

/// A receiver of events as CEF in syslog messages of RFC 5424.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// Name in messages, and of the file that remembers how far events were sent.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))]
    pub name: String,
    /// `HOST:PORT`; port 6514 with TLS and 601 without where absent.
    pub address: String,
    /// How messages travel.
    #[serde(default)]
    pub transport: Transport,
    /// Which events.
    #[serde(default)]
    pub events: Which,
    /// The authority that issued the receiver's certificate (PEM); with `transport = "tls"`.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The box's certificate for the receiver (PEM); the receiver may ask for none.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its secret key (PEM).
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// How syslog messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TLS as in RFC 5425: the length before each message.
    #[default]
    Tls,
    /// TCP with the length before each message, as in RFC 6587.
    Tcp,
}

/// Which events a receiver gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Refusals, anomalies, what the robot and the box say, and the heart-beat.
    #[default]
    Security,
    /// Allowed commands and connections as well.
    All,
}

/// A box, or a management station, that keeps this box's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WitnessBox {
    /// Name in messages.
    pub name: String,
    /// `HOST:PORT` of its remote API; port 7443 where absent.
    pub address: String,
    /// The authority that issued its certificate (PEM).
    pub ca: PathBuf,
    /// This box's certificate (PEM): a user of the role `witness` there.
    pub certificate: PathBuf,
    /// Its secret key (PEM).
    pub key: PathBuf,
}

/// Counters for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port of `http://.../metrics`; without one it is off.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
}

/// Reads `[console]`.
pub(super) fn console(table: &Table<'_>) -> Console {
    let default = Console::default();
    let console = Console {
        listen: table.take("listen").and_then(|value| socket_address(&value)),
        certificate: path(table, "certificate"),
        key: path(table, "key"),
        client_ca: path(table, "client_ca"),
        claim: table.take("claim").and_then(|value| value.boolean()).unwrap_or_default(),
        account: table.take("account").and_then(|value| account(&value)),
        directory: path(table, "directory").unwrap_or(default.directory),
        users: users(table),
        syslog: receivers(table),
        witnesses: witnesses(table),
        mail: if table.has("mail") { table.table("mail").and_then(|table| mail(&table)) } else { None },
        metrics: table.table("metrics").map_or_else(Metrics::default, |table| {
            let listen = table.take("listen").and_then(|value| socket_address(&value));
            table.finish();
            Metrics { listen }
        }),
    };
    let mend = "write it too, see `vambrace console keygen --help`; there is no secret by default";
    if console.claim {
        if let Some(there) = ["certificate", "key", "client_ca"].iter().find(|key| table.has(key)) {
            let mend = "leave it out, or leave `claim` out";
            table.problem_at(table.offset(), format!("`console` has `{there}` beside `claim`, which makes it"), mend);
        }
        if console.listen.is_none() {
            let mend = "write an address of the management port and a port, such as \"192.168.1.5:7443\"";
            table.problem_at(table.offset(), "`console` has `claim` without `listen`", mend);
        }
    } else {
        together(table, "console", &["listen", "certificate", "key", "client_ca"], mend);
    }
    table.finish();
    console
}

/// That of `keys` all are there or none: the first that is missing is a problem.
fn together(table: &Table<'_>, name: &str, keys: &[&'static str], mend: &str) {
    let Some(there) = keys.iter().find(|key| table.has(key)) else { return };
    if let Some(missing) = keys.iter().find(|key| !table.has(key)) {
        table.problem_at(table.offset(), format!("`{name}` has `{there}` without `{missing}`"), mend);
    }
}

fn socket_address(value: &Value<'_>) -> Option<SocketAddr> {
    let text = value.string()?;
    let parsed = text.parse::<SocketAddr>().ok();
    if parsed.is_none() {
        let mend = "write an address of the management port and a port, such as \"192.168.1.5:7443\"";
        value.problem(format!("\"{text}\" is no address with a port"), mend);
    }
    parsed
}

fn account(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(fine) {
        value.problem(format!("\"{text}\" names no account"), "write a name of /etc/passwd, or a uid");
        return None;
    }
    if text == "root" || text.parse() == Ok(0_u32) {
        value.problem("the management process shall not stay root", "name an account of its own");
        return None;
    }
    Some(text.to_owned())
}

fn users(table: &Table<'_>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for table in table.tables("user") {
        let name = table.require("name", "write name = \"...\"").and_then(|value| {
            let text = value.string()?;
            // Records hold 32 bytes of it.
            if text.is_empty() || text.len() > 32 || text.contains(|c: char| c.is_control()) {
                value.problem("the user has no usable name", "write a name of at most 32 printable characters");
                return None;
            }
            if users.iter().any(|other| other.name == text) {
                value.problem(format!("a second user is called \"{text}\""), "give every user a name of their own");
                return None;
            }
            Some(text.to_owned())
        });
        let role =
            table.require("role", "write role = \"viewer\", \"auditor\", \"operator\", \"engineer\" or \"witness\"");
        let role = role.and_then(|value| value.choice(&Role::NAMED));
        let mend = "write the line that `vambrace console keygen user` printed";
        let certificate = table.require("certificate", mend).and_then(|value| {
            let text = value.string()?.to_ascii_lowercase();
            let digits = text.strip_prefix("sha256:").unwrap_or_default();
            if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                value.problem("the fingerprint is not readable", "write \"sha256:\" and 64 hexadecimal digits");
                return None;
            }
            if let Some(other) = users.iter().find(|other| other.certificate == text) {
                value.problem(format!("the certificate is also that of \"{}\"", other.name), mend);
                return None;
            }
            Some(text)
        });
        table.finish();
        if let (Some(name), Some(role), Some(certificate)) = (name, role, certificate) {
            users.push(User { name, role, certificate });
        }
    }
    users
}

fn witnesses(table: &Table<'_>) -> Vec<WitnessBox> {
    let mut witnesses: Vec<WitnessBox> = Vec::new();
    for table in table.tables("witness") {
        let name = table.require("name", "write name = \"...\"").and_then(|value| {
            let text = value.string()?;
            if text.is_empty() || witnesses.iter().any(|other| other.name == text) {
                value.problem(format!("\"{text}\" is no name of its own"), "give every witness its own name");
                return None;
            }
            Some(text.to_owned())
        });
        let address = table.require("address", "write address = \"HOST:PORT\"").and_then(|value| {
            let text = value.string()?;
            let whole = crate::document::with_port(text, 7443);
            if whole.is_none() {
                value.problem(format!("\"{text}\" names no witness"), "write a host or address, and a port");
            }
            whole
        });
        let file = |key: &'static str| {
            table.has(key).then(|| path(&table, key)).flatten().or_else(|| {
                let _ = table.require(key, "both ends show certificates, see `vambrace console keygen --help`");
                None
            })
        };
        let (ca, certificate, key) = (file("ca"), file("certificate"), file("key"));
        table.finish();
        if let (Some(name), Some(address), Some(ca), Some(certificate), Some(key)) =
            (name, address, ca, certificate, key)
        {
            witnesses.push(WitnessBox { name, address, ca, certificate, key });
        }
    }
    witnesses
}

fn receivers(table: &Table<'_>) -> Vec<Syslog> {
    let mut receivers: Vec<Syslog> = Vec::new();
    for table in table.tables("syslog") {
        let name = table.require("name", "write name = \"...\"").and_then(|value| {
            let text = value.string()?;
            let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if text.is_empty() || text.len() > 32 || text.starts_with('-') || !text.bytes().all(fine) {
                value.problem(format!("\"{text}\" is no usable name"), "write up to 32 of a-z, 0-9 and -");
                return None;
            }
            if receivers.iter().any(|other| other.name == text) {
                value.problem(format!("a second receiver is called \"{text}\""), "give every receiver its own name");
                return None;
            }
            Some(text.to_owned())
        });
        let transport = table.take("transport");
        let transport = transport.and_then(|value| value.choice(&[("tls", Transport::Tls), ("tcp", Transport::Tcp)]));
        let transport = transport.unwrap_or_default();
        let address = table.require("address", "write address = \"HOST:PORT\"").and_then(|value| {
            let text = value.string()?;
            let port = if transport == Transport::Tls { 6514 } else { 601 };
            let whole = crate::document::with_port(text, port);
            if whole.is_none() {
                value.problem(format!("\"{text}\" names no receiver"), "write a host or address, and a port");
            }
            whole
        });
        let events = table.take("events");
        let events = events.and_then(|value| value.choice(&[("security", Which::Security), ("all", Which::All)]));
        let (ca, certificate, key) = (path(&table, "ca"), path(&table, "certificate"), path(&table, "key"));
        together(&table, "syslog", &["certificate", "key"], "write both or neither");
        if transport == Transport::Tls && !table.has("ca") {
            let mend = "write ca = the authority of the receiver's certificate, or transport = \"tcp\"";
            table.problem_at(table.offset(), "a receiver by TLS without `ca`", mend);
        }
        if transport == Transport::Tcp && (table.has("ca") || table.has("certificate")) {
            table.problem_at(table.offset(), "certificates with transport = \"tcp\"", "write transport = \"tls\"");
        }
        table.finish();
        if let (Some(name), Some(address)) = (name, address) {
            let events = events.unwrap_or_default();
            receivers.push(Syslog { name, address, transport, events, ca, certificate, key });
        }
    }
    receivers
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const LEAST: &str = "mode = \"shadow\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
                         [[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n[console]\n";

    fn read(text: &str) -> Result<Console, String> {
        let config = Config::parse("c.toml", &format!("{LEAST}{text}"));
        config.map(|config| config.console).map_err(|problems| problems.to_string())
    }

    #[test]
    fn all_of_it_is_read() {
        let print = format!("sha256:{}", "0A".repeat(32));
        let console = read(&format!(
            "listen = \"10.1.1.1:7443\"\ncertificate = \"/c\"\nkey = \"/k\"\nclient_ca = \"/ca\"\naccount = \"guard\"\n\
             [[console.user]]\nname = \"eve\"\nrole = \"auditor\"\ncertificate = \"{print}\"\n\
             [[console.syslog]]\nname = \"soc\"\naddress = \"siem.example\"\nca = \"/ca\"\nevents = \"all\"\n\
             [[console.syslog]]\nname = \"near\"\naddress = \"[::1]:601\"\ntransport = \"tcp\"\n\
             [[console.witness]]\nname = \"station\"\naddress = \"10.1.1.2\"\nca = \"/ca\"\ncertificate = \"/c\"\nkey = \"/k\"\n\
             [console.metrics]\nlisten = \"[::1]:9464\"\n"
        ))
        .unwrap();
        assert_eq!(console.users[0].role, Role::Auditor);
        assert_eq!(console.users[0].certificate, print.to_ascii_lowercase());
        assert_eq!(console.syslog[0].address, "siem.example:6514");
        assert_eq!((console.syslog[0].events, console.syslog[1].events), (Which::All, Which::Security));
        assert_eq!(console.syslog[1].address, "[::1]:601");
        assert_eq!(console.witnesses[0].address, "10.1.1.2:7443");
        assert_eq!(console.metrics.listen.unwrap().port(), 9464);
        assert_eq!(read("").unwrap(), Console::default());
        assert!(read("claim = true\nlisten = \"10.1.1.1:7443\"\n").unwrap().claim);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let print = format!("sha256:{}", "0a".repeat(32));
        for (text, what) in [
            ("listen = \"10.1.1.1:7443\"\n", "9:1: `console` has `listen` without `certificate`"),
            ("listen = \"10.1.1.1\"\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"c\"\n", "no address with a port"),
            ("claim = true\n", "9:1: `console` has `claim` without `listen`"),
            ("claim = true\nlisten = \"10.1.1.1:7443\"\nkey = \"k\"\n", "has `key` beside `claim`, which makes it"),
            ("listn = 1\n", "unknown key `listn` in `console`; write `listen`"),
            ("account = \"root\"\n", "shall not stay root"),
            ("[[console.user]]\nname = \"a\"\nrole = \"root\"\ncertificate = \"sha256:1\"\n", "has no \"root\""),
            ("[[console.syslog]]\nname = \"a/b\"\naddress = \"h\"\nca = \"c\"\n", "\"a/b\" is no usable name"),
            ("[[console.syslog]]\nname = \"a\"\naddress = \"h\"\n", "by TLS without `ca`"),
            ("[[console.syslog]]\nname = \"a\"\naddress = \"h:x\"\nca = \"c\"\n", "names no receiver"),
            (
                "[[console.witness]]\nname = \"a\"\naddress = \"h\"\nca = \"c\"\nkey = \"k\"\n",
                "`certificate` is missing",
            ),
            ("[console.metrics]\nport = 1\n", "unknown key `port`"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems.contains(what), "{problems}");
        }
        let two = format!("[[console.user]]\nname = \"a\"\nrole = \"viewer\"\ncertificate = \"{print}\"\n");
        let problems = read(&format!("{two}{two}")).unwrap_err();
        assert!(problems.contains("a second user") && problems.contains("also that of \"a\""), "{problems}");
    }
}
