use std::path::PathBuf;

use super::{Context, Exit, fail, mistakes};
use crate::config::Config;
use crate::nic::prepare::{Finding, Level, examine};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("ports").required(true).multiple(true).args(["config", "plant"])))]
pub(super) struct DoctorArgs {
    /// Configuration file that names the ports.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Port toward the plant network: name, MAC address or PCI address; before that of the configuration.
    #[arg(long, value_name = "PORT", requires = "robot")]
    plant: Option<String>,
    /// Port toward the robot: name, MAC address or PCI address; before that of the configuration.
    #[arg(long, value_name = "PORT", requires = "plant")]
    robot: Option<String>,
}

/// Says what stands against running on these ports; changes nothing.
pub(super) fn run(context: &Context, args: &DoctorArgs) -> Exit {
    let config = match args.config.as_ref().map(|file| Config::load(file)).transpose() {
        Ok(config) => config,
        Err(problems) => return mistakes(&problems),
    };
    let named = args.plant.clone().zip(args.robot.clone());
    let ports = named.or_else(|| config.map(|config| (config.ports.plant, config.ports.robot)));
    let Some((plant, robot)) = ports else {
        return fail(Exit::Usage, &"which ports? give --config FILE, or --plant PORT and --robot PORT");
    };
    let findings = examine(&plant, &robot);
    let text: Vec<_> = findings.iter().map(if context.json { as_json } else { as_text }).collect();
    match super::print(&text.join("\n")) {
        Exit::Fine if findings.iter().any(|finding| finding.level == Level::Problem) => Exit::Findings,
        exit => exit,
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Advice => "advice",
        Level::Problem => "problem",
    }
}

fn as_json(finding: &Finding) -> String {
    let Finding { name, level, sentence, command } = finding;
    serde_json::json!({ "name": name, "level": word(*level), "sentence": sentence, "command": command }).to_string()
}

fn as_text(finding: &Finding) -> String {
    let Finding { name, level, sentence, command } = finding;
    let command = command.as_ref().map_or(String::new(), |command| format!("; run `{command}`"));
    format!("{:<8} {name:<16} {sentence}{command}", word(*level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_in_both_forms() {
        let finding = Finding {
            name: "plant link".to_owned(),
            level: Level::Problem,
            sentence: "port \"p\" is down".to_owned(),
            command: Some("ip link set p up".to_owned()),
        };
        let expected = "problem  plant link       port \"p\" is down; run `ip link set p up`";
        assert_eq!(as_text(&finding), expected);
        let json: serde_json::Value = serde_json::from_str(&as_json(&finding)).unwrap();
        assert_eq!(json["level"], "problem");
        assert_eq!(json["command"], "ip link set p up");
        let fine = Finding { level: Level::Ok, command: None, ..finding };
        assert!(as_text(&fine).ends_with("is down") && as_json(&fine).contains("\"command\":null"));
    }
}
