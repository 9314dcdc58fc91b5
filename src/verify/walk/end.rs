//! Whether the store ends as early as it may, after those outside of it.

use super::{Fault, Verifier};
use crate::verify::note::{Checkpoint, hex};
use crate::verify::report::{Report, Signed};

impl Verifier {
    /// Passes over what witnesses hold of blocks that are absent.
    pub(super) fn skip_old_witnesses(&mut self) {
        let old = self.witnesses.iter().take_while(|it| it.leaves < self.base.tree.leaves()).count();
        self.witness = old;
        self.report.end.witness_too_old = u64::try_from(old).unwrap_or(u64::MAX);
    }

    /// Compares the tree with what witnesses hold of so many leaves.
    pub(super) fn ask_witnesses(&mut self) -> Result<(), Fault> {
        while let Some(held) = self.witnesses.get(self.witness).filter(|it| it.leaves == self.tree.leaves()) {
            if held.root != self.tree.root() {
                return Err(format!("a witness holds another root of the first {} blocks", held.leaves));
            }
            self.report.end.witness =
                Some(Signed { leaves: held.leaves, records: held.records, time_ns: held.time_ns });
            self.report.end.witnessed = self.report.end.witnessed.saturating_add(1);
            self.witness = self.witness.saturating_add(1);
        }
        Ok(())
    }

    /// The answer.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.settle_losses();
        self.report.root = hex(&self.tree.root());
        self.report.leaves = self.tree.leaves();
        if !self.stopped {
            self.ask_for_the_end();
        }
        self.report.sound = self.report.findings.is_empty();
        if self.report.sound {
            self.report.holds = self.report.signed;
        }
        self.report
    }

    /// Whether the store ends as early as it may.
    fn ask_for_the_end(&mut self) {
        let own = self.tree.leaves();
        // Hashes need no key: whoever can write could say that retention removed what he took away.
        let signed = self.report.signed.map_or(0, |signed| signed.leaves);
        if self.base.told_in.is_some_and(|told_in| signed <= told_in) {
            self.find("the record of what was removed is signed by nothing: anybody may have written it".into(), 0);
        }
        if let Some(held) = self.witnesses.get(self.witness..).and_then(<[_]>::last) {
            let Checkpoint { leaves, time_ns, .. } = *held;
            let what = format!(
                "a witness holds a checkpoint of {leaves} blocks, signed at {time_ns} ns; the store ends after {own}: \
                 what came behind was cut off"
            );
            self.find(what, self.here.position);
        }
        if let (Some(counter), Some(last)) = (self.counter, self.run.counter) {
            if last < counter {
                let what = format!("the store was opened {counter} times, and its last run is number {last}");
                self.find(what, self.here.position);
            }
            self.report.end.counter = (last == counter).then_some(counter);
        }
        self.report.end.closed = self.run.closed && self.report.signed.is_some_and(|signed| signed.leaves == own);
    }
}
