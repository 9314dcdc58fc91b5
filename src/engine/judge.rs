use dissect::{DissectError, ErrorKind, Step, Toward};
use link::FlowKey;

use super::detail;
use super::rules::Rules;
use super::scene::Scene;
use crate::command::{Class, Command, Service};
use crate::event::{Action, CommandRecord, Detail, Reason, Record, RuleId, Text, Verdict};
use crate::gate::{Judge, Judgement};
use crate::inspect::Session;
use crate::policy::{Ask, Client};
use crate::robot::{Rates, State};

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

/// Sees every command that is read, whatever its verdict: how learning listens.
pub trait Observer {
    /// A unit toward the robot was read and judged.
    fn command(&mut self, who: &Who, command: &Command<'_>, verdict: &Verdict);

    /// A connection (or the first datagram of an exchange) was seen, of whatever service.
    fn connection(&mut self, who: &Who);
}

impl Observer for () {
    fn command(&mut self, _: &Who, _: &Command<'_>, _: &Verdict) {}
    fn connection(&mut self, _: &Who) {}
}

/// Judges the units of one connection while one segment is handled.
pub(super) struct UnitJudge<'x, 's, O> {
    pub(super) who: Who,
    pub(super) port: u16,
    pub(super) client: Client,
    pub(super) session: &'x mut Session,
    pub(super) rules: &'x Rules,
    pub(super) state: &'x State,
    pub(super) rates: &'x mut Rates,
    pub(super) observer: &'x mut O,
    pub(super) scene: &'x mut Scene<'s>,
    /// Commands allowed and refused.
    pub(super) counts: [u64; 2],
    /// The last refusal.
    pub(super) refusal: Option<Verdict>,
}

impl<O: Observer> Judge for UnitJudge<'_, '_, O> {
    fn judge(&mut self, bytes: &[u8]) -> Judgement {
        let service = self.who.service;
        let Self { who, client, rules, state, rates, observer, scene, counts, refusal, .. } = self;
        let mut verdict = None;
        let step = self.session.command(service, self.port, bytes, |command, unit| {
            let decided = decide(rules, *client, who.opened, command, state, rates, scene.now_ns);
            verdict = Some(decided);
            observer.command(who, command, &decided);
            let id = scene.next_event();
            let record = CommandRecord {
                key: who.key,
                opened: who.opened,
                service,
                class: command.gravest_class(),
                verdict: decided,
                enforced: scene.enforce,
                len: u32::try_from(unit.len()).unwrap_or(u32::MAX),
                detail: detail::of(command),
            };
            scene.record_as(id, Record::Command(record));
            if decided.is_allowed() {
                counts[0] = counts[0].saturating_add(1);
            } else {
                counts[1] = counts[1].saturating_add(1);
                scene.actions.keep(id.0, decided);
                *refusal = Some(decided);
            }
            // Outside enforcement the unit goes on and will be answered whatever the verdict.
            (decided.is_allowed() || !scene.enforce).then_some(id.0)
        });
        match (step, verdict) {
            (Ok(Step::Partial { .. }), _) => Judgement::Partial { patience_ns: Session::patience_ns(service) },
            (Ok(Step::Whole { len, .. }), Some(Verdict { action: Action::Forward, .. })) => Judgement::Allow { len },
            (Ok(Step::Whole { len, .. }), Some(Verdict { action, reason, .. })) => {
                Judgement::Refuse { len, action, reason }
            }
            (Ok(Step::Whole { .. }), None) => Judgement::Broken { reason: Reason::EngineFault },
            (Err(error), _) => self.unreadable(error, bytes),
        }
    }
}

impl<O> UnitJudge<'_, '_, O> {
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
            detail: Detail::Unreadable { field: error.field, offset: error.offset, bytes: Text::new(head) },
        };
        let id = self.scene.record(Record::Command(record));
        self.scene.actions.keep(id.0, verdict);
        self.counts[1] = self.counts[1].saturating_add(1);
        self.refusal = Some(verdict);
        Judgement::Broken { reason }
    }
}

fn decide(
    rules: &Rules,
    client: Client,
    opened: Toward,
    command: &Command<'_>,
    state: &State,
    rates: &mut Rates,
    now_ns: u64,
) -> Verdict {
    if rules.mode.judges() {
        let verdict = rules.policy.decide(&Ask { client, opened, command, state, now_ns }, rates);
        // Carried out, and recorded, as a reset until the gate can cut a unit out of a connection.
        Verdict { action: if verdict.action == Action::Refuse { Action::Reset } else { verdict.action }, ..verdict }
    } else {
        Verdict {
            action: Action::Forward,
            reason: Reason::NotJudged,
            rule: RuleId::NONE,
            generation: rules.policy.generation(),
        }
    }
}
