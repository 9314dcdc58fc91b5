use core::fmt;

/// Function code of a request, 1 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionCode(pub u8);

/// Who defines a function code.
///
/// Source: application protocol, section 5 and annex A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignment {
    /// Defined in the specification and read by this crate to the last byte.
    Public,
    /// 65 to 72 and 100 to 110: each device's own.
    UserDefined,
    /// Taken by legacy products or one vendor, such as UMAS; not available for public use.
    Reserved,
    /// Nobody's, or no legal function code of a request (0, 128 to 255).
    Unassigned,
}

/// Functions that people allow together.
///
/// Source: the groups of public function codes in the application protocol, section 5.1. None holds a user-defined, a
/// reserved or an unassigned code, and none a sub-function that changes the device's or the port's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Bit and register access that only reads: 01 to 04.
    ReadOnly,
    /// The same, and bit and register access that writes: 05, 06, 0F, 10, 16 and 17.
    ReadWrite,
    /// The same, and the queue (18), files (14, 15), diagnostics without a change of state (07, 08, 0B, 0C, 11) and the
    /// device identification (2B/0E).
    Maintenance,
}

impl Preset {
    /// Every preset, each holding what the one before holds.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::ReadWrite, Self::Maintenance];

    /// The name in policy files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::ReadWrite => "read_write",
            Self::Maintenance => "maintenance",
        }
    }

    /// The preset called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Whether it holds the function, for 08 and 2B with some of their sub-functions only; ask
    /// [`holds`](Self::holds) for a whole request.
    #[must_use]
    pub const fn has(self, function: FunctionCode) -> bool {
        match self {
            Self::ReadOnly => matches!(function.0, 0x01..=0x04),
            Self::ReadWrite => matches!(function.0, 0x01..=0x06 | 0x0f | 0x10 | 0x16 | 0x17),
            Self::Maintenance => function.is_public(),
        }
    }

    /// Whether it holds the request.
    #[must_use]
    pub fn holds(self, request: &crate::Request<'_>) -> bool {
        let by_sub_function =
            matches!(request.function, FunctionCode::DIAGNOSTICS | FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT);
        self.has(request.function) && (!by_sub_function || !request.changes_state())
    }
}

/// Names of the codes that have one, as policy files and records spell them.
///
/// The public ones: application protocol, section 6. The reserved ones: the list that Zeek's Modbus analyser keeps
/// (scripts/base/protocols/modbus/consts.zeek).
const NAMED: [(u8, &str); 32] = [
    (0x01, "read_coils"),
    (0x02, "read_discrete_inputs"),
    (0x03, "read_holding_registers"),
    (0x04, "read_input_registers"),
    (0x05, "write_single_coil"),
    (0x06, "write_single_register"),
    (0x07, "read_exception_status"),
    (0x08, "diagnostics"),
    (0x09, "program_484"),
    (0x0a, "poll_484"),
    (0x0b, "get_comm_event_counter"),
    (0x0c, "get_comm_event_log"),
    (0x0d, "program_584"),
    (0x0e, "poll_584"),
    (0x0f, "write_multiple_coils"),
    (0x10, "write_multiple_registers"),
    (0x11, "report_server_id"),
    (0x12, "program_884"),
    (0x13, "reset_comm_link_884"),
    (0x14, "read_file_record"),
    (0x15, "write_file_record"),
    (0x16, "mask_write_register"),
    (0x17, "read_write_multiple_registers"),
    (0x18, "read_fifo_queue"),
    (0x28, "program_concept"),
    (0x29, "multiple_function_codes"),
    (0x2b, "encapsulated_interface_transport"),
    (0x5a, "umas"),
    (0x5b, "object_messaging"),
    (0x7d, "firmware_replacement"),
    (0x7e, "program_584_984"),
    (0x7f, "report_local_address"),
];

/// Longest made-up name, `function_255`.
const MADE_UP: usize = 12;

/// `function_N` in decimal for each code, and how long it is.
static MADE_UP_NAMES: [([u8; MADE_UP], usize); 256] = made_up_names();

static NAMES: [&str; 256] = names();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs in the compiler only, where a slip is a compile error"
)]
const fn made_up_names() -> [([u8; MADE_UP], usize); 256] {
    let mut all = [(*b"function_\0\0\0", 9); 256];
    let mut code = 0;
    while code < 256 {
        let mut power = if code >= 100 {
            100
        } else if code >= 10 {
            10
        } else {
            1
        };
        while power > 0 {
            all[code].0[all[code].1] = b'0' + (code / power % 10) as u8;
            all[code].1 += 1;
            power /= 10;
        }
        code += 1;
    }
    all
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "runs in the compiler only, where a slip is a compile error"
)]
const fn names() -> [&'static str; 256] {
    let mut all = [""; 256];
    let mut code = 0;
    while code < 256 {
        let (text, len) = &MADE_UP_NAMES[code];
        all[code] = match core::str::from_utf8(text.split_at(*len).0) {
            Ok(name) => name,
            Err(_) => panic!(),
        };
        code += 1;
    }
    let mut row = 0;
    while row < NAMED.len() {
        all[NAMED[row].0 as usize] = NAMED[row].1;
        row += 1;
    }
    all
}

impl FunctionCode {
    /// 01: reads 1 to 2000 coils.
    pub const READ_COILS: Self = Self(0x01);
    /// 02: reads 1 to 2000 discrete inputs.
    pub const READ_DISCRETE_INPUTS: Self = Self(0x02);
    /// 03: reads 1 to 125 holding registers.
    pub const READ_HOLDING_REGISTERS: Self = Self(0x03);
    /// 04: reads 1 to 125 input registers.
    pub const READ_INPUT_REGISTERS: Self = Self(0x04);
    /// 05: writes one coil.
    pub const WRITE_SINGLE_COIL: Self = Self(0x05);
    /// 06: writes one holding register.
    pub const WRITE_SINGLE_REGISTER: Self = Self(0x06);
    /// 07: reads the eight exception status bits (serial line).
    pub const READ_EXCEPTION_STATUS: Self = Self(0x07);
    /// 08: diagnostics of a serial line; the sub-function says which, some change the device's state.
    pub const DIAGNOSTICS: Self = Self(0x08);
    /// 11 (0B): reads status and event counter.
    pub const GET_COMM_EVENT_COUNTER: Self = Self(0x0b);
    /// 12 (0C): reads the event log.
    pub const GET_COMM_EVENT_LOG: Self = Self(0x0c);
    /// 15 (0F): writes 1 to 1968 coils.
    pub const WRITE_MULTIPLE_COILS: Self = Self(0x0f);
    /// 16 (10): writes 1 to 123 holding registers.
    pub const WRITE_MULTIPLE_REGISTERS: Self = Self(0x10);
    /// 17 (11): reads identification and run status.
    pub const REPORT_SERVER_ID: Self = Self(0x11);
    /// 20 (14): reads parts of files.
    pub const READ_FILE_RECORD: Self = Self(0x14);
    /// 21 (15): writes parts of files.
    pub const WRITE_FILE_RECORD: Self = Self(0x15);
    /// 22 (16): changes single bits of one holding register.
    pub const MASK_WRITE_REGISTER: Self = Self(0x16);
    /// 23 (17): writes 1 to 121 holding registers, then reads 1 to 125.
    pub const READ_WRITE_MULTIPLE_REGISTERS: Self = Self(0x17);
    /// 24 (18): reads a queue of up to 31 registers.
    pub const READ_FIFO_QUEUE: Self = Self(0x18);
    /// 43 (2B): carries CANopen (MEI type 13) or reads the device identification (MEI type 14).
    pub const ENCAPSULATED_INTERFACE_TRANSPORT: Self = Self(0x2b);
    /// 90 (5A): Schneider's Unified Messaging Application Services; a vendor's, never public.
    pub const UMAS: Self = Self(0x5a);

    /// The name in snake case, such as `read_coils`; `function_66` for a code without one, so that every code has its
    /// own.
    ///
    /// Cost: one load.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// The code with this [`name`](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        (0..=u8::MAX).map(Self).find(|code| code.name() == name)
    }

    /// The names that people may write, public codes first in order of code, then the legacy and vendor ones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let listed = |public: bool| NAMED.iter().filter(move |(code, _)| Self(*code).is_public() == public);
        listed(true).chain(listed(false)).map(|(_, name)| *name)
    }

    /// Who defines the code.
    #[must_use]
    pub const fn assignment(self) -> Assignment {
        match self.0 {
            0x01..=0x08 | 0x0b | 0x0c | 0x0f..=0x11 | 0x14..=0x18 | 0x2b => Assignment::Public,
            65..=72 | 100..=110 => Assignment::UserDefined,
            0x09 | 0x0a | 0x0d | 0x0e | 0x12 | 0x13 | 0x28 | 0x29 | 0x5a | 0x5b | 0x7d..=0x7f => Assignment::Reserved,
            _ => Assignment::Unassigned,
        }
    }

    /// Whether the specification defines the code and this crate reads it; a policy refuses the others by default.
    #[must_use]
    pub const fn is_public(self) -> bool {
        matches!(self.assignment(), Assignment::Public)
    }

    /// Whether the function returns data of the device: 23 both reads and writes.
    ///
    /// False for 8 and 43, whose sub-function decides; ask
    /// [`Request::changes_state`](crate::Request::changes_state) for a whole request.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self.0, 0x01..=0x04 | 0x07 | 0x0b | 0x0c | 0x11 | 0x14 | 0x17 | 0x18)
    }

    /// Whether the function writes coils, registers or files.
    ///
    /// False for 8 and 43, whose sub-function decides; ask
    /// [`Request::changes_state`](crate::Request::changes_state) for a whole request.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self.0, 0x05 | 0x06 | 0x0f | 0x10 | 0x15..=0x17)
    }
}

impl fmt::Display for FunctionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Exception code of a response.
///
/// Source: application protocol, section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExceptionCode(pub u8);

impl ExceptionCode {
    /// 01: the server does not do this function.
    pub const ILLEGAL_FUNCTION: Self = Self(0x01);
    /// 02: an address, or address and quantity together, that the server does not have.
    pub const ILLEGAL_DATA_ADDRESS: Self = Self(0x02);
    /// 03: a value or a structure that the request may not have.
    pub const ILLEGAL_DATA_VALUE: Self = Self(0x03);
    /// 04: the server failed while it acted.
    pub const SERVER_DEVICE_FAILURE: Self = Self(0x04);
    /// 05: accepted, will take long.
    pub const ACKNOWLEDGE: Self = Self(0x05);
    /// 06: busy, ask again later.
    pub const SERVER_DEVICE_BUSY: Self = Self(0x06);
    /// 07: refused (legacy).
    pub const NEGATIVE_ACKNOWLEDGE: Self = Self(0x07);
    /// 08: a file's memory is not consistent.
    pub const MEMORY_PARITY_ERROR: Self = Self(0x08);
    /// 10 (0A): the gateway has no path to the unit.
    pub const GATEWAY_PATH_UNAVAILABLE: Self = Self(0x0a);
    /// 11 (0B): the unit behind the gateway did not answer.
    pub const GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND: Self = Self(0x0b);

    /// The name in snake case; `None` for a code that the specification does not have.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x01 => "illegal_function",
            0x02 => "illegal_data_address",
            0x03 => "illegal_data_value",
            0x04 => "server_device_failure",
            0x05 => "acknowledge",
            0x06 => "server_device_busy",
            0x07 => "negative_acknowledge",
            0x08 => "memory_parity_error",
            0x0a => "gateway_path_unavailable",
            0x0b => "gateway_target_device_failed_to_respond",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_name_and_is_found_by_it() {
        let names: HashSet<&str> = (0..=u8::MAX).map(|code| FunctionCode(code).name()).collect();
        assert_eq!(names.len(), 256);
        for code in (0..=u8::MAX).map(FunctionCode) {
            assert_eq!(FunctionCode::named(code.name()), Some(code));
        }
        assert_eq!(FunctionCode(3).name(), "read_holding_registers");
        assert_eq!(FunctionCode(0x5a).name(), "umas");
        assert_eq!(
            [FunctionCode(0), FunctionCode(66), FunctionCode(255)].map(FunctionCode::name),
            ["function_0", "function_66", "function_255"]
        );
        assert_eq!(FunctionCode::named("function_3"), None);
        assert_eq!(FunctionCode::named("function_066"), None);
        assert_eq!(FunctionCode::named("READ_COILS"), None);
    }

    #[test]
    fn assignments() {
        let count = |which| (0..=u8::MAX).filter(|code| FunctionCode(*code).assignment() == which).count();
        assert_eq!(count(Assignment::Public), 19);
        assert_eq!(count(Assignment::UserDefined), 8 + 11);
        assert_eq!(count(Assignment::Reserved), 13);
        assert_eq!(FunctionCode::names().count(), 32);
        assert_eq!(FunctionCode::names().nth(18), Some("encapsulated_interface_transport"));
        assert_eq!(FunctionCode(0x83).assignment(), Assignment::Unassigned);
    }

    #[test]
    fn presets_hold_public_functions_alone_and_grow() {
        for code in (0..=u8::MAX).map(FunctionCode) {
            let [read, write, all] = Preset::ALL.map(|preset| preset.has(code));
            assert!(write || !read, "{code}");
            assert!(all || !write, "{code}");
            assert_eq!(all, code.is_public(), "{code}");
            assert!(!read || code.is_read() && !code.is_write(), "{code}");
            // What accesses bits and registers and writes; files are no table.
            assert_eq!(write && !read, code.is_write() && code.0 != 0x15, "{code}");
        }
        for preset in Preset::ALL {
            assert_eq!(Preset::named(preset.name()), Some(preset));
            assert_eq!(FunctionCode::named(preset.name()), None, "a name means one thing");
        }
    }

    #[test]
    fn classes() {
        let of = |class: fn(FunctionCode) -> bool| (0..=u8::MAX).filter(|code| class(FunctionCode(*code))).collect();
        let reads: Vec<u8> = of(FunctionCode::is_read);
        let writes: Vec<u8> = of(FunctionCode::is_write);
        assert_eq!(reads, [1, 2, 3, 4, 7, 11, 12, 17, 20, 23, 24]);
        assert_eq!(writes, [5, 6, 15, 16, 21, 22, 23]);
    }
}
