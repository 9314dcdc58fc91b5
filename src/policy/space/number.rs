//! Numbers that some sets tell apart, one of each kind.

use crate::policy::ranges::{Numbers, Ranges};

/// The cells into which these sets cut the numbers from `least` to `most`, each by its first and last number.
pub(super) fn cells<'r>(
    sets: impl Iterator<Item = &'r Ranges>,
    also: &[u16],
    (least, most): (u16, u16),
) -> Vec<(u16, u16)> {
    let mut firsts = vec![least];
    for (first, last) in sets.flat_map(Ranges::iter) {
        firsts.push(first);
        firsts.extend(last.checked_add(1));
    }
    firsts.extend_from_slice(also);
    firsts.retain(|first| (least..=most).contains(first));
    firsts.sort_unstable();
    firsts.dedup();
    let lasts = firsts.iter().skip(1).map(|next| next.saturating_sub(1)).chain([most]).collect::<Vec<_>>();
    firsts.into_iter().zip(lasts).collect()
}

/// One number of each kind that these sets tell apart.
pub(super) fn distinct(sets: &[&Ranges], range: (u16, u16)) -> Vec<u16> {
    let signature = |number: u16| sets.iter().map(|set| set.covers(number, number)).collect::<Vec<_>>();
    unique(cells(sets.iter().copied(), &[], range).into_iter().map(|(first, _)| first), signature)
}

/// One number of each kind that these sets tell apart; `fits` says which numbers there are, `also` which more to look at.
pub(in crate::policy) fn distinct_numbers(sets: &[&Numbers], also: &[f64], fits: impl Fn(f64) -> bool) -> Vec<f64> {
    let mut ends: Vec<f64> = sets.iter().flat_map(|set| set.iter()).flat_map(|(first, last)| [first, last]).collect();
    ends.extend_from_slice(also);
    ends.retain(|end| end.is_finite());
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    let mut numbers = vec![0.0, 1.0];
    numbers.extend(ends.windows(2).filter_map(|pair| match pair {
        [low, high] => Some(low + (high - low) / 2.0),
        _ => None,
    }));
    for end in &ends {
        numbers.extend([end.floor() - 1.0, end.floor(), *end, end.ceil(), end.ceil() + 1.0]);
    }
    numbers.retain(|number| fits(*number));
    // Plain numbers first: they make the better examples.
    numbers.sort_by(|a, b| {
        (a.fract() != 0.0, a.abs()).partial_cmp(&(b.fract() != 0.0, b.abs())).unwrap_or(std::cmp::Ordering::Equal)
    });
    let signature = |number: f64| sets.iter().map(|set| set.contains(number)).collect::<Vec<_>>();
    unique(numbers.into_iter(), signature)
}

/// The first of each signature.
pub(super) fn unique<T: Copy, S: Ord>(items: impl Iterator<Item = T>, signature: impl Fn(T) -> S) -> Vec<T> {
    let mut known = std::collections::BTreeSet::new();
    items.filter(|item| known.insert(signature(*item))).collect()
}
