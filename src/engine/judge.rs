use std::net::IpAddr;

use dissect::{DissectError, ErrorKind, Step, Toward};
use link::FlowKey;

use super::detail;
use super::flux::Part;
use super::lines::Lines;
use super::rules::{Mode, Rules};
use super::scene::Scene;
use crate::command::{Class, Classes, Command, External, Service, Socket};
use crate::event::{
    Action, Answer, CommandRecord, Detail, EventId, InUse, Notice, Reason, Record, RuleId, Text, UNIT, Verdict,
};
use crate::gate::{self, Judge, Judgement, Reply, SpliceOut, Wire};
use crate::inspect::{self, Refusal, Session, Told};
use crate::policy::{Ask, Client};
use crate::robot::{self, Inputs, Rates, State};

/// Who sent a command, and over what.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Both ends, by side.
    pub key: FlowKey,
    /// Who opened the connection: [`Toward::Robot`] = the plant side did.
    pub opened: Toward,
    /// The service.
    pub service: Service,
    /// Wall clock of the frame, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Number of the frame, from 1.
    pub frame: u64,
}

impl Who {
    /// The same with either end on its own side of the box: of a command to a device, the robot opened the connection.
    pub(super) fn unmirrored(self) -> Self {
        if !self.key.is_mirrored() {
            return self;
        }
        Self { key: self.key.unmirrored(), opened: self.opened.reverse(), ..self }
    }
}

/// Sees every command that is read, whatever its verdict: how learning listens.
pub trait Observer {
    /// A unit toward the robot was read and judged.
    fn command(&mut self, who: &Who, command: &Command<'_>, verdict: &Verdict);

    /// The unit of an event is longer than what the event holds of it; the event itself follows.
    fn long_unit(&mut self, _: EventId, _: &[u8]) {}

    /// A connection (or the first datagram of an exchange) was seen, of whatever service.
    fn connection(&mut self, who: &Who);

    /// A part of a text on the script socket of external control goes on unjudged.
    fn part(&mut self, _: &Who, _: &[u8]) {}

    /// The socket of external control that a computer's port is, where nothing is judged and the listener knows better
    /// than the default.
    fn socket(&mut self, _: IpAddr, _: u16) -> Option<Socket> {
        None
    }
}

impl Observer for () {
    fn command(&mut self, _: &Who, _: &Command<'_>, _: &Verdict) {}
    fn connection(&mut self, _: &Who) {}
}

const _: () = assert!(gate::ANSWER >= inspect::MAX_ANSWER, "the gate keeps room for every answer");

/// What lies outside the gate of one connection while one event is handled: who judges its units, and the wire.
pub(super) struct Surroundings<'x, 's, O> {
    pub(super) who: Who,
    pub(super) port: u16,
    pub(super) client: Client,
    pub(super) session: &'x mut Session,
    pub(super) rules: &'x Rules,
    pub(super) robot: &'x mut State,
    pub(super) rates: &'x mut Rates,
    pub(super) inputs: &'x mut Inputs,
    /// The connection, as the table of inputs knows it.
    pub(super) connection: robot::Connection,
    pub(super) observer: &'x mut O,
    pub(super) scene: &'x mut Scene<'s>,
    /// How frames of the box's own are addressed; absent while both ends talk to each other.
    pub(super) lines: Option<Lines>,
    /// The stream can't be read any more, outside enforcement: all of it goes on.
    pub(super) unreadable: bool,
    /// Commands allowed and refused.
    pub(super) counts: [u64; 2],
    /// The last refusal.
    pub(super) refusal: Option<Verdict>,
    /// Refused commands that do more than read, and of which nothing went on.
    pub(super) grave: u64,
    /// What goes to the robot in the place of the unit that was judged last.
    pub(super) corrected: Option<[u8; 32]>,
}

impl<O: Observer> Judge for Surroundings<'_, '_, O> {
    fn judge(&mut self, bytes: &[u8]) -> Judgement {
        if self.unreadable {
            return Judgement::Allow { len: bytes.len() };
        }
        let service = self.who.service;
        if service == Service::ExternalControl {
            return self.judge_external(bytes);
        }
        let Self {
            who, client, rules, robot, rates, inputs, connection, observer, scene, counts, refusal, grave, ..
        } = self;
        let mut verdict = None;
        let forgotten = self.session.forgotten();
        let step = self.session.command(service, self.port, bytes, |command, unit| {
            scene.flux.part(Part::Rates, *rates);
            let outward = who.unmirrored();
            let ask = Ask {
                client: *client,
                opened: outward.opened,
                command,
                state: robot,
                inputs,
                connection: connection.number,
                now_ns: scene.now_ns,
            };
            let decided = decide(rules, &ask, rates);
            scene.flux.part_done(Part::Rates, *rates);
            verdict = Some(decided);
            let in_use = in_use(rules, command, &decided, inputs, connection.number);
            // Outside enforcement a unit goes on whatever the verdict.
            let goes = decided.is_allowed() || !scene.enforce;
            if goes && let Command::Rtde(request) = command {
                scene.flux.part(Part::Inputs, *inputs);
                inputs.went(request, connection);
                scene.flux.part_done(Part::Inputs, *inputs);
            }
            observer.command(&outward, command, &decided);
            let id = scene.next_event();
            let record = CommandRecord {
                key: who.key,
                opened: who.opened,
                service,
                class: command.gravest_class(),
                verdict: decided,
                enforced: scene.enforce,
                len: u32::try_from(unit.len()).unwrap_or(u32::MAX),
                unit: Text::new(unit),
                robot: rules.policy.known(robot, scene.now_ns),
                detail: detail::of(command, in_use, decided.is_allowed() && unit.len() <= UNIT),
            };
            if record.unit.is_cut() {
                observer.long_unit(id, unit);
            }
            scene.record_as(id, Record::Command(record));
            if decided.is_allowed() {
                counts[0] = counts[0].saturating_add(1);
            } else {
                counts[1] = counts[1].saturating_add(1);
                *grave = grave.saturating_add(u64::from(is_grave(command)));
                scene.keep(id, decided);
                *refusal = Some(decided);
            }
            // What goes on will be answered.
            goes.then_some(id.0)
        });
        if self.session.forgotten() != forgotten {
            let what = "more requests are outstanding than are kept; the oldest is no longer waited for";
            self.scene.record(Record::Notice(Notice::Anomaly { key: self.who.key, service, what }));
        }
        match (step, verdict) {
            (Ok(Step::Partial { .. }), _) => Judgement::Partial { patience_ns: inspect::PATIENCE_NS },
            (Ok(Step::Whole { len, .. }), Some(_)) if !self.scene.enforce => Judgement::Allow { len },
            (Ok(Step::Whole { len, .. }), Some(Verdict { action: Action::Forward, .. })) => Judgement::Allow { len },
            (Ok(Step::Whole { len, .. }), Some(Verdict { action, reason, .. })) => {
                Judgement::Refuse { len, action, reason }
            }
            (Ok(Step::Whole { .. }), None) => Judgement::Broken { reason: Reason::EngineFault },
            (Err(error), _) => self.unreadable(error, bytes),
        }
    }

    fn clamp(&mut self, unit: &mut [u8]) {
        if let (Some(corrected), Some(head)) = (self.corrected.take(), unit.get_mut(..32)) {
            head.copy_from_slice(&corrected);
        }
    }

    fn reply(&mut self, bytes: &[u8]) -> Reply {
        let (service, key) = (self.who.service, self.who.key);
        let scene = &mut *self.scene;
        scene.flux.part(Part::Robot, self.robot);
        scene.flux.part(Part::Inputs, self.inputs);
        // What a device answers tells nothing of this robot.
        let mut device = None;
        let state = if key.is_mirrored() { device.get_or_insert_with(State::default) } else { &mut *self.robot };
        let told = Told { state, inputs: self.inputs, connection: &self.connection };
        let read = inspect::read_answer(self.session, service, bytes, told, scene.now_ns);
        scene.flux.part_done(Part::Inputs, self.inputs);
        scene.flux.part_done(Part::Robot, self.robot);
        match read {
            Ok(Step::Partial { .. }) => Reply::Partial,
            Ok(Step::Whole { unit, len }) => {
                if unit.recorded {
                    scene.record(Record::Answer(Answer {
                        to: EventId(unit.to.unwrap_or(0)),
                        key,
                        service,
                        exception: unit.exception,
                        values: unit.values,
                        values_len: unit.values_len,
                        text: unit.text,
                        recipe: unit.recipe,
                        in_use: unit.in_use,
                    }));
                }
                if let Some(said) = unit.said {
                    scene.record_message(key, service, said, unit.text);
                }
                if unit.mismatched {
                    let what = "an answer that does not carry what was asked for";
                    scene.record(Record::Notice(Notice::Anomaly { key, service, what }));
                }
                if unit.unsolicited {
                    let what = "an answer that answers nothing outstanding";
                    scene.record(Record::Notice(Notice::Anomaly { key, service, what }));
                }
                Reply::Whole { len }
            }
            // A size that does not even cover itself: receivers disagree about where the next package begins.
            Err(_) if scene.enforce && service == Service::Rtde && matches!(bytes, [0, 0..=2, ..]) => Reply::Broken,
            Err(_) => {
                let what = "answers can't be read further on this connection";
                scene.record(Record::Notice(Notice::Anomaly { key, service, what }));
                Reply::Unreadable
            }
        }
    }

    fn frames_replies(&self) -> bool {
        inspect::answers_framed(self.who.service, self.port)
    }

    fn reads_replies(&self) -> bool {
        inspect::answers_read(self.who.service, self.port)
    }

    fn outstanding(&self) -> u32 {
        self.session.outstanding(self.who.service)
    }

    fn answer(&mut self, unit: &[u8], reason: Reason, out: &mut [u8]) -> gate::Answer {
        match inspect::refusal_answer(self.who.service, self.port, unit, reason, self.session, out) {
            Refusal::Answer { len } => gate::Answer::Bytes { len },
            Refusal::Silent => gate::Answer::Silent,
            Refusal::None => gate::Answer::Impossible,
        }
    }
}

impl<O> Wire for Surroundings<'_, '_, O> {
    fn send(&mut self, out: &SpliceOut<'_>) {
        if let Some(lines) = &self.lines {
            lines.send(self.scene, out);
        }
    }
}

impl<O: Observer> Surroundings<'_, '_, O> {
    /// A unit of external control: what lies beyond its rule may go on changed.
    fn judge_external(&mut self, bytes: &[u8]) -> Judgement {
        let enforce = self.scene.enforce;
        let known = |digest: &[u8; 32]| self.rules.policy.knows_text(self.client, digest);
        let (unit, len) = match self.session.external(bytes, enforce, known) {
            Ok(Step::Partial { .. }) => return Judgement::Partial { patience_ns: inspect::PATIENCE_NS },
            // A part of a text that is not held.
            Ok(Step::Whole { unit: None, len }) => {
                self.observer.part(&self.who, bytes);
                return Judgement::Allow { len };
            }
            Ok(Step::Whole { unit: Some(unit), len }) => (unit, len),
            Err(error) => return self.unreadable(error, bytes),
        };
        let verdict = self.external(&unit, len, bytes.get(..len).unwrap_or_default());
        match (verdict.action, self.corrected) {
            (Action::Forward, _) => Judgement::Allow { len },
            _ if !enforce => Judgement::Allow { len },
            (_, Some(_)) => Judgement::Clamp { len },
            (action, None) => Judgement::Refuse { len, action, reason: verdict.reason },
        }
    }

    /// A text that was not held is over: it is recorded, and judged where the mode judges.
    pub(super) fn text_over(&mut self) {
        if let Some(text @ External::Text { len, .. }) = self.session.text_over() {
            self.external(&text, len as usize, &[]);
        }
    }

    /// Judges and records one unit of external control, and works out what goes on in its place, where that is another;
    /// `bytes` are what is left of it.
    fn external(&mut self, unit: &External<'_>, len: usize, bytes: &[u8]) -> Verdict {
        let command = Command::External(*unit);
        let Self { who, client, rules, robot, rates, inputs, connection, observer, scene, .. } = self;
        let now_ns = scene.now_ns;
        let ask = Ask {
            client: *client,
            opened: who.opened,
            command: &command,
            state: robot,
            inputs,
            connection: connection.number,
            now_ns,
        };
        scene.flux.part(Part::Rates, *rates);
        let verdict = decide(rules, &ask, rates);
        scene.flux.part_done(Part::Rates, *rates);
        observer.command(who, &command, &verdict);
        let mut sent = *unit;
        self.corrected = None;
        if scene.enforce
            && matches!(verdict.action, Action::Clamp | Action::Hold)
            && let External::Motion(motion) = unit
        {
            let instead = rules.policy.corrected(&verdict, motion, &ask);
            self.corrected = Some(instead.emit());
            sent = External::Motion(instead);
        }
        if verdict.is_allowed() || self.corrected.is_some() || !scene.enforce {
            let track = rules.policy.track(&verdict, &sent, robot, now_ns);
            scene.flux.part(Part::Robot, *robot);
            robot.track = track;
            scene.flux.part_done(Part::Robot, *robot);
        }
        let id = scene.next_event();
        let record = CommandRecord {
            key: who.key,
            opened: who.opened,
            service: who.service,
            class: command.gravest_class(),
            verdict,
            enforced: scene.enforce,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            unit: Text::new(bytes),
            robot: rules.policy.known(robot, now_ns),
            detail: detail::external(unit),
        };
        if record.unit.is_cut() {
            observer.long_unit(id, bytes);
        }
        scene.record_as(id, Record::Command(record));
        let place = usize::from(!verdict.is_allowed());
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(1);
        }
        if !verdict.is_allowed() {
            // A set-point that is held or clamped is no mischief.
            let goes_on = matches!(verdict.action, Action::Hold | Action::Clamp);
            self.grave = self.grave.saturating_add(u64::from(!goes_on && is_grave(&command)));
            scene.keep(id, verdict);
            self.refusal = Some(verdict);
        }
        verdict
    }
}

impl<O> Surroundings<'_, '_, O> {
    /// A unit that its dissector can't read: refused, final for the connection.
    fn unreadable(&mut self, error: DissectError, bytes: &[u8]) -> Judgement {
        let reason = match error.kind {
            ErrorKind::Unsupported => Reason::UnsupportedFunction,
            ErrorKind::Forbidden => Reason::UnknownCommand,
            ErrorKind::Truncated | ErrorKind::Malformed => Reason::Malformed,
        };
        let verdict = Verdict { action: Action::Reset, reason, rule: RuleId::NONE, generation: self.scene.generation };
        let head = bytes.get(..bytes.len().min(32)).unwrap_or_default();
        let record = CommandRecord {
            key: self.who.key,
            opened: self.who.opened,
            service: self.who.service,
            class: Class::Unknown,
            verdict,
            enforced: self.scene.enforce,
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            unit: Text::new(bytes),
            robot: self.rules.policy.known(self.robot, self.scene.now_ns),
            detail: Detail::Unreadable { field: error.field, offset: error.offset, bytes: Text::new(head) },
        };
        let id = self.scene.record(Record::Command(record));
        self.scene.keep(id, verdict);
        self.counts[1] = self.counts[1].saturating_add(1);
        self.refusal = Some(verdict);
        Judgement::Broken { reason }
    }
}

/// Whether it does more than read or set up a session.
fn is_grave(command: &Command<'_>) -> bool {
    !Classes::from(Class::Read).with(Class::Session).covers(command.classes())
}

pub(super) fn decide(rules: &Rules, ask: &Ask<'_>, rates: &mut Rates) -> Verdict {
    if rules.mode == Mode::Lockdown {
        rules.policy.decide_in_lockdown(ask, rates)
    } else if rules.mode.judges() {
        rules.policy.decide(ask, rates)
    } else {
        Verdict {
            action: Action::Forward,
            reason: Reason::NotJudged,
            rule: RuleId::NONE,
            generation: rules.policy.generation(),
        }
    }
}

/// Who has the input for which a package is refused.
fn in_use(rules: &Rules, command: &Command<'_>, verdict: &Verdict, inputs: &Inputs, connection: u32) -> Option<InUse> {
    let Command::Rtde(request) = command else { return None };
    (verdict.reason == Reason::InputInUse).then(|| rules.policy.in_use(request, inputs, connection)).flatten()
}
