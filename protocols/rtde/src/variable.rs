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

    /// How many inputs the tables have: places are below it.
    pub const INPUTS: usize = ROW_INPUTS + FAMILY_INPUTS;

    /// Its place among the inputs, from 0 without gaps, for a table of one entry an input; nothing for what is none.
    ///
    /// Cost: one load.
    #[must_use]
    pub fn input_place(self) -> Option<usize> {
        let index = usize::from(self.0);
        match INPUT_PLACES.get(index) {
            Some(&NO_INPUT) => None,
            Some(&place) => Some(usize::from(place)),
            None => {
                let at = index.checked_sub(ROWS.len()).filter(|at| *at < FAMILY_INPUTS)?;
                Some(ROW_INPUTS.saturating_add(at))
            }
        }
    }

    /// The input at a [place](Self::input_place).
    #[must_use]
    pub fn input_at(place: usize) -> Option<Self> {
        if let Some(at) = place.checked_sub(ROW_INPUTS) {
            return (at < FAMILY_INPUTS).then(|| Self::at(ROWS.len().saturating_add(at)));
        }
        INPUT_PLACES.iter().position(|own| usize::from(*own) == place).map(Self::at)
    }

    /// The input whose bits say whether the robot acts on this one, and which of its bits do.
    ///
    /// Source: the guide's table of inputs: the slider's fraction, the digital outputs and the two analog outputs.
    #[must_use]
    pub fn mask(self) -> Option<(Self, u32)> {
        MASKS.iter().find(|(own, ..)| *own == self.0).map(|(_, mask, bits)| (Self(*mask), *bits))
    }

    /// The inputs that this mask makes the robot act on; none for what is no mask.
    pub fn masked(self) -> impl Iterator<Item = Self> {
        MASKS.iter().filter(move |(_, mask, _)| *mask == self.0).map(|(own, ..)| Self(*own))
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

/// Marks a row that is no input.
const NO_INPUT: u8 = u8::MAX;

/// Inputs among the rows, in their order.
static INPUT_PLACES: [u8; ROWS.len()] = input_places().0;
const ROW_INPUTS: usize = input_places().1;

/// Registers that are inputs: their families stand first, which [`input_places`] checks.
const FAMILY_INPUTS: usize = family_inputs();

/// Input, its mask, and the bits of the mask that are about it.
const MASKS: [(u16, u16, u32); 6] = [
    (row_called("configurable_digital_output"), row_called("configurable_digital_output_mask"), u32::MAX),
    (row_called("speed_slider_fraction"), row_called("speed_slider_mask"), u32::MAX),
    (row_called("standard_analog_output_0"), row_called("standard_analog_output_mask"), 1),
    (row_called("standard_analog_output_1"), row_called("standard_analog_output_mask"), 2),
    (row_called("standard_digital_output"), row_called("standard_digital_output_mask"), u32::MAX),
    (row_called("tool_digital_output"), row_called("tool_digital_output_mask"), u32::MAX),
];

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs at compile time only"
)]
const fn input_places() -> ([u8; ROWS.len()], usize) {
    let mut places = [NO_INPUT; ROWS.len()];
    let (mut index, mut count) = (0, 0);
    while index < ROWS.len() {
        if !matches!(ROWS[index].access, Access::Output) {
            places[index] = count as u8;
            count += 1;
        }
        index += 1;
    }
    assert!(count < NO_INPUT as usize);
    (places, count)
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs at compile time only")]
const fn family_inputs() -> usize {
    let (mut at, mut count, mut ended) = (0, 0, false);
    while at < FAMILIES.len() {
        if matches!(FAMILIES[at].access, Access::Output) {
            ended = true;
        } else {
            assert!(!ended, "families of inputs stand first");
            count += FAMILIES[at].names.len();
        }
        at += 1;
    }
    count
}

/// The index of the row with this name.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "runs at compile time only"
)]
const fn row_called(name: &str) -> u16 {
    let mut index = 0;
    while index < ROWS.len() {
        let (own, wanted) = (ROWS[index].name.as_bytes(), name.as_bytes());
        let mut at = 0;
        while at < own.len() && at < wanted.len() && own[at] == wanted[at] {
            at += 1;
        }
        if at == own.len() && at == wanted.len() {
            return index as u16;
        }
        index += 1;
    }
    panic!("no row has this name")
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
    fn every_input_has_its_own_place() {
        let mut places: Vec<usize> = Vec::new();
        for variable in Variable::all() {
            assert_eq!(variable.input_place().is_some(), variable.is_input(), "{}", variable.name());
            if let Some(place) = variable.input_place() {
                assert_eq!(Variable::input_at(place), Some(variable));
                places.push(place);
            }
        }
        places.sort_unstable();
        assert_eq!(places, (0..Variable::INPUTS).collect::<Vec<_>>());
        assert_eq!(Variable::UNKNOWN.input_place(), None);
        assert_eq!(Variable::input_at(Variable::INPUTS), None);
    }

    #[test]
    fn masks_go_with_their_inputs() {
        for variable in Variable::all().filter(|variable| variable.is_input()) {
            let named = Variable::named(format!("{}_mask", variable.name()).as_bytes());
            if named.is_input() {
                assert_eq!(variable.mask(), Some((named, u32::MAX)), "{}", variable.name());
            }
            if let Some((mask, bits)) = variable.mask() {
                assert!(bits != 0 && mask.is_input() && mask.name().ends_with("_mask") && mask.mask().is_none());
                assert!(mask.masked().any(|own| own == variable));
            }
        }
        let fraction = Variable::named(b"speed_slider_fraction");
        assert_eq!(fraction.mask().map(|(mask, _)| mask.name()), Some("speed_slider_mask"));
        let analog: Vec<_> = Variable::named(b"standard_analog_output_mask").masked().map(Variable::name).collect();
        assert_eq!(analog, ["standard_analog_output_0", "standard_analog_output_1"]);
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
