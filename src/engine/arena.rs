use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::adopt::Adoption;
use super::flux::Flux;
use super::quarantine::Quarantine;
use crate::flow::{FlowId, Table};
use crate::gate::{Gate, STORE, Stores};
use crate::inspect::Session;
use crate::robot::{Inputs, Rates, State};

/// Connections whose commands are read. Source: the product's specification (availability, "memory").
pub const WATCHED: usize = 256;

/// Addresses whose MAC is bound: the robot, its clients, and room for a cell's other devices.
pub const BINDINGS: usize = 64;

/// Grows with every change of what lies in the arena; a successor with another number starts with an empty one.
pub const LAYOUT: u32 = 9;

/// Connections whose unit may outgrow its store at one time. Source: the product's specification (availability,
/// "memory").
pub(super) const PROGRAMS: usize = 4;

/// Bytes of a program's store: the longest unit that the scanner reads, and a window behind it.
pub(super) const PROGRAM: usize = urscript::MAX_UNIT + STORE;

/// Marks memory as an arena: "VAMBRACE" read as a little-endian number.
const MAGIC: u64 = 0x4543_4152_424d_4156;

/// One watched TCP connection: the gate toward the robot, the order of the answers, the dissectors' sessions.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Watched {
    /// The streams toward the robot and toward the plant.
    pub gate: Gate,
    /// What the dissectors know.
    pub session: Session,
    /// 1 while in use.
    pub used: u32,
    /// The flow it belongs to.
    pub flow: u32,
    /// Number of the program store that holds its bytes toward the robot, plus 1; 0 = its own.
    pub program: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// How far it is taken up, where it was open before the box saw it.
    pub adoption: Adoption,
}

/// An address bound to a MAC and a side.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Binding {
    /// IPv4 address; 0.0.0.0 = the entry is free.
    pub address: [u8; 4],
    /// MAC; all zero = not known yet.
    pub mac: [u8; 6],
    /// [`dissect::Toward`] of the side it lives on: 0 = robot side, 1 = plant side.
    pub side: u8,
    /// 1 = from the configuration, 0 = learned from the first frame.
    pub configured: u8,
}

/// All state of the packet path that outlives a frame. Plain data in shared memory, so that a new packet process goes
/// on where the old one ended. All zero when new.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Arena {
    magic: u64,
    layout: u32,
    /// Explicit padding.
    reserved: u32,
    /// What is being changed: what a crash in the middle leaves torn is told by it.
    pub(super) flux: Flux,
    /// Number of the last event.
    pub last_event: u64,
    /// Frames received so far, both ports.
    pub frames: u64,
    pub(super) shared: Shared,
}

/// The part of the arena that frames change.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Shared {
    /// Conversations.
    pub flows: Table,
    /// When the wire was taken with nothing known of it, monotonic nanoseconds; 0 = not yet.
    pub taken_ns: u64,
    /// Live state of the robot.
    pub robot: State,
    /// Token buckets of the rules.
    pub rates: Rates,
    /// RTDE inputs of the robot: what was last written, and which connection has which.
    pub inputs: Inputs,
    /// Who is kept out for a while.
    pub quarantine: Quarantine,
    /// Bound addresses.
    pub bindings: [Binding; BINDINGS],
    /// When each watched connection wants to be looked at, monotonic nanoseconds; 0 = never.
    pub due: [u64; WATCHED],
    /// Watched connections.
    pub watched: [Watched; WATCHED],
    /// Their stores toward the robot.
    pub commands: [[u8; STORE]; WATCHED],
    /// Their stores toward the plant.
    pub answers: [[u8; STORE]; WATCHED],
    /// The slot that uses each program store, plus 1; 0 = free.
    pub program_users: [u64; PROGRAMS],
    /// Larger stores toward the robot, for programs that outgrow their own.
    pub programs: [[u8; PROGRAM]; PROGRAMS],
}

impl Arena {
    /// Bytes of memory it takes.
    pub const SIZE: usize = size_of::<Self>();

    /// The arena in `memory`, and whether it holds state from before. Memory of another layout is emptied.
    ///
    /// Absent where `memory` is too small or not aligned to 8 bytes.
    #[must_use]
    pub fn over(memory: &mut [u8], seed: u64) -> Option<(&mut Self, bool)> {
        let memory = memory.get_mut(..Self::SIZE)?;
        let arena = Self::mut_from_bytes(memory).ok()?;
        let known = arena.magic == MAGIC && arena.layout == LAYOUT;
        if !known {
            arena.zero();
            arena.begin(seed);
        }
        Some((arena, known))
    }

    /// A new arena in memory of this process alone.
    ///
    /// # Panics
    /// There is no memory left.
    #[must_use]
    #[expect(clippy::expect_used, reason = "at start, as any other allocation would")]
    pub fn boxed(seed: u64) -> Box<Self> {
        let mut arena = Self::new_box_zeroed().expect("memory for the arena");
        arena.begin(seed);
        arena
    }

    /// The number that makes it an arena comes last: who is killed before leaves none.
    fn begin(&mut self, seed: u64) {
        self.shared.flows.seed(seed);
        self.layout = LAYOUT;
        self.flux.settled(&mut self.shared);
        self.magic = MAGIC;
    }

    /// What frames change.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What frames change, the number of the last event, and what says what changes.
    pub(super) fn split(&mut self) -> (&mut Shared, &mut u64, &Flux) {
        (&mut self.shared, &mut self.last_event, &self.flux)
    }

    /// Publishes what was changed.
    pub(super) fn settle(&mut self) {
        self.flux.settled(&mut self.shared);
    }

    /// The conversation that changes right now.
    #[inline]
    pub(super) fn in_flux(&self) -> Option<FlowId> {
        self.flux.in_flux()
    }

    /// Forgets every conversation and what the robot said, where frames passed that nobody saw: what was known of them no
    /// longer holds. Bindings, quarantine and spent rates stay.
    pub fn forget_conversations(&mut self, seed: u64) {
        self.repair(false);
        let shared = &mut self.shared;
        shared.flows.zero();
        shared.flows.seed(seed);
        shared.taken_ns = 0;
        shared.robot.zero();
        shared.inputs.zero();
        shared.due.zero();
        shared.watched.zero();
        shared.program_users.zero();
    }

    /// What was in flux when the predecessor ended.
    #[must_use]
    pub fn torn(&self) -> Option<super::flux::Torn> {
        self.flux.torn()
    }
}

impl Shared {
    /// Takes a free slot for a watched connection of `flow`.
    pub(super) fn watch(&mut self, flow: u32) -> Option<usize> {
        let slot = self.watched.iter().position(|watched| watched.used == 0)?;
        let watched = self.watched.get_mut(slot)?;
        watched.zero();
        watched.used = 1;
        watched.flow = flow;
        watched.session = Session::new();
        Some(slot)
    }

    /// Gives a slot back.
    pub(super) fn unwatch(&mut self, slot: usize) {
        self.give_program_back(slot);
        if let Some(watched) = self.watched.get_mut(slot) {
            if watched.used != 0 {
                self.inputs.ended(connection_number(watched.flow));
            }
            watched.used = 0;
        }
        if let Some(due) = self.due.get_mut(slot) {
            *due = 0;
        }
    }

    /// Moves the bytes toward the robot of a slot into a larger store. Nothing changes where all are taken, or where the
    /// same client has one already.
    pub(super) fn take_program(&mut self, slot: usize) {
        let Self { flows, watched, commands, programs, program_users, .. } = self;
        let client = |slot: usize| {
            let flow = watched.get(slot).and_then(|watched| u16::try_from(watched.flow).ok()).map(FlowId)?;
            Some(flows.flow(flow)?.key.plant.address)
        };
        let own = client(slot);
        let users = program_users.iter().filter_map(|user| usize::try_from(*user).ok()?.checked_sub(1));
        if own.is_none() || users.into_iter().any(|user| client(user) == own) {
            return;
        }
        let Some(free) = program_users.iter().position(|user| *user == 0) else { return };
        let (Some(watched), Some(from), Some(to), Some(user)) =
            (watched.get_mut(slot), commands.get(slot), programs.get_mut(free), program_users.get_mut(free))
        else {
            return;
        };
        if watched.program == 0 && watched.gate.move_commands_to(from, to) {
            watched.program = u32::try_from(free).unwrap_or_default().saturating_add(1);
            *user = u64::try_from(slot).unwrap_or_default().saturating_add(1);
        }
    }

    /// Moves the bytes back into the slot's own store, if it has room for them.
    pub(super) fn shrink_program(&mut self, slot: usize) {
        let Self { watched, commands, programs, .. } = self;
        let Some(watched) = watched.get_mut(slot) else { return };
        let Some(at) = (watched.program as usize).checked_sub(1) else { return };
        let small = watched.gate.commands().buffered() == 0 && !watched.gate.commands().has_hole();
        let (Some(from), Some(to)) = (programs.get(at), commands.get_mut(slot)) else { return };
        if small && watched.gate.move_commands_to(from, to) {
            self.give_program_back(slot);
        }
    }

    fn give_program_back(&mut self, slot: usize) {
        let Some(watched) = self.watched.get_mut(slot) else { return };
        let at = (watched.program as usize).checked_sub(1);
        watched.program = 0;
        if let Some(user) = at.and_then(|at| self.program_users.get_mut(at)) {
            *user = 0;
        }
    }
}

/// The number under which the table of inputs knows the connection of this flow; 0 is nobody there.
pub(super) fn connection_number(flow: u32) -> u32 {
    flow.saturating_add(1)
}

/// The stores of a slot.
pub(super) fn stores<'a>(
    commands: &'a mut [[u8; STORE]; WATCHED],
    answers: &'a mut [[u8; STORE]; WATCHED],
    programs: &'a mut [[u8; PROGRAM]; PROGRAMS],
    watched: &Watched,
    slot: usize,
) -> Option<Stores<'a>> {
    let commands: &mut [u8] = match (watched.program as usize).checked_sub(1) {
        Some(program) => programs.get_mut(program)?,
        None => commands.get_mut(slot)?,
    };
    Some(Stores { commands, answers: answers.get_mut(slot)? })
}
