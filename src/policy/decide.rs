//! The verdict over one command. On the packet path: allocates nothing, does not panic.

use super::dashboard;
use super::index::Candidates;
use super::rule::{Body, Miss, Rank, Rule};
use super::urscript::Script;
use super::{Ask, ClientRules, Policy};
use crate::command::{Classes, Command, External, of_modbus};
use crate::event::{Action, Reason, Verdict};
use crate::robot;

impl Policy {
    /// The verdict over one command.
    ///
    /// What no rule can allow is refused first: text with two readings, lines outside the grammar. Then a deny rule that
    /// touches the command ends it; then the first allow rule that covers the whole of it lets it go on. Otherwise the
    /// rule that it came farthest in is named with the key that refused it.
    ///
    /// Cost: the rules of this client, service and (for Modbus) function and address, in turn; allocates nothing.
    #[must_use]
    pub fn decide(&self, ask: &Ask<'_>, rates: &mut robot::Rates) -> Verdict {
        let Some(own) = self.rules_of(ask.client) else {
            return self.verdict(Action::Reset, Reason::NoRuleForClient, None);
        };
        self.decide_by(own, ask, rates)
    }

    /// The same by the rules of one client.
    #[inline]
    pub(super) fn decide_by(&self, own: &ClientRules, ask: &Ask<'_>, rates: &mut robot::Rates) -> Verdict {
        let own = own.commands(ask.command.service(), ask.opened);
        let [modbus, rtde, dashboard, urscript, external] = own.refusal;
        match ask.command {
            Command::Modbus(request) => {
                let classes = of_modbus(request);
                self.judge(ask, own.modbus.candidates(request), modbus, rates, |rule| match &rule.body {
                    Body::Modbus(body) if rule.deny => touched(body.touches(request, classes)),
                    Body::Modbus(body) => body.covers(request, classes),
                    Body::Any(allowed) => any(*allowed, classes, rule.deny, request.known()),
                    _ => MISSED,
                })
            }
            Command::Rtde(request) => {
                let classes = ask.command.classes();
                let in_use = self.in_use(request, ask.inputs, ask.connection).is_some();
                self.judge(ask, Candidates::of(&own.rtde), rtde, rates, |rule| match &rule.body {
                    Body::Rtde(body) if rule.deny => touched(body.touches(request, classes)),
                    Body::Any(allowed) if rule.deny => any(*allowed, claimed(request, classes), true, true),
                    Body::Rtde(body) => body.covers(request, ask.inputs).and_then(|()| free(in_use)),
                    // A recipe that was never seen can hold any input.
                    Body::Any(_) if is_unknown_data(request) => {
                        Err(Miss { rank: Rank::Command, reason: Reason::RecipeUnknown })
                    }
                    Body::Any(allowed) => {
                        any(*allowed, claimed(request, classes), false, true).and_then(|()| free(in_use))
                    }
                    _ => MISSED,
                })
            }
            Command::Dashboard(line) => {
                if let Some(reason) = dashboard::never(line) {
                    return self.verdict(dashboard, reason, None);
                }
                let place = dashboard::place(line);
                let classes = ask.command.classes();
                self.judge(ask, Candidates::of(&own.dashboard), dashboard, rates, |rule| match &rule.body {
                    Body::Dashboard(body) if rule.deny => touched(body.touches(line, place)),
                    Body::Dashboard(body) => body.covers(line, place),
                    Body::Any(allowed) => any(*allowed, classes, rule.deny, line.verb.is_ok()),
                    _ => MISSED,
                })
            }
            Command::UrScript(unit) => {
                if unit.ambiguous {
                    return self.verdict(urscript, Reason::Ambiguous, None);
                }
                self.decide_script(ask, own, &Script::new(unit), rates)
            }
            Command::External(unit) => {
                let classes = ask.command.classes();
                let candidates = Candidates::of(&own.external);
                let verdict = self.judge(ask, candidates, external, rates, |rule| match &rule.body {
                    Body::External(body) if rule.deny => touched(body.touches(unit, classes)),
                    Body::External(body) => body.covers(unit, ask, self.max_age_ns),
                    Body::Any(allowed) => any(*allowed, classes, rule.deny, true),
                    _ => MISSED,
                });
                if verdict.is_allowed() { verdict } else { self.beyond(verdict, unit, ask) }
            }
            Command::Transport(service) => self.admit(ask.client, *service, ask.opened, ask.now_ns),
        }
    }

    /// The verdict over a unit of URScript as if its token hash were this one: the text that has it is not at hand.
    pub(super) fn decide_hashed(
        &self,
        ask: &Ask<'_>,
        unit: &urscript::Unit<'_>,
        hash: [u8; 32],
        rates: &mut robot::Rates,
    ) -> Verdict {
        match self.rules_of(ask.client) {
            Some(own) if !unit.ambiguous => {
                let own = own.commands(ask.command.service(), ask.opened);
                self.decide_script(ask, own, &Script::with_hash(unit, hash), rates)
            }
            _ => self.decide(ask, rates),
        }
    }

    fn decide_script(
        &self,
        ask: &Ask<'_>,
        own: &super::Commands,
        script: &Script<'_>,
        rates: &mut robot::Rates,
    ) -> Verdict {
        let [_, _, _, refusal, _] = own.refusal;
        let classes = ask.command.classes();
        self.judge(ask, Candidates::of(&own.urscript), refusal, rates, |rule| match &rule.body {
            Body::UrScript(body) if rule.deny => touched(body.touches(script, classes)),
            Body::UrScript(body) => body.covers(script),
            Body::Any(allowed) => any(*allowed, classes, rule.deny, true),
            _ => MISSED,
        })
    }

    #[inline]
    fn judge(
        &self,
        ask: &Ask<'_>,
        candidates: Candidates<'_>,
        refusal: Action,
        rates: &mut robot::Rates,
        mut covers: impl FnMut(&Rule) -> Result<(), Miss>,
    ) -> Verdict {
        let session = is_session_word(ask.command);
        let mut nearest: Option<(Miss, u16)> = None;
        for place in candidates.iter() {
            let Some(rule) = self.rules.get(usize::from(place)) else { continue };
            let expired = rule.until_ns.is_some_and(|until| ask.now_ns > until);
            if rule.deny {
                let holds = rule.when.as_ref().is_none_or(|when| {
                    // What is not known counts against the command.
                    when.holds(ask.state, ask.now_ns, self.max_age_ns) != Err(Reason::StateMismatch)
                });
                if !expired && !rule.rests(ask.now_ns) && holds && covers(rule).is_ok() {
                    return self.verdict(refusal, Reason::DeniedByRule, Some(place));
                }
                continue;
            }
            // Without these words no command of the service could be sent, so every rule of the service admits them.
            if session && !expired {
                return self.verdict(Action::Forward, Reason::SessionWord, Some(place));
            }
            let outcome = if session { Ok(()) } else { covers(rule) }.and_then(|()| {
                let now = |reason| Miss { rank: Rank::Moment, reason };
                if expired {
                    return Err(now(Reason::Expired));
                }
                if let Some(when) = &rule.when {
                    when.holds(ask.state, ask.now_ns, self.max_age_ns).map_err(now)?;
                }
                charge(rule, ask, rates).map_err(now)
            });
            match outcome {
                Ok(()) => return self.verdict(Action::Forward, Reason::Allowed, Some(place)),
                Err(miss) if nearest.is_none_or(|(best, _)| miss.rank > best.rank) => nearest = Some((miss, place)),
                Err(_) => {}
            }
        }
        match nearest {
            Some((miss, place)) => self.verdict(refusal, miss.reason, Some(place)),
            None => self.verdict(refusal, Reason::NoRule, None),
        }
    }
}

/// Takes the tokens of everything that has a rate in a rule, or none.
#[inline]
fn charge(rule: &Rule, ask: &Ask<'_>, rates: &mut robot::Rates) -> Result<(), Reason> {
    // Few rules have a rate, and this is asked for every command.
    let inputs = matches!(&rule.body, Body::Rtde(body) if body.has_rates());
    if rule.rate.is_none() && !inputs { Ok(()) } else { charge_all(rule, ask, rates) }
}

#[inline(never)]
fn charge_all(rule: &Rule, ask: &Ask<'_>, rates: &mut robot::Rates) -> Result<(), Reason> {
    let writes = match (&rule.body, ask.command) {
        (Body::Rtde(body), Command::Rtde(rtde::Request::Data(data))) => Some((body, data)),
        _ => None,
    };
    let all = || {
        let inputs = writes.into_iter().flat_map(|(body, data)| body.rates(data, ask.inputs));
        rule.rate.iter().chain(inputs)
    };
    for rate in all() {
        rate.ready(&mut rates.buckets, ask.now_ns)?;
    }
    for rate in all() {
        rate.spend(&mut rates.buckets);
    }
    Ok(())
}

/// Whether the inputs that a package names are nobody else's, where the policy lets only one have them.
fn free(in_use: bool) -> Result<(), Miss> {
    if in_use { Err(Miss { rank: Rank::Moment, reason: Reason::InputInUse }) } else { Ok(()) }
}

const MISSED: Result<(), Miss> = Err(Miss { rank: Rank::Command, reason: Reason::CommandNotAllowed });

/// Whether it only opens, shapes or ends a session. Set-ups of recipes are none: they name what is read and written.
fn is_session_word(command: &Command<'_>) -> bool {
    match command {
        Command::Rtde(request) => matches!(
            request,
            rtde::Request::ProtocolVersion(_)
                | rtde::Request::ControllerVersion
                | rtde::Request::Start
                | rtde::Request::Pause
        ),
        Command::External(External::Motion(motion)) => motion.action.only_stops(),
        Command::Dashboard(line) => line.verb.is_ok_and(|verb| verb.class == ::dashboard::Class::Session),
        _ => false,
    }
}

fn is_unknown_data(request: &rtde::Request<'_>) -> bool {
    matches!(request, rtde::Request::Data(data) if data.recipe.is_none())
}

/// The classes of a package; setting up inputs counts as what it prepares to write.
fn claimed(request: &rtde::Request<'_>, classes: Classes) -> Classes {
    match request {
        rtde::Request::SetupInputs { names } => {
            let variables = names.iter().map(rtde::Variable::named);
            variables.map(crate::command::Class::of_input).fold(Classes::default(), Classes::with)
        }
        _ => classes,
    }
}

fn touched(touches: bool) -> Result<(), Miss> {
    if touches { Ok(()) } else { MISSED }
}

/// A rule of any service: everything known, or what lies within its classes; a deny rule touches what overlaps them.
fn any(allowed: Option<Classes>, classes: Classes, deny: bool, known: bool) -> Result<(), Miss> {
    let unknown = classes.contains(crate::command::Class::Unknown);
    let fits = match allowed {
        None => deny || (known && !unknown),
        Some(allowed) if deny => classes.iter().any(|class| allowed.contains(class)),
        Some(allowed) => !classes.is_empty() && allowed.covers(classes),
    };
    if fits { Ok(()) } else { Err(Miss { rank: Rank::Command, reason: Reason::ClassNotAllowed }) }
}
