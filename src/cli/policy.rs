use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::{Context, Exit, ask, fail};
use crate::appliance;
use crate::config::Config;
use crate::control::{PolicyText, Request, Response};
use crate::policy::{Asset, Policy, TestOutcome};

/// What `policy` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Compiles a policy and runs its tests; exit 2 for mistakes, 3 for failed tests.
    Check(FileArgs),
    /// Compiles a policy and shows each of its tests.
    Test(FileArgs),
    /// Puts a policy in force on the running appliance, whole or not at all.
    Apply {
        /// Policy file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Puts the policy before the last apply in force again.
    Rollback,
    /// Prints the policy in force.
    Show,
}

/// A policy file and what gives its names their addresses.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// Policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Configuration that names the devices; without one, only addresses and the robot's name can be used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs one of them.
pub(super) fn run(context: &Context, command: &PolicyCommand) -> Exit {
    match command {
        PolicyCommand::Check(args) => check(context, args, false),
        PolicyCommand::Test(args) => check(context, args, true),
        PolicyCommand::Apply { file } => match read(file) {
            Ok(text) => {
                let name = file.display().to_string();
                report(context, ask(context, &Request::PolicyApply { text, name }))
            }
            Err(exit) => exit,
        },
        PolicyCommand::Rollback => report(context, ask(context, &Request::PolicyRollback)),
        PolicyCommand::Show => report(context, ask(context, &Request::PolicyShow)),
    }
}

fn read(file: &Path) -> Result<String, Exit> {
    std::fs::read_to_string(file)
        .map_err(|error| fail(Exit::Usage, &format!("{}: {error}; name a readable policy file", file.display())))
}

fn check(context: &Context, args: &FileArgs, verbose: bool) -> Exit {
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(exit) => return exit,
    };
    let assets;
    if let Some(path) = &args.config {
        match Config::load(path) {
            Ok(config) => assets = appliance::assets(&config),
            Err(problems) => return fail(Exit::Usage, &problems),
        }
    } else {
        assets = placeholders(&text);
        if assets.len() > 1 {
            eprintln!("vambrace: device names are not checked without --config FILE");
        }
    }
    let name = args.file.display().to_string();
    let policy = match Policy::compile(&name, &text, &assets, 1, appliance::now()) {
        Ok(policy) => policy,
        Err(problems) => return fail(Exit::Usage, &problems),
    };
    let tests = policy.run_tests();
    let failed = tests.iter().filter(|test| !test.passed).count();
    if context.json {
        let shown: Vec<_> = tests.iter().map(json).collect();
        println!("{}", serde_json::json!({"policy": name, "rules": policy.rules(), "tests": shown, "failed": failed}));
    } else {
        for test in tests.iter().filter(|test| verbose || !test.passed) {
            let outcome = if test.passed { "ok    " } else { "FAILED" };
            let said = if test.allowed { "allowed" } else { "refused" };
            let rule = test.rule.as_deref().unwrap_or("no rule");
            println!("{outcome} {}: {said} by {rule} ({})", test.name, test.reason);
        }
        println!("{name}: {} rules, {} tests, {failed} failed", policy.rules(), tests.len());
    }
    if failed == 0 { Exit::Fine } else { Exit::Findings }
}

/// Every name that the policy uses for a device, with an address of its own: which one it is changes no mistake.
fn placeholders(text: &str) -> Vec<Asset> {
    let Ok(table) = text.parse::<toml::Table>() else { return Vec::new() };
    let mut names = BTreeSet::new();
    let mut take = |value: Option<&toml::Value>| match value {
        Some(toml::Value::String(name)) => drop(names.insert(name.clone())),
        Some(toml::Value::Array(list)) => names.extend(list.iter().filter_map(|item| item.as_str()).map(str::to_owned)),
        _ => {}
    };
    for rule in ["allow", "deny", "test"].iter().filter_map(|key| table.get(*key)?.as_array()).flatten() {
        take(rule.get("from"));
        take(rule.get("to"));
    }
    names.retain(|name| name != "any" && name.parse::<IpAddr>().is_err() && name.parse::<ipnet::IpNet>().is_err());
    let robot = super::replay::policy_robot(text);
    names.extend(robot.clone());
    // 198.18.0.0/15 is for tests of devices (RFC 2544): no plant uses it.
    let address =
        |at: usize| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0001_u32.saturating_add(u32::try_from(at).unwrap_or(0))));
    let asset =
        |(at, name): (usize, String)| Asset { is_robot: Some(&name) == robot.as_ref(), name, address: address(at) };
    names.into_iter().enumerate().map(asset).collect()
}

fn json(test: &TestOutcome) -> serde_json::Value {
    serde_json::json!({
        "name": test.name, "passed": test.passed, "allowed": test.allowed,
        "reason": test.reason.name(), "rule": test.rule,
    })
}

fn report(context: &Context, answer: Result<Response, Exit>) -> Exit {
    let policy = match answer {
        Ok(Response::Policy(policy)) => policy,
        Ok(_) => return fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => return exit,
    };
    for warning in &policy.warnings {
        eprintln!("vambrace: {warning}");
    }
    if context.json {
        return match serde_json::to_string(&policy) {
            Ok(line) => super::print(&line),
            Err(error) => fail(Exit::Failed, &error),
        };
    }
    let PolicyText { generation, name, rules, digest, text, .. } = policy;
    if text.is_empty() {
        println!("{name}: in force as generation {generation}, {rules} rules, {digest}");
        Exit::Fine
    } else {
        super::print(&text)
    }
}
