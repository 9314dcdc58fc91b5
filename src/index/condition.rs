use super::{ABSENT, ODD};

/// What may hold for a line: at least where the question's answer is yes. A line whose fact has an odd form is always
/// among those that may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every line.
    Any,
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    One(Vec<Self>),
    /// The column holds one of these words, by number, or where asked for nothing.
    Words {
        /// Which column.
        column: usize,
        /// Numbers of words, of [`super::Index::words`].
        words: Vec<i64>,
        /// Whether lines without one are meant too.
        absent: bool,
    },
    /// Its time lies between these, in microseconds since 1970, both included.
    Time(i64, i64),
    /// It tells of a write of one of these registers or coils, first and last.
    Written(i64, i64),
    /// It does what no line before it does.
    First,
}

impl Condition {
    /// The condition in SQL. Holds numbers only, so that nothing in it can be anything else.
    pub(super) fn sql(&self) -> String {
        let join = |of: &[Self], word: &str, empty: &str| {
            if of.is_empty() {
                return empty.to_owned();
            }
            let parts: Vec<String> = of.iter().map(Self::sql).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Self::Any => "1".to_owned(),
            Self::All(all) => join(all, " AND ", "1"),
            Self::One(one) => join(one, " OR ", "0"),
            Self::Words { column, words, absent } => {
                let mut numbers: Vec<String> = words.iter().map(i64::to_string).collect();
                numbers.push(ODD.to_string());
                if *absent {
                    numbers.push(ABSENT.to_string());
                }
                format!("w{column} IN ({})", numbers.join(","))
            }
            Self::Time(from, to) => format!("(time IS NULL OR time BETWEEN {from} AND {to})"),
            Self::Written(from, to) => {
                let low = from.saturating_sub(super::SPAN).saturating_add(1);
                format!("id IN (SELECT line FROM written WHERE low BETWEEN {low} AND {to} AND high >= {from})")
            }
            Self::First => "id IN (SELECT line FROM first)".to_owned(),
        }
    }

    /// Whether it narrows nothing.
    #[must_use]
    pub fn is_any(&self) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(Self::is_any),
            Self::One(one) => one.iter().any(Self::is_any),
            _ => false,
        }
    }
}
