use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::replay::{ChecksumChoice, Scene};
use super::{Context, Exit, ask, fail};
use crate::command::{Command, Socket};
use crate::control::{Learning, Request, Response};
use crate::engine::offline::{self, Sink};
use crate::engine::{Fate, Mode, Observer, Rules, Who};
use crate::event::{Event, Verdict};
use crate::learn::{Observations, ProposalOptions};

/// Arguments of `learn`: captures, or an order to the running appliance.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct LearnArgs {
    #[command(subcommand)]
    order: Option<Order>,
    /// Captures, pcap or pcapng, in the order of time.
    #[arg(value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// The robot, by asset name or address; told from the captures where absent.
    #[arg(long, value_name = "NAME-OR-ADDRESS")]
    robot: Option<String>,
    /// Where the proposal goes; standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Configuration that gives names to addresses.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Propose commands of dangerous classes enabled, too.
    #[arg(long)]
    trust_capture: bool,
    /// Policy that was in force: what its deny rules name is not learned, and they stay in the proposal.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Transport checksums: auto ignores them where most are unfinished.
    #[arg(long, value_enum, default_value = "auto")]
    checksums: ChecksumChoice,
}

#[derive(Debug, clap::Subcommand)]
enum Order {
    /// Begins to learn on the running appliance.
    Start,
    /// Ends learning and writes the proposal.
    Stop {
        /// Where the proposal goes; standard output where absent.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// How far learning is, client by client.
    Status,
    /// Waits until every client has shown what it does; exit 1 where that takes longer than the timeout.
    Wait {
        /// How long at most: 90s, 10m, 8h.
        #[arg(long, value_name = "TIME", default_value = "8h", value_parser = super::mode::parse_time)]
        timeout: Duration,
    },
}

/// Proposes a policy from captures, or orders the appliance to learn.
pub(super) fn run(context: &Context, args: &LearnArgs) -> Exit {
    match &args.order {
        None if args.captures.is_empty() => {
            fail(Exit::Usage, &"name captures, or one of start, stop, status; see `vambrace learn --help`")
        }
        None => from_captures(args),
        Some(Order::Start) => order(context, &Request::LearnStart, None),
        Some(Order::Stop { output }) => order(context, &Request::LearnStop, output.as_deref()),
        Some(Order::Status) => order(context, &Request::LearnStatus, None),
        Some(Order::Wait { timeout }) => wait(context, *timeout),
    }
}

fn order(context: &Context, request: &Request, output: Option<&Path>) -> Exit {
    let learning = match ask(context, request) {
        Ok(Response::Learn(learning)) => learning,
        Ok(_) => return fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => return exit,
    };
    if !learning.proposal.is_empty() {
        return write(output, &learning.proposal, Exit::Fine);
    }
    if context.json {
        return match serde_json::to_string(&learning) {
            Ok(line) => super::print(&line),
            Err(error) => fail(Exit::Failed, &error),
        };
    }
    show(&learning);
    Exit::Fine
}

/// Where learning stands, for people.
fn show(learning: &Learning) {
    let Learning { running, seconds, commands, behaviours, denied, saturated, clients, .. } = learning;
    if !running {
        println!("not learning");
        return;
    }
    let denied = if *denied > 0 { format!(", {denied} denied before and not learned") } else { String::new() };
    println!("learning for {seconds} s: {commands} commands, {behaviours} different behaviours{denied}");
    for client in clients {
        let who = if client.egress { format!("the robot to {}", client.client) } else { client.client.clone() };
        let (coverage, at_least) = (client.coverage, client.at_least);
        let state = if client.saturated { "has shown what it does" } else { "learn longer" };
        println!(
            "  {} from {who}: {} behaviours ({} seen once) in {}, coverage {coverage:.3}, at least {at_least:.3}: {state}",
            client.service, client.behaviours, client.once, client.observations,
        );
    }
    if *saturated {
        println!("all have shown what they do: `vambrace learn stop -o policy.toml`");
    }
}

/// How often is asked while waiting.
const ASK_AGAIN: Duration = Duration::from_secs(2);

fn wait(context: &Context, timeout: Duration) -> Exit {
    let begun = Instant::now();
    loop {
        let learning = match ask(context, &Request::LearnStatus) {
            Ok(Response::Learn(learning)) => learning,
            Ok(_) => return fail(Exit::Failed, &"the appliance answered something else"),
            Err(exit) => return exit,
        };
        if !learning.running {
            return fail(Exit::Failed, &"learning is not running; start it with `vambrace learn start`");
        }
        let left = timeout.saturating_sub(begun.elapsed());
        if learning.saturated || left.is_zero() {
            let exit = if learning.saturated { Exit::Fine } else { Exit::Failed };
            if !context.json {
                show(&learning);
                return exit;
            }
            return match serde_json::to_string(&learning).map(|line| super::print(&line)) {
                Ok(Exit::Fine) => exit,
                Ok(other) => other,
                Err(error) => fail(Exit::Failed, &error),
            };
        }
        std::thread::sleep(ASK_AGAIN.min(left));
    }
}

fn write(output: Option<&Path>, text: &str, exit: Exit) -> Exit {
    match output {
        None => {
            let printed = super::print(text);
            if printed == Exit::Fine { exit } else { printed }
        }
        Some(path) => match std::fs::write(path, text) {
            Ok(()) => exit,
            Err(error) => fail(
                Exit::Failed,
                &format!("{}: {error}; name a file in a folder that can be written to", path.display()),
            ),
        },
    }
}

/// Gathers what the engine reads.
struct Listener(Observations, Arc<Rules>);

impl Observer for Listener {
    fn command(&mut self, who: &Who, command: &Command<'_>, _: &Verdict) {
        crate::appliance::learn_command(&mut self.0, &self.1.policy, who, command);
    }

    fn connection(&mut self, who: &Who) {
        self.0.connection(&crate::appliance::seen(who));
    }

    fn part(&mut self, who: &Who, bytes: &[u8]) {
        self.0.part(who.key.plant.ip(), bytes);
    }

    fn socket(&mut self, peer: IpAddr, port: u16) -> Option<Socket> {
        self.0.socket(peer, port)
    }
}

struct Progress(indicatif::ProgressBar);

impl Sink for Progress {
    fn frame(&mut self, _: u64, _: Fate) {}
    fn event(&mut self, _: &Event) {}
    fn progress(&mut self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

fn from_captures(args: &LearnArgs) -> Exit {
    let scene = match Scene::of(&args.captures, args.config.as_deref(), args.robot.as_deref(), args.checksums) {
        Ok(scene) => scene,
        Err(exit) => return exit,
    };
    let policy = match scene.policy(args.policy.as_deref(), &args.captures) {
        Ok(policy) => policy,
        Err(exit) => return exit,
    };
    let rules = scene.rules(Mode::Learn, policy);
    // It was read and compiled just now.
    let denials = args.policy.as_deref().and_then(|path| std::fs::read_to_string(path).ok());
    let captures: Vec<&Path> = args.captures.iter().map(PathBuf::as_path).collect();
    let sizes = captures.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len());
    let mut progress = Progress(super::progress(sizes.fold(0, u64::saturating_add)));
    let outcome = offline::run(&captures, &rules, Listener(Observations::default(), Arc::clone(&rules)), &mut progress);
    progress.0.finish_and_clear();
    let (listener, exit) = match outcome {
        Ok(listener) => (listener, Exit::Fine),
        Err((name, error)) => return fail(Exit::Failed, &format!("{name}: {error}; no policy was proposed")),
    };
    let named = |asset: &crate::policy::Asset| (asset.name.clone(), asset.address);
    // An address as a name says nothing that the address does not.
    let assets = scene.assets.iter().filter(|asset| asset.name.parse::<IpAddr>().is_err()).map(named);
    let text = listener.0.propose(&ProposalOptions {
        robot: scene.robot_name.clone(),
        assets: assets.collect(),
        trust: args.trust_capture,
        lost_frames: 0,
        denials: denials.as_deref().map(crate::learn::denials).unwrap_or_default(),
        made: format!(
            "vambrace {}, from {}",
            env!("CARGO_PKG_VERSION"),
            captures.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    });
    write(args.output.as_deref(), &text, exit)
}
