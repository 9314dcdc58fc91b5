use std::collections::BTreeMap;

use dissect::Toward;

use super::control::microseconds;
use crate::control::{ConversationStatus, StreamStatus, TimesStatus};
use crate::engine::{Conversation, Snapshot};
use crate::event::Whose;
use crate::export::Names;
use crate::jitter::{Histogram, Stream};

/// What is older is no more of this or the last second.
const LATELY_NS: u64 = 2_500_000_000;

/// The conversations as `status` tells of them: those with periodic streams first, then by who brought something last.
pub(super) fn all(snapshot: &Snapshot, names: &Names) -> Vec<ConversationStatus> {
    let mut all: Vec<_> = snapshot.conversations.iter().map(|it| one(it, snapshot.wall_ns, names)).collect();
    all.sort_by_key(|it| (it.streams.is_empty(), it.silent_ms));
    all
}

/// Counts of late frames by name; where `all` is false only those that occurred.
pub(super) fn late(counts: &[u64; Whose::COUNT], all: bool) -> BTreeMap<String, u64> {
    let each = Whose::ALL.into_iter().zip(counts).filter(|(_, count)| all || **count > 0);
    each.map(|(whose, count)| (whose.name().to_owned(), *count)).collect()
}

fn one(conversation: &Conversation, wall_ns: u64, names: &Names) -> ConversationStatus {
    let talk = &conversation.talk;
    let end = |end: link::Endpoint| std::net::SocketAddr::new(end.ip(), end.port).to_string();
    let name = |end: link::Endpoint| names.asset(end.ip()).map_or_else(|| end.ip().to_string(), str::to_owned);
    let streams = [Toward::Robot, Toward::Plant].into_iter().zip(&talk.streams);
    ConversationStatus {
        client: end(talk.key.plant),
        robot: end(talk.key.robot),
        client_name: name(talk.key.plant),
        robot_name: name(talk.key.robot),
        service: conversation.service.to_string(),
        opened_toward: side(conversation.opened).to_owned(),
        age_seconds: wall_ns.saturating_sub(talk.began_ns) / 1_000_000_000,
        silent_ms: wall_ns.saturating_sub(talk.last_ns()) / 1_000_000,
        frames: conversation.frames,
        bytes: conversation.bytes,
        commands: conversation.commands,
        streams: streams.filter_map(|(toward, stream)| of_stream(toward, stream, wall_ns)).collect(),
    }
}

fn of_stream(toward: Toward, stream: &Stream, wall_ns: u64) -> Option<StreamStatus> {
    let period_ns = stream.period_ns()?;
    let lately = wall_ns.saturating_sub(stream.last_ns) < LATELY_NS;
    let worst_ns = if lately { stream.worst_ns[0].max(stream.worst_ns[1]) } else { 0 };
    Some(StreamStatus {
        toward: side(toward).to_owned(),
        frames: stream.frames,
        period_us: microseconds(period_ns),
        entry: times(&stream.entry),
        exit: times(&stream.exit),
        in_the_box: times(&stream.residence),
        worst_us: microseconds(worst_ns),
        late: late(&stream.late, false),
        followed: stream.followed,
        pauses: stream.pauses,
        silences: stream.silences,
    })
}

fn times<const LOWEST: u32>(histogram: &Histogram<LOWEST>) -> TimesStatus {
    TimesStatus {
        p50_us: microseconds(histogram.at_most(500)),
        p99_us: microseconds(histogram.at_most(990)),
        longest_us: microseconds(histogram.longest_ns()),
    }
}

const fn side(toward: Toward) -> &'static str {
    match toward {
        Toward::Robot => "robot",
        Toward::Plant => "plant",
    }
}
