use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Problem, Problems};

/// A parsed file and the problems found in it so far.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    file: &'t str,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
    problems: RefCell<Vec<(usize, Problem)>>,
}

impl<'t> Source<'t> {
    /// Parses `text`; mistakes of the TOML grammar become problems, and the rest is read as far as it goes.
    pub(crate) fn parse(file: &'t str, text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let source = Self { file, text, root, problems: RefCell::default() };
        // After the first mistake of the grammar the parser guesses; its later complaints often blame the guess.
        if let Some(error) = errors.first() {
            let span = error.span().unwrap_or_default();
            let message = error.message().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
            source.problem(span.start, message.join(", "), "see https://toml.io for the grammar");
        }
        source
    }

    /// The top-level table.
    pub(crate) fn root(&self) -> Table<'_> {
        Table::new(self, Path::default(), self.root.span(), self.root.get_ref())
    }

    /// Notes a problem at byte `offset`.
    pub(crate) fn problem(&self, offset: usize, what: impl Into<String>, mend: impl Into<String>) {
        let (line, column) = self.place(offset);
        let problem = Problem { line, column, what: what.into(), mend: mend.into() };
        self.problems.borrow_mut().push((offset, problem));
    }

    /// Whether anything is wrong so far.
    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// Line and column of byte `offset`, both counted from 1.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        let column = before.get(line_start..).unwrap_or_default().chars().count().saturating_add(1);
        (line, column)
    }

    /// The value if nothing is wrong, else all problems in order of place.
    pub(crate) fn finish<T>(&self, value: Option<T>) -> Result<T, Problems> {
        let mut problems = self.problems.take();
        problems.sort_by_key(|(offset, _)| *offset);
        let mut list: Vec<_> = problems.into_iter().map(|(_, problem)| problem).collect();
        list.dedup();
        match value {
            Some(value) if list.is_empty() => Ok(value),
            _ => Err(Problems { file: self.file.to_owned(), list }),
        }
    }
}

/// The keys that lead to a value: shown in problems alone, so it is kept without making a text of it.
#[derive(Clone, Copy, Debug, Default)]
struct Path<'d>([&'d str; 6]);

impl<'d> Path<'d> {
    /// No file has tables in each other six deep; the last key would stand for those behind it.
    fn to(mut self, key: &'d str) -> Self {
        let free = self.0.iter().position(|own| own.is_empty()).unwrap_or(5);
        if let Some(slot) = self.0.get_mut(free) {
            *slot = key;
        }
        self
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|key| key.is_empty())
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, key) in self.0.iter().filter(|key| !key.is_empty()).enumerate() {
            write!(f, "{}{key}", if place == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// A table whose keys are taken one by one.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    source: &'d Source<'d>,
    path: Path<'d>,
    span: Range<usize>,
    entries: Vec<(&'d str, Range<usize>, &'d Spanned<DeValue<'d>>)>,
    known: RefCell<Vec<&'static str>>,
    // Tables whose keys are free (names of RTDE inputs) are never reported.
    taken: RefCell<Vec<usize>>,
}

impl<'d> Table<'d> {
    fn new(source: &'d Source<'d>, path: Path<'d>, span: Range<usize>, table: &'d DeTable<'d>) -> Self {
        let mut entries: Vec<_> =
            table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        // A rule is asked for some twenty keys: growing step by step would be a third of the time of `take`.
        let (known, taken) = (Vec::with_capacity(24), Vec::with_capacity(entries.len()));
        Self { source, path, span, entries, known: RefCell::new(known), taken: RefCell::new(taken) }
    }

    /// Where the table begins.
    pub(crate) fn offset(&self) -> usize {
        self.span.start
    }

    /// The value of `key`, if there is one; from now on `key` is a known one.
    pub(crate) fn take(&self, key: &'static str) -> Option<Value<'d>> {
        self.known.borrow_mut().push(key);
        let index = self.entries.iter().position(|(name, ..)| *name == key)?;
        self.taken.borrow_mut().push(index);
        self.value(index)
    }

    /// The value of `key`; that it is missing is a problem with `mend`.
    pub(crate) fn require(&self, key: &'static str, mend: &str) -> Option<Value<'d>> {
        let value = self.take(key);
        if value.is_none() {
            let what = if self.path.is_empty() {
                format!("`{key}` is missing")
            } else {
                format!("`{key}` is missing in `{}`", self.path)
            };
            self.source.problem(self.span.start, what, mend);
        }
        value
    }

    /// Notes a problem at byte `offset` of the file.
    pub(crate) fn problem_at(&self, offset: usize, what: impl Into<String>, mend: impl Into<String>) {
        self.source.problem(offset, what, mend);
    }

    /// Whether `key` is there, without taking it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, ..)| *name == key)
    }

    /// The table at `key`; an absent one reads as empty.
    pub(crate) fn table(&self, key: &'static str) -> Option<Table<'d>> {
        self.take(key).and_then(|value| value.table())
    }

    /// The tables of the array of tables at `key`.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Table<'d>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(items) = value.array() else {
            value.problem(format!("`{key}` is no array of tables"), format!("write `[[{key}]]` above each of them"));
            return Vec::new();
        };
        items.iter().filter_map(Value::table).collect()
    }

    /// Whether it has no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every key with its value, for tables whose keys are free.
    pub(crate) fn all(&self) -> Vec<(&'d str, usize, Value<'d>)> {
        let all = self.entries.iter().enumerate();
        all.filter_map(|(index, (key, span, _))| Some((*key, span.start, self.value(index)?))).collect()
    }

    fn value(&self, index: usize) -> Option<Value<'d>> {
        let (key, _, value) = self.entries.get(index)?;
        Some(Value { source: self.source, path: self.path.to(key), value })
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(&self) {
        let (known, taken) = (self.known.borrow(), self.taken.borrow());
        for (index, (key, span, _)) in self.entries.iter().enumerate() {
            if taken.contains(&index) {
                continue;
            }
            let place =
                if self.path.is_empty() { "at the top level".to_owned() } else { format!("in `{}`", self.path) };
            let mend = match nearest(key, known.iter().copied()) {
                Some(near) => format!("write `{near}` or take it out"),
                None if known.is_empty() => "take it out".to_owned(),
                None => format!("take it out, or use one of {}", list(known.iter().copied())),
            };
            self.source.problem(span.start, format!("unknown key `{key}` {place}"), mend);
        }
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Value<'d> {
    source: &'d Source<'d>,
    path: Path<'d>,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Value<'d> {
    /// Where it begins.
    pub(crate) fn offset(&self) -> usize {
        self.value.span().start
    }

    /// Line and column of where it begins, both counted from 1.
    pub(crate) fn place(&self) -> (usize, usize) {
        self.source.place(self.offset())
    }

    /// Notes a problem at the value.
    pub(crate) fn problem(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.source.problem(self.offset(), what, mend);
    }

    /// The text as it stands in the file.
    pub(crate) fn raw(&self) -> &'d str {
        self.source.text.get(self.value.span()).unwrap_or_default()
    }

    fn wrong_type(&self, wanted: &str) {
        let mend = format!("write {wanted}");
        self.problem(format!("`{}` is {}", self.path, kind(self.value.get_ref())), mend);
    }

    /// A string; anything else is a problem.
    pub(crate) fn string(&self) -> Option<&'d str> {
        let found = self.value.get_ref().as_str();
        if found.is_none() {
            self.wrong_type("a string in quotes");
        }
        found
    }

    /// `true` or `false`; anything else is a problem.
    pub(crate) fn boolean(&self) -> Option<bool> {
        let found = self.value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type("true or false");
        }
        found
    }

    /// The string, if it is one; no problem otherwise.
    pub(crate) fn as_string(&self) -> Option<&'d str> {
        self.value.get_ref().as_str()
    }

    /// The integer, if it is one that fits; no problem otherwise.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        let integer = self.value.get_ref().as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// The number, if it is one; no problem otherwise.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                #[expect(clippy::cast_precision_loss, reason = "numbers of people are far below 2^53")]
                Ok(integer) => Some(integer as f64),
                Err(_) => None,
            },
            _ => None,
        }
    }

    /// An integer in `range`; anything else is a problem.
    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let Some(found) = self.as_integer() else {
            self.wrong_type("a whole number");
            return None;
        };
        if !range.contains(&found) {
            let mend = if range.start() == range.end() {
                format!("write {}", range.start())
            } else {
                format!("write a number from {} to {}", range.start(), range.end())
            };
            self.problem(format!("`{}` is {found}", self.path), mend);
            return None;
        }
        Some(found)
    }

    /// A number; anything else is a problem.
    pub(crate) fn number(&self) -> Option<f64> {
        let found = self.as_number().filter(|number| number.is_finite());
        if found.is_none() {
            self.wrong_type("a number");
        }
        found
    }

    /// The items of an array, if it is one; no problem otherwise.
    pub(crate) fn array(&self) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.value.get_ref() else { return None };
        let item = |value| Self { source: self.source, path: self.path, value };
        Some(items.iter().map(item).collect())
    }

    /// The items of an array; anything else counts as an array of one.
    pub(crate) fn any_of(&self) -> Vec<Self> {
        self.array().unwrap_or_else(|| vec![self.clone()])
    }

    /// A table; anything else is a problem.
    pub(crate) fn table(&self) -> Option<Table<'d>> {
        if let DeValue::Table(table) = self.value.get_ref() {
            return Some(Table::new(self.source, self.path, self.value.span(), table));
        }
        self.wrong_type("a table");
        None
    }

    /// The moment in RFC 3339 with an offset, as text; anything else is a problem.
    pub(crate) fn moment(&self) -> Option<jiff::Timestamp> {
        let text = match self.value.get_ref() {
            DeValue::Datetime(moment) => moment.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let found = text.parse::<jiff::Timestamp>().ok();
        if found.is_none() {
            self.wrong_type("a date and time with its offset, such as 2026-11-24T22:00:00+01:00");
        }
        found
    }

    /// One of the named choices; anything else is a problem that names the nearest.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.string()?;
        if let Some((_, found)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*found);
        }
        let names = choices.iter().map(|(name, _)| *name);
        self.unknown_name(text, names);
        None
    }

    /// Reports `text` as none of `names`, with the nearest.
    pub(crate) fn unknown_name<'n>(&self, text: &str, names: impl Iterator<Item = &'n str> + Clone) {
        let mend = match nearest(text, names.clone()) {
            Some(near) => format!("write \"{near}\" or another of {}", list(names.take(16))),
            None => format!("use one of {}", list(names.take(16))),
        };
        self.problem(format!("`{}` has no \"{text}\"", self.path), mend);
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time without what is needed here",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The name most like `text`, if any is like it.
pub(crate) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let lower = text.to_ascii_lowercase();
    let score = |name: &str| {
        let name = name.to_ascii_lowercase();
        // Two letters exchanged, one too many or one forgotten: a slip, however short the name.
        let slip = lower.len() > 1 && strsim::osa_distance(&lower, &name) <= 1;
        if slip { 1.0 } else { strsim::jaro_winkler(&lower, &name) }
    };
    let scored = names.map(|name| (score(name), name));
    // Below 0.8 names have little more than letters in common.
    scored.filter(|(score, _)| *score >= 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_and_lines_from_one() {
        let source = Source::parse("f", "a = 1\n\u{e4}\u{f6} = 2\n");
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(6), (2, 1));
        assert_eq!(source.place("a = 1\n\u{e4}\u{f6}".len()), (2, 3));
        assert_eq!(source.place(10_000), (3, 1));
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let source = Source::parse("f.toml", "mode = 1\nprots = 2\nzzz = 3\n");
        let root = source.root();
        let _ = (root.take("mode"), root.take("ports"));
        root.finish();
        let problems = source.finish(Some(())).unwrap_err().to_string();
        assert_eq!(
            problems,
            "f.toml:2:1: unknown key `prots` at the top level; write `ports` or take it out\n\
             f.toml:3:1: unknown key `zzz` at the top level; take it out, or use one of mode, ports"
        );
    }

    #[test]
    fn every_problem_is_told_in_order_of_place() {
        let source = Source::parse("f", "b = 7\na = \"x\"\n");
        let root = source.root();
        assert_eq!(root.take("a").unwrap().integer(0..=3), None);
        assert_eq!(root.take("b").unwrap().integer(0..=3), None);
        let problems = source.finish(Some(())).unwrap_err();
        assert_eq!(problems.list.len(), 2);
        assert_eq!((problems.list[0].line, problems.list[0].column), (1, 5));
        assert_eq!(problems.list[1].what, "`a` is a string");
    }

    #[test]
    fn broken_toml_is_one_problem_with_its_place() {
        let problems = Source::parse("f", "a = [1,\nb =").finish(None::<()>).unwrap_err();
        assert_eq!(problems.list.len(), 1);
        assert_eq!(Source::parse("f", "a = 1").finish(Some(5)), Ok(5));
    }

    #[test]
    fn moments_need_an_offset() {
        let source = Source::parse("f", "a = 2026-11-24T22:00:00+01:00\nb = 2026-11-24T22:00:00\n");
        let root = source.root();
        assert_eq!(root.take("a").unwrap().moment().unwrap().as_second(), 1_795_554_000);
        assert_eq!(root.take("b").unwrap().moment(), None);
    }
}
