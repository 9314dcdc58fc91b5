use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::replay::{ChecksumChoice, Scene};
use super::{Context, Exit, fail};
use crate::command::Command;
use crate::engine::offline::{self, Sink};
use crate::engine::{Fate, Mode, Observer, Who};
use crate::event::{Event, Reason, Record, Render, Verdict};
use crate::export::Names;
use crate::export::eve::EveRender;
use crate::learn::{Observations, ProposalOptions};
use crate::policy::{Nearest, Policy};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// An event's number, or CAPTURE#FRAME.
    #[arg(value_name = "EVENT-ID|CAPTURE#FRAME")]
    what: String,
    /// Policy to judge a capture by; without one every command is refused.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Configuration that gives names their addresses, and tells where records lie.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The robot of a capture, by asset name or address.
    #[arg(long, value_name = "NAME-OR-ADDRESS")]
    robot: Option<String>,
    /// Folder of the records; the running appliance's where absent.
    #[arg(long, value_name = "DIRECTORY")]
    records: Option<PathBuf>,
}

/// Says which rule decided, what differs from the nearest allowed behaviour, and which rule would allow it.
pub(super) fn run(context: &Context, args: &ExplainArgs) -> Exit {
    if let Some((capture, frame)) = args.what.rsplit_once('#') {
        return match frame.parse() {
            Ok(frame) => of_capture(args, Path::new(capture), frame),
            Err(_) => fail(Exit::Usage, &format!("{frame:?} is no frame number; write CAPTURE#12")),
        };
    }
    match args.what.parse() {
        Ok(id) => of_event(context, args, id),
        Err(_) => {
            fail(Exit::Usage, &format!("{:?} is no event number; write 12, or CAPTURE#12 for a frame", args.what))
        }
    }
}

fn of_event(context: &Context, args: &ExplainArgs, id: u64) -> Exit {
    let lines = match super::events::lines(context, args.config.as_deref(), args.records.as_deref()) {
        Ok(lines) => lines,
        Err(exit) => return exit,
    };
    let events: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let Some(at) = events.iter().position(|event| super::events::id_of(event) == Some(id)) else {
        return fail(Exit::Failed, &format!("no event {id} in the records; see `vambrace events`"));
    };
    let Some(event) = events.get(at) else { return Exit::Failed };
    if context.json {
        return super::print(&event.to_string());
    }
    let reason = super::events::find(event, "reason").and_then(Value::as_str).unwrap_or("");
    let sentence = Reason::ALL.iter().find(|known| known.name() == reason).map_or("", |known| known.sentence());
    let mut text = format!("event {id}: {reason} - {sentence}\n");
    text += &serde_json::to_string_pretty(event).unwrap_or_default();
    text += "\n\nbefore it on the same conversation:\n";
    let flow = event.get("flow_id");
    let before = events.get(..at).unwrap_or_default();
    let same = before.iter().rev().filter(|other| flow.is_some() && other.get("flow_id") == flow).take(10);
    let mut history: Vec<String> = same.map(ToString::to_string).collect();
    history.reverse();
    text += &if history.is_empty() { "  nothing".to_owned() } else { history.join("\n") };
    super::print(&text)
}

/// Keeps what was decided over the commands of one frame.
struct Listener {
    frame: u64,
    policy: Arc<Policy>,
    found: Vec<(Verdict, Option<Nearest>, Observations)>,
}

impl Observer for Listener {
    fn command(&mut self, who: &Who, command: &Command<'_>, verdict: &Verdict) {
        if who.frame == self.frame {
            let mut observations = Observations::default();
            observations.command(&crate::appliance::seen(who), command);
            self.found.push((*verdict, self.policy.nearest(command, verdict), observations));
        }
    }

    fn connection(&mut self, _: &Who) {}
}

struct Sentences {
    frame: u64,
    render: EveRender,
    lines: Vec<String>,
}

impl Sink for Sentences {
    fn frame(&mut self, _: u64, _: Fate) {}

    fn event(&mut self, event: &Event) {
        if event.frame == self.frame && matches!(event.record, Record::Command(_) | Record::Frame(_)) {
            self.lines.push(self.render.sentence(event));
        }
    }

    fn progress(&mut self, _: u64) {}
}

fn of_capture(args: &ExplainArgs, capture: &Path, frame: u64) -> Exit {
    let captures = [capture.to_path_buf()];
    let scene = match Scene::of(&captures, args.config.as_deref(), args.robot.as_deref(), ChecksumChoice::Auto) {
        Ok(scene) => scene,
        Err(exit) => return exit,
    };
    let policy = match scene.policy(args.policy.as_deref(), &captures) {
        Ok(policy) => policy,
        Err(exit) => return exit,
    };
    let rules = scene.rules(Mode::Shadow, policy);
    let names = Names::new("explain", rules.devices.iter().map(|device| (device.address, device.name.clone())));
    names.set_rules(rules.policy.generation(), rules.policy.rule_ids().map(str::to_owned).collect());
    let render = EveRender { names: Arc::new(names), capture: true };
    let mut sentences = Sentences { frame, render, lines: Vec::new() };
    let listener = Listener { frame, policy: Arc::clone(&rules.policy), found: Vec::new() };
    let listener = match offline::run(&[capture], &rules, listener, &mut sentences) {
        Ok(listener) => listener,
        Err((name, error)) => return fail(Exit::Failed, &format!("{name}: {error}")),
    };
    if sentences.lines.is_empty() {
        return fail(
            Exit::Failed,
            &format!("frame {frame} of {} holds no command and was not refused", capture.display()),
        );
    }
    let mut text = String::new();
    for line in &sentences.lines {
        text += &format!("{line}\n");
    }
    for (verdict, nearest, observations) in &listener.found {
        if verdict.is_allowed() {
            continue;
        }
        if let Some(Nearest { rule, key, found, allowed }) = nearest {
            text += &format!("nearest rule: {rule}; its `{key}` allows {allowed}, the command has {found}\n");
        }
        let options = ProposalOptions {
            robot: scene.robot_name.clone(),
            trust: true,
            made: "vambrace explain".to_owned(),
            ..ProposalOptions::default()
        };
        let proposal = observations.propose(&options);
        if let Some(at) = proposal.find("[[allow]]") {
            text += &format!("the narrowest rule that would allow it:\n\n{}", proposal.get(at..).unwrap_or_default());
        }
    }
    super::print(&text)
}
