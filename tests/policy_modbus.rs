//! What a policy says of Modbus: presets of functions, names of the controller's registers, values by proof.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

#[path = "support/policy_cell.rs"]
mod policy_cell;

use modbus::{FunctionCode, Preset};
use policy_cell::{Cell, PLC_REGISTERS, try_compile};
use vambrace::command::Command;
use vambrace::event::Reason;

#[test]
fn a_mask_write_matches_only_if_its_masks_prove_the_value() {
    let mut cell = Cell::new(PLC_REGISTERS);
    // new = (current & and) | (or & !and)
    assert_eq!(cell.modbus(&[22, 0, 128, 0, 0, 0, 100]), Reason::Allowed, "100 whatever it was");
    assert_eq!(cell.modbus(&[22, 0, 128, 0, 0x0f, 0, 0x10]), Reason::Allowed, "16 to 31");
    assert_eq!(cell.modbus(&[22, 0, 128, 0xff, 0xff, 0, 0]), Reason::ValueNotAllowed, "unchanged may be anything");
    assert_eq!(cell.modbus(&[22, 0, 128, 0, 0x7f, 0, 0]), Reason::ValueNotAllowed, "up to 127");
}

#[test]
fn both_spans_of_a_read_and_write_are_judged() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"read_write_multiple_registers\"]\n\
         read_address = [\"0..=33\"]\nwrite_address = [\"128..=131\"]\n",
    );
    let request = |read: u8, quantity: u8, write: u8| [23, 0, read, 0, quantity, 0, write, 0, 1, 2, 0, 5];
    assert_eq!(cell.modbus(&request(0, 34, 128)), Reason::Allowed);
    assert_eq!(cell.modbus(&request(0, 35, 128)), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&request(0, 1, 132)), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&request(128, 1, 0)), Reason::AddressNotAllowed, "the spans are not exchanged");
}

#[test]
fn what_has_no_known_effect_must_be_named() {
    let all = "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n";
    let mut cell = Cell::new(all);
    assert_eq!(cell.modbus(&[6, 0, 1, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[0x5a, 0, 0x41]), Reason::UnsupportedFunction);
    assert_eq!(cell.modbus(&[66, 1, 2]), Reason::UnsupportedFunction);
    assert_eq!(cell.modbus(&[0x2b, 0x0d, 1]), Reason::UnsupportedFunction, "CANopen may do anything");
    assert_eq!(cell.modbus(&[0x2b, 0x0e, 1, 0]), Reason::Allowed);
    for named in ["function = [\"umas\"]", "function = [90]", "class = [\"unknown\"]"] {
        assert_eq!(Cell::new(&format!("{all}{named}\n")).modbus(&[0x5a, 0, 0x41]), Reason::Allowed, "{named}");
    }
    // A bounded address says nothing of what writes elsewhere than to addresses.
    let mut cell = Cell::new(&format!("{all}address = \"0..=65535\"\n"));
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::AddressNotAllowed);
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 1]), Reason::Allowed);
    let mut cell = Cell::new(&format!("{all}function = [\"diagnostics\"]\nsub_function = 0\n"));
    assert_eq!(cell.modbus(&[8, 0, 0, 1, 2]), Reason::Allowed);
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::CommandNotAllowed, "loopback is not listen-only mode");
}

#[test]
fn classes_and_functions_are_named_together() {
    let mut cell = Cell::new(
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nclass = [\"read\"]\nfunction = [\"write_single_coil\"]\n",
    );
    assert_eq!(cell.modbus(&[3, 0, 0, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[5, 0, 16, 0xff, 0]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::CommandNotAllowed);
    let mut cell = Cell::new("[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\nclass = [\"register\"]\n");
    assert_eq!(cell.modbus(&[6, 0, 128, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[6, 0, 1, 0, 1]), Reason::ClassNotAllowed, "register 1 is the digital outputs");
}

fn rule(keys: &str) -> String {
    format!("[[allow]]\nid = \"a\"\nfrom = \"plc\"\nservice = \"modbus\"\n{keys}\n")
}

/// A request of every function that the dissector reads, and of some that no preset may hold.
fn requests() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![
        vec![5, 0, 16, 0xff, 0],
        vec![6, 0, 128, 0, 1],
        vec![0x0f, 0, 16, 0, 1, 1, 1],
        vec![0x10, 0, 128, 0, 1, 2, 0, 1],
        vec![0x14, 7, 6, 0, 1, 0, 0, 0, 1],
        vec![0x15, 9, 6, 0, 1, 0, 0, 0, 1, 0, 7],
        vec![0x16, 0, 128, 0, 0, 0, 1],
        vec![0x17, 0, 128, 0, 1, 0, 128, 0, 1, 2, 0, 1],
        vec![0x18, 0, 128],
        vec![0x2b, 0x0e, 1, 0],
        vec![0x2b, 0x0d, 1, 0],
        vec![0x2b, 0x0c, 1, 0],
    ];
    all.extend([1, 2, 3, 4].map(|code| vec![code, 0, 0, 0, 1]));
    all.extend([7, 0x0b, 0x0c, 0x11].map(|code| vec![code]));
    all.extend((0..=0x16_u8).map(|sub| vec![8, 0, sub, 0, 0]));
    let other = (1..=127_u8).filter(|code| !FunctionCode(*code).is_public());
    all.extend(other.map(|code| vec![code, 0, 0x41]));
    all
}

#[test]
fn every_preset_allows_what_the_function_table_says_and_nothing_else() {
    for preset in Preset::ALL {
        let mut cell = Cell::new(&rule(&format!("function = \"{}\"", preset.name())));
        let mut seen = [false; 128];
        for pdu in requests() {
            let code = FunctionCode(pdu[0]);
            seen[usize::from(code.0)] = true;
            // Read off the function table and the tables of sub-functions, not off the preset.
            let table_access = code.table().is_some() && code.0 != 0x18;
            let reads = table_access && code.is_read() && !code.is_write();
            let reads_or_writes = table_access && code.is_public() || code.0 == 0x17;
            let harmless = match code.0 {
                8 => matches!(pdu[2], 0 | 2 | 0x0b..=0x13),
                0x2b => pdu[1] == 0x0e,
                _ => code.is_public(),
            };
            let expected = match preset {
                Preset::ReadOnly => reads,
                Preset::ReadWrite => reads_or_writes,
                Preset::Maintenance => harmless,
            };
            assert_eq!(cell.modbus(&pdu) == Reason::Allowed, expected, "{} {pdu:?}", preset.name());
        }
        assert!(seen[1..].iter().all(|seen| *seen), "every function code was asked about");
    }
}

#[test]
fn presets_stand_beside_names_and_the_largest_counts() {
    let mut cell = Cell::new(&rule("function = [\"maintenance\", \"read_only\", \"umas\"]"));
    assert_eq!(cell.modbus(&[0x15, 9, 6, 0, 1, 0, 0, 0, 1, 0, 7]), Reason::Allowed);
    assert_eq!(cell.modbus(&[0x5a, 0, 0x41]), Reason::Allowed, "named by itself");
    assert_eq!(cell.modbus(&[8, 0, 4, 0, 0]), Reason::CommandNotAllowed, "it would make the device mute");
    let mut cell = Cell::new(&format!(
        "{}[[deny]]\nservice = \"modbus\"\nfunction = \"read_only\"\naddress = 9\n",
        rule("function = \"read_write\"")
    ));
    assert_eq!(cell.modbus(&[3, 0, 9, 0, 1]), Reason::DeniedByRule);
    assert_eq!(cell.modbus(&[6, 0, 9, 0, 1]), Reason::Allowed, "a denied preset denies no more than it holds");
    let problems = try_compile(&rule("function = \"read-only\"")).unwrap_err();
    assert!(problems.contains("write \"read_only\""), "{problems}");
}

#[test]
fn vendor_functions_are_refused_unless_they_are_named() {
    for keys in ["", "function = \"maintenance\"", "class = [\"read\", \"register\", \"io\"]"] {
        let mut cell = Cell::new(&rule(keys));
        for code in (1..=127_u8).map(FunctionCode).filter(|code| !code.is_public()) {
            assert_ne!(cell.modbus(&[code.0, 0, 0x41]), Reason::Allowed, "{code} {keys}");
        }
    }
}

#[test]
fn registers_are_named_where_they_stand() {
    let mut cell = Cell::new(&rule(
        "function = [\"read_holding_registers\", \"write_single_register\"]\n\
         read_address = [\"robot_mode\", \"general_purpose\", 400]\nwrite_address = \"general_purpose\"",
    ));
    for (address, reads, writes) in
        [(127_u16, false, false), (128, true, true), (255, true, true), (256, false, false), (258, true, false)]
    {
        let [high, low] = address.to_be_bytes();
        assert_eq!(cell.modbus(&[3, high, low, 0, 1]) == Reason::Allowed, reads, "{address}");
        assert_eq!(cell.modbus(&[6, high, low, 0, 1]) == Reason::Allowed, writes, "{address}");
    }
    assert_eq!(cell.modbus(&[3, 1, 0x90, 0, 1]), Reason::Allowed, "400, by its number");
    let mut cell = Cell::new(&rule("function = [\"write_single_coil\"]\naddress = \"digital_output\""));
    assert_eq!(cell.modbus(&[5, 0, 31, 0xff, 0]), Reason::Allowed);
    assert_eq!(cell.modbus(&[5, 0, 32, 0xff, 0]), Reason::AddressNotAllowed);
}

#[test]
fn every_name_means_its_addresses() {
    for (table, function) in
        [(modbus::Table::HoldingRegisters, "read_holding_registers"), (modbus::Table::Coils, "read_coils")]
    {
        for name in modbus::ur::names(table) {
            let mut cell = Cell::new(&rule(&format!("function = \"{function}\"\naddress = \"{name}\"")));
            let code = FunctionCode::named(function).unwrap().0;
            for address in 0..1000_u16 {
                let [high, low] = address.to_be_bytes();
                let allowed = cell.modbus(&[code, high, low, 0, 1]) == Reason::Allowed;
                assert_eq!(allowed, modbus::ur::name(table, address) == Some(name), "{name} {address}");
            }
        }
    }
}

#[test]
fn a_name_is_valid_only_with_the_tables_where_it_stands() {
    for (keys, mend) in [
        ("function = \"write_single_coil\"\naddress = \"digital_outputs\"", "name only functions of registers"),
        ("function = \"write_single_register\"\naddress = \"digital_output\"", "name only functions of coils"),
        ("address = \"general_purpose\"", "name only functions of registers"),
        ("function = \"read_only\"\naddress = \"general_purpose\"", "name only functions of registers"),
        ("class = \"io\"\naddress = \"general_purpose\"", "name only functions of registers"),
        ("function = \"read_coils\"\naddress = \"general_purpos\"", "use one of"),
        ("function = \"write_single_register\"\naddress = \"general_purpos\"", "write \"general_purpose\""),
    ] {
        let problems = try_compile(&rule(keys)).unwrap_err();
        assert!(problems.contains(mend), "{keys}\n{problems}");
    }
    // The states stand at the same addresses in both maps.
    let mut cell = Cell::new(&rule("function = \"read_only\"\naddress = \"is_power_on\""));
    assert_eq!(cell.modbus(&[1, 1, 4, 0, 1]), Reason::Allowed);
    assert_eq!(cell.modbus(&[4, 1, 4, 0, 1]), Reason::Allowed);
}

#[test]
fn a_refused_register_is_explained_by_its_name() {
    let mut cell = Cell::new(&rule("function = [\"write_single_register\"]\naddress = \"general_purpose\""));
    let bytes = [0, 1, 0, 0, 0, 6, 255, 6, 0, 16, 0, 200];
    let Ok(dissect::Step::Whole { unit, .. }) = modbus::Adu::step(&bytes) else { panic!("partial") };
    let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
    let verdict = cell.ask(&command);
    let nearest = cell.policy.nearest(&command, &verdict).unwrap();
    assert_eq!((nearest.key, nearest.found.as_str()), ("address", "16..=16 (analog output 0)"));
}
