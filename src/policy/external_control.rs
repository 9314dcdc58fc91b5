//! What a rule says about external control: the sockets that the robot opens to a computer which then moves it.

use external_control::{Action as Doing, Channel, Dialect, Function, MAX_FIELDS, Motion, Move, Trajectory};

use super::envelope::{Envelope, is_fresh};
use super::names::{NameSet, classes};
use super::orders::OrderBounds;
use super::ranges::Numbers;
use super::rule::{Miss, Rank};
use super::space::ExternalCuts;
use super::urscript::Digest;
use super::{Ask, Policy};
use crate::command::{Class, Classes, External, Socket};
use crate::document::{Source, Table, Value};
use crate::event::{Action, Reason, Verdict};
use crate::robot::{State, Track};

/// Modes that a rule can name, as [`external_control::Action::name`] says them; what only stops needs no name.
const MODES: [&str; 9] = ["stop", "idle", "servoj", "speedj", "forward", "speedl", "pose", "freedrive", "torque"];

/// How long the robot waits after a set-point of the box's own, where the rule bounds it not, in milliseconds.
/// Source: the library's default for a lost connection, 20 ms; ten cycles of an e-Series arm.
const HOLD_MS: i32 = 20;

/// The external control keys of one rule.
///
/// An absent key is unbounded, but a rule that names something covers nothing on sockets that it does not speak of: with
/// `mode` but without `function`, no order; without `program`, no text.
#[derive(Clone, Debug)]
pub(crate) struct ExternalRule {
    classes: Option<Classes>,
    modes: Option<NameSet>,
    timeout_ms: Option<Numbers>,
    functions: Option<NameSet>,
    bounds: Option<OrderBounds>,
    programs: Option<Box<[Digest]>>,
    envelope: Option<Envelope>,
    beyond: Option<Action>,
    points: Option<Dialect>,
    pub(crate) sockets: [(u16, Socket); 4],
}

impl ExternalRule {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>, deny: bool) -> Self {
        let beyond = [Action::Clamp, Action::Hold, Action::Refuse].map(|action| (action.name(), action));
        let editions = [("old", Dialect::Old), ("new", Dialect::New)];
        let envelope = table.table("envelope").map(|envelope| {
            if deny {
                table.problem_at(
                    envelope.offset(),
                    "a deny rule can't have an envelope",
                    "name modes, or allow with one",
                );
            }
            Envelope::read(&envelope)
        });
        let classes = classes(table);
        let functions = names(table, "function", Function::ALL.into_iter().map(Function::name));
        let bounds = table.table("bounds").map(|table| bounds(&table, classes, functions.as_ref(), deny));
        Self {
            classes,
            modes: names(table, "mode", MODES.iter().copied()),
            timeout_ms: table.take("timeout_ms").and_then(|value| Numbers::read(&value)),
            functions,
            bounds,
            programs: table.take("program").map(|value| Digest::read_all(&value)),
            envelope,
            beyond: table.take("beyond").and_then(|value| value.choice(&beyond)),
            points: table.take("points").and_then(|value| value.choice(&editions)),
            sockets: sockets(table),
        }
    }

    /// Whether no key bounds it.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.classes.is_none()
            && self.modes.is_none()
            && self.timeout_ms.is_none()
            && self.functions.is_none()
            && self.bounds.is_none()
            && self.programs.is_none()
            && self.envelope.is_none()
    }

    /// Adds what units are compared with.
    pub(super) fn cut<'r>(&'r self, cuts: &mut ExternalCuts<'r>) {
        cuts.timeouts.extend(&self.timeout_ms);
        cuts.programs.extend(self.programs.iter().flatten());
        cuts.envelopes.extend(&self.envelope);
        cuts.orders.extend(&self.bounds);
    }

    /// The envelope and the edition of points that it is read in.
    pub(super) fn envelope(&self) -> Option<(&Envelope, Option<Dialect>)> {
        self.envelope.as_ref().map(|envelope| (envelope, self.points))
    }

    fn by_class(&self, class: Class) -> bool {
        self.classes.is_some_and(|classes| classes.contains(class))
    }

    /// Whether the rule covers the unit.
    pub(crate) fn covers(&self, unit: &External<'_>, ask: &Ask<'_>, max_age_ns: u64) -> Result<(), Miss> {
        let miss = |rank, reason| Err(Miss { rank, reason });
        let named = |set: &Option<NameSet>, name: &str| set.as_ref().is_some_and(|set| set.contains(name.as_bytes()));
        match unit {
            External::Motion(motion) => {
                if !motion.action.is_known() {
                    return miss(Rank::Command, Reason::UnknownCommand);
                }
                let speaks = self.modes.is_none() && (self.timeout_ms.is_some() || self.envelope.is_some());
                let name = motion.action.name();
                if !(named(&self.modes, name) || speaks || self.is_unbounded() || self.by_class(Class::Motion)) {
                    return miss(Rank::Command, Reason::CommandNotAllowed);
                }
                if self.timeout_ms.as_ref().is_some_and(|set| !set.contains(motion.timeout_ms.into())) {
                    return miss(Rank::Quantity, Reason::ValueNotAllowed);
                }
                if let (Doing::Forward(Trajectory::Start { .. } | Trajectory::StreamStart), Some(envelope)) =
                    (motion.action, &self.envelope)
                {
                    envelope.may_begin(&ask.state.track, ask.now_ns)?;
                }
                if let (Doing::Move(how, asked), Some(envelope)) = (motion.action, &self.envelope)
                    && envelope.nearest((how, asked), motion, ask.state, ask.now_ns, max_age_ns)? != asked
                {
                    return miss(Rank::Value, Reason::ValueNotAllowed);
                }
                Ok(())
            }
            External::Point(point) => {
                let known =
                    |dialect: Dialect| self.points.is_none_or(|own| own == dialect) && point.kind(dialect).is_some();
                if ![Dialect::Old, Dialect::New].into_iter().any(known) {
                    return miss(Rank::Command, Reason::UnknownCommand);
                }
                let speaks = self.modes.is_none() && self.envelope.is_some();
                if !(named(&self.modes, "forward") || speaks || self.is_unbounded() || self.by_class(Class::Motion)) {
                    return miss(Rank::Command, Reason::CommandNotAllowed);
                }
                match &self.envelope {
                    Some(envelope) => envelope.covers(point, self.points, ask.state, ask.now_ns, max_age_ns),
                    None => Ok(()),
                }
            }
            External::Order(order) => {
                let Ok(function) = order.function else { return miss(Rank::Command, Reason::UnknownCommand) };
                let covered = named(&self.functions, function.name())
                    || self.is_unbounded()
                    || self.by_class(Class::of_order(function));
                if !covered {
                    return miss(Rank::Command, Reason::CommandNotAllowed);
                }
                match &self.bounds {
                    Some(bounds) if !bounds.hold(order) => miss(Rank::Value, Reason::ValueNotAllowed),
                    _ => Ok(()),
                }
            }
            External::Text { digest, .. } => {
                if self.is_unbounded() || self.by_class(Class::Program) || self.names_program(digest) {
                    Ok(())
                } else {
                    miss(Rank::Unit, Reason::ProgramNotAllowed)
                }
            }
        }
    }

    fn names_program(&self, digest: &[u8; 32]) -> bool {
        self.programs.iter().flatten().any(|program| program.fits(digest))
    }

    /// Whether any part of the unit is what the rule names: how a deny rule reads.
    pub(crate) fn touches(&self, unit: &External<'_>, class: Classes) -> bool {
        let named = |set: &Option<NameSet>, name: &str| set.as_ref().is_some_and(|set| set.contains(name.as_bytes()));
        if self.is_unbounded() || self.classes.is_some_and(|own| class.iter().any(|class| own.contains(class))) {
            return true;
        }
        match unit {
            External::Motion(motion) => {
                let mode = self.modes.as_ref().map(|set| set.contains(motion.action.name().as_bytes()));
                let timeout = self.timeout_ms.as_ref().map(|set| set.contains(motion.timeout_ms.into()));
                (mode.is_some() || timeout.is_some()) && mode.unwrap_or(true) && timeout.unwrap_or(true)
            }
            External::Point(_) => named(&self.modes, "forward"),
            External::Order(order) => order.function.is_ok_and(|function| match &self.bounds {
                Some(bounds) => {
                    let meant = self.functions.as_ref().map(|set| set.contains(function.name().as_bytes()));
                    meant.unwrap_or(bounds.contains(function)) && bounds.hold(order)
                }
                None => named(&self.functions, function.name()),
            }),
            External::Text { digest, .. } => self.names_program(digest),
        }
    }

    /// What the rule allows instead, for the key that failed.
    pub(crate) fn nearest(&self, unit: &External<'_>, reason: Reason) -> Option<(&'static str, String, String)> {
        match (unit, reason) {
            (External::Motion(motion), Reason::ValueNotAllowed | Reason::StateUnknown | Reason::Unproven) => {
                let timeout = self.timeout_ms.as_ref().filter(|set| !set.contains(motion.timeout_ms.into()));
                match (timeout, motion.action) {
                    (Some(set), _) => Some(("timeout_ms", motion.timeout_ms.to_string(), set.text().join(", "))),
                    (None, Doing::Move(how, asked)) => {
                        let asked = asked.map(|value| (f64::from(value) / external_control::UNITS).to_string());
                        let seen = format!("{} {}", how.name(), asked.join(", "));
                        Some(("envelope", seen, self.envelope.as_ref()?.text()))
                    }
                    _ => None,
                }
            }
            (External::Point(_), Reason::ValueNotAllowed | Reason::StateUnknown | Reason::Unproven) => {
                Some(("envelope", unit.name().to_owned(), self.envelope.as_ref()?.text()))
            }
            (External::Motion(_) | External::Point(_), Reason::CommandNotAllowed) => {
                let modes = self.modes.as_ref().map_or("none".to_owned(), NameSet::text);
                Some(("mode", unit.name().to_owned(), modes))
            }
            (External::Order(order), Reason::ValueNotAllowed) => {
                let (seen, allowed) = self.bounds.as_ref()?.nearest(order)?;
                Some(("bounds", seen, allowed))
            }
            (External::Order(_), Reason::CommandNotAllowed) => {
                let functions = self.functions.as_ref().map_or("none".to_owned(), NameSet::text);
                Some(("function", unit.name().to_owned(), functions))
            }
            (External::Text { digest, .. }, Reason::ProgramNotAllowed) => {
                let programs: Vec<_> = self.programs.iter().flatten().map(Digest::text).collect();
                let programs = if programs.is_empty() { "none".to_owned() } else { programs.join(", ") };
                Some(("program", super::hash_text(digest), programs))
            }
            _ => None,
        }
    }
}

/// A set of names out of `known`; others are problems.
fn names(table: &Table<'_>, key: &'static str, known: impl Iterator<Item = &'static str> + Clone) -> Option<NameSet> {
    let value = table.take(key)?;
    let items = value.any_of();
    let found = items.iter().filter_map(|item| {
        let text = item.string()?;
        if !known.clone().any(|name| name == text) {
            item.unknown_name(text, known.clone());
        }
        Some(text.as_bytes().into())
    });
    Some(NameSet::new(found.collect()))
}

/// Reads `bounds` of a rule with these classes and functions.
fn bounds(table: &Table<'_>, classes: Option<Classes>, functions: Option<&NameSet>, deny: bool) -> OrderBounds {
    let bounds = OrderBounds::read(table);
    for function in bounds.functions().map(Function::name) {
        let named = functions.map(|set| set.contains(function.as_bytes()));
        // A deny rule of bounds alone speaks of the functions that it bounds.
        if classes.is_none() && !named.unwrap_or(deny) {
            let what = format!("`{function}` has bounds, but is not in `function`");
            table.problem_at(table.offset(), what, "name it there, or take its bounds out");
        }
    }
    if deny && classes.is_some() {
        table.problem_at(
            table.offset(),
            "a deny rule has both `class` and `bounds`",
            "name functions instead of `class`",
        );
    }
    bounds
}

/// Reads `ports` and `record`: the ports of the computer, and the integers a record.
fn sockets(table: &Table<'_>) -> [(u16, Socket); 4] {
    let (ports, records) = (table.table("ports"), table.table("record"));
    let number = |from: &Option<Table<'_>>, key, most| {
        let value = from.as_ref().and_then(|table| table.take(key)).and_then(|value| value.integer(1..=most));
        value.and_then(|value| usize::try_from(value).ok())
    };
    let most = i64::try_from(MAX_FIELDS).unwrap_or(i64::MAX);
    let sockets = Channel::ALL.map(|channel| {
        let port = number(&ports, channel.name(), 65_535).and_then(|port| u16::try_from(port).ok());
        let fields = channel.fields().map(|fields| number(&records, channel.name(), most).unwrap_or(fields));
        (port.unwrap_or(channel.port()), Socket { channel, fields: fields.unwrap_or(0) })
    });
    for table in [ports, records].into_iter().flatten() {
        table.finish();
    }
    sockets
}

/// All sockets that rules name, by port; two meanings of one port are a problem.
pub(crate) fn all_sockets<'r>(
    source: &Source<'_>,
    rules: impl Iterator<Item = (usize, &'r ExternalRule)>,
) -> Vec<(u16, Socket)> {
    let mut all: Vec<(u16, Socket)> = Vec::new();
    for (offset, rule) in rules {
        for (port, socket) in rule.sockets {
            match all.iter().find(|(known, _)| *known == port) {
                Some((_, known)) if *known != socket => source.problem(
                    offset,
                    format!("port {port} carries one thing for this rule and another for a rule before it"),
                    "give each socket the same port and record length in all rules",
                ),
                Some(_) => {}
                None => all.push((port, socket)),
            }
        }
    }
    all
}

impl Policy {
    /// The socket of external control that a connection from the robot to this port of a computer is, if it is one.
    #[must_use]
    pub fn socket(&self, port: u16) -> Option<Socket> {
        self.sockets.iter().find(|(known, _)| *known == port).map(|(_, socket)| *socket)
    }

    /// Whether a text with this hash is one that some rule lets this client hand over, whatever the moment: where a text
    /// ends that nothing ends is told by that.
    #[must_use]
    pub fn knows_text(&self, client: super::Client, digest: &[u8; 32]) -> bool {
        let Some(own) = self.rules_of(client) else { return false };
        own.robot.external.iter().filter_map(|place| self.rules.get(usize::from(*place))).any(|rule| match &rule.body {
            _ if rule.deny => false,
            super::Body::External(body) => {
                body.is_unbounded() || body.by_class(Class::Program) || body.names_program(digest)
            }
            super::Body::Any(classes) => classes.is_none_or(|classes| classes.contains(Class::Program)),
            _ => false,
        })
    }

    /// What is done with a unit that a rule did not cover: what the rule says of what lies beyond it, else what the
    /// policy says of the service, as far as the socket has a way to do it.
    pub(crate) fn beyond(&self, verdict: Verdict, unit: &External<'_>, ask: &Ask<'_>) -> Verdict {
        let beyond = match (self.external_rule(&verdict), verdict.reason) {
            (Some(rule), Reason::ValueNotAllowed | Reason::StateUnknown | Reason::Unproven) => rule.beyond,
            _ => None,
        };
        let action = match (beyond.unwrap_or(verdict.action), unit) {
            (Action::Clamp, External::Motion(motion)) if self.clamped(&verdict, motion, ask).is_none() => Action::Hold,
            (action, External::Motion(_)) => action,
            // Nobody knows what the robot would do with a part of a program, so it gets no more of this connection.
            (_, External::Text { .. }) => verdict.action.max(Action::Reset),
            (Action::Clamp | Action::Hold, _) => Action::Refuse,
            (action, _) => action,
        };
        Verdict { action, ..verdict }
    }

    fn external_rule(&self, verdict: &Verdict) -> Option<&ExternalRule> {
        let rule = self.rules.get(usize::from(verdict.rule.0).checked_sub(1)?)?;
        match &rule.body {
            super::Body::External(body) if !rule.deny => Some(body),
            _ => None,
        }
    }

    fn clamped(&self, verdict: &Verdict, motion: &Motion, ask: &Ask<'_>) -> Option<Motion> {
        let rule = self.external_rule(verdict)?;
        let timeout_ms = rule.timeout(motion.timeout_ms);
        let (Doing::Move(how, asked), Some(envelope)) = (motion.action, &rule.envelope) else {
            // Nothing but its time-out is wrong with it.
            return (verdict.reason == Reason::ValueNotAllowed).then_some(Motion { timeout_ms, ..*motion });
        };
        let motion = Motion { timeout_ms, ..*motion };
        let allowed = envelope.nearest((how, asked), &motion, ask.state, ask.now_ns, self.max_age_ns).ok()?;
        Some(Motion { timeout_ms, action: Doing::Move(how, allowed) })
    }

    /// What goes to the robot in the place of a motion that is to be clamped or held.
    #[must_use]
    pub fn corrected(&self, verdict: &Verdict, motion: &Motion, ask: &Ask<'_>) -> Motion {
        if verdict.action == Action::Clamp
            && let Some(clamped) = self.clamped(verdict, motion, ask)
        {
            return clamped;
        }
        let timeout_ms = match self.external_rule(verdict) {
            Some(rule) => rule.timeout(motion.timeout_ms),
            None => HOLD_MS,
        };
        let track = &ask.state.track;
        // Of these the last one keeps the arm where it was sent; a speed or torque once more would move it on.
        let stays = [Move::Servoj, Move::Pose].into_iter().find(|how| how.mode() == track.mode);
        let fresh = is_fresh(track.at_ns, ask.now_ns, self.max_age_ns);
        let action = stays.filter(|_| fresh).map_or(Doing::Idle, |how| Doing::Move(how, track.target));
        Motion { timeout_ms, action }
    }

    /// What is to be remembered once `unit` goes to the robot, by the rule of its verdict.
    #[must_use]
    pub fn track(&self, verdict: &Verdict, unit: &External<'_>, state: &State, now_ns: u64) -> Track {
        let envelope = self.external_rule(verdict).and_then(|rule| rule.envelope.as_ref());
        let track = state.track;
        match unit {
            External::Motion(motion) => match motion.action {
                Doing::Move(how, target) => {
                    Envelope::after(envelope, (how, target), state, now_ns, self.max_age_ns).left(now_ns)
                }
                // A trajectory begins, goes on or ends; the arm leaves the last set-point.
                Doing::Forward(forward) => match forward {
                    Trajectory::Start { points } => track.begun(points, motion.timeout_ms, now_ns),
                    Trajectory::StreamStart => track.begun(i32::MAX, motion.timeout_ms, now_ns),
                    Trajectory::StreamEnd { points } => {
                        Track { mode: 0, ..track }.all_sent(points, motion.timeout_ms, now_ns)
                    }
                    Trajectory::Keep => Track { mode: 0, ..track }.kept(motion.timeout_ms, now_ns),
                    Trajectory::Cancel | Trajectory::Unknown(_) => Track { mode: 0, ..track }.left(now_ns),
                },
                Doing::Idle => track.left(now_ns),
                _ => Track { mode: 0, ..track }.left(now_ns),
            },
            External::Point(point) => {
                let joints = [Dialect::New, Dialect::Old]
                    .into_iter()
                    .filter_map(|dialect| point.kind(dialect))
                    .all(|kind| kind.target() == external_control::Space::Joints);
                track.pointed(point.target, joints, now_ns)
            }
            External::Order(_) | External::Text { .. } => track,
        }
    }
}

impl ExternalRule {
    /// The nearest allowed time-out; of what is unbounded, one that ends.
    fn timeout(&self, asked: i32) -> i32 {
        let asked = f64::from(asked);
        let Some(set) = &self.timeout_ms else {
            #[expect(clippy::cast_possible_truncation, reason = "it is the i32 that came")]
            return if asked > 0.0 { asked as i32 } else { HOLD_MS };
        };
        let nearest = set.iter().map(|(first, last)| asked.clamp(first, last));
        let nearest =
            nearest.min_by(|a, b| (a - asked).abs().total_cmp(&(b - asked).abs())).unwrap_or(f64::from(HOLD_MS));
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let whole = [nearest.floor() as i32, nearest.ceil() as i32];
        whole.into_iter().find(|value| set.contains(f64::from(*value))).unwrap_or(HOLD_MS)
    }
}

/// Reads what `[refusal]` says of external control.
pub(crate) fn refusal(value: &Value<'_>) -> Option<Action> {
    value.choice(&[Action::Hold, Action::Refuse, Action::Reset].map(|action| (action.name(), action)))
}
