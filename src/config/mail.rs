//! `[console.mail]`: digests by mail.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::read::path;
use crate::document::{Table, Value};

/// Where digests of events go by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailTo {
    /// `HOST:PORT` of the relay; the port is 25, 587 or 465 by `security` where absent.
    pub relay: String,
    /// How the conversation with it is protected.
    #[serde(default)]
    pub security: Security,
    /// The authority that issued its certificate (PEM); with TLS.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who mails are from.
    pub from: String,
    /// Whom they go to.
    pub to: Vec<String>,
    /// The relay's user; only with TLS.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Least minutes between two mails.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1440))]
    pub every_minutes: u32,
    /// Most mails a day.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub per_day: u32,
}

/// How the conversation with a relay is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS once the relay was greeted; a relay without it gets nothing.
    #[default]
    Starttls,
    /// TLS from the start.
    Tls,
    /// None: for a relay on the management network.
    None,
}

/// Reads `[console.mail]`.
pub(super) fn mail(table: &Table<'_>) -> Option<MailTo> {
    let choices = [("starttls", Security::Starttls), ("tls", Security::Tls), ("none", Security::None)];
    let security = table.take("security").and_then(|value| value.choice(&choices)).unwrap_or_default();
    let relay = table.require("relay", "write relay = \"HOST:PORT\"").and_then(|value| {
        let text = value.string()?;
        let port = match security {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::None => 25,
        };
        let whole = crate::document::with_port(text, port);
        if whole.is_none() {
            value.problem(format!("\"{text}\" names no relay"), "write a host or address, and a port");
        }
        whole
    });
    let from = table.require("from", "write from = \"NAME@DOMAIN\"").and_then(|value| address(&value));
    let to = table.require("to", "write to = [\"NAME@DOMAIN\"]").map(|value| {
        let items = value.any_of();
        if items.is_empty() || items.len() > 20 {
            value.problem("a digest goes to 1 to 20 addresses", "write to = [\"NAME@DOMAIN\"], or a list's address");
        }
        items.iter().filter_map(address).collect::<Vec<_>>()
    });
    let number = |key, range: std::ops::RangeInclusive<i64>, default: u32| {
        let value = table.take(key).and_then(|value| value.integer(range));
        value.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    // An hour: an incident is one mail and not a hundred. Four a day: more are not read.
    let (every_minutes, per_day) = (number("every_minutes", 1..=1440, 60), number("per_day", 1..=100, 4));
    let (ca, password_file) = (path(table, "ca"), path(table, "password_file"));
    let user = table.take("user").and_then(|value| {
        let text = value.string()?;
        if text.is_empty() || text.contains(|c: char| c.is_control()) {
            value.problem("the user has no usable name", "write printable characters");
            return None;
        }
        Some(text.to_owned())
    });
    let wrong = |what: &str, mend: &str| table.problem_at(table.offset(), what, mend);
    if security != Security::None && !table.has("ca") {
        wrong(
            "mail by TLS without `ca`",
            "write ca = the authority of the relay's certificate, or security = \"none\"",
        );
    }
    if table.has("user") != table.has("password_file") {
        wrong("`user` and `password_file` come together", "write both or neither");
    }
    if table.has("user") && security == Security::None {
        wrong("a password does not travel without TLS", "write security = \"starttls\", or take the user out");
    }
    table.finish();
    Some(MailTo { relay: relay?, security, ca, from: from?, to: to?, user, password_file, every_minutes, per_day })
}

/// An address as it can stand in a mail's commands; quoted local parts are of the past.
fn address(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@".contains(c);
    let parts = text.split_once('@').filter(|(name, domain)| !name.is_empty() && !domain.is_empty());
    if text.len() > 254 || !text.chars().all(fine) || parts.is_none_or(|(_, domain)| domain.contains('@')) {
        value.problem(format!("\"{text}\" is no mail address"), "write NAME@DOMAIN");
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const LEAST: &str = "mode = \"shadow\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
                         [[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n[console.mail]\n";

    fn read(text: &str) -> Result<Option<MailTo>, String> {
        let config = Config::parse("c.toml", &format!("{LEAST}{text}"));
        config.map(|config| config.console.mail).map_err(|problems| problems.to_string())
    }

    #[test]
    fn mail_is_read_with_its_defaults() {
        let mail = read("relay = \"mail\"\nca = \"/ca\"\nfrom = \"box@a.b\"\nto = [\"eva@a.b\"]\n").unwrap().unwrap();
        assert_eq!((mail.relay.as_str(), mail.every_minutes, mail.per_day), ("mail:587", 60, 4));
        let base = "relay = \"mail\"\nfrom = \"box@a.b\"\n";
        for (text, what) in [
            ("to = [\"eva@a.b\"]\n", "mail by TLS without `ca`"),
            ("security = \"none\"\nto = [\"eva\"]\n", "\"eva\" is no mail address"),
            ("security = \"none\"\nto = [\"a@b>\\r\\nDATA\"]\n", "is no mail address"),
            ("security = \"none\"\nto = []\n", "1 to 20 addresses"),
            ("security = \"none\"\nto = \"a@b\"\nuser = \"u\"\n", "come together"),
            ("security = \"none\"\nto = \"a@b\"\nuser = \"u\"\npassword_file = \"p\"\n", "without TLS"),
            ("security = \"none\"\nto = \"a@b\"\nper_day = 0\n", "write a number from 1 to 100"),
            ("security = \"none\"\nto = \"a@b\"\nevery = 5\n", "unknown key `every`"),
        ] {
            let problems = read(&format!("{base}{text}")).unwrap_err();
            assert!(problems.contains(what), "{problems}");
        }
    }
}
