use std::fmt;

/// Where a frame of a regular stream lost its time.
///
/// The box sees two ports: what is late when it comes in was late before, what is late when it leaves alone was kept
/// here. Who of those behind a port it was is told by the sender's own clock, as TCP carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Whose {
    /// The device on the plant's side sent it late.
    Client = 0,
    /// It was sent in time and lost its time, or a frame before it was lost, on the way to the box.
    Network = 1,
    /// It was late at the plant port; nothing in it tells whether the device or the network was.
    Plant = 2,
    /// It was late at the robot port: the robot sent it late.
    Robot = 3,
    /// It came in time and left late.
    Box = 4,
}

impl Whose {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// All of them, in order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Client, Self::Network, Self::Plant, Self::Robot, Self::Box];

    /// The name in records, metrics and `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Network => "network",
            Self::Plant => "plant",
            Self::Robot => "robot",
            Self::Box => "box",
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
