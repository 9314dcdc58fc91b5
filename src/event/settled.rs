use crate::event::{Answer, Event, EventId};

/// An event as it is written: with its answer, and with the repeats that it stands for.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The event; of several repeats, the last.
    pub event: Event,
    /// The answer to the command, where one came in time.
    pub answer: Option<Answer>,
    /// The repeats that this record stands for; absent where it stands for one.
    pub repeats: Option<Repeats>,
    /// SHA-256 of the whole unit, where the event holds only the beginning of it and the rest is kept elsewhere.
    pub unit_hash: Option<[u8; 32]>,
    /// How many events it accounts for: the event, its answer, and those that are not told of by themselves.
    pub events: u64,
}

impl From<Event> for Settled {
    fn from(event: Event) -> Self {
        Self { event, answer: None, repeats: None, unit_hash: None, events: 1 }
    }
}

/// Identical commands told of in one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeats {
    /// How many commands, the last one included.
    pub count: u64,
    /// Event of the first.
    pub first: EventId,
    /// When the first came: nanoseconds since 1970.
    pub first_ns: u64,
    /// Lowest and highest value of each written register or bit.
    pub written: Vec<[u16; 2]>,
    /// Lowest and highest value of each register or bit that the answers carried.
    pub read: Vec<[u16; 2]>,
    /// Lowest and highest value of each named number.
    pub numbers: Vec<(String, [f64; 2])>,
}

/// A part of a unit that is longer than what its event holds.
#[derive(Clone, Copy, Debug)]
pub struct UnitPart<'a> {
    /// The first event in this segment whose unit it is.
    pub event: &'a Event,
    /// SHA-256 of the whole unit.
    pub hash: &'a [u8; 32],
    /// Length of the whole unit in bytes.
    pub total: usize,
    /// Where this part begins in it.
    pub offset: usize,
    /// The part's bytes.
    pub bytes: &'a [u8],
}

/// What turns an event into text; the recorder knows no format itself.
pub trait Render: Send {
    /// Appends one line for `settled` to `out`, without line end.
    fn line(&mut self, settled: &Settled, out: &mut String);

    /// One sentence for people: who, what, rule and reason.
    fn sentence(&mut self, event: &Event) -> String;

    /// Appends the line of a part of a long unit to `out`, without line end; nothing where there is none.
    fn unit(&mut self, part: &UnitPart<'_>, out: &mut String) {
        let _ = (part, out);
    }

    /// Appends the line of the heart-beat to `out`, without line end; nothing where there is none.
    fn beat(&mut self, out: &mut String) {
        let _ = out;
    }
}
