//! What a rule says about URScript units.

use std::cell::Cell;

use urscript::{Arguments, Category, Fact, Kind, Unit};

use super::bounds::Bounds;
use super::names::{NameSet, classes};
use super::rule::{Miss, Rank};
use super::space::ScriptCuts;
use crate::command::{Class, Classes, of_fact};
use crate::document::{Table, Value, hex};
use crate::event::Reason;

const KINDS: [(&str, Kind); 5] = [
    ("program", Kind::Program),
    ("secondary", Kind::Secondary),
    ("statement", Kind::Statement),
    ("bare", Kind::Bare),
    ("interpreter", Kind::Interpreter),
];

/// A unit and its token hash, which is computed at most once.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    pub(crate) unit: &'a Unit<'a>,
    hash: Cell<Option<[u8; 32]>>,
}

impl<'a> Script<'a> {
    pub(crate) fn new(unit: &'a Unit<'a>) -> Self {
        Self { unit, hash: Cell::new(None) }
    }

    /// The unit as if it had this hash: for questions about texts that nobody has.
    pub(super) fn with_hash(unit: &'a Unit<'a>, hash: [u8; 32]) -> Self {
        Self { unit, hash: Cell::new(Some(hash)) }
    }

    fn hash(&self) -> [u8; 32] {
        let hash = self.hash.get().unwrap_or_else(|| self.unit.token_hash());
        self.hash.set(Some(hash));
        hash
    }
}

/// The URScript keys of one rule.
///
/// An absent key is unbounded, but a rule that names some of what a unit can do covers nothing that it does not name:
/// with `function` but without `assign`, no index assignment; with `bare` alone, no script.
#[derive(Clone, Debug, Default)]
pub(crate) struct UrScriptRule {
    classes: Option<Classes>,
    kinds: Option<u8>,
    functions: Option<NameSet>,
    bare: Option<NameSet>,
    assign: Option<NameSet>,
    connect_to: Option<NameSet>,
    programs: Option<Box<[Digest]>>,
    bounds: Option<Bounds>,
    /// Whether a call may pass that proves nothing about its bounds.
    allows_unproven: bool,
}

/// The first nibbles of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Digest {
    nibbles: [u8; 64],
    len: u8,
}

impl Digest {
    /// Whether a hash begins with them.
    pub(crate) fn fits(&self, hash: &[u8; 32]) -> bool {
        let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        self.nibbles.iter().zip(nibbles).take(usize::from(self.len)).all(|(own, other)| *own == other)
    }

    /// Reads a string or a list of strings; what is no hash becomes a problem.
    pub(crate) fn read_all(value: &Value<'_>) -> Box<[Self]> {
        value.any_of().iter().filter_map(Self::read).collect()
    }

    /// Reads a string; what is no hash becomes a problem.
    pub(crate) fn read(value: &Value<'_>) -> Option<Self> {
        let text = value.string()?;
        let digest = Self::parse(text);
        if digest.is_none() {
            value
                .problem(format!("\"{text}\" is no program hash"), "write \"sha256:\" and 16 to 64 hexadecimal digits");
        }
        digest
    }

    /// A hash that begins so.
    pub(super) fn example(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(self.nibbles.as_chunks::<2>().0) {
            *byte = pair[0] << 4 | pair[1];
        }
        hash
    }

    /// The hash, where all of it is given.
    pub(crate) fn whole(&self) -> Option<[u8; 32]> {
        (self.len == 64).then(|| self.example())
    }

    /// As it may stand in a rule.
    pub(crate) fn text(&self) -> String {
        let digits = self.nibbles.iter().take(usize::from(self.len));
        format!("sha256:{}", digits.map(|nibble| format!("{nibble:x}")).collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        // 64 bits: nobody finds a second program with the same beginning by trying.
        if !(16..=64).contains(&digits.len()) {
            return None;
        }
        let mut nibbles = [0; 64];
        for (slot, digit) in nibbles.iter_mut().zip(digits.chars()) {
            *slot = u8::try_from(digit.to_digit(16)?).ok()?;
        }
        Some(Self { nibbles, len: u8::try_from(digits.len()).ok()? })
    }
}

impl UrScriptRule {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>, deny: bool) -> Self {
        let kinds = table.take("kind").map(|value| {
            value.any_of().iter().filter_map(|item| item.choice(&KINDS)).fold(0_u8, |set, kind| set | bit(kind))
        });
        let programs = table.take("program").map(|value| Digest::read_all(&value));
        let bare = table.take("bare").map(|value| {
            let items = value.any_of();
            NameSet::new(
                items
                    .iter()
                    .filter_map(|item| {
                        let text = item.string()?;
                        let name = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
                        if Class::of_bare(&name) == Class::Unknown {
                            item.unknown_name(text, urscript::BARE_COMMANDS.iter().copied());
                        }
                        Some(name.into_bytes().into())
                    })
                    .collect(),
            )
        });
        let (classes, functions) = (classes(table), NameSet::read(table, "function"));
        let bounds = table.table("bounds").map(|table| bounds(&table, classes, functions.as_ref(), deny));
        let unproven = table.take("unproven");
        if let (Some(value), true) = (&unproven, deny) {
            value.problem("a deny rule counts what is unproven as inside its bounds", "take `unproven` out");
        }
        let allows_unproven = unproven.and_then(|value| value.choice(&[("refuse", false), ("allow", true)]));
        Self {
            classes,
            kinds,
            functions,
            bounds,
            allows_unproven: allows_unproven.unwrap_or(false),
            bare,
            assign: NameSet::read(table, "assign"),
            connect_to: NameSet::read(table, "connect_to"),
            programs,
        }
    }

    /// Whether no key bounds it.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.kinds.is_none() && !self.names_something()
    }

    /// Adds what units are compared with.
    pub(super) fn cut<'r>(&'r self, cuts: &mut ScriptCuts<'r>) {
        cuts.functions.extend(self.functions.iter().flat_map(NameSet::iter));
        cuts.assigns.extend(self.assign.iter().flat_map(NameSet::iter));
        cuts.targets.extend(self.connect_to.iter().flat_map(NameSet::iter));
        cuts.programs.extend(self.programs.iter().flatten());
        cuts.bounds.extend(&self.bounds);
    }

    fn names_something(&self) -> bool {
        self.names_script() || self.bare.is_some() || self.bounds.is_some()
    }

    /// Whether a key says which scripts, beside their kind.
    fn names_script(&self) -> bool {
        self.classes.is_some()
            || self.functions.is_some()
            || self.assign.is_some()
            || self.connect_to.is_some()
            || self.programs.is_some()
    }

    /// Whether the rule covers the whole unit.
    pub(crate) fn covers(&self, script: &Script<'_>) -> Result<(), Miss> {
        let miss = |rank, reason| Err(Miss { rank, reason });
        let unit = script.unit;
        // A line without any token does nothing; programs begin with comments.
        if unit.kind == Kind::Blank {
            return Ok(());
        }
        if self.kinds.is_some_and(|kinds| kinds & bit(unit.kind) == 0) {
            return miss(Rank::Command, Reason::KindNotAllowed);
        }
        if unit.kind == Kind::Bare {
            let class = unit.bare().map_or(Class::Unknown, Class::of_bare);
            let listed =
                unit.bare().is_some_and(|name| self.bare.as_ref().is_some_and(|set| set.contains(name.as_bytes())));
            let by_class = self.classes.is_some_and(|classes| classes.contains(class));
            let by_silence = !self.names_something() && class != Class::Unknown;
            return if listed || by_class || by_silence { Ok(()) } else { miss(Rank::Unit, Reason::CommandNotAllowed) };
        }
        if self.bare.is_some() && !self.names_script() && self.kinds.is_none() {
            return miss(Rank::Command, Reason::KindNotAllowed);
        }
        if let Some(programs) = &self.programs {
            let hash = script.hash();
            if !programs.iter().any(|program| program.fits(&hash)) {
                return miss(Rank::Unit, Reason::ProgramNotAllowed);
            }
        }
        self.covers_facts(unit)
    }

    fn covers_facts(&self, unit: &Unit<'_>) -> Result<(), Miss> {
        let miss = |rank, reason| Err(Miss { rank, reason });
        // A hash names the whole program, unknown functions included; other keys may still narrow it.
        let by_hash = self.programs.is_some();
        if let (Some(classes), None) = (self.classes, &self.functions)
            && matches!(unit.kind, Kind::Program | Kind::Statement)
            && !classes.contains(Class::Program)
        {
            return miss(Rank::Unit, Reason::ClassNotAllowed);
        }
        let mut beyond = None;
        for fact in unit.facts() {
            // Before all else: no definition in the unit takes a call out of its bounds.
            if let (None, Some(reason)) = (beyond, self.beyond(&fact)) {
                beyond = Some(reason);
            }
            let class = of_fact(&fact);
            let in_class = class.is_some_and(|class| self.classes.is_some_and(|classes| classes.contains(class)));
            let named = match fact {
                Fact::Call { category: Category::Local, .. } => continue,
                Fact::Connect { target, port, .. } => match (&self.connect_to, target) {
                    (None, _) => continue,
                    (Some(set), Some(host)) if set.iter().any(|allowed| Target { host, port }.is(allowed)) => continue,
                    (Some(set), Some(host)) if set.iter().any(|allowed| Target { host, port }.may_be(allowed)) => {
                        // The host is listed with a port, and which port it is can't be told from the text.
                        return miss(Rank::Value, Reason::Unproven);
                    }
                    (Some(_), Some(_)) => return miss(Rank::Value, Reason::TargetNotAllowed),
                    (Some(_), None) => return miss(Rank::Value, Reason::Unproven),
                },
                Fact::Call { name, .. } => self.functions.as_ref().map(|set| set.contains(name)),
                Fact::Method { object, name } => self.functions.as_ref().map(|set| contains_method(set, object, name)),
                Fact::IndexAssign { target } => match &self.assign {
                    Some(set) => Some(set.contains(target)),
                    // Elements of a program's own lists are nothing to the robot.
                    None if class.is_none() => continue,
                    None => self.functions.as_ref().map(|_| false),
                },
            };
            let allowed = match named {
                Some(named) => named || in_class,
                None if self.classes.is_some() => in_class || class.is_none(),
                None => by_hash || class != Some(Class::Unknown),
            };
            if !allowed {
                let by_class = named.is_none() && self.classes.is_some();
                let reason = if by_class { Reason::ClassNotAllowed } else { Reason::CommandNotAllowed };
                return miss(Rank::Address, reason);
            }
        }
        beyond.map_or(Ok(()), |reason| miss(Rank::Value, reason))
    }

    /// Why a call is not inside its bounds.
    fn beyond(&self, fact: &Fact<'_>) -> Option<Reason> {
        let (Some(bounds), Fact::Call { name, category, arguments }) = (&self.bounds, fact) else { return None };
        // `movej[0](...)` calls something else, which nobody knows.
        let other = *category == Category::Unknown && bounds.contains(name);
        let reason = if other { Reason::Unproven } else { bounds.cover(name, arguments).err()? };
        (reason != Reason::Unproven || !self.allows_unproven).then_some(reason)
    }

    /// Whether any part of the unit is what the rule names: how a deny rule reads.
    pub(crate) fn touches(&self, script: &Script<'_>, classes: Classes) -> bool {
        let unit = script.unit;
        if unit.kind == Kind::Blank {
            return self.is_unbounded();
        }
        if self.kinds.is_some_and(|kinds| kinds & bit(unit.kind) == 0) {
            return false;
        }
        if !self.names_something() || self.classes.is_some_and(|own| classes.iter().any(|class| own.contains(class))) {
            return true;
        }
        if let (Some(bare), Some(set)) = (unit.bare(), &self.bare)
            && unit.kind == Kind::Bare
        {
            return set.contains(bare.as_bytes());
        }
        if let Some(programs) = &self.programs {
            let hash = script.hash();
            if programs.iter().any(|program| program.fits(&hash)) {
                return true;
            }
        }
        unit.facts().any(|fact| match fact {
            Fact::Call { name, category, arguments } => self.touches_call(name, category, &arguments),
            Fact::Method { object, name } => {
                self.functions.as_ref().is_some_and(|set| contains_method(set, object, name))
            }
            Fact::IndexAssign { target } => self.assign.as_ref().is_some_and(|set| set.contains(target)),
            // A target that the text does not prove may be the denied one.
            Fact::Connect { target, port, .. } => self.connect_to.as_ref().is_some_and(|set| {
                target.is_none_or(|host| set.iter().any(|denied| Target { host, port }.may_be(denied)))
            }),
        })
    }

    /// Whether the rule names the function and no text proves that the call is outside its bounds.
    fn touches_call(&self, name: &[u8], category: Category, arguments: &Arguments<'_>) -> bool {
        let Some(bounds) = &self.bounds else {
            return self.functions.as_ref().is_some_and(|set| set.contains(name));
        };
        self.functions.as_ref().map_or_else(|| bounds.contains(name), |set| set.contains(name))
            && (category == Category::Unknown || bounds.may_hold(name, arguments))
    }

    /// What the rule allows instead, for the key that failed.
    pub(crate) fn nearest(&self, script: &Script<'_>, reason: Reason) -> Option<(&'static str, String, String)> {
        let unit = script.unit;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kind_name = |kind| KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| *name).to_owned();
        Some(match reason {
            Reason::KindNotAllowed => {
                let kinds = KINDS.iter().filter(|(_, kind)| self.kinds.is_none_or(|set| set & bit(*kind) != 0));
                let names: Vec<_> = kinds.map(|(name, _)| *name).collect();
                let allowed = if self.kinds.is_none() { "bare".to_owned() } else { names.join(", ") };
                ("kind", kind_name(unit.kind), allowed)
            }
            Reason::ProgramNotAllowed => (
                "program",
                hash_text(&script.hash()),
                self.programs.iter().flatten().map(Digest::text).collect::<Vec<_>>().join(", "),
            ),
            Reason::CommandNotAllowed if unit.kind == Kind::Bare => {
                let allowed = self.bare.as_ref().map_or("none".to_owned(), NameSet::text);
                ("bare", unit.bare().unwrap_or("unknown").to_owned(), allowed)
            }
            Reason::CommandNotAllowed => {
                let wrong = unit.facts().find_map(|fact| match fact {
                    Fact::Call { category: Category::Local, .. } | Fact::Connect { .. } => None,
                    Fact::Call { name, .. } => {
                        let known = self.functions.as_ref().is_some_and(|set| set.contains(name));
                        (!known).then(|| ("function", text(name)))
                    }
                    Fact::Method { object, name } => {
                        let known = self.functions.as_ref().is_some_and(|set| contains_method(set, object, name));
                        (!known).then(|| ("function", format!("{}.{}", text(object), text(name))))
                    }
                    Fact::IndexAssign { target } => {
                        let known = self.assign.as_ref().is_some_and(|set| set.contains(target));
                        (!known).then(|| ("assign", text(target)))
                    }
                })?;
                let set = if wrong.0 == "assign" { &self.assign } else { &self.functions };
                (wrong.0, wrong.1, set.as_ref().map_or("known functions".to_owned(), NameSet::text))
            }
            Reason::TargetNotAllowed | Reason::Unproven | Reason::ValueNotAllowed | Reason::ArgumentNotAllowed => {
                let target = unit.facts().find_map(|fact| match (&self.connect_to, fact) {
                    (Some(_), Fact::Connect { function, target: None, .. }) => Some(text(function)),
                    (Some(set), Fact::Connect { target: Some(host), port, .. }) => {
                        let target = Target { host, port };
                        (!set.iter().any(|allowed| target.is(allowed))).then(|| target.text())
                    }
                    _ => None,
                });
                if let (Some(seen), Some(set)) = (target, &self.connect_to) {
                    return Some(("connect_to", seen, set.text()));
                }
                let (seen, allowed) = unit.facts().find_map(|fact| match (self.beyond(&fact), &self.bounds, fact) {
                    (Some(_), Some(bounds), Fact::Call { name, arguments, .. }) => bounds.nearest(name, &arguments),
                    _ => None,
                })?;
                ("bounds", seen, allowed)
            }
            Reason::ClassNotAllowed => {
                let names: Vec<_> = self.classes.unwrap_or_default().iter().map(Class::name).collect();
                ("class", kind_name(unit.kind), names.join(", "))
            }
            _ => return None,
        })
    }
}

/// Reads `bounds` of a rule with these classes and functions.
fn bounds(table: &Table<'_>, classes: Option<Classes>, functions: Option<&NameSet>, deny: bool) -> Bounds {
    let bounds = Bounds::read(table);
    for function in bounds.functions() {
        if classes.is_none() && functions.is_some_and(|set| !set.contains(function.as_bytes())) {
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

fn bit(kind: Kind) -> u8 {
    let place = KINDS.iter().position(|(_, known)| *known == kind).unwrap_or(0);
    1_u8.checked_shl(u32::try_from(place).unwrap_or(0)).unwrap_or(0)
}

fn contains_method(set: &NameSet, object: &[u8], name: &[u8]) -> bool {
    let split = |listed: &[u8]| listed.strip_prefix(object).and_then(|rest| rest.strip_prefix(b".")) == Some(name);
    set.iter().any(split)
}

/// What a script connects to, as literals of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target<'a> {
    /// Address or name for sockets and Modbus, URL for `rpc_factory`.
    host: &'a [u8],
    /// The port of a socket, where the text proves it.
    port: Option<&'a [u8]>,
}

impl Target<'_> {
    /// Whether a rule's `host:port`, `host` (any port) or URL means it.
    fn is(&self, listed: &[u8]) -> bool {
        if self.host == listed {
            return true;
        }
        let rest = listed.strip_prefix(self.host).and_then(|rest| rest.strip_prefix(b":"));
        self.port.is_some() && rest == self.port
    }

    /// Whether it may be what a rule lists: without a proven port, any port.
    fn may_be(&self, listed: &[u8]) -> bool {
        let any_port =
            || self.port.is_none() && listed.strip_prefix(self.host).is_some_and(|rest| rest.starts_with(b":"));
        self.is(listed) || any_port()
    }

    /// As it may stand in a rule.
    fn text(&self) -> String {
        let host = String::from_utf8_lossy(self.host);
        self.port.map_or_else(|| host.to_string(), |port| format!("{host}:{}", String::from_utf8_lossy(port)))
    }
}

/// A token hash as policies write it.
pub(crate) fn hash_text(hash: &[u8; 32]) -> String {
    format!("sha256:{}", hex(hash))
}
