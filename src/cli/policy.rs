mod question;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::{Context, Exit, ask, fail, mistakes};
use crate::appliance::{self, patches::Loaded};
use crate::config::Config;
use crate::control::{PolicyText, Request, Response};
use crate::document::Problems;
use crate::policy::{Asset, Controller, Moment, Policy, TestOutcome, template};

/// What `policy` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Compiles a policy and runs its tests; exit 2 for mistakes, 3 for failed tests.
    Check(FileArgs),
    /// Compiles a policy and shows each of its tests.
    Test(FileArgs),
    /// Prints a commented policy to begin with: named peers may read and stop, nothing may move.
    Template {
        /// Kind of controller.
        #[arg(long, value_name = "PROFILE", value_parser = controller, default_value = "ur-e-series")]
        profile: Controller,
        /// The robot: its name in the configuration, or its address.
        #[arg(long, value_name = "NAME", default_value = "robot")]
        robot: String,
        /// A peer that may read: a name of the configuration, an address or a network; once for each.
        #[arg(long, value_name = "PEER")]
        from: Vec<String>,
    },
    /// Answers who may do what, over all commands that there are.
    Ask(question::AskArgs),
    /// Shows what peers may do under one policy and not under another, with examples.
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
        /// Shows the rules and keys in which the texts differ instead.
        #[arg(long)]
        text: bool,
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
        PolicyCommand::Template { profile, robot, from } => super::print(&template(*profile, robot, from)),
        PolicyCommand::Ask(args) => question::run(context, args),
        PolicyCommand::Diff { before, after, config, text, exit_code } => {
            let differs = match differences(context, before, after, config.as_deref(), *text) {
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

fn controller(name: &str) -> Result<Controller, String> {
    let found = Controller::ALL.into_iter().find(|(known, _)| *known == name);
    let known = Controller::ALL.map(|(known, _)| known).join(", ");
    found.map(|(_, controller)| controller).ok_or_else(|| format!("use one of {known}"))
}

fn read(file: &Path) -> Result<String, Exit> {
    Problems::text(file, std::fs::read(file)).map_err(|problems| mistakes(&problems))
}

/// A policy file that compiles, with the devices that it was compiled with.
struct Compiled {
    text: String,
    policy: Policy,
    assets: Vec<Asset>,
}

/// Reads and compiles a policy file; without a configuration the robot's name stands for some address.
fn compile(file: &Path, config: Option<&Path>) -> Result<Compiled, Exit> {
    let text = read(file)?;
    let assets = devices(&[&text], config)?;
    let compiled = compile_text(file, text, assets, appliance::now())?;
    let doubts = pack(config).pack.doubts(&file.display().to_string(), &compiled.policy, appliance::now().wall_ns);
    doubts.iter().for_each(|doubt| eprintln!("{doubt}"));
    Ok(compiled)
}

/// The virtual patches that stand beside a policy: those of the configuration, where there is one that can be read.
fn pack(config: Option<&Path>) -> Loaded {
    let config = config.and_then(|path| Config::load(path).ok());
    config.map_or_else(Loaded::built_in, |config| Loaded::of_or_built_in(&config))
}

/// The devices that policies of these texts name.
fn devices(texts: &[&str], config: Option<&Path>) -> Result<Vec<Asset>, Exit> {
    if let Some(path) = config {
        return Ok(appliance::assets(&Config::load(path).map_err(|problems| mistakes(&problems))?));
    }
    let assets = placeholders(texts);
    if assets.len() > 1 {
        eprintln!("vambrace: device names are not checked without --config FILE");
    }
    Ok(assets)
}

fn compile_text(file: &Path, text: String, assets: Vec<Asset>, now: Moment) -> Result<Compiled, Exit> {
    let name = file.display().to_string();
    match Policy::compile(&name, &text, &assets, 1, now) {
        Ok(policy) => Ok(Compiled { text, policy, assets }),
        Err(problems) => Err(mistakes(&problems)),
    }
}

/// Prints what differs; whether anything does.
fn differences(
    context: &Context,
    before: &Path,
    after: &Path,
    config: Option<&Path>,
    text: bool,
) -> Result<bool, Exit> {
    let (old, new) = (read(before), read(after));
    // One name is one device in both.
    let texts: Vec<&str> = [&old, &new].into_iter().flatten().map(String::as_str).collect();
    let assets = devices(&texts, config)?;
    // And one deadline is one moment. What is wrong with either is told, whatever is wrong with the other.
    let now = appliance::now();
    let compiled = |file: &Path, text: Result<String, Exit>| compile_text(file, text?, assets.clone(), now);
    let (old, new) = (compiled(before, old), compiled(after, new));
    let (before, after) = (old?, new?);
    let lines: Vec<String> = if text {
        let changes = crate::policy::diff(&before.text, &after.text);
        let shown = |change: &crate::policy::Change| {
            if context.json { change.to_json().to_string() } else { change.to_string() }
        };
        changes.iter().map(shown).collect()
    } else {
        let found =
            crate::policy::compare(&before.policy, &after.policy, &before.assets, now.monotonic_ns.saturating_add(1));
        for limit in &found.limits {
            eprintln!("vambrace: not all was compared: {limit}");
        }
        let shown = |found: &crate::policy::Difference| {
            if context.json { found.to_json().to_string() } else { found.to_string() }
        };
        found.differences.iter().map(shown).collect()
    };
    for line in &lines {
        let exit = super::print(line);
        if exit != Exit::Fine {
            return Err(exit);
        }
    }
    Ok(!lines.is_empty())
}

fn check(context: &Context, args: &FileArgs, verbose: bool) -> Exit {
    let name = args.file.display().to_string();
    let policy = match compile(&args.file, args.config.as_deref()) {
        Ok(compiled) => compiled.policy,
        Err(exit) => return exit,
    };
    let warnings = policy.warnings(appliance::now().monotonic_ns);
    let tests = policy.run_tests();
    let failed = tests.iter().filter(|test| !test.passed).count();
    if context.json {
        let shown: Vec<_> = tests.iter().map(json).collect();
        let warned =
            |warning: &crate::policy::Warning| serde_json::json!({"kind": warning.kind(), "text": warning.to_string()});
        let warnings: Vec<_> = warnings.iter().map(warned).collect();
        let policy = policy.rules();
        let line = serde_json::json!({"policy": name, "rules": policy, "tests": shown, "failed": failed, "warnings": warnings});
        println!("{line}");
    } else {
        for warning in &warnings {
            eprintln!("vambrace: {warning}");
        }
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
fn placeholders(texts: &[&str]) -> Vec<Asset> {
    let tables: Vec<toml::Table> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    let mut names = BTreeSet::new();
    let mut take = |value: Option<&toml::Value>| match value {
        Some(toml::Value::String(name)) => drop(names.insert(name.clone())),
        Some(toml::Value::Array(list)) => names.extend(list.iter().filter_map(|item| item.as_str()).map(str::to_owned)),
        _ => {}
    };
    let keyed = |table: &'_ toml::Table| {
        ["allow", "deny", "test"].map(|key| table.get(key).and_then(|rules| rules.as_array()).cloned())
    };
    for rule in tables.iter().flat_map(keyed).flatten().flatten() {
        take(rule.get("from"));
        take(rule.get("to"));
    }
    names.retain(|name| name != "any" && name.parse::<IpAddr>().is_err() && name.parse::<ipnet::IpNet>().is_err());
    // A policy that names no robot is for the only one of the configuration.
    let unnamed = || tables.iter().any(|table| !table.contains_key("robot")).then(|| "robot".to_owned());
    let mut robots: BTreeSet<String> = texts.iter().filter_map(|text| super::replay::policy_robot(text)).collect();
    if robots.is_empty() {
        robots.extend(unnamed());
    }
    names.extend(robots.iter().cloned());
    // 198.18.0.0/15 is for tests of devices (RFC 2544): no plant uses it.
    let address =
        |at: usize| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0001_u32.saturating_add(u32::try_from(at).unwrap_or(0))));
    let asset = |(at, name): (usize, String)| Asset { is_robot: robots.contains(&name), name, address: address(at) };
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
