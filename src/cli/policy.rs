use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::{Context, Exit, ask, fail, mistakes};
use crate::appliance::{self, patches::Loaded};
use crate::config::Config;
use crate::control::{PolicyText, Request, Response};
use crate::document::Problems;
use crate::patches::Pack;
use crate::policy::{Asset, Policy, TestOutcome};

/// What `policy` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Compiles a policy and runs its tests; exit 2 for mistakes, 3 for failed tests.
    Check(FileArgs),
    /// Compiles a policy and shows each of its tests.
    Test(FileArgs),
    /// Shows the rules and keys in which two policies differ.
    Diff {
        /// Policy file before.
        #[arg(value_name = "BEFORE")]
        before: PathBuf,
        /// Policy file after.
        #[arg(value_name = "AFTER")]
        after: PathBuf,
        /// Configuration that names the devices; without one, only addresses and the robot's name can be used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Exit 3 where they differ.
        #[arg(long)]
        exit_code: bool,
    },
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
        PolicyCommand::Diff { before, after, config, exit_code } => {
            let differs = match differences(context, before, after, config.as_deref()) {
                Ok(differs) => differs,
                Err(exit) => return exit,
            };
            if differs && *exit_code { Exit::Findings } else { Exit::Fine }
        }
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
    Problems::text(file, std::fs::read(file)).map_err(|problems| mistakes(&problems))
}

/// Reads and compiles a policy file; without a configuration the robot's name stands for some address.
fn compile(file: &Path, config: Option<&Path>) -> Result<(String, Policy), Exit> {
    let text = read(file)?;
    let assets = match config {
        Some(path) => appliance::assets(&Config::load(path).map_err(|problems| mistakes(&problems))?),
        None => {
            let assets = placeholders(&text);
            if assets.len() > 1 {
                eprintln!("vambrace: device names are not checked without --config FILE");
            }
            assets
        }
    };
    let name = file.display().to_string();
    match Policy::compile(&name, &text, &assets, 1, appliance::now()) {
        Ok(policy) => {
            let pack = config.map_or_else(Pack::built_in, |path| {
                Config::load(path).map_or_else(|_| Pack::built_in(), |config| Loaded::of_or_built_in(&config).pack)
            });
            pack.doubts(&name, &policy, appliance::now().wall_ns).iter().for_each(|doubt| eprintln!("{doubt}"));
            Ok((text, policy))
        }
        Err(problems) => Err(mistakes(&problems)),
    }
}

/// Prints what differs; whether anything does.
fn differences(context: &Context, before: &Path, after: &Path, config: Option<&Path>) -> Result<bool, Exit> {
    let (before, after) = (compile(before, config), compile(after, config));
    let ((before, _), (after, _)) = (before?, after?);
    let changes = crate::policy::diff(&before, &after);
    for change in &changes {
        let exit =
            if context.json { super::print(&change.to_json().to_string()) } else { super::print(&change.to_string()) };
        if exit != Exit::Fine {
            return Err(exit);
        }
    }
    Ok(!changes.is_empty())
}

fn check(context: &Context, args: &FileArgs, verbose: bool) -> Exit {
    let name = args.file.display().to_string();
    let policy = match compile(&args.file, args.config.as_deref()) {
        Ok((_, policy)) => policy,
        Err(exit) => return exit,
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
    // A policy that names no robot is for the only one of the configuration.
    let unnamed = || (!table.contains_key("robot")).then(|| "robot".to_owned());
    let robot = super::replay::policy_robot(text).or_else(unnamed);
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
