use crate::DataType;
use crate::table::{Access, FAMILIES, Family, ROWS, Row};

/// What a written input does to the robot.
/// Source: the guide's table of inputs, sorted by effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Risk {
    /// The speed slider: every motion gets faster or slower.
    Speed,
    /// Real outputs: grippers, valves, lamps; configurable ones may be wired to safety.
    Io,
    /// A register: nothing by itself, but a running program may take motion commands from it.
    Register,
    /// An external force reading that force control trusts.
    Force,
}

/// A variable of the RTDE tables, by its index in this crate's table of names.
///
/// The index may differ between versions of this crate: write names into files, never indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Variable(pub u16);

const _: () = assert!(rows_are_sorted());

impl Variable {
    /// A name that is in no table here.
    pub const UNKNOWN: Self = Self(u16::MAX);

    /// The variable called `name`, input or output, or [`Variable::UNKNOWN`]; names are case-sensitive.
    ///
    /// Cost: a binary search of about a hundred names, and for registers a prefix and a number.
    #[must_use]
    pub fn named(name: &[u8]) -> Self {
        if let Ok(index) = ROWS.binary_search_by(|row| row.name.as_bytes().cmp(name)) {
            return Self::at(index);
        }
        let mut base = ROWS.len();
        for family in &FAMILIES {
            if let Some(digits) = name.strip_prefix(family.prefix.as_bytes()) {
                return match register_number(digits).filter(|number| *number < family.names.len()) {
                    Some(number) => Self::at(base.saturating_add(number)),
                    None => Self::UNKNOWN,
                };
            }
            base = base.saturating_add(family.names.len());
        }
        Self::UNKNOWN
    }

    /// Its name; `"unknown"` for [`Variable::UNKNOWN`].
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("unknown", |row| row.name)
    }

    /// The type that the tables give it; a controller's own answer comes with the recipe and takes precedence.
    #[must_use]
    pub fn data_type(self) -> Option<DataType> {
        self.row().map(|row| row.data_type)
    }

    /// Whether a client may write it.
    #[must_use]
    pub fn is_input(self) -> bool {
        self.risk().is_some()
    }

    /// Whether a client may read it.
    #[must_use]
    pub fn is_output(self) -> bool {
        self.row().is_some_and(|row| matches!(row.access, Access::Output | Access::Both(_)))
    }

    /// Whether it is in the tables at all.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.row().is_some()
    }

    /// What writing it does; nothing for outputs and for [`Variable::UNKNOWN`].
    #[must_use]
    pub fn risk(self) -> Option<Risk> {
        match self.row()?.access {
            Access::Output => None,
            Access::Input(risk) | Access::Both(risk) => Some(risk),
        }
    }

    /// Every variable of the tables, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Self> {
        let registers = FAMILIES.iter().fold(0_usize, |sum, family| sum.saturating_add(family.names.len()));
        (0..ROWS.len().saturating_add(registers)).map(Self::at)
    }

    fn at(index: usize) -> Self {
        u16::try_from(index).map_or(Self::UNKNOWN, Self)
    }

    fn row(self) -> Option<Row> {
        let mut index = usize::from(self.0);
        if let Some(row) = ROWS.get(index) {
            return Some(*row);
        }
        index = index.checked_sub(ROWS.len())?;
        for Family { names, data_type, access, .. } in FAMILIES {
            if let Some(name) = names.get(index) {
                return Some(Row { name, data_type, access });
            }
            index = index.checked_sub(names.len())?;
        }
        None
    }
}

/// The number in decimal digits as the tables write it: no sign, no leading zero, at most three digits.
fn register_number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 3 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit & 0x0f))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether [`ROWS`] can be searched by halves; evaluated by the compiler.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs at compile time only")]
const fn rows_are_sorted() -> bool {
    let mut index = 1;
    while index < ROWS.len() {
        let (before, after) = (ROWS[index - 1].name.as_bytes(), ROWS[index].name.as_bytes());
        let mut at = 0;
        while at < before.len() && at < after.len() && before[at] == after[at] {
            at += 1;
        }
        let less = if at == before.len() { at < after.len() } else { at < after.len() && before[at] < after[at] };
        if !less {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_itself() {
        let mut count = 0;
        for variable in Variable::all() {
            assert_eq!(Variable::named(variable.name().as_bytes()), variable, "{}", variable.name());
            assert!(variable.is_input() || variable.is_output());
            assert!(variable.data_type().is_some());
            count += 1;
        }
        assert_eq!(count, ROWS.len() + 2 * 128 + 4 * 48);
    }

    #[test]
    fn neighbours_of_names_are_unknown() {
        for name in [
            "",
            "a",
            "zzz",
            "Timestamp",
            "timestamp ",
            "timestam",
            "timestamps",
            "input_int_register_",
            "input_int_register_48",
            "input_int_register_00",
            "input_int_register_+1",
            "input_int_register_1 ",
            "input_bit_register_128",
            "output_double_register_-1",
            "input_int_register_99999999999999999999",
        ] {
            assert_eq!(Variable::named(name.as_bytes()), Variable::UNKNOWN, "{name}");
        }
        assert_eq!(Variable::UNKNOWN.name(), "unknown");
        assert!(!Variable::UNKNOWN.is_input() && !Variable::UNKNOWN.is_output() && !Variable::UNKNOWN.is_known());
    }

    #[test]
    fn inputs_carry_their_risk() {
        let of = |name: &str| {
            let variable = Variable::named(name.as_bytes());
            (variable.risk(), variable.data_type(), variable.is_output())
        };
        assert_eq!(of("speed_slider_mask"), (Some(Risk::Speed), Some(DataType::Uint32), false));
        assert_eq!(of("speed_slider_fraction"), (Some(Risk::Speed), Some(DataType::Double), false));
        assert_eq!(of("tool_digital_output"), (Some(Risk::Io), Some(DataType::Uint8), false));
        assert_eq!(of("standard_analog_output_1"), (Some(Risk::Io), Some(DataType::Double), false));
        assert_eq!(of("standard_analog_output1"), (None, Some(DataType::Double), true));
        assert_eq!(of("input_int_register_0"), (Some(Risk::Register), Some(DataType::Int32), true));
        assert_eq!(of("input_bit_register_127"), (Some(Risk::Register), Some(DataType::Bool), true));
        assert_eq!(of("external_force_torque"), (Some(Risk::Force), Some(DataType::Vector6d), false));
        assert_eq!(of("output_int_register_47"), (None, Some(DataType::Int32), true));
        assert_eq!(of("joint_mode"), (None, Some(DataType::Vector6Int32), true));
    }
}
