//! What happened: plain-data records, verdicts and the closed list of reasons. No serializer is known here.
//!
//! Records are made on the packet path: they are `Copy`, of fixed size, hold no pointer and allocate nothing.

mod fields;
mod reason;
mod record;
mod robot;
mod settled;
mod text;
mod verdict;
mod whose;

pub use fields::{RtdeFields, spell as spell_rtde};
pub use reason::Reason;
pub use record::{
    Answer, CommandRecord, Detail, Event, EventId, FlowEnd, FlowRecord, FrameRecord, InUse, MessageRecord,
    ModbusDetail, Notice, Record, Said, Shed, UNIT,
};
pub use robot::{CONTROLS, PROGRAMS, ROBOT_MODES, RobotContext, SAFETY_MODES};
pub use settled::{Render, Repeats, Settled, UnitPart};
pub use text::{Text, items};
pub use verdict::{Action, RuleId, Verdict};
pub use whose::Whose;
