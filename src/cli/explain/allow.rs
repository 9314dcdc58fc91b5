//! The narrowest rule that would have allowed an event, put in force on the running appliance.

use std::fmt::Write;

use super::super::mode::parse_time;
use super::super::{Context, Exit, ask, fail};
use crate::control::{Request, Response};

/// Until when the new rule holds: a time from now, or a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Until(jiff::Timestamp);

impl Until {
    /// Reads `10m`, `2h` or a moment of RFC 3339 that lies ahead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let now = jiff::Timestamp::now();
        let moment = match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Some(moment),
            Err(_) => parse_time(text)
                .ok()
                .and_then(|time| jiff::SignedDuration::try_from(time).ok())
                .and_then(|time| now.checked_add(time).ok()),
        };
        match moment {
            Some(moment) if moment > now => Ok(Self(moment)),
            Some(_) => Err(format!("{text:?} is over; write a time from now such as 2h, or a moment that lies ahead")),
            None => Err(format!("{text:?} is no time; write 10m, 2h or a moment such as 2026-11-24T22:00:00+01:00")),
        }
    }
}

/// `policy` with `rule` at its end.
fn with_rule(policy: &str, rule: &str, until: Option<&Until>) -> String {
    let mut text = policy.trim_end().to_owned();
    text.push_str("\n\n");
    for line in rule.lines() {
        let _ = writeln!(text, "{line}");
        // Behind the id, before any table of the rule begins.
        if line.starts_with("id = ")
            && let Some(Until(moment)) = until
        {
            let _ = writeln!(text, "until = {}", moment.strftime("%Y-%m-%dT%H:%M:%SZ"));
        }
    }
    text
}

/// Puts the rule in force beside those that are.
pub(super) fn apply(context: &Context, rule: Result<&str, &str>, until: Option<&Until>) -> Exit {
    let rule = match rule {
        Ok(rule) if rule.contains("[[exempt]]") => {
            let what = "a virtual patch refuses it; an exemption needs a reason of yours: write the one shown into the \
                        policy file and apply that";
            return fail(Exit::Usage, &what);
        }
        Ok(rule) => rule,
        Err(why) => return fail(Exit::Usage, &format!("no rule can allow it: {why}")),
    };
    let (name, text) = match ask(context, &Request::PolicyShow) {
        Ok(Response::Policy(policy)) => (policy.name, policy.text),
        Ok(_) => return fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => return exit,
    };
    if text.trim().is_empty() {
        return fail(Exit::Usage, &"no policy is in force that the rule could be added to; apply one first");
    }
    let request = Request::PolicyApply { text: with_rule(&text, rule, until), name };
    match ask(context, &request) {
        Ok(Response::Policy(policy)) => {
            policy.warnings.iter().for_each(|warning| eprintln!("vambrace: {warning}"));
            eprintln!(
                "vambrace: generation {} allows it; `vambrace policy show` prints the policy for its file, `vambrace policy \
                 rollback` takes the rule back",
                policy.generation
            );
            Exit::Fine
        }
        Ok(_) => fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_stands_before_the_tables_of_a_rule() {
        let rule = "[[allow]]\nid = \"event-7\"\nfrom = \"plc\"\n[allow.inputs]\nspeed_slider_mask = { value = [1] }\n";
        let until = Until::parse("2100-01-01T00:00:00+01:00").unwrap();
        let text = with_rule("version = 1\n", rule, Some(&until));
        assert!(text.contains("id = \"event-7\"\nuntil = 2099-12-31T23:00:00Z\nfrom"), "{text}");
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["allow"].as_array().unwrap().len(), 1);
        assert_eq!(with_rule("version = 1", rule, None), format!("version = 1\n\n{rule}"));
    }

    #[test]
    fn ends_lie_ahead() {
        assert!(Until::parse("2h").is_ok());
        for wrong in ["", "soon", "0s", "2020-01-01T00:00:00Z", "2100-01-01T00:00:00"] {
            let error = Until::parse(wrong).unwrap_err();
            assert!(error.contains("write"), "{error}");
        }
    }
}
