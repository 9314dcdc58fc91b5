//! Rules that can make a difference between two policies: of ten thousand, those few that were changed and what they meet.
//!
//! A command that two policies judge differently is one that some rule takes which only one of them has. So rules that both
//! have count only where they can take such a command too: allow rules that meet a rule of one policy alone, and deny rules
//! that meet any of these.

use std::collections::{BTreeMap, HashMap};

use super::Policy;
use super::rule::Rule;

/// Most pairs of rules that are compared for one peer; where there are more, all count.
const PAIRS: usize = 4_000_000;

/// What the rules of two policies say, by place: the same number for the same thing.
pub(super) struct Said([Vec<u32>; 2]);

impl Said {
    pub(super) fn by(policies: [&Policy; 2]) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        Self(policies.map(|policy| {
            let number = |rule: &Rule| {
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                *numbers.entry(said(rule)).or_insert(next)
            };
            policy.rules.iter().map(number).collect()
        }))
    }

    /// Of the rules of one peer in each policy, those that can make a difference.
    pub(super) fn that_matter(&self, policies: [&Policy; 2], places: [Vec<usize>; 2]) -> [Vec<usize>; 2] {
        let said = |which: usize, place: usize| self.0.get(which).and_then(|own| own.get(place)).copied();
        let mut counts: BTreeMap<Option<u32>, [usize; 2]> = BTreeMap::new();
        for (which, places) in places.iter().enumerate() {
            for place in places {
                if let Some(count) = counts.entry(said(which, *place)).or_default().get_mut(which) {
                    *count = count.saturating_add(1);
                }
            }
        }
        let only_one =
            |which: usize, place: &usize| counts.get(&said(which, *place)).is_none_or(|counts| counts.contains(&0));
        let of = |which: usize, wanted: bool| -> Vec<usize> {
            let own = places.get(which).into_iter().flatten();
            own.copied().filter(|place| only_one(which, place) == wanted).collect()
        };
        let (changed, kept) = ([of(0, true), of(1, true)], [of(0, false), of(1, false)]);
        let [some, rest] =
            [&changed, &kept].map(|both| both.iter().fold(0_usize, |sum, own| sum.saturating_add(own.len())));
        if some == 0 {
            return Default::default();
        }
        if some.saturating_mul(rest) > PAIRS {
            return places;
        }
        let rule =
            |which: usize, place: &usize| policies.get(which).and_then(|policy: &&Policy| policy.rules.get(*place));
        let both = |lists: &[Vec<usize>; 2]| -> Vec<&Rule> {
            let lists = lists.iter().enumerate();
            lists.flat_map(|(which, places)| places.iter().filter_map(move |place| rule(which, place))).collect()
        };
        let changed_rules = both(&changed);
        let meeting = |deny: bool, others: &[&Rule]| {
            [0, 1].map(|which: usize| {
                let own = kept.get(which).into_iter().flatten();
                own.copied()
                    .filter(|place| {
                        rule(which, place)
                            .is_some_and(|rule| rule.deny == deny && others.iter().any(|other| rule.may_meet(other)))
                    })
                    .collect::<Vec<_>>()
            })
        };
        let allows = meeting(false, &changed_rules);
        let denies = meeting(true, &[changed_rules, both(&allows)].concat());
        let [mut old, mut new] = changed;
        for (own, more) in [(&mut old, 0), (&mut new, 1)] {
            own.extend([&allows, &denies].into_iter().filter_map(|both| both.get(more)).flatten());
            own.sort_unstable();
        }
        [old, new]
    }
}

/// All that a rule says, in a form to compare: not who it is for, its id, or which bucket its rate is kept in.
fn said(rule: &Rule) -> String {
    let Rule { id: _, deny, egress, peers: _, service, body, when, rate, until_ns, since_ns, refusal: _ } = rule;
    let rate = rate.map(|rate| (rate.per_second, rate.burst));
    format!("{deny} {egress} {service:?} {body:?} {when:?} {rate:?} {until_ns:?} {since_ns:?}")
}
