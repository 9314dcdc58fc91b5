//! The expressions of `events --where`.
//!
//! ```text
//! expression = and { "or" and }          and = not { "and" not }          not = "not" not | primary
//! primary    = "(" expression ")" | path [ operator value ]
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" (contains, ignoring case)
//! ```
//! A path names a member (`alert.signature_id`); without dots also one of ours, wherever it stands (`reason`, `rule`,
//! `class`, `client`). A path alone asks whether the member is there. Of an array, any item will do. Two fields are made
//! of others: `writes`, every register or coil that the command writes, and `loads`, the program that it brings or loads.

use serde_json::Value;

use super::{told, when};
use crate::index::{Condition, Index, IndexError};

/// Deepest nesting: people write two or three; what is deeper is not theirs.
const DEPTH: u32 = 64;

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    There(String),
    Compare(String, Operator, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
}

/// What is wrong with an expression, and in which column (from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--where, column {column}: {what}")]
pub(super) struct FilterError {
    column: usize,
    what: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Operator(Operator),
    /// A bare word: path, value or keyword.
    Word(String),
    /// Text in quotes: always a value.
    Quoted(String),
}

impl Token {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word == keyword)
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().zip(1..).peekable();
    while let Some((character, column)) = characters.next() {
        let mut then_equal = || characters.next_if(|(next, _)| *next == '=').is_some();
        let token = match character {
            _ if character.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '~' => Token::Operator(Operator::Contains),
            '=' => {
                // `==` is what programmers type.
                then_equal();
                Token::Operator(Operator::Equal)
            }
            '!' if then_equal() => Token::Operator(Operator::Unequal),
            '<' => Token::Operator(if then_equal() { Operator::AtMost } else { Operator::Less }),
            '>' => Token::Operator(if then_equal() { Operator::AtLeast } else { Operator::Greater }),
            '"' | '\'' => {
                let mut quoted = String::new();
                loop {
                    match characters.next() {
                        Some((end, _)) if end == character => break Token::Quoted(quoted),
                        Some(('\\', _)) => quoted.extend(characters.next().map(|(escaped, _)| escaped)),
                        Some((other, _)) => quoted.push(other),
                        None => return Err(FilterError { column, what: "the quote is never closed".into() }),
                    }
                }
            }
            _ if is_word(character) => {
                let mut word = String::from(character);
                while let Some((next, _)) = characters.next_if(|(next, _)| is_word(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
            other => {
                let what = format!("unexpected {other:?}; put values with special characters in quotes");
                return Err(FilterError { column, what });
            }
        };
        tokens.push((column, token));
    }
    Ok(tokens)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | ':' | '/' | '+' | '#')
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
    end: usize,
    depth: u32,
}

impl Parser {
    fn column(&mut self) -> usize {
        self.tokens.peek().map_or(self.end, |(column, _)| *column)
    }

    fn error<T>(&mut self, what: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError { column: self.column(), what: what.into() })
    }

    fn take(&mut self, keyword: &str) -> bool {
        self.tokens.next_if(|(_, token)| token.is(keyword)).is_some()
    }

    fn or(&mut self) -> Result<Filter, FilterError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH {
            return self.error(format!("nested more than {DEPTH} deep"));
        }
        let mut left = self.and()?;
        while self.take("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and()?));
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(left)
    }

    fn and(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.not()?;
        while self.take("and") {
            left = Filter::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Filter, FilterError> {
        let mut negated = false;
        while self.take("not") {
            negated = !negated;
        }
        let inner = self.primary()?;
        Ok(if negated { Filter::Not(Box::new(inner)) } else { inner })
    }

    fn primary(&mut self) -> Result<Filter, FilterError> {
        let column = self.column();
        match self.tokens.next() {
            Some((_, Token::Open)) => {
                let inner = self.or()?;
                match self.tokens.next_if(|(_, token)| *token == Token::Close) {
                    Some(_) => Ok(inner),
                    None => self.error("expected ) here"),
                }
            }
            Some((column, Token::Word(word))) if matches!(word.as_str(), "and" | "or" | "not") => {
                Err(FilterError { column, what: format!("expected a field before {word:?}") })
            }
            Some((_, Token::Word(path))) => self.comparison(path),
            Some((column, _)) => Err(FilterError { column, what: "expected a field, such as event_type".into() }),
            None => Err(FilterError { column, what: "expected a field, such as event_type, and found the end".into() }),
        }
    }

    fn comparison(&mut self, path: String) -> Result<Filter, FilterError> {
        let Some((_, Token::Operator(operator))) =
            self.tokens.next_if(|(_, token)| matches!(token, Token::Operator(_)))
        else {
            return Ok(Filter::There(path));
        };
        match self.tokens.next_if(|(_, token)| matches!(token, Token::Word(_) | Token::Quoted(_))) {
            Some((_, Token::Word(value) | Token::Quoted(value))) => Ok(Filter::Compare(path, operator, value)),
            _ => self.error("expected a value after the operator"),
        }
    }
}

impl Filter {
    /// Compiles `text`.
    pub(super) fn parse(text: &str) -> Result<Self, FilterError> {
        let end = text.chars().count().saturating_add(1);
        let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), end, depth: 0 };
        let filter = parser.or()?;
        match parser.tokens.peek() {
            None => Ok(filter),
            Some(_) => parser.error("expected an operator, and, or, or the end"),
        }
    }

    /// Whether `line` is one of those asked for.
    pub(super) fn matches(&self, line: &Value) -> bool {
        match self {
            Self::Or(a, b) => a.matches(line) || b.matches(line),
            Self::And(a, b) => a.matches(line) && b.matches(line),
            Self::Not(inner) => !inner.matches(line),
            Self::There(path) | Self::Compare(path, ..) => self.holds(&found(line, path)),
        }
    }

    /// Whether a comparison holds for what its path found.
    fn holds(&self, found: &Found<'_>) -> bool {
        match self {
            Self::There(_) => !matches!(found, Found::Nothing),
            // Not equal = no item is equal; what is absent is not equal to anything.
            Self::Compare(_, Operator::Unequal, value) => !found.any(Operator::Equal, value),
            Self::Compare(_, operator, value) => found.any(*operator, value),
            Self::Or(..) | Self::And(..) | Self::Not(_) => false,
        }
    }

    /// What the index can say of it beforehand: holds at least wherever the expression does.
    pub(super) fn narrow(&self, index: &Index) -> Result<Condition, IndexError> {
        self.narrowed(index, true)
    }

    /// The same for lines of which the expression holds, or does not.
    fn narrowed(&self, index: &Index, wanted: bool) -> Result<Condition, IndexError> {
        match self {
            Self::Not(inner) => inner.narrowed(index, !wanted),
            Self::And(a, b) | Self::Or(a, b) => {
                let both = vec![a.narrowed(index, wanted)?, b.narrowed(index, wanted)?];
                let all = matches!(self, Self::And(..)) == wanted;
                Ok(if all { Condition::All(both) } else { Condition::One(both) })
            }
            Self::There(path) | Self::Compare(path, ..) => match path.as_str() {
                "timestamp" => Ok(self.time(wanted)),
                "writes" => Ok(self.written(wanted)),
                path => match COLUMNS.iter().position(|column| *column == path) {
                    Some(column) => {
                        let mut asked = |text: &str| self.holds(&Found::Text(text)) == wanted;
                        let words = index.words(column, &mut asked)?;
                        let absent = self.holds(&Found::Nothing) == wanted;
                        Ok(Condition::Words { column, words, absent })
                    }
                    None => Ok(Condition::Any),
                },
            },
        }
    }

    /// A comparison of times as they are written: text that stands in the order of time.
    fn time(&self, wanted: bool) -> Condition {
        let Self::Compare(_, operator, value) = self else { return Condition::Any };
        let from = when::first(|written| written >= value.as_str());
        let behind = when::first(|written| written > value.as_str());
        let before = |time: i64| Condition::Time(i64::MIN, time.saturating_sub(1));
        let since = |time: i64| Condition::Time(time, i64::MAX);
        match (operator, wanted) {
            (Operator::Less, true) | (Operator::AtLeast, false) => before(from),
            (Operator::AtMost, true) | (Operator::Greater, false) => before(behind),
            (Operator::Greater, true) | (Operator::AtMost, false) => since(behind),
            (Operator::AtLeast, true) | (Operator::Less, false) => since(from),
            (Operator::Equal, true) | (Operator::Unequal, false) => Condition::Time(from, behind.saturating_sub(1)),
            _ => Condition::Any,
        }
    }

    /// A comparison of registers that are written.
    #[expect(clippy::cast_possible_truncation, reason = "what is beyond the addresses of Modbus is cut to them")]
    fn written(&self, wanted: bool) -> Condition {
        let all = (0, i64::from(u16::MAX));
        match self {
            _ if !wanted => Condition::Any,
            Self::There(_) => Condition::Written(all.0, all.1),
            Self::Compare(_, operator, value) => {
                let Ok(value) = value.parse::<f64>() else {
                    return if *operator == Operator::Unequal { Condition::Any } else { Condition::One(Vec::new()) };
                };
                let (low, high) = (value.floor() as i64, value.ceil() as i64);
                match operator {
                    Operator::Equal => Condition::Written(low, high),
                    Operator::Less | Operator::AtMost => Condition::Written(all.0, high),
                    Operator::Greater | Operator::AtLeast => Condition::Written(low, all.1),
                    Operator::Unequal | Operator::Contains => Condition::Any,
                }
            }
            _ => Condition::Any,
        }
    }

    /// Both of two.
    pub(super) fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    /// Times from here on, as they are written; up to there.
    pub(super) fn time_is(operator: Operator, value: String) -> Self {
        Self::Compare("timestamp".to_owned(), operator, value)
    }
}

/// Fields whose words the index knows, in the order of its columns.
pub(super) const COLUMNS: [&str; 12] = [
    "event_type",
    "reason",
    "rule",
    "class",
    "client",
    "robot",
    "service",
    "action",
    "src_ip",
    "loads",
    "function",
    "kind",
];

const _: () = assert!(COLUMNS.len() <= crate::index::COLUMNS, "the index has room for them");

/// What a path found in a line.
pub(super) enum Found<'v> {
    /// Nothing.
    Nothing,
    /// A member.
    Value(&'v Value),
    /// Text that was made of members.
    Text(&'v str),
    /// Every whole number from the first to the last.
    Span(u16, u16),
}

impl Found<'_> {
    /// Whether any item compares so.
    fn any(&self, operator: Operator, value: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Value(found) => any(found, operator, value),
            Self::Text(found) => text(found, operator, value),
            Self::Span(low, high) => {
                let (low, high) = (f64::from(*low), f64::from(*high));
                let Ok(value) = value.parse::<f64>() else { return false };
                match operator {
                    Operator::Equal => low <= value && value <= high && value.fract() == 0.0,
                    Operator::Less => low < value,
                    Operator::AtMost => low <= value,
                    Operator::Greater => high > value,
                    Operator::AtLeast => high >= value,
                    Operator::Unequal => low != value || high != value,
                    Operator::Contains => false,
                }
            }
        }
    }
}

/// What stands in a line under a path, or is made of what does.
pub(super) fn found<'v>(line: &'v Value, path: &str) -> Found<'v> {
    match path {
        "writes" => told::writes(line).map_or(Found::Nothing, |(low, high)| Found::Span(low, high)),
        "loads" => told::loads(line).map_or(Found::Nothing, Found::Text),
        path => find(line, path).map_or(Found::Nothing, Found::Value),
    }
}

fn find<'v>(line: &'v Value, path: &str) -> Option<&'v Value> {
    let walk = |from: &'v Value| {
        path.split('.').try_fold(from, |value, key| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        })
    };
    walk(line).or_else(|| walk(told::ours(line))).or_else(|| walk(told::command(line)?))
}

fn any(found: &Value, operator: Operator, value: &str) -> bool {
    match found {
        Value::Array(items) => items.iter().any(|item| any(item, operator, value)),
        Value::Number(number) => match (number.as_f64(), value.parse::<f64>()) {
            (Some(number), Ok(value)) => compare(operator, number.partial_cmp(&value)),
            _ => operator == Operator::Contains && number.to_string().contains(value),
        },
        Value::String(found) => text(found, operator, value),
        Value::Bool(flag) => compare(operator, flag.to_string().as_str().partial_cmp(value)),
        Value::Null => operator == Operator::Equal && value == "null",
        Value::Object(_) => false,
    }
}

fn text(found: &str, operator: Operator, value: &str) -> bool {
    match operator {
        Operator::Contains => found.to_lowercase().contains(&value.to_lowercase()),
        operator => compare(operator, found.partial_cmp(value)),
    }
}

fn compare(operator: Operator, order: Option<std::cmp::Ordering>) -> bool {
    let Some(order) = order else { return false };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::Unequal => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::AtMost => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::AtLeast => order.is_ge(),
        Operator::Contains => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn line() -> Value {
        json!({
            "timestamp": "2026-11-23T13:58:02.114209+0000",
            "event_type": "alert",
            "src_ip": "10.20.0.21",
            "dest_port": 502,
            "alert": {
                "signature_id": 9_100_014,
                "metadata": {"mitre_technique_id": ["T0836", "T0855"]},
                "context": {
                    "event_id": 77, "reason": "value_not_allowed", "rule": "plc-registers", "enforced": true,
                    "command": {"function": "write_single_register", "values": [5, 700]},
                },
            },
        })
    }

    #[test]
    fn what_matches() {
        for (text, expected) in [
            ("event_type = alert", true),
            ("event_type == 'alert'", true),
            ("event_type != alert", false),
            ("dest_port >= 502 and dest_port < 503", true),
            ("dest_port > 502", false),
            ("alert.signature_id = 9100014", true),
            ("reason = value_not_allowed", true),
            ("function ~ WRITE", true),
            ("values = 700", true),
            ("values > 700", false),
            ("values != 700", false),
            ("alert.metadata.mitre_technique_id = T0855", true),
            ("alert.metadata.mitre_technique_id.0 = T0855", false),
            ("timestamp > 2026-11-23T13", true),
            ("src_ip = 10.20.0.21", true),
            ("enforced = true", true),
            ("rule", true),
            ("not rule", false),
            ("nothing", false),
            ("nothing != 5", true),
            ("not not rule", true),
            ("event_type = flow or (reason ~ value and not rule = panel-load)", true),
            ("event_type = flow or event_type = alert and dest_port = 1", false),
            ("(event_type = flow or event_type = alert) and dest_port = 502", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().matches(&line()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        for (text, column, what) in [
            ("", 1, "found the end"),
            ("event_type =", 13, "expected a value"),
            ("event_type = alert and", 23, "found the end"),
            ("(event_type = alert", 20, "expected )"),
            ("event_type = 'alert", 14, "never closed"),
            ("= 5", 1, "expected a field"),
            ("dest_port $ 5", 11, "unexpected '$'"),
            ("a = 1 b = 2", 7, "expected an operator"),
            ("a ! b", 3, "unexpected '!'"),
            ("and a", 1, "before \"and\""),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.to_string().contains(what), "{text}: {error}");
        }
        assert!(Filter::parse(&"(".repeat(100_000)).unwrap_err().to_string().contains("nested"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".{0,60}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.matches(&line());
            }
        }
    }
}
