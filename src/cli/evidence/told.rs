//! A verifier's answer in sentences, each of which says no more than what was checked.

use std::fmt::Write;

use crate::cli::told::printable;
use crate::verify::{NOT_SEEN, Report};

/// Most gaps, runs and clock steps that are printed one by one; `--json` has more.
const SHOWN: usize = 10;

/// A wall time in UTC, to the millisecond.
pub(super) fn time(ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

/// The answer as one JSON object.
pub(super) fn json(report: &Report) -> String {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("not_seen".into(), NOT_SEEN.into());
        if report.sound {
            members.insert("statement".into(), statement(report).into());
        }
    }
    value.to_string()
}

/// Up to when anything commits, and what commits to the end.
fn statement(report: &Report) -> String {
    let Some(signed) = report.signed else {
        return "No signature commits to anything in it.".into();
    };
    let mut text = format!(
        "Signatures commit to everything up to {}: {} blocks, {} records.",
        time(signed.time_ns),
        signed.leaves,
        signed.records
    );
    if report.unsigned_records > 0 {
        let _ =
            write!(text, " {} records behind that are chained, and signed by nothing yet.", report.unsigned_records);
    }
    if let Some(tail) = &report.tail {
        let _ = write!(
            text,
            " Nothing covers the last {} bytes (segment {}, from byte {}): what was being written.",
            tail.bytes, tail.segment, tail.byte
        );
    }
    let end = &report.end;
    if let Some(opened) = end.opened_ns {
        let _ = write!(text, " The last start, at {}, commits to all runs before it.", time(opened));
    }
    let mut outside = Vec::new();
    if let Some(held) = end.witness {
        let reach = if held.leaves >= signed.leaves { "all that is signed" } else { "not to what came after" };
        outside.push(format!("a witness commits to it up to {} ({} blocks: {reach})", time(held.time_ns), held.leaves));
    }
    if let Some(counter) = end.counter {
        outside.push(format!("the counter says that run {counter} is the last one"));
    }
    if outside.is_empty() {
        text += " Nothing outside of the store commits to its end: one that was cut behind a checkpoint, or set back to an \
                 earlier state as a whole, looks the same.";
    } else {
        let _ = write!(text, " Outside of the store, {}.", outside.join(", and "));
    }
    text += if end.closed {
        " The last run ended in order."
    } else {
        " The last run has no end in order: it goes on, the power went, or its end is missing."
    };
    text
}

/// The answer for people.
pub(super) fn text(path: &str, report: &Report) -> String {
    let mut text = String::new();
    let mut line = |what: String| {
        text += &what;
        text.push('\n');
    };
    if report.sound {
        line(format!("{path}: sound"));
    } else {
        line(format!("{path}: NOT SOUND: altered, or something is missing"));
        for finding in report.findings.iter().take(SHOWN) {
            line(format!("  {}", printable(&finding.to_string())));
        }
        more(&mut line, report.findings.len(), "findings");
        line(match report.holds {
            Some(holds) => format!(
                "Before the first of these places it holds, signed up to {}: {} blocks, {} records.",
                time(holds.time_ns),
                holds.leaves,
                holds.records
            ),
            None => "Before the first of these places, no signature commits to anything.".into(),
        });
    }
    if !report.key.is_empty() {
        let whose =
            if report.pinned { "the one that was given" } else { "the store's own, not pinned: --key FILE pins it" };
        line(format!("key: {} ({whose})", report.key));
    }
    if report.last_segment > 0 {
        line(format!("read: {}", read(report)));
    }
    if report.sound {
        line(statement(report));
    }
    remarks(report, &mut line);
    line(NOT_SEEN.into());
    text
}

fn read(report: &Report) -> String {
    let mut text = format!(
        "segments {} to {}, {} blocks, records {} to {}, of these {} packets, {} of them refused; {} signatures checked",
        report.first_segment,
        report.last_segment,
        report.leaves.saturating_sub(report.absent.as_ref().map_or(0, |absent| absent.leaves)),
        report.first_record,
        report.last_record,
        report.packets,
        report.refused,
        report.signatures
    );
    if let (Some(from), Some(to)) = (report.from_ns, report.to_ns) {
        let _ = write!(text, "; from {} to {}", time(from), time(to));
    }
    text
}

/// What is sound and should be known.
fn remarks(report: &Report, line: &mut impl FnMut(String)) {
    if let Some(encrypted) = &report.encrypted {
        let read = match encrypted.opened_segments {
            0 => "not read, which --identity FILE does with an auditor's secret key".to_owned(),
            all if all == encrypted.segments => "all of them read, and what they say of themselves".to_owned(),
            some => format!("{some} of them read; the others are encrypted to other keys"),
        };
        line(format!(
            "encrypted: {} records in {} segments, to {}; {read}",
            encrypted.records,
            encrypted.segments,
            encrypted.recipients.join(", ")
        ));
    }
    if let Some(absent) = &report.absent {
        let by = match absent.by {
            "prune" => "removed by retention, which the box signed",
            _ => "left out of this export",
        };
        line(format!("before it: {} blocks with {} records, {by}", absent.leaves, absent.records));
    }
    for gap in report.gaps.iter().take(SHOWN) {
        line(format!(
            "gap: {} records and {} frames lost between {} and {} ({})",
            gap.records,
            gap.frames,
            time(gap.since_ns),
            time(gap.until_ns),
            printable(&gap.why)
        ));
    }
    more(line, count(report.gap_count), "gaps");
    if report.lost_untold > 0 {
        line(format!("lost: {} records more, of which no gap tells", report.lost_untold));
    }
    for run in report.unclosed.iter().take(SHOWN) {
        let cut = run.cut_bytes.map_or(String::new(), |bytes| format!("; the next start cut {bytes} bytes off"));
        let number = run.counter.map_or(String::new(), |counter| format!(" {counter}"));
        line(format!("run{number} has no end in order; its last block is of {}{cut}", time(run.until_ns)));
    }
    more(line, count(report.unclosed_count), "runs without an end in order");
    if report.starts_without_records > 0 {
        line(format!(
            "starts: {} are counted and left nothing: they failed, or the store was set back in between",
            report.starts_without_records
        ));
    }
    for step in report.clock_steps.iter().take(SHOWN) {
        let way = if step.step_ns < 0 { "back" } else { "ahead" };
        let by = std::time::Duration::from_nanos(step.step_ns.unsigned_abs());
        line(format!("clock: went {way} by {by:.3?} before block {}, to {}", step.block, time(step.time_ns)));
    }
    more(line, count(report.clock_step_count), "steps of the clock");
    if report.unsynchronised > 0 {
        line(format!("clock: not synchronised, or not known to be, in {} blocks", report.unsynchronised));
    }
    if report.end.witnessed > 0 || report.end.witness_too_old > 0 {
        line(format!(
            "witnesses: {} checkpoints agree, {} are older than what is left",
            report.end.witnessed, report.end.witness_too_old
        ));
    }
}

fn count(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn more(line: &mut impl FnMut(String), count: usize, what: &str) {
    if count > SHOWN {
        line(format!("  and {} more {what}", count.saturating_sub(SHOWN)));
    }
}
