use std::time::Duration;

use super::{Context, Exit, ask};
use crate::control::{Request, Response};

/// Arguments of `mode`.
#[derive(Debug, clap::Args)]
pub(super) struct ModeArgs {
    /// observe, learn, shadow, enforce or lockdown.
    mode: String,
    /// Back to the mode before after this time: 90s, 10m, 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    r#for: Option<Duration>,
}

/// A number with s, m or h behind it.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 90s, 10m or 2h");
    let (number, factor) = match text.chars().last() {
        Some('s') => (text.trim_end_matches('s'), 1),
        Some('m') => (text.trim_end_matches('m'), 60),
        Some('h') => (text.trim_end_matches('h'), 3600),
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)?;
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Changes the mode of the running appliance.
pub(super) fn run(context: &Context, args: &ModeArgs) -> Exit {
    let request = Request::Mode { mode: args.mode.clone(), for_seconds: args.r#for.map(|time| time.as_secs()) };
    match ask(context, &request) {
        Ok(Response::Mode(outcome)) if context.json => {
            outcome.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!(
                "{}",
                serde_json::json!({"from": outcome.from, "to": outcome.to, "for_seconds": outcome.for_seconds})
            );
            Exit::Fine
        }
        Ok(Response::Mode(outcome)) => {
            let end = outcome.for_seconds.map_or(String::new(), |seconds| format!(" for {seconds} s"));
            println!("{} -> {}{end}", outcome.from, outcome.to);
            outcome.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            Exit::Fine
        }
        Ok(_) => super::fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_time("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "10", "m", "-3s", "0s", "99999999999999999999h", "1d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
