//! `explain CAPTURE#FRAME`: the policy itself is asked, so that its nearest rule is named.

use std::path::Path;
use std::sync::Arc;

use super::{ExplainArgs, dump, hex};
use crate::cli::replay::{ChecksumChoice, Scene};
use crate::cli::{Context, Exit, fail, print};
use crate::command::Command;
use crate::engine::offline::{self, Sink};
use crate::engine::{Fate, Mode, Observer, Who};
use crate::event::{Event, Record, Render, Verdict};
use crate::export::Names;
use crate::export::eve::EveRender;
use crate::learn::{Observations, ProposalOptions};
use crate::nic::replay::CaptureReader;
use crate::policy::{Nearest, Policy};

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

/// Explains what the policy says of one frame of a capture.
pub(super) fn explain(context: &Context, args: &ExplainArgs, capture: &Path, frame: u64) -> Exit {
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
    let bytes = bytes_of(capture, frame);
    let refusals: Vec<Refusal> = listener
        .found
        .into_iter()
        .filter(|(verdict, ..)| !verdict.is_allowed())
        .map(|(_, nearest, observations)| {
            let options = ProposalOptions {
                robot: scene.robot_name.clone(),
                trust: true,
                made: "vambrace explain".to_owned(),
                ..ProposalOptions::default()
            };
            let proposal = observations.propose(&options);
            let rule = proposal.find("[[allow]]").and_then(|at| proposal.get(at..)).unwrap_or_default().to_owned();
            Refusal { nearest, rule }
        })
        .collect();
    if context.json {
        return print(&json(&sentences.lines, &bytes, &refusals).to_string());
    }
    let mut text = String::new();
    for line in &sentences.lines {
        text += &format!("{line}\n");
    }
    text += "\nBytes\n";
    text += &dump(&bytes);
    for Refusal { nearest, rule } in &refusals {
        if let Some(Nearest { rule, key, found, allowed }) = nearest {
            text += &format!("\nNearest rule: {rule}; its `{key}` allows {allowed}, the command has {found}\n");
        }
        if !rule.is_empty() {
            text += &format!("\nThe narrowest rule that would allow it\n{rule}");
        }
    }
    print(&text)
}

/// What is said of one refused command of the frame.
struct Refusal {
    nearest: Option<Nearest>,
    rule: String,
}

fn json(sentences: &[String], bytes: &[u8], refusals: &[Refusal]) -> serde_json::Value {
    let refusal = |Refusal { nearest, rule }: &Refusal| {
        let nearest = nearest.as_ref().map(|Nearest { rule, key, found, allowed }| {
            serde_json::json!({"rule": rule, "key": key, "seen": found, "allowed": allowed})
        });
        serde_json::json!({"nearest": nearest, "rule": rule})
    };
    let refusals: Vec<_> = refusals.iter().map(refusal).collect();
    serde_json::json!({"sentences": sentences, "frame_hex": hex(bytes), "refusals": refusals})
}

/// The bytes of frame `number`, counted from 1; empty where the capture can't be read so far a second time.
fn bytes_of(capture: &Path, number: u64) -> Vec<u8> {
    let Ok(mut reader) = CaptureReader::open(capture) else { return Vec::new() };
    for _ in 1..number {
        if !matches!(reader.next_packet(), Ok(Some(_))) {
            return Vec::new();
        }
    }
    reader.next_packet().ok().flatten().map(|packet| packet.bytes.to_vec()).unwrap_or_default()
}
