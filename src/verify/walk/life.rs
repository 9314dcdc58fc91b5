//! What the store tells of itself: starts, losses, removals, ends.

use super::{Fault, Run, Verifier};
use crate::verify::report::{Gap, Unclosed, keep};
use crate::verify::tree::Hash;
use crate::verify::words::{Prune, Word};

impl Verifier {
    pub(super) fn word(&mut self, word: Word) -> Result<(), Fault> {
        match word {
            Word::Open { name, key, counter, leaves, root, clean } => {
                self.open(&name, &key, counter, (leaves, root), clean)
            }
            Word::Recovered { segment, cut_bytes, leaves } => {
                let Some(expected) = self.run.recovers.take() else {
                    return Err("a run says that it recovered another, which had ended".into());
                };
                let number = self.here.number;
                let named = segment == number || segment.saturating_add(1) == number;
                if leaves != expected || !named {
                    return Err("what a run says that it recovered is not what is there".into());
                }
                if let Some(unclosed) = self.report.unclosed.last_mut() {
                    unclosed.cut_bytes = Some(cut_bytes);
                }
                Ok(())
            }
            Word::Gap { time_ns, records, frames, why, since_ns } => {
                self.run.told = self.run.told.saturating_add(records).saturating_add(frames);
                self.report.lost_records = self.report.lost_records.saturating_add(records);
                self.report.lost_frames = self.report.lost_frames.saturating_add(frames);
                let gap = Gap { since_ns, until_ns: time_ns, records, frames, why };
                keep(&mut self.report.gaps, &mut self.report.gap_count, gap);
                Ok(())
            }
            Word::Prune(prune) => self.prune(&prune),
            Word::Close { counter } => {
                if self.run.counter.is_some_and(|own| own != counter) {
                    return Err(format!("the close of run {counter} stands in another run"));
                }
                self.run.closed = true;
                Ok(())
            }
        }
    }

    fn open(&mut self, name: &str, key: &str, counter: u64, there: (u64, Hash), clean: bool) -> Result<(), Fault> {
        if key != self.key.line() || name != self.key.name() {
            return Err("a run was opened under another name or key".into());
        }
        let (leaves, root) = there;
        if leaves != self.tree.leaves() || root != self.tree.root() {
            let own = self.tree.leaves();
            return Err(format!("a run was opened on {leaves} blocks, and {own} are there, or others than those"));
        }
        // In front of the store's very first run there was none; of what was removed, nothing is known.
        let is_first = leaves == 0;
        if let Some(before) = self.run.counter.or(is_first.then_some(0)) {
            if counter <= before {
                return Err(format!("run {counter} follows run {before}"));
            }
            let skipped = counter.saturating_sub(before).saturating_sub(1);
            self.report.starts_without_records = self.report.starts_without_records.saturating_add(skipped);
        }
        // Of a run whose end was removed or left out, nothing is known, and of one before the first whole block neither.
        let is_known = !is_first && (self.run.counter.is_some() || self.report.leaves > 0);
        if is_known && clean != self.run.closed {
            return Err("a run says otherwise than the records how the one before ended".into());
        }
        if !clean {
            let until_ns = self.report.to_ns.unwrap_or(0);
            let unclosed = Unclosed { counter: self.run.counter, until_ns, cut_bytes: None };
            keep(&mut self.report.unclosed, &mut self.report.unclosed_count, unclosed);
        }
        self.settle_losses();
        self.report.runs = self.report.runs.saturating_add(1);
        let recovers = (!clean).then_some(leaves);
        self.run = Run { seen: true, counter: Some(counter), recovers, opens: true, ..Run::default() };
        Ok(())
    }

    /// Losses of a run that its gaps do not tell of.
    pub(super) fn settle_losses(&mut self) {
        let untold = self.run.lost.saturating_sub(self.run.told);
        self.report.lost_untold = self.report.lost_untold.saturating_add(untold);
    }

    fn prune(&self, prune: &Prune) -> Result<(), Fault> {
        let Some(tree) = prune.tree() else { return Err("a prune's hashes are not as many as its blocks need".into()) };
        if tree.leaves() < self.base.tree.leaves() {
            return Ok(());
        }
        // What is to be removed is still there, and ends where a segment does.
        let is_there = self
            .marks
            .iter()
            .any(|mark| mark.tree == tree && mark.records == prune.records && mark.chain == prune.trailer);
        if is_there { Ok(()) } else { Err("a prune names other blocks than those that are there".into()) }
    }
}
