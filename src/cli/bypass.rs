use std::time::Duration;

use super::mode::parse_time;
use super::{Context, Exit, ask, fail};
use crate::control::{Request, Response};

/// Lead frames past the box, over a relay of its own.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BypassCommand {
    /// Past the box, until the time is over: also where the box is restarted or loses its power meanwhile.
    On {
        /// For so long: 90s, 10m, 2h.
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = at_most_a_day)]
        r#for: Duration,
    },
    /// To the box again.
    Off,
    /// Where frames go; exit code 11 where it is past the box.
    Status,
}

/// What lasts longer is a change of the plant, not a broken glass.
fn at_most_a_day(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if time > Duration::from_secs(24 * 3600) { Err("a bypass lasts a day at most".to_owned()) } else { Ok(time) }
}

/// Orders or tells.
pub(super) fn run(context: &Context, command: &BypassCommand) -> Exit {
    let for_seconds = match command {
        BypassCommand::On { r#for } => Some(r#for.as_secs()),
        BypassCommand::Off => None,
        BypassCommand::Status => return status(context),
    };
    match ask(context, &Request::Bypass { for_seconds }) {
        Ok(Response::Done) if context.json => {
            println!("{}", serde_json::json!({"bypassed": for_seconds.is_some(), "for_seconds": for_seconds}));
            Exit::Fine
        }
        Ok(Response::Done) => {
            match for_seconds {
                Some(seconds) => println!("frames go past the box for {seconds} s"),
                None => println!("frames come to the box"),
            }
            Exit::Fine
        }
        Ok(_) => fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => exit,
    }
}

fn status(context: &Context) -> Exit {
    match ask(context, &Request::Status) {
        Ok(Response::Status(status)) => {
            if context.json {
                println!("{}", serde_json::json!({"bypassed": status.bypassed}));
            } else {
                println!("{}", if status.bypassed { "frames go past the box" } else { "frames come to the box" });
            }
            if status.bypassed { Exit::Bypassed } else { Exit::Fine }
        }
        Ok(_) => fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bypass_has_an_end() {
        assert_eq!(at_most_a_day("24h"), Ok(Duration::from_secs(86_400)));
        assert!(at_most_a_day("25h").is_err() && at_most_a_day("0s").is_err() && at_most_a_day("ever").is_err());
    }
}
