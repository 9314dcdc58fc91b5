//! Strategies that the property and the differential tests share.
#![allow(unreachable_pub, reason = "compiled into each test on its own")]

use modbus::{Diagnostic, FileRecord, FileWrite, FunctionCode, MAX_ADU, Mbap, UnitId};
use proptest::prelude::*;

pub fn head() -> impl Strategy<Value = Mbap> {
    (any::<u16>(), any::<u8>()).prop_map(|(transaction, unit)| Mbap::new(transaction, UnitId(unit)))
}

/// An address from which `quantity` items end inside the table.
fn address(quantity: usize) -> impl Strategy<Value = u16> {
    let last = (65536 - quantity) as u16;
    prop_oneof![0..=last, Just(last)]
}

fn emitted(emit: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut buffer = [0; MAX_ADU];
    let len = emit(&mut buffer);
    buffer[..len].to_vec()
}

/// Legal requests of every public function, written by the builders.
pub fn request() -> impl Strategy<Value = Vec<u8>> {
    let read = (1u8..=4).prop_flat_map(|code| {
        let limit = if code <= 2 { 2000u16 } else { 125 };
        let quantity = prop_oneof![1..=limit, Just(limit)];
        let span = quantity.prop_flat_map(|quantity| (address(usize::from(quantity)), Just(quantity)));
        (head(), span).prop_map(move |(head, (address, quantity))| {
            emitted(|buffer| head.read(buffer, FunctionCode(code), address, quantity).unwrap().len())
        })
    });
    let coil = (head(), any::<u16>(), any::<bool>())
        .prop_map(|(head, address, on)| emitted(|buffer| head.write_single_coil(buffer, address, on).unwrap().len()));
    let register = (head(), any::<u16>(), any::<u16>()).prop_map(|(head, address, value)| {
        emitted(|buffer| head.write_single_register(buffer, address, value).unwrap().len())
    });
    let coils = (head(), prop::collection::vec(any::<bool>(), 1..=1968))
        .prop_flat_map(|(head, coils)| (Just(head), address(coils.len()), Just(coils)))
        .prop_map(|(head, address, coils)| {
            emitted(|buffer| head.write_multiple_coils(buffer, address, &coils).unwrap().len())
        });
    let registers = (head(), prop::collection::vec(any::<u16>(), 1..=123))
        .prop_flat_map(|(head, registers)| (Just(head), address(registers.len()), Just(registers)))
        .prop_map(|(head, address, registers)| {
            emitted(|buffer| head.write_multiple_registers(buffer, address, &registers).unwrap().len())
        });
    let mask = (head(), any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(head, address, and, or)| {
        emitted(|buffer| head.mask_write_register(buffer, address, and, or).unwrap().len())
    });
    let both = (head(), 1u16..=125, prop::collection::vec(any::<u16>(), 1..=121))
        .prop_flat_map(|(head, reads, registers)| {
            let addresses = (address(usize::from(reads)), address(registers.len()));
            (Just(head), addresses, Just(reads), Just(registers))
        })
        .prop_map(|(head, (from, to), reads, registers)| {
            emitted(|buffer| head.read_write_multiple_registers(buffer, (from, reads), to, &registers).unwrap().len())
        });
    let bare = (head(), prop::sample::select(vec![7u8, 0x0b, 0x0c, 0x11]))
        .prop_map(|(head, code)| emitted(|buffer| head.bare(buffer, FunctionCode(code)).unwrap().len()));
    let queue = (head(), any::<u16>())
        .prop_map(|(head, pointer)| emitted(|buffer| head.read_fifo_queue(buffer, pointer).unwrap().len()));
    let loopback = (head(), prop::collection::vec(any::<u8>(), 0..=250)).prop_map(|(head, data)| {
        emitted(|buffer| head.diagnostics(buffer, Diagnostic::RETURN_QUERY_DATA, &data).unwrap().len())
    });
    let counters = (head(), prop::sample::select(vec![1u16, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]))
        .prop_map(|(head, code)| emitted(|buffer| head.diagnostics(buffer, Diagnostic(code), &[0, 0]).unwrap().len()));
    let files = (head(), prop::collection::vec((1u16.., 0u16..=9990, 1u16..=5), 1..=20)).prop_map(|(head, parts)| {
        let records: Vec<_> =
            parts.iter().map(|&(file, record, length)| FileRecord { file, record, length, data: &[] }).collect();
        emitted(|buffer| head.read_file_record(buffer, &records).unwrap().len())
    });
    let part = (1u16.., 0u16..=9990, prop::collection::vec(any::<u16>(), 1..=8));
    let write_files = (head(), prop::collection::vec(part, 1..=10)).prop_map(|(head, parts)| {
        let records: Vec<_> = parts
            .iter()
            .map(|(file, record, registers)| FileWrite { file: *file, record: *record, registers })
            .collect();
        emitted(|buffer| head.write_file_record(buffer, &records).unwrap().len())
    });
    let identification = (head(), 1u8..=4, any::<u8>()).prop_map(|(head, code, object)| {
        emitted(|buffer| head.read_device_identification(buffer, code, object).unwrap().len())
    });
    let canopen = (head(), prop::collection::vec(any::<u8>(), 0..=251)).prop_map(|(head, data)| {
        let pdu = [&[0x2b, 0x0d][..], &data].concat();
        emitted(|buffer| head.pdu(buffer, &pdu).unwrap().len())
    });
    prop_oneof![
        4 => read, 1 => coil, 1 => register, 1 => coils, 1 => registers, 1 => mask, 1 => both, 1 => bare, 1 => queue,
        1 => loopback, 1 => counters, 1 => files, 1 => write_files, 1 => identification, 1 => canopen,
    ]
}

/// Legal responses of every public function, and exceptions.
pub fn response() -> impl Strategy<Value = Vec<u8>> {
    let bits = (head(), 1u8..=2, prop::collection::vec(any::<bool>(), 1..=2000))
        .prop_map(|(head, code, bits)| emitted(|buffer| head.bits(buffer, FunctionCode(code), &bits).unwrap().len()));
    let code = prop::sample::select(vec![3u8, 4, 0x17]);
    let registers = (head(), code, prop::collection::vec(any::<u16>(), 1..=125)).prop_map(|(head, code, registers)| {
        emitted(|buffer| head.registers(buffer, FunctionCode(code), &registers).unwrap().len())
    });
    let written = (head(), prop::sample::select(vec![0x0fu8, 0x10]), 1u16..=123)
        .prop_flat_map(|(head, code, quantity)| {
            (Just(head), Just(code), address(usize::from(quantity)), Just(quantity))
        })
        .prop_map(|(head, code, address, quantity)| {
            emitted(|buffer| head.written(buffer, FunctionCode(code), address, quantity).unwrap().len())
        });
    let queue = (head(), prop::collection::vec(any::<u16>(), 0..=31))
        .prop_map(|(head, registers)| emitted(|buffer| head.fifo_queue(buffer, &registers).unwrap().len()));
    let fixed = prop::sample::select(vec![
        (0x05, vec![0, 16, 0xff, 0]),
        (0x06, vec![0, 128, 1, 2]),
        (0x07, vec![0x6d]),
        (0x08, vec![0, 0, 0xa5, 0x37]),
        (0x0b, vec![0xff, 0xff, 1, 8]),
        (0x0c, vec![8, 0, 0, 1, 8, 1, 0x21, 0x20, 0]),
        (0x11, vec![3, 1, 2, 0xff]),
        (0x14, vec![12, 5, 6, 13, 0xfe, 0, 0x20, 5, 6, 0x33, 0xcd, 0, 0x40]),
        (0x15, vec![9, 6, 0, 4, 0, 7, 0, 1, 6, 0xaf]),
        (0x16, vec![0, 4, 0, 0xf2, 0, 0x25]),
        (0x2b, vec![0x0e, 1, 1, 0, 0, 2, 0, 3, b'a', b'b', b'c', 1, 0]),
        (0x2b, vec![0x0d, 1, 2, 3]),
    ]);
    let fixed = (head(), fixed).prop_map(|(head, (code, data))| {
        emitted(|buffer| head.response(buffer, FunctionCode(code), &data).unwrap().len())
    });
    let exceptions = (head(), 1u8..=127, 1u8..=11).prop_map(|(head, function, code)| {
        modbus::exception(head.transaction, head.unit, FunctionCode(function), modbus::ExceptionCode(code)).to_vec()
    });
    prop_oneof![1 => bits, 1 => registers, 1 => written, 1 => queue, 3 => fixed, 1 => exceptions]
}

/// The same bytes with up to five of them changed behind the header, or the PDU made shorter or longer; the length
/// field tells the truth.
pub fn damaged(units: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..=2);
    // Most fields stand at the start of the PDU.
    let head_changes = prop::collection::vec((0usize..8, prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 0..=1);
    // One more or one less than a limit.
    let steps = prop::collection::vec((0usize..12, prop_oneof![Just(1u8), Just(0xff)]), 0..=2);
    let longer = prop_oneof![3 => Just(0), 1 => -3i32..=3];
    (units, changes, head_changes, steps, longer).prop_map(|(mut unit, changes, head_changes, steps, longer)| {
        let len = unit.len() as i32 + longer;
        unit.resize((len.max(8) as usize).min(MAX_ADU), 0);
        for (index, value) in changes {
            let at = 7 + index.index(unit.len() - 7);
            unit[at] = value;
        }
        for (at, value) in head_changes {
            if let Some(byte) = unit.get_mut(7 + at) {
                *byte = value;
            }
        }
        for (at, step) in steps {
            if let Some(byte) = unit.get_mut(7 + at) {
                *byte = byte.wrapping_add(step);
            }
        }
        unit[5] = (unit.len() - 6) as u8;
        unit
    })
}
