//! What a rule says about Dashboard lines.

use dashboard::{Argument, GrammarError, Line, Verb};

use super::names::{NameSet, classes};
use super::rule::{Miss, Rank};
use crate::command::{Class, Classes};
use crate::document::Table;
use crate::event::Reason;

/// Place of a line outside the table among the 64 that a rule can name.
pub(crate) const OUTSIDE: u8 = 63;

/// The Dashboard keys of one rule; an absent key is unbounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct DashboardRule {
    named: Option<Named>,
    argument: Option<NameSet>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Named {
    verbs: u64,
    classes: Classes,
    by_class_only: bool,
}

/// The place of the line's verb in the command table.
#[inline]
pub(crate) fn place(line: &Line<'_>) -> u8 {
    let Ok(verb) = line.verb else { return OUTSIDE };
    let place = Verb::all().iter().position(|row| std::ptr::eq(row, verb));
    place.and_then(|place| u8::try_from(place).ok()).map_or(OUTSIDE, |place| place.min(OUTSIDE))
}

/// Why no rule can allow the line, if none can.
pub(crate) fn never(line: &Line<'_>) -> Option<Reason> {
    match line.verb {
        Ok(_) | Err(GrammarError::UnknownCommand) => None,
        Err(GrammarError::ShellMetacharacter) => Some(Reason::ShellMetacharacter),
        Err(_) => Some(Reason::Malformed),
    }
}

impl DashboardRule {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let commands = table.take("command").map(|value| {
            let items = value.any_of();
            let place = |name: &str| Verb::all().iter().position(|row| row.name == name);
            items.iter().fold(0_u64, |set, item| {
                let Some(text) = item.string() else { return set };
                let name = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
                match place(&name) {
                    Some(place) => set | 1_u64 << place.min(usize::from(OUTSIDE)),
                    None => {
                        item.unknown_name(text, Verb::all().iter().map(|verb| verb.name));
                        set
                    }
                }
            })
        });
        let classes = classes(table);
        let named = (commands.is_some() || classes.is_some()).then(|| Named {
            verbs: commands.unwrap_or_default(),
            classes: classes.unwrap_or_default(),
            by_class_only: commands.is_none(),
        });
        Self { named, argument: NameSet::read(table, "argument") }
    }

    /// Whether no key bounds it.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.named.is_none() && self.argument.is_none()
    }

    /// Whether there may be a line that both rules match; true where that is not told at a glance.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let by_verb = |rule: &Self| rule.named.filter(|named| named.classes.is_empty()).map(|named| named.verbs);
        let (Some(own), Some(others)) = (by_verb(self), by_verb(other)) else { return true };
        let apart = match (&self.argument, &other.argument) {
            (Some(own), Some(other)) => !own.iter().any(|name| other.iter().any(|it| it.eq_ignore_ascii_case(name))),
            _ => false,
        };
        let mut common = Verb::all()
            .iter()
            .zip(0_u32..)
            .filter(|(_, place)| (own & others) >> (*place).min(OUTSIDE.into()) & 1 == 1);
        // A verb without an argument is covered whatever arguments a rule names.
        common.any(|(verb, _)| !apart || verb.argument == Argument::None)
    }

    /// Adds the arguments that lines are compared with.
    pub(super) fn cut<'r>(&'r self, arguments: &mut std::collections::BTreeSet<&'r [u8]>) {
        arguments.extend(self.argument.iter().flat_map(NameSet::iter));
    }

    /// Whether the rule covers the line.
    pub(crate) fn covers(&self, line: &Line<'_>, place: u8) -> Result<(), Miss> {
        let miss = |rank, reason| Err(Miss { rank, reason });
        let Ok(verb) = line.verb else {
            let named = self.named.is_some_and(|named| named.classes.contains(Class::Unknown));
            return match (never(line), named && self.argument.is_none()) {
                (None, true) => Ok(()),
                (Some(reason), _) => miss(Rank::Command, reason),
                (None, false) => miss(Rank::Command, Reason::UnknownCommand),
            };
        };
        match self.named {
            Some(named) if named.verbs >> place & 1 == 1 || named.classes.contains(Class::of_verb(verb)) => {}
            Some(named) if named.by_class_only => return miss(Rank::Command, Reason::ClassNotAllowed),
            Some(_) => return miss(Rank::Command, Reason::CommandNotAllowed),
            None => {}
        }
        if let Some(allowed) = &self.argument
            && verb.argument != Argument::None
            && !fits(allowed, line)
        {
            return miss(Rank::Value, Reason::ArgumentNotAllowed);
        }
        Ok(())
    }

    /// Whether the line is what the rule names: how a deny rule reads.
    pub(crate) fn touches(&self, line: &Line<'_>, place: u8) -> bool {
        let class = line.verb.map_or(Class::Unknown, Class::of_verb);
        self.named
            .is_none_or(|named| (place != OUTSIDE && named.verbs >> place & 1 == 1) || named.classes.contains(class))
            && self.argument.as_ref().is_none_or(|set| fits(set, line))
    }

    /// What the rule allows instead, for the key that failed.
    pub(crate) fn nearest(&self, line: &Line<'_>, reason: Reason) -> Option<(&'static str, String, String)> {
        let argument = String::from_utf8_lossy(line.argument).into_owned();
        if reason == Reason::ArgumentNotAllowed {
            return Some(("argument", argument, self.argument.as_ref()?.text()));
        }
        let named = self.named?;
        let verbs = Verb::all().iter().enumerate().filter(|(place, _)| named.verbs >> place & 1 == 1);
        let mut names: Vec<_> = verbs.map(|(_, verb)| verb.name.to_owned()).collect();
        names.extend(named.classes.iter().map(|class| format!("class {class}")));
        let seen =
            line.verb.map_or_else(|_| String::from_utf8_lossy(line.text).into_owned(), |verb| verb.name.to_owned());
        Some(("command", seen, names.join(", ")))
    }
}

/// Whether the line's argument is in the set; choices of the command table are compared in any letter case.
fn fits(set: &NameSet, line: &Line<'_>) -> bool {
    match line.choice() {
        Some(choice) => set.iter().any(|name| name.eq_ignore_ascii_case(choice.as_bytes())),
        None => set.contains(line.argument),
    }
}
