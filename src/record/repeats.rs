//! When two commands are the same one again, and what is kept of the repeats.

use dissect::Toward;
use external_control::Channel;
use link::{FlowKey, Mac};

use crate::command::{Class, Service};
use crate::event::{
    Action, Answer, CommandRecord, Detail, Event, FrameRecord, MessageRecord, Reason, Record, Repeats, RuleId, Said,
    Settled, items,
};

/// What repeats of an allowed command have in common; values may differ, they become ranges.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    flow: FlowKey,
    service: Service,
    class: Class,
    rule: RuleId,
    generation: u32,
    reason: Reason,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shape {
    Modbus {
        unit: u8,
        function: u8,
        sub_function: Option<u16>,
        read: Option<(u16, u16)>,
        write: Option<(u16, u16)>,
        values: u8,
    },
    Rtde {
        package: u8,
        recipe: u8,
        names: Vec<Vec<u8>>,
    },
    External {
        channel: Channel,
        name: &'static str,
        action: Action,
        program: Option<Vec<u8>>,
    },
    Line(Vec<u8>),
    Script([u8; 32]),
}

impl Key {
    /// The key of a command; `None` where each is told of by itself: refusals, and what is no repeatable unit.
    pub(super) fn of(command: &CommandRecord) -> Option<Self> {
        // Set-points come hundreds of times a second, the refused ones too.
        let streams = matches!(command.detail, Detail::ExternalControl { .. });
        if !command.verdict.is_allowed() && !streams {
            return None;
        }
        let shape = match &command.detail {
            Detail::Modbus(modbus) => Shape::Modbus {
                unit: modbus.unit,
                function: modbus.function,
                sub_function: modbus.sub_function,
                read: modbus.read,
                write: modbus.write,
                values: modbus.values_len,
            },
            Detail::Rtde { package, recipe, text, .. } => Shape::Rtde {
                package: *package,
                recipe: *recipe,
                names: pairs(text.as_bytes(), text.is_cut()).map(|(name, _)| name.to_vec()).collect(),
            },
            Detail::Dashboard { text, .. } if !text.is_cut() => Shape::Line(text.as_bytes().to_vec()),
            Detail::UrScript { token_hash, .. } => Shape::Script(*token_hash),
            Detail::ExternalControl { channel, name, text } => Shape::External {
                channel: *channel,
                name,
                action: command.verdict.action,
                program: (*channel == Channel::Script).then(|| text.as_bytes().to_vec()),
            },
            Detail::Dashboard { .. } | Detail::RtdeData { .. } | Detail::Transport | Detail::Unreadable { .. } => {
                return None;
            }
        };
        let (flow, service, class) = (command.key, command.service, command.class);
        let (rule, generation, reason) = (command.verdict.rule, command.verdict.generation, command.verdict.reason);
        Some(Self { flow, service, class, rule, generation, reason, shape })
    }
}

/// The names and values of an RTDE record's text; of cut text the last piece is left out, as its name may be cut.
fn pairs(text: &[u8], cut: bool) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let whole = items(text).count().saturating_sub(usize::from(cut));
    items(text).take(whole).map(|pair| match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at.saturating_add(1)..)),
        None => (pair, None),
    })
}

/// Repeats of one command since the last record of them.
#[derive(Debug)]
pub(super) struct Group {
    /// When it is told of next, monotonic nanoseconds.
    pub(super) ends_ns: u64,
    last: Option<Box<Event>>,
    answer: Option<Answer>,
    events: u64,
    repeats: Option<Repeats>,
}

impl Group {
    pub(super) fn new(ends_ns: u64) -> Self {
        Self { ends_ns, last: None, answer: None, events: 0, repeats: None }
    }

    /// Counts one more; gives back the memory of the one before.
    pub(super) fn add(&mut self, event: Box<Event>, answer: Option<&Answer>) -> Option<Box<Event>> {
        let repeats = self.repeats.get_or_insert_with(|| Repeats {
            count: 0,
            first: event.id,
            first_ns: event.wall_ns,
            written: Vec::new(),
            read: Vec::new(),
            numbers: Vec::new(),
        });
        repeats.count = repeats.count.saturating_add(1);
        if let Some(answer) = answer {
            widen(&mut repeats.read, answer.values.iter().take(usize::from(answer.values_len)));
        }
        match &event.record {
            Record::Command(CommandRecord { detail: Detail::Modbus(modbus), .. }) => {
                widen(&mut repeats.written, modbus.values.iter().take(usize::from(modbus.values_len)));
            }
            Record::Command(CommandRecord {
                detail: Detail::Rtde { text, .. } | Detail::ExternalControl { text, .. },
                ..
            }) => {
                for (name, value) in pairs(text.as_bytes(), text.is_cut()) {
                    widen_number(&mut repeats.numbers, name, value);
                }
            }
            _ => {}
        }
        self.events = self.events.saturating_add(if answer.is_some() { 2 } else { 1 });
        self.answer = answer.copied();
        self.last.replace(event)
    }

    /// The record of what was counted since the last call.
    pub(super) fn take(&mut self) -> Option<Settled> {
        let event = *self.last.take()?;
        let repeats = self.repeats.take().filter(|repeats| repeats.count > 1);
        let events = std::mem::take(&mut self.events);
        Some(Settled { event, answer: self.answer.take(), repeats, unit_hash: None, events })
    }
}

fn widen<'a>(ranges: &mut Vec<[u16; 2]>, values: impl Iterator<Item = &'a u16>) {
    for (index, value) in values.enumerate() {
        match ranges.get_mut(index) {
            Some([low, high]) => (*low, *high) = ((*low).min(*value), (*high).max(*value)),
            None => ranges.push([*value; 2]),
        }
    }
}

fn widen_number(ranges: &mut Vec<(String, [f64; 2])>, name: &[u8], value: Option<&[u8]>) {
    let number = value.and_then(|value| std::str::from_utf8(value).ok()?.parse::<f64>().ok());
    let (Some(number), Ok(name)) = (number.filter(|number| number.is_finite()), std::str::from_utf8(name)) else {
        return;
    };
    match ranges.iter_mut().find(|(known, _)| known == name) {
        Some((_, [low, high])) => (*low, *high) = (low.min(number), high.max(number)),
        None => ranges.push((name.to_owned(), [number; 2])),
    }
}

/// What messages of the robot that are the same one again have in common; who listened is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MessageKey {
    robot: [u8; 16],
    said: Said,
    text: Vec<u8>,
}

impl MessageKey {
    pub(super) fn of(message: &MessageRecord) -> Self {
        Self { robot: message.key.robot.address, said: message.said, text: message.text.as_bytes().to_vec() }
    }
}

/// What refused frames that are alike have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FrameKey {
    toward: Toward,
    reason: Reason,
    rule: RuleId,
    enforced: bool,
    /// Source MAC and the addresses of both ends; ports are left out, or a scan would make a record a port.
    ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    mac: Mac,
    addresses: Option<[[u8; 16]; 2]>,
}

impl FrameKey {
    pub(super) fn of(frame: &FrameRecord) -> Self {
        Self {
            toward: frame.toward,
            reason: frame.verdict.reason,
            rule: frame.verdict.rule,
            enforced: frame.enforced,
            ends: Some(Ends {
                mac: frame.macs.0,
                addresses: frame.key.map(|key| [key.plant.address, key.robot.address]),
            }),
        }
    }

    pub(super) fn without_ends(self) -> Self {
        Self { ends: None, ..self }
    }
}
