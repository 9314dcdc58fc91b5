/// Outstanding requests of one connection: plain data in the caller's memory.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    _todo: u8,
}

/// What a response turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// The answer to the request with this tag.
    To(u64),
    /// Nothing outstanding fits.
    Unsolicited,
}
