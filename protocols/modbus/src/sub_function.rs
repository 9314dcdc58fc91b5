//! The second code of functions 8, 43 and 90.

/// Sub-function of 08, diagnostics.
///
/// Source: application protocol, section 6.8; 0013 and 0015, which it reserves: Modicon Modbus Protocol Reference
/// Guide, PI-MBUS-300.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Diagnostic(pub u16);

impl Diagnostic {
    /// 0000: sends the same data back, of any length.
    pub const RETURN_QUERY_DATA: Self = Self(0x0000);
    /// 0001: restarts the communication port; data FF00 clears the event log too.
    pub const RESTART_COMMUNICATIONS_OPTION: Self = Self(0x0001);
    /// 0002: reads the diagnostic register.
    pub const RETURN_DIAGNOSTIC_REGISTER: Self = Self(0x0002);
    /// 0003: changes the end character of ASCII mode.
    pub const CHANGE_ASCII_INPUT_DELIMITER: Self = Self(0x0003);
    /// 0004: mutes the device; there is no reply to this and to any later request but a restart.
    pub const FORCE_LISTEN_ONLY_MODE: Self = Self(0x0004);
    /// 000A: clears all counters and the diagnostic register.
    pub const CLEAR_COUNTERS: Self = Self(0x000a);
    /// 0014: clears the overrun counter.
    pub const CLEAR_OVERRUN_COUNTER: Self = Self(0x0014);
    /// 0015: data 0003 reads the Modbus Plus statistics, 0004 clears them.
    pub const GET_CLEAR_MODBUS_PLUS_STATISTICS: Self = Self(0x0015);

    /// The name in snake case; `None` for a reserved code.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0000 => "return_query_data",
            0x0001 => "restart_communications_option",
            0x0002 => "return_diagnostic_register",
            0x0003 => "change_ascii_input_delimiter",
            0x0004 => "force_listen_only_mode",
            0x000a => "clear_counters_and_diagnostic_register",
            0x000b => "return_bus_message_count",
            0x000c => "return_bus_communication_error_count",
            0x000d => "return_bus_exception_error_count",
            0x000e => "return_server_message_count",
            0x000f => "return_server_no_response_count",
            0x0010 => "return_server_nak_count",
            0x0011 => "return_server_busy_count",
            0x0012 => "return_bus_character_overrun_count",
            0x0013 => "return_overrun_error_count",
            0x0014 => "clear_overrun_counter_and_flag",
            0x0015 => "get_clear_modbus_plus_statistics",
            _ => return None,
        })
    }

    /// Whether it changes the state of the device or of its port, counters included.
    ///
    /// 0015 may clear, so it counts; a reserved code may do anything, so it counts too.
    #[must_use]
    pub const fn changes_state(self) -> bool {
        !matches!(self.0, 0x0000 | 0x0002 | 0x000b..=0x0013)
    }
}

/// MEI type of 43, encapsulated interface transport.
///
/// Source: application protocol, sections 6.19 to 6.21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeiType(pub u8);

impl MeiType {
    /// 0D: carries CANopen requests, which may do anything.
    pub const CANOPEN_GENERAL_REFERENCE: Self = Self(0x0d);
    /// 0E: reads vendor, product and version texts.
    pub const READ_DEVICE_IDENTIFICATION: Self = Self(0x0e);

    /// The name in snake case; `None` for a reserved type.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0d => "canopen_general_reference",
            0x0e => "read_device_identification",
            _ => return None,
        })
    }
}

/// Request code of UMAS (function 90, Schneider).
///
/// Source: no public specification. The codes 02, 04, 12, 20, 34, 50 and 58 were seen in public captures; the meanings
/// are those that public research gives and were not checked on a device, so they label a record and decide nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UmasCode(pub u8);

impl UmasCode {
    /// The name in snake case; `None` for a code that is not known.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x01 => "init_comm",
            0x02 => "read_id",
            0x03 => "read_project_info",
            0x04 => "read_plc_info",
            0x06 => "read_card_info",
            0x0a => "repeat",
            0x10 => "take_reservation",
            0x11 => "release_reservation",
            0x12 => "keep_alive",
            0x20 => "read_memory_block",
            0x22 => "read_variables",
            0x23 => "write_variables",
            0x24 => "read_coils_registers",
            0x25 => "write_coils_registers",
            0x30 => "initialize_upload",
            0x31 => "upload_block",
            0x32 => "end_upload",
            0x33 => "initialize_download",
            0x34 => "download_block",
            0x35 => "end_download",
            0x39 => "read_ethernet_master_data",
            0x40 => "start_plc",
            0x41 => "stop_plc",
            0x50 => "monitor_plc",
            0x58 => "check_plc",
            0x70 => "read_io_object",
            0x71 => "write_io_object",
            0x73 => "get_status_module",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_changing_diagnostics() {
        let named: Vec<u16> = (0..=u16::MAX).filter(|code| Diagnostic(*code).name().is_some()).collect();
        assert_eq!(named.len(), 17);
        let changing: Vec<u16> = named.into_iter().filter(|code| Diagnostic(*code).changes_state()).collect();
        assert_eq!(changing, [0x01, 0x03, 0x04, 0x0a, 0x14, 0x15]);
        assert!(Diagnostic(0x05).changes_state() && Diagnostic(0x16).changes_state());
    }

    #[test]
    fn mei_and_umas_names() {
        assert_eq!(MeiType(0x0e).name(), Some("read_device_identification"));
        assert_eq!(MeiType(0x0f).name(), None);
        assert_eq!(UmasCode(0x41).name(), Some("stop_plc"));
        assert_eq!(UmasCode(0xfe).name(), None);
    }
}
