use std::collections::BTreeMap;

use dissect::Toward;

use super::json::Object;
use crate::event::{CommandRecord, FrameRecord};

/// What a replay found, for its last line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames that went on.
    pub forwarded: u64,
    /// Frames that did not.
    pub dropped: u64,
    /// Units toward the robot that were allowed.
    pub allowed: u64,
    /// Units toward the robot that were refused.
    pub refused: u64,
    /// Units of the robot's own toward devices, allowed and refused; in no other number.
    pub to_devices: [u64; 2],
    /// Refused units by reason; adds up to `refused`.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Units by service; adds up to all units.
    pub by_service: BTreeMap<String, u64>,
    /// Refused units by service.
    pub refused_by_service: BTreeMap<String, u64>,
    /// Frames refused below the level of units, by reason.
    pub frames_by_reason: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Counts a unit.
    pub fn command(&mut self, command: &CommandRecord) {
        if command.toward() == Toward::Plant {
            let [allowed, refused] = &mut self.to_devices;
            let count = if command.verdict.is_allowed() { allowed } else { refused };
            *count = count.saturating_add(1);
            return;
        }
        let service = command.service.to_string();
        if command.verdict.is_allowed() {
            self.allowed = self.allowed.saturating_add(1);
        } else {
            self.refused = self.refused.saturating_add(1);
            bump(&mut self.by_reason, command.verdict.reason.name(), 1);
            bump(&mut self.refused_by_service, service.clone(), 1);
        }
        bump(&mut self.by_service, service, 1);
    }

    /// Counts the report of a refused frame and of those it stands for; `dropped` is counted by whoever sees frames.
    pub fn frame(&mut self, frame: &FrameRecord) {
        if !frame.verdict.is_allowed() {
            let count = u64::from(frame.repeats).saturating_add(1);
            bump(&mut self.frames_by_reason, frame.verdict.reason.name(), count);
        }
    }

    /// Whether anything was, or would be, refused: exit code 3.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        let [_, to_devices] = self.to_devices;
        self.refused > 0 || to_devices > 0 || !self.frames_by_reason.is_empty()
    }

    /// Appends the line, without line end.
    pub fn render(&self, out: &mut String) {
        Object::write(out, |line| {
            line.text("event_type", "summary");
            line.number("frames", self.forwarded.saturating_add(self.dropped));
            line.number("forwarded", self.forwarded);
            line.number("dropped", self.dropped);
            line.number("commands", self.allowed.saturating_add(self.refused));
            line.number("allowed", self.allowed);
            line.number("refused", self.refused);
            line.object("to_devices", |line| {
                let [allowed, refused] = self.to_devices;
                line.number("allowed", allowed);
                line.number("refused", refused);
            });
            counts(line, "by_reason", &self.by_reason);
            counts(line, "by_service", &self.by_service);
            counts(line, "refused_by_service", &self.refused_by_service);
            counts(line, "frames_by_reason", &self.frames_by_reason);
        });
    }
}

fn bump<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, by: u64) {
    let count = counts.entry(key).or_insert(0);
    *count = count.saturating_add(by);
}

fn counts(line: &mut Object<'_>, key: &str, counts: &BTreeMap<impl AsRef<str>, u64>) {
    line.object(key, |object| {
        for (name, count) in counts {
            object.number(name.as_ref(), *count);
        }
    });
}
