use core::fmt;

use dissect::DissectError;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::recipe::Slot;
use crate::wire::{Names, Package, PackageType};
use crate::{DataType, Recipe, Reply, ReplyType, Request, Variable, Version};

/// Fields that the recipes of one connection have in all, unanswered ones included. ur-rtde's control client, the
/// hungriest known, needs fewer than 300 for its 23 input recipes.
const FIELDS: usize = 1536;

/// Version requests and set-ups that may wait for their answer at once; known clients wait for each.
const QUEUE: usize = 64;

/// Where in the pool of fields a recipe lies.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Range {
    start: u16,
    fields: u16,
    /// Bytes of all values together.
    size: u16,
    flags: u16,
}

impl Range {
    /// There is a recipe; without it the rest means nothing.
    const PRESENT: u16 = 1;
    /// One of its fields is a BOOL.
    const HAS_BOOL: u16 = 2;
    const NONE: Self = Self { start: 0, fields: 0, size: 0, flags: 0 };

    fn is_present(self) -> bool {
        self.flags & Self::PRESENT != 0
    }

    fn end(self) -> u16 {
        self.start.saturating_add(self.fields)
    }

    /// Follows the pool after `freed` was taken out of it.
    fn close_gap(&mut self, freed: Self) {
        if self.start >= freed.end() {
            self.start = self.start.saturating_sub(freed.fields);
        }
    }
}

/// A request whose answer will change the session.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Waiting {
    /// Type byte of the package; 0 for none.
    kind: u8,
    reserved: u8,
    /// The protocol version asked for.
    version: u16,
    /// The fields named.
    range: Range,
}

impl Waiting {
    const NONE: Self = Self { kind: 0, reserved: 0, version: 0, range: Range::NONE };
}

/// What one connection agreed on: protocol version, output recipe, up to 255 input recipes, whether data flows.
///
/// Plain data for the caller's memory, about 9 KiB; all zeros is a new connection. [`Session::request`] and
/// [`Session::reply`] move it on, everything else only reads.
///
/// Invariants: the recipes and the unanswered set-ups lie in the pool without overlap and without gaps. Whatever bytes
/// the memory holds, reading and moving on never panics.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Session {
    output: Range,
    /// By recipe id; the first is never used.
    inputs: [Range; 256],
    /// Unanswered `V`, `O` and `I`, oldest first, the rest empty.
    queue: [Waiting; QUEUE],
    slots: [Slot; FIELDS],
    /// Slots of the pool in use, from the first on.
    used: u16,
    /// Unanswered `v`, `S` and `P`.
    controller_versions: u16,
    starts: u16,
    pauses: u16,
    /// 2 for version 2; version 1 otherwise.
    version: u8,
    /// Recipe id that output data carries in version 2.
    output_id: u8,
    /// Whether data flows, as last answered.
    running: u8,
    /// Whether data ever flowed.
    ever_started: u8,
    // The last field's type shows in the derived layout, so it has to be one that everybody knows.
    reserved: [u8; 4],
}

/// What a reply changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that the session keeps.
    Nothing,
    /// A version request was answered.
    Version {
        /// The version asked for.
        asked: u16,
        /// Whether it is in force now.
        accepted: bool,
    },
    /// An output set-up was answered.
    Outputs(SetUp),
    /// An input set-up was answered.
    Inputs(SetUp),
    /// A start was answered; whether data flows now.
    Start(bool),
    /// A pause was answered; whether data rests now.
    Pause(bool),
}

/// How a set-up was answered.
///
/// A recipe exists only where every name got a type and, where the answer carries an id, the id is not 0. A controller
/// that kept a recipe in spite of a name that it refused would find no data package of it let through: such a recipe
/// has no fields here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// The id as answered; absent for outputs in version 1.
    pub recipe_id: Option<u8>,
    /// Names asked for.
    pub fields: u16,
    /// Names that this controller doesn't know.
    pub not_found: u16,
    /// Inputs that another client writes.
    pub in_use: u16,
}

impl SetUp {
    /// Whether there is a recipe now.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.not_found == 0 && self.in_use == 0 && !matches!(self.recipe_id, Some(0))
    }
}

impl Session {
    /// A new connection: version 1, no recipes, no data.
    #[must_use]
    pub fn new() -> Self {
        Self::new_zeroed()
    }

    /// The protocol version in force.
    #[must_use]
    pub fn version(&self) -> Version {
        if self.version == 2 { Version::V2 } else { Version::V1 }
    }

    /// The version that the next request will be read in; none while a version request is unanswered.
    #[must_use]
    pub fn request_version(&self) -> Option<Version> {
        let first_free = self.queue.iter().take_while(|waiting| waiting.kind != 0);
        let asked = first_free.filter(|waiting| waiting.kind == PackageType::RequestProtocolVersion as u8).count();
        (asked == 0).then(|| self.version())
    }

    /// Whether data flows, as last answered.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running != 0
    }

    /// Version requests and set-ups without answer yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.queue.iter().take_while(|waiting| waiting.kind != 0).count()
    }

    /// Requests that the controller has yet to reply to: `V`, `v`, `O`, `I`, `S` and `P`. Data packages and texts are
    /// answered by nothing and flow between the replies.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        let queued = u32::try_from(self.unanswered()).unwrap_or(u32::MAX);
        let counted = [self.controller_versions, self.starts, self.pauses];
        counted.into_iter().fold(queued, |sum, count| sum.saturating_add(u32::from(count)))
    }

    /// The input recipe with this id.
    #[must_use]
    pub fn recipe(&self, id: u8) -> Option<Recipe<'_>> {
        self.inputs.get(usize::from(id)).and_then(|range| self.recipe_at(*range))
    }

    /// All input recipes with their ids.
    pub fn recipes(&self) -> impl Iterator<Item = (u8, Recipe<'_>)> {
        (1..=u8::MAX).filter_map(|id| Some((id, self.recipe(id)?)))
    }

    /// The output recipe.
    #[must_use]
    pub fn output_recipe(&self) -> Option<Recipe<'_>> {
        self.recipe_at(self.output)
    }

    /// The id that output data carries in version 2.
    pub(crate) fn output_id(&self) -> u8 {
        self.output_id
    }

    /// What a set-up reply says about each name of the request that it answers, in order: for telling a person which
    /// input is in use. To be asked before [`Session::reply`] takes the reply in; empty for other replies.
    pub fn answered<'a>(&'a self, reply: &Reply<'a>) -> impl Iterator<Item = (Variable, Option<ReplyType>)> + use<'a> {
        let types = match reply {
            Reply::SetupOutputs { types, .. } | Reply::SetupInputs { types, .. } => *types,
            _ => Names(&[]),
        };
        let waiting = self.queue.iter().find(|waiting| waiting.kind == reply.kind() as u8);
        let slots = waiting.and_then(|waiting| self.slots_at(waiting.range)).unwrap_or_default();
        slots.iter().zip(types.iter()).map(|(slot, name)| (Variable(slot.variable), ReplyType::named(name)))
    }

    /// Takes in a package toward the robot that is let through, before it leaves. Data is taken whether started or not. A package that is refused, or
    /// answered in the controller's place, must not be shown to the session.
    ///
    /// # Errors
    /// What [`Request::read`] reports without recipes; more recipes or unanswered requests than there is room for. The
    /// session stays as it was, and the package must not leave.
    pub fn request(&mut self, package: &Package<'_>) -> Result<(), DissectError> {
        match Request::parse(package, self.request_version())? {
            Request::ProtocolVersion(version) => self.wait(Waiting { kind: b'V', version, ..Waiting::NONE })?,
            Request::ControllerVersion => count(&mut self.controller_versions)?,
            Request::Message(_) => {}
            Request::SetupOutputs { names, .. } => self.wait_for_names(b'O', names)?,
            Request::SetupInputs { names } => self.wait_for_names(b'I', names)?,
            Request::Start => count(&mut self.starts)?,
            Request::Pause => count(&mut self.pauses)?,
            // ur-rtde's I/O client writes without ever starting: what counts is the recipe, not the start.
            Request::Data(_) => {}
        }
        Ok(())
    }

    /// Takes in a package toward the plant.
    ///
    /// Replies of one type answer the requests of that type in their order; nothing is assumed of replies of different
    /// types. Data after a pause is taken: packages under way may cross its answer.
    ///
    /// # Errors
    /// What [`Reply::read`] reports without recipes; a reply that nothing asked for; data without any start; types that
    /// are not as many as the names, or of no known size; acceptance of a version that isn't read here. Where a set-up
    /// was answered so, it has no recipe.
    pub fn reply(&mut self, package: &Package<'_>) -> Result<Outcome, DissectError> {
        match Reply::parse(package, self.version())? {
            Reply::ProtocolVersion { accepted } => {
                let asked = self.take_waiting(PackageType::RequestProtocolVersion)?.version;
                if accepted {
                    self.put_in_force(asked)?;
                }
                Ok(Outcome::Version { asked, accepted })
            }
            Reply::ControllerVersion { .. } => answer(&mut self.controller_versions).map(|()| Outcome::Nothing),
            Reply::Message(_) => Ok(Outcome::Nothing),
            Reply::SetupOutputs { recipe_id, types } => {
                let range = self.take_waiting(PackageType::SetupOutputs)?.range;
                // One output recipe a connection: the next set-up ends the last one, however it is answered.
                let before = core::mem::replace(&mut self.output, Range::NONE);
                let mut range = self.free(before, range);
                let set_up = self.type_fields(&mut range, recipe_id, types)?;
                if set_up.is_accepted() {
                    self.output = range;
                    self.output_id = recipe_id.unwrap_or(0);
                }
                Ok(Outcome::Outputs(set_up))
            }
            Reply::SetupInputs { recipe_id, types } => {
                let mut range = self.take_waiting(PackageType::SetupInputs)?.range;
                let set_up = self.type_fields(&mut range, Some(recipe_id), types)?;
                if set_up.is_accepted() {
                    let index = usize::from(recipe_id);
                    let before = self.inputs.get(index).copied().unwrap_or(Range::NONE);
                    let range = self.free(before, range);
                    if let Some(input) = self.inputs.get_mut(index) {
                        *input = range;
                    }
                }
                Ok(Outcome::Inputs(set_up))
            }
            Reply::Start { accepted } => {
                answer(&mut self.starts)?;
                if accepted {
                    (self.running, self.ever_started) = (1, 1);
                }
                Ok(Outcome::Start(accepted))
            }
            Reply::Pause { accepted } => {
                answer(&mut self.pauses)?;
                if accepted {
                    self.running = 0;
                }
                Ok(Outcome::Pause(accepted))
            }
            Reply::Data(_) if self.ever_started == 0 && self.starts == 0 => {
                Err(DissectError::forbidden("data package without start", 0))
            }
            Reply::Data(_) => Ok(Outcome::Nothing),
        }
    }

    fn put_in_force(&mut self, version: u16) -> Result<(), DissectError> {
        let version = match version {
            1 => 1,
            2 => 2,
            _ => return Err(DissectError::unsupported("protocol version", 0)),
        };
        if (version == 2) != (self.version == 2) {
            // Output data gains or loses its id; whether a controller keeps the recipe is not known, so it is
            // forgotten. Input data looks the same in both versions.
            let before = core::mem::replace(&mut self.output, Range::NONE);
            self.free(before, Range::NONE);
        }
        self.version = version;
        Ok(())
    }

    /// Queues a set-up with the variables that it names.
    fn wait_for_names(&mut self, kind: u8, names: Names<'_>) -> Result<(), DissectError> {
        let start = self.used;
        let mut end = start;
        for name in names.iter() {
            let slot = self.slots.get_mut(usize::from(end));
            let slot = slot.ok_or(DissectError::unsupported("number of recipe fields", 0))?;
            *slot = Slot { variable: Variable::named(name).0, data_type: 0, reserved: 0 };
            end = end.saturating_add(1);
        }
        let range = Range { start, fields: end.saturating_sub(start), ..Range::NONE };
        self.wait(Waiting { kind, range, ..Waiting::NONE })?;
        self.used = end;
        Ok(())
    }

    fn wait(&mut self, waiting: Waiting) -> Result<(), DissectError> {
        match self.queue.iter_mut().find(|place| place.kind == 0) {
            Some(place) => {
                *place = waiting;
                Ok(())
            }
            None => Err(DissectError::unsupported("number of unanswered requests", 0)),
        }
    }

    /// Takes the oldest request of this type off the queue.
    fn take_waiting(&mut self, kind: PackageType) -> Result<Waiting, DissectError> {
        let found = self.queue.iter().position(|waiting| waiting.kind == kind as u8);
        let rest = found.and_then(|at| self.queue.get_mut(at..)).unwrap_or_default();
        let Some(taken) = rest.first().copied() else {
            return Err(DissectError::forbidden("reply that nothing asked for", 0));
        };
        rest.rotate_left(1);
        if let Some(last) = rest.last_mut() {
            *last = Waiting::NONE;
        }
        Ok(taken)
    }

    /// Gives the fields of `range` their types; takes the range out of the pool where they make no recipe.
    fn type_fields(
        &mut self,
        range: &mut Range,
        recipe_id: Option<u8>,
        types: Names<'_>,
    ) -> Result<SetUp, DissectError> {
        let mut set_up = SetUp { recipe_id, fields: range.fields, not_found: 0, in_use: 0 };
        let result = self.type_each(range, types, &mut set_up);
        if result.is_err() || !set_up.is_accepted() {
            self.free(Range { flags: Range::PRESENT, ..*range }, Range::NONE);
        }
        result.map(|()| set_up)
    }

    fn type_each(&mut self, range: &mut Range, types: Names<'_>, set_up: &mut SetUp) -> Result<(), DissectError> {
        let slots = self.slots.get_mut(usize::from(range.start)..usize::from(range.end())).unwrap_or_default();
        let mut slots = slots.iter_mut();
        range.flags = Range::PRESENT;
        for name in types.iter() {
            let slot = slots.next().ok_or(DissectError::malformed("number of types", 0))?;
            match ReplyType::named(name) {
                Some(ReplyType::Data(data_type)) => {
                    slot.data_type = data_type as u8;
                    range.size = range.size.saturating_add(data_type.size());
                    if data_type == DataType::Bool {
                        range.flags |= Range::HAS_BOOL;
                    }
                }
                Some(ReplyType::NotFound) => set_up.not_found = set_up.not_found.saturating_add(1),
                Some(ReplyType::InUse) => set_up.in_use = set_up.in_use.saturating_add(1),
                None => return Err(DissectError::unsupported("data type", 0)),
            }
        }
        if slots.next().is_some() { Err(DissectError::malformed("number of types", 0)) } else { Ok(()) }
    }

    /// Takes a range out of the pool and closes the gap; `moving` is a range that no table holds, as it is afterwards.
    fn free(&mut self, freed: Range, mut moving: Range) -> Range {
        let (start, end, used) = (usize::from(freed.start), usize::from(freed.end()), usize::from(self.used));
        if freed.is_present() && start < end && end <= used && used <= FIELDS {
            self.slots.copy_within(end..used, start);
            self.used = self.used.saturating_sub(freed.fields);
            let waiting = self.queue.iter_mut().map(|waiting| &mut waiting.range);
            for range in self.inputs.iter_mut().chain(waiting).chain([&mut self.output, &mut moving]) {
                range.close_gap(freed);
            }
        }
        moving
    }

    fn recipe_at(&self, range: Range) -> Option<Recipe<'_>> {
        if !range.is_present() {
            return None;
        }
        let slots = self.slots_at(range)?;
        Some(Recipe { slots, size: usize::from(range.size), has_bool: range.flags & Range::HAS_BOOL != 0 })
    }

    fn slots_at(&self, range: Range) -> Option<&[Slot]> {
        self.slots.get(usize::from(range.start)..usize::from(range.end()))
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("version", &self.version())
            .field("running", &self.is_running())
            .field("outputs", &self.output_recipe().map(|recipe| recipe.len()))
            .field("input_recipes", &self.recipes().count())
            .field("unanswered", &self.unanswered())
            .finish_non_exhaustive()
    }
}

fn count(unanswered: &mut u16) -> Result<(), DissectError> {
    *unanswered = unanswered.checked_add(1).ok_or(DissectError::unsupported("number of unanswered requests", 0))?;
    Ok(())
}

fn answer(unanswered: &mut u16) -> Result<(), DissectError> {
    *unanswered = unanswered.checked_sub(1).ok_or(DissectError::forbidden("reply that nothing asked for", 0))?;
    Ok(())
}
