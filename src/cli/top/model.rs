#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what it does not hold")]

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::source::News;
use crate::cli::events::brief;
use crate::cli::output::Output;
use crate::control::{ConversationStatus, Status, StreamStatus};

/// Seconds of the past that are drawn: more than a wide terminal has columns.
const PAST: usize = 300;

/// Lines of the feed that are kept.
const LINES: usize = 1000;

/// What is shown.
pub(super) const TABS: [&str; 4] = ["Wire", "Latency", "Conversations", "Refusals"];

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Quit,
    Tab(usize),
    NextTab,
    LastTab,
    Down(usize),
    Up(usize),
    Sort,
    Reverse,
    Freeze,
}

/// What conversations are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Latest,
    Bytes,
    Frames,
    Refused,
    Age,
    Client,
}

impl Column {
    pub(super) const ALL: [Self; 6] = [Self::Latest, Self::Bytes, Self::Frames, Self::Refused, Self::Age, Self::Client];

    /// The heading that it is ordered by.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Latest => "silent",
            Self::Bytes => "bytes",
            Self::Frames => "frames",
            Self::Refused => "refused",
            Self::Age => "age",
            Self::Client => "client",
        }
    }
}

/// One line of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) refused: bool,
}

/// Frames and commands a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Received and sent, by port, plant first.
    pub(super) ports: [[f64; 2]; 2],
    pub(super) allowed: f64,
    pub(super) refused: f64,
    pub(super) dropped: f64,
}

/// Everything that is drawn.
pub(super) struct Model {
    pub(super) status: Status,
    pub(super) rates: Rates,
    /// Frames a second that came in on the plant and on the robot port, latest last.
    pub(super) frames: [VecDeque<u64>; 2],
    /// Of each stream the longest interval in microseconds, a value a look, latest last.
    pub(super) worst: BTreeMap<String, VecDeque<u64>>,
    pub(super) feed: VecDeque<Line>,
    pub(super) tab: usize,
    pub(super) column: Column,
    pub(super) reversed: bool,
    /// The row that the view stands at, of each tab.
    pub(super) rows: [usize; TABS.len()],
    pub(super) frozen: bool,
    /// Why the state is old, and since when.
    pub(super) unreachable: Option<(String, f64)>,
    pub(super) no_events: Option<String>,
    taken_at: Option<f64>,
}

impl Model {
    pub(super) fn new(status: Status) -> Self {
        Self {
            status,
            rates: Rates::default(),
            frames: Default::default(),
            worst: BTreeMap::new(),
            feed: VecDeque::new(),
            tab: 0,
            column: Column::Latest,
            reversed: false,
            rows: [0; TABS.len()],
            frozen: false,
            unreachable: None,
            no_events: None,
            taken_at: None,
        }
    }

    /// Takes what came at `now`, seconds since the start. A view that was frozen stays as it is.
    pub(super) fn take(&mut self, news: News, now: f64) {
        if self.frozen {
            return;
        }
        match news {
            News::State(status) => self.state(*status, now),
            News::Lines(lines) => {
                self.no_events = None;
                lines.iter().filter_map(|line| feed_line(line)).for_each(|line| self.feed.push_front(line));
                self.feed.truncate(LINES);
            }
            News::Unreachable(why) => {
                let since = self.unreachable.take().map_or(now, |(_, since)| since);
                self.unreachable = Some((why, since));
                self.rates = Rates::default();
                self.taken_at = None;
            }
            News::NoEvents(why) => self.no_events = Some(why),
        }
    }

    fn state(&mut self, status: Status, now: f64) {
        // A packet process that was replaced counts from nothing.
        let same = status.restarts == self.status.restarts && status.uptime_seconds >= self.status.uptime_seconds;
        let passed = self.taken_at.map(|at| now - at).filter(|passed| same && *passed > 0.0);
        if let Some(passed) = passed {
            let rate = |later: u64, earlier: u64| number(later.saturating_sub(earlier)) / passed;
            let before = &self.status;
            let mut rates = Rates {
                allowed: rate(status.traffic.allowed, before.traffic.allowed),
                refused: rate(status.traffic.refused, before.traffic.refused),
                dropped: rate(status.traffic.dropped, before.traffic.dropped),
                ..Rates::default()
            };
            for ((to, later), earlier) in rates.ports.iter_mut().zip(&status.ports).zip(&before.ports) {
                *to = [rate(later.received, earlier.received), rate(later.sent, earlier.sent)];
            }
            for (past, [received, _]) in self.frames.iter_mut().zip(rates.ports) {
                push(past, whole(received));
            }
            self.rates = rates;
        }
        let mut worst = BTreeMap::new();
        for (conversation, stream) in streams(&status) {
            let key = stream_key(conversation, stream);
            let mut past = self.worst.remove(&key).unwrap_or_default();
            push(&mut past, whole(stream.worst_us));
            worst.insert(key, past);
        }
        self.worst = worst;
        self.unreachable = None;
        self.taken_at = Some(now);
        self.status = status;
    }

    pub(super) fn obey(&mut self, order: Order) {
        let tabs = TABS.len();
        match order {
            Order::Quit => {}
            Order::Tab(tab) => self.tab = tab.min(tabs.saturating_sub(1)),
            Order::NextTab => {
                self.tab = if self.tab.saturating_add(1) >= tabs { 0 } else { self.tab.saturating_add(1) }
            }
            Order::LastTab => self.tab = self.tab.checked_sub(1).unwrap_or(tabs.saturating_sub(1)),
            Order::Down(by) => self.scroll(|row| row.saturating_add(by)),
            Order::Up(by) => self.scroll(|row| row.saturating_sub(by)),
            Order::Sort => {
                let next = Column::ALL.into_iter().skip_while(|column| *column != self.column).nth(1);
                self.column = next.unwrap_or(Column::Latest);
            }
            Order::Reverse => self.reversed = !self.reversed,
            Order::Freeze => self.frozen = !self.frozen,
        }
    }

    fn scroll(&mut self, to: impl Fn(usize) -> usize) {
        let rows = match self.tab {
            1 => streams(&self.status).count(),
            2 => self.status.conversations.len(),
            3 => self.feed.len(),
            _ => 0,
        };
        if let Some(row) = self.rows.get_mut(self.tab) {
            *row = to(*row).min(rows.saturating_sub(1));
        }
    }

    /// The conversations in the order that was asked for: the most of the column first.
    pub(super) fn conversations(&self) -> Vec<&ConversationStatus> {
        let mut all: Vec<_> = self.status.conversations.iter().collect();
        let sum = |[one, other]: [u64; 2]| one.saturating_add(other);
        match self.column {
            Column::Latest => all.sort_by_key(|it| it.silent_ms),
            Column::Bytes => all.sort_by_key(|it| std::cmp::Reverse(sum(it.bytes))),
            Column::Frames => all.sort_by_key(|it| std::cmp::Reverse(sum(it.frames))),
            Column::Refused => all.sort_by_key(|it| std::cmp::Reverse(it.commands[1])),
            Column::Age => all.sort_by_key(|it| std::cmp::Reverse(it.age_seconds)),
            Column::Client => {
                all.sort_by(|one, other| (&one.client_name, &one.client).cmp(&(&other.client_name, &other.client)))
            }
        }
        if self.reversed {
            all.reverse();
        }
        all
    }
}

/// Every periodic direction with its conversation.
pub(super) fn streams(status: &Status) -> impl Iterator<Item = (&ConversationStatus, &StreamStatus)> {
    status.conversations.iter().flat_map(|it| it.streams.iter().map(move |stream| (it, stream)))
}

/// What a stream is known by from one look to the next.
pub(super) fn stream_key(conversation: &ConversationStatus, stream: &StreamStatus) -> String {
    format!("{} {} {}", conversation.client, conversation.robot, stream.toward)
}

fn push(past: &mut VecDeque<u64>, value: u64) {
    past.push_back(value);
    if past.len() > PAST {
        past.pop_front();
    }
}

/// Kinds of notices that are alarming.
const FEED: [&str; 14] = [
    "late",
    "silent",
    "scan",
    "quarantine",
    "quarantine_full",
    "port",
    "records_lost",
    "clock_jump",
    "denied",
    "opened",
    "replaced",
    "bypass",
    "overload",
    "loop",
];

/// The line of an event that belongs into the feed: what was refused, and what is alarming.
fn feed_line(line: &str) -> Option<Line> {
    let value: Value = serde_json::from_str(line).ok()?;
    let refused = match value["event_type"].as_str()? {
        "alert" | "drop" => true,
        "anomaly" => false,
        "notice" => {
            let kind = value["notice"]["kind"].as_str()?;
            if !FEED.contains(&kind) {
                return None;
            }
            false
        }
        _ => return None,
    };
    Some(Line { text: brief(&value, Output::plain()), refused })
}

#[expect(clippy::cast_precision_loss, reason = "a count within a second, for people")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is what is drawn")]
pub(super) fn whole(value: f64) -> u64 {
    value.round() as u64
}
