//! RTDE inputs of the robot: what was last written to each, and which connection has which in a recipe.

use std::net::{IpAddr, Ipv6Addr};

use rtde::{DataType, InputData, Request, Value, Variable};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::event::InUse;

/// Components of the longest value: a VECTOR6D.
const COMPONENTS: usize = 6;

/// What went to one input, component by component. Only finite numbers are kept: a NaN neither moves the last value nor
/// makes it forgotten.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Last {
    /// The last value that the robot had reason to act on.
    acted: [f64; COMPONENTS],
    /// The last value that went to the robot, be its mask on or off.
    received: [f64; COMPONENTS],
    /// Components of `acted` that were ever seen, one a bit.
    has_acted: u32,
    /// The same of `received`.
    has_received: u32,
}

/// The connection that has an input in a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Owner {
    /// Address of the client; IPv4 as IPv4-mapped IPv6.
    address: [u8; 16],
    /// When the robot accepted the set-up, nanoseconds since 1970; while that is waited for, when it was sent.
    since_ns: u64,
    /// Number of the connection; 0 = nobody owns the input.
    connection: u32,
    /// TCP port of the client.
    port: u16,
    /// 1 = the robot accepted the set-up, 0 = its answer is waited for.
    accepted: u8,
    reserved: u8,
}

/// One connection of a client, as the table of owners knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its number, not 0; no other that lives at the same time has it.
    pub number: u32,
    /// Address of the client in network order; an IPv4 address is mapped (RFC 4291, 2.5.5.2).
    pub address: [u8; 16],
    /// TCP port of the client.
    pub port: u16,
    /// The wall clock, nanoseconds since 1970.
    pub wall_ns: u64,
}

/// The robot's RTDE inputs. Plain data of fixed size: one entry for every input that the tables know, so that no client
/// can push another's entry out. All zero when new.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Inputs {
    last: [Last; Variable::INPUTS],
    owners: [Owner; Variable::INPUTS],
}

impl Inputs {
    /// Nothing was written, nothing is owned.
    #[must_use]
    pub fn new() -> Self {
        Self::new_zeroed()
    }

    /// The value that component `at` of a new value is compared with: the last one that the robot had reason to act on,
    /// else the last one that it got; absent where none ever went to it.
    #[must_use]
    pub fn reference(&self, variable: Variable, at: usize) -> Option<f64> {
        let last = self.last.get(variable.input_place()?)?;
        let bit = 1_u32.checked_shl(u32::try_from(at).ok()?)?;
        if last.has_acted & bit != 0 {
            return last.acted.get(at).copied();
        }
        last.received.get(at).copied().filter(|_| last.has_received & bit != 0)
    }

    /// Whether writing `value` changes what the robot got last; the first one does, and so does a NaN.
    #[must_use]
    pub fn changes(&self, variable: Variable, value: &Value) -> bool {
        let Some(last) = variable.input_place().and_then(|place| self.last.get(place)) else { return true };
        let (numbers, count) = numbers(value);
        let known = |at: usize| u32::try_from(at).is_ok_and(|at| last.has_received >> at & 1 == 1);
        let same = |(at, number): (usize, &f64)| {
            // A minus zero is another value, which costs a token more than it might.
            known(at) && last.received.get(at).is_some_and(|own| own.to_bits() == number.to_bits())
        };
        !numbers.iter().take(count).enumerate().all(same)
    }

    /// Takes in a package that goes to the robot: its values count from now on, a set-up claims its inputs.
    ///
    /// Not to be called for a package that is refused. Cost: one step a field; allocates nothing.
    pub fn went(&mut self, request: &Request<'_>, connection: &Connection) {
        match request {
            Request::Data(data) => self.wrote(data),
            Request::SetupInputs { names } => {
                for name in names.iter() {
                    self.claim(Variable::named(name), connection);
                }
            }
            _ => {}
        }
    }

    fn wrote(&mut self, data: &InputData<'_>) {
        for field in data.fields() {
            let Some(last) = field.variable.input_place().and_then(|place| self.last.get_mut(place)) else { continue };
            let (numbers, count) = numbers(&field.value);
            for (at, (own, number)) in last.received.iter_mut().zip(numbers).take(count).enumerate() {
                if number.is_finite() {
                    *own = number;
                    last.has_received |= 1 << at;
                }
            }
        }
        // The mask of the same package counts, wherever it stands in it.
        for field in data.fields() {
            self.act(field.variable);
            for masked in field.variable.masked() {
                self.act(masked);
            }
        }
    }

    /// The robot acts on what it got last of this input, if its mask says so. A mask that was never seen may be off: the
    /// value counts as received only.
    fn act(&mut self, variable: Variable) {
        let on = variable.mask().is_none_or(|(mask, bits)| {
            let last = mask.input_place().and_then(|place| self.last.get(place));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mask has at most 32 bits")]
            last.is_some_and(|last| last.has_received & 1 == 1 && last.received[0] as u32 & bits != 0)
        });
        if let Some(last) = variable.input_place().and_then(|place| self.last.get_mut(place)).filter(|_| on) {
            last.acted = last.received;
            last.has_acted = last.has_received;
        }
    }

    /// A set-up is on its way: the input is the connection's until the robot says otherwise, unless it is somebody's.
    fn claim(&mut self, variable: Variable, connection: &Connection) {
        if let Some(owner) = self.entry(variable).filter(|owner| owner.connection == 0) {
            *owner = Owner::of(connection, false);
        }
    }

    /// The robot accepted a set-up that names the input. It knows best: whoever had it before has lost it.
    pub fn accepted(&mut self, variable: Variable, connection: &Connection) {
        if let Some(owner) = self.entry(variable)
            && (owner.connection != connection.number || owner.accepted == 0)
        {
            *owner = Owner::of(connection, true);
        }
    }

    /// The robot refused a set-up that names the input; what the connection has by an earlier one it keeps.
    pub fn not_accepted(&mut self, variable: Variable, connection: u32) {
        if let Some(owner) = self.entry(variable).filter(|owner| owner.connection == connection && owner.accepted == 0)
        {
            owner.zero();
        }
    }

    /// A connection ended: what it had is free.
    pub fn ended(&mut self, connection: u32) {
        self.keep(|owner, _| owner != connection);
    }

    /// Frees what belongs to no connection that `lives`, which is asked with number, address and port.
    pub fn keep(&mut self, lives: impl Fn(u32, (IpAddr, u16)) -> bool) {
        for owner in &mut self.owners {
            if owner.connection != 0 && !lives(owner.connection, owner.client()) {
                owner.zero();
            }
        }
    }

    /// Who has an input, if it is another connection than `connection`: by an accepted set-up or by one that waits for
    /// its answer.
    #[must_use]
    pub fn other_owner(&self, variable: Variable, connection: u32) -> Option<&Owner> {
        let owner = self.owners.get(variable.input_place()?)?;
        (owner.connection != 0 && owner.connection != connection).then_some(owner)
    }

    /// The same for people.
    #[must_use]
    pub fn in_use(&self, variable: Variable, connection: u32) -> Option<InUse> {
        self.other_owner(variable, connection).map(|owner| owner.in_use(variable))
    }

    /// Every input that is owned by an accepted set-up, with its owner.
    pub fn owned(&self) -> impl Iterator<Item = InUse> {
        let owners = self.owners.iter().enumerate().filter(|(_, owner)| owner.is_accepted());
        owners.filter_map(|(place, owner)| Some(owner.in_use(Variable::input_at(place)?)))
    }

    fn entry(&mut self, variable: Variable) -> Option<&mut Owner> {
        self.owners.get_mut(variable.input_place()?)
    }
}

impl Default for Inputs {
    fn default() -> Self {
        Self::new()
    }
}

impl Owner {
    fn of(connection: &Connection, accepted: bool) -> Self {
        Self {
            address: connection.address,
            since_ns: connection.wall_ns,
            connection: connection.number,
            port: connection.port,
            accepted: u8::from(accepted),
            reserved: 0,
        }
    }

    /// Whether the robot accepted the set-up.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.connection != 0 && self.accepted != 0
    }

    fn client(&self) -> (IpAddr, u16) {
        (IpAddr::V6(Ipv6Addr::from(self.address)).to_canonical(), self.port)
    }

    fn in_use(&self, variable: Variable) -> InUse {
        let (address, port) = self.client();
        InUse { input: variable.name(), address, port, since_ns: self.since_ns }
    }
}

/// The components of a value as numbers, and how many there are.
#[must_use]
pub fn numbers(value: &Value) -> ([f64; COMPONENTS], usize) {
    let one = |number: f64| ([number, 0.0, 0.0, 0.0, 0.0, 0.0], 1);
    #[expect(clippy::cast_precision_loss, reason = "no known input is a UINT64")]
    match *value {
        Value::Bool(value) => one(f64::from(u8::from(value))),
        Value::Uint8(value) => one(f64::from(value)),
        Value::Uint32(value) => one(f64::from(value)),
        Value::Uint64(value) => one(value as f64),
        Value::Int32(value) => one(f64::from(value)),
        Value::Double(value) => one(value),
        Value::Vector3d([x, y, z]) => ([x, y, z, 0.0, 0.0, 0.0], 3),
        Value::Vector6d(values) => (values, COMPONENTS),
        Value::Vector6Int32(values) => (values.map(f64::from), COMPONENTS),
        Value::Vector6Uint32(values) => (values.map(f64::from), COMPONENTS),
    }
}

const _: () = assert!(DataType::Vector6d.size() as usize == COMPONENTS * 8, "the longest value has a place");

#[cfg(test)]
mod tests;
