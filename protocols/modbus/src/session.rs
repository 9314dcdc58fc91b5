use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{FunctionCode, Request, Response, Span, Table, Values};

/// Requests that one connection may have outstanding.
///
/// Source: messaging guide, section 4.4.2.1: a server takes 1 to 16 requests at a time.
const OUTSTANDING: usize = 16;

/// One request that waits for its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    tag: u64,
    transaction: u16,
    /// First item of what is read or, where nothing is, written.
    address: u16,
    /// 0: the request has no span.
    quantity: u16,
    unit: u8,
    function: u8,
}

/// Outstanding requests of one connection: plain data in the caller's memory.
///
/// Shape: `repr(C)`, 264 bytes, no padding, and any bytes are a valid session, zeroes an empty one, so that it can live
/// in an arena. Invariant: the first `count` entries are in use, oldest first. Cost: constant; usually one entry is
/// looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Session {
    entries: [Entry; OUTSTANDING],
    count: u64,
}

/// There are as many outstanding requests as a session keeps: the request was not taken, so that its response would be
/// [`Matched::Unsolicited`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{OUTSTANDING} Modbus requests are outstanding already")
    }
}

impl core::error::Error for Full {}

/// What a response turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// The answer to the request with this tag.
    To(u64),
    /// Nothing outstanding fits.
    Unsolicited,
}

/// The request that a response answers, as far as a session remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The caller's tag of the request.
    pub tag: u64,
    /// What the request reads or, where it reads nothing, writes: where the response's values belong.
    pub span: Option<Span>,
    /// Whether the response carries as many values as the request asked for, or echoes its address and quantity. An
    /// exception always fits.
    pub fits: bool,
}

impl Session {
    /// Requests that a session keeps at most.
    pub const CAPACITY: usize = OUTSTANDING;

    /// A session with nothing outstanding.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Outstanding requests.
    #[must_use]
    pub fn len(&self) -> usize {
        // Foreign bytes may claim any count.
        usize::try_from(self.count).unwrap_or(OUTSTANDING).min(OUTSTANDING)
    }

    /// Whether nothing is outstanding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Keeps a request on its way to the server; `tag` is the caller's own name for it.
    ///
    /// # Errors
    /// [`Full`]: 16 are outstanding. The caller must not let the request pass unless it can do without its response.
    pub fn request(&mut self, request: &Request<'_>, tag: u64) -> Result<(), Full> {
        let len = self.len();
        let free = self.entries.get_mut(len).ok_or(Full)?;
        let span = request.read.or(request.write.map(|write| write.span));
        *free = Entry {
            tag,
            transaction: request.transaction,
            address: span.map_or(0, |span| span.address),
            quantity: span.map_or(0, |span| span.quantity),
            unit: request.unit.0,
            function: request.function.0,
        };
        self.count = u64::try_from(len.saturating_add(1)).unwrap_or_default();
        Ok(())
    }

    /// Finds and takes out the oldest request with the response's transaction, unit and function.
    pub fn response(&mut self, response: &Response<'_>) -> Matched {
        self.answer(response).map_or(Matched::Unsolicited, |answer| Matched::To(answer.tag))
    }

    /// The same, with what is remembered of the request; `None` where nothing outstanding fits.
    pub fn answer(&mut self, response: &Response<'_>) -> Option<Answer> {
        let found = self.outstanding().iter().position(|entry| {
            (entry.transaction, entry.unit, entry.function)
                == (response.transaction, response.unit.0, response.function.0)
        })?;
        let entry = self.remove(found)?;
        let span = entry.span();
        Some(Answer { tag: entry.tag, span, fits: fits(span, response) })
    }

    /// Tags of the outstanding requests, oldest first.
    pub fn tags(&self) -> impl Iterator<Item = u64> {
        self.outstanding().iter().map(|entry| entry.tag)
    }

    /// Takes out the request with this tag, such as one whose time is over or that never reached the server; whether
    /// there was one.
    pub fn forget(&mut self, tag: u64) -> bool {
        let found = self.outstanding().iter().position(|entry| entry.tag == tag);
        found.and_then(|index| self.remove(index)).is_some()
    }

    /// Takes out the oldest request and returns its tag.
    pub fn forget_oldest(&mut self) -> Option<u64> {
        self.remove(0).map(|entry| entry.tag)
    }

    fn outstanding(&self) -> &[Entry] {
        self.entries.get(..self.len()).unwrap_or_default()
    }

    /// Takes out one entry and closes the gap.
    fn remove(&mut self, index: usize) -> Option<Entry> {
        let len = self.len();
        let tail = self.entries.get_mut(index..len).filter(|tail| !tail.is_empty())?;
        tail.rotate_left(1);
        let entry = tail.last_mut().map(core::mem::take)?;
        self.count = u64::try_from(len.saturating_sub(1)).unwrap_or_default();
        Some(entry)
    }
}

impl Entry {
    fn span(&self) -> Option<Span> {
        if self.quantity == 0 {
            return None;
        }
        let table = FunctionCode(self.function).table()?;
        Some(Span { table, address: self.address, quantity: self.quantity })
    }
}

impl FunctionCode {
    /// The table that the function reads or writes, if it does; 23 reads and writes holding registers.
    #[must_use]
    pub const fn table(self) -> Option<Table> {
        Some(match self.0 {
            0x01 | 0x05 | 0x0f => Table::Coils,
            0x02 => Table::DiscreteInputs,
            0x03 | 0x06 | 0x10 | 0x16..=0x18 => Table::HoldingRegisters,
            0x04 => Table::InputRegisters,
            _ => return None,
        })
    }
}

/// Whether a response carries what a request for `span` asked for.
fn fits(span: Option<Span>, response: &Response<'_>) -> bool {
    let Some(span) = span.filter(|_| response.exception.is_none()) else { return true };
    let quantity = usize::from(span.quantity);
    match response.values {
        Some(Values::Bits(bytes)) => bytes.len() == quantity.div_ceil(8),
        // The queue's length is the server's to say.
        Some(Values::Registers(bytes)) if response.function == FunctionCode::READ_FIFO_QUEUE => {
            bytes.len() <= quantity.saturating_mul(2)
        }
        Some(Values::Registers(bytes)) => bytes.len() == quantity.saturating_mul(2),
        Some(Values::Mask { .. }) => false,
        None => response.written() == Some(span),
    }
}

#[cfg(test)]
mod tests;
