//! What a policy exempts itself from: deny rules from outside its file that rest until a date.

use crate::document::Table;

/// One `[[exempt]]` of a policy file: while it lasts, the deny rules of one patch rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// Id of the patch.
    pub patch: String,
    /// Why, for people.
    pub reason: String,
    /// When it ends.
    pub until: jiff::Timestamp,
    /// Where its `patch` stands in the file: line and column from 1.
    pub place: (usize, usize),
}

impl Exemption {
    /// Whether it lasts at a moment, given in nanoseconds since 1970.
    #[must_use]
    pub fn lasts(&self, wall_ns: u64) -> bool {
        i128::from(wall_ns) <= self.until.as_nanosecond()
    }
}

/// Reads every `[[exempt]]`; what is wrong becomes a problem.
pub(crate) fn read(root: &Table<'_>) -> Vec<Exemption> {
    let mut all: Vec<Exemption> = Vec::new();
    for table in root.tables("exempt") {
        let patch = table.require("patch", "write patch = \"...\", an id of `vambrace patches status`");
        let reason = table.require("reason", "write reason = \"...\": who reads it later has to agree");
        let until = table.require("until", "write until = a date and time with its offset: no exemption is for ever");
        let reason = reason.and_then(|value| {
            let text = value.string()?.trim();
            if text.is_empty() {
                value.problem("the exemption has no reason", "write why it is needed");
            }
            (!text.is_empty()).then(|| text.to_owned())
        });
        let until = until.and_then(|value| value.moment());
        let id = patch.as_ref().and_then(|value| value.string());
        if let (Some(value), Some(id)) = (&patch, id)
            && all.iter().any(|other| other.patch == id)
        {
            value.problem(format!("\"{id}\" is exempted twice"), "keep one of the two");
        }
        table.finish();
        if let (Some(value), Some(id), Some(reason), Some(until)) = (&patch, id, reason, until) {
            all.push(Exemption { patch: id.to_owned(), reason, until, place: value.place() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::document::{Problems, Source};

    fn exemptions(text: &str) -> Result<Vec<Exemption>, Problems> {
        let source = Source::parse("p.toml", text);
        let root = source.root();
        let all = read(&root);
        root.finish();
        source.finish(Some(all))
    }

    #[test]
    fn reason_and_end_are_required() {
        let text = "[[exempt]]\npatch = \"a\"\n[[exempt]]\npatch = \"b\"\nreason = \" \"\nuntil = 2026-12-01\n";
        let problems = exemptions(text).unwrap_err().to_string();
        assert_eq!(
            problems.lines().map(|line| line.split("; ").next().unwrap()).collect::<Vec<_>>(),
            [
                "p.toml:1:1: `reason` is missing in `exempt`",
                "p.toml:1:1: `until` is missing in `exempt`",
                "p.toml:5:10: the exemption has no reason",
                "p.toml:6:9: `exempt.until` is a date or time without what is needed here",
            ]
        );
    }

    #[test]
    fn an_exemption_ends_by_itself_and_stands_once() {
        let one = "[[exempt]]\npatch = \"a\"\nreason = \"commissioning\"\nuntil = 2026-12-01T00:00:00Z\n";
        let found = exemptions(one).unwrap();
        assert_eq!(found[0].place, (2, 9));
        let end_ns = 1_796_083_200_000_000_000;
        assert!(found[0].lasts(end_ns) && !found[0].lasts(end_ns + 1));
        assert!(exemptions(&format!("{one}{one}")).unwrap_err().to_string().contains("exempted twice"));
    }
}
