//! A Modbus/TCP server on blocking sockets, shared by the emulated controller and the remote I/O device.

use serde_json::json;

use super::journal::Connection;

/// Exception codes that the lab's devices use.
pub(crate) mod exception {
    pub(crate) const ILLEGAL_FUNCTION: u8 = 1;
    pub(crate) const ILLEGAL_ADDRESS: u8 = 2;
    pub(crate) const ILLEGAL_VALUE: u8 = 3;
}

/// The tables of one device. Addresses are zero-based; an error is a Modbus exception code.
pub(crate) trait Tables {
    /// Function codes beyond 1-6, 15 and 16: 8, 22 and 23.
    const EXTENDED: bool;

    /// A coil, or a discrete input where `input`.
    fn bit(&self, address: u16, input: bool) -> Result<bool, u8>;
    /// A holding register, or an input register where `input`.
    fn register(&self, address: u16, input: bool) -> Result<u16, u8>;
    /// Writes a coil.
    fn set_bit(&mut self, address: u16, on: bool) -> Result<(), u8>;
    /// Writes a holding register.
    fn set_register(&mut self, address: u16, value: u16) -> Result<(), u8>;
}

/// Answers one client until it leaves. A frame is executed whatever its protocol id says: there are servers that do.
pub(crate) fn serve<T: Tables>(mut connection: Connection, with_tables: impl Fn(&mut dyn FnMut(&mut T))) {
    let mut header = [0; 6];
    let mut listen_only = false;
    while connection.read_exact(&mut header) {
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if !(2..=254).contains(&length) {
            connection.did("malformed", json!({ "length": length }));
            return;
        }
        let mut body = vec![0; length];
        if !connection.read_exact(&mut body) {
            connection.did("incomplete", json!({ "length": length }));
            return;
        }
        let Some((&unit, pdu)) = body.split_first() else { return };
        let Some(&function) = pdu.first() else { return };
        let mut outcome = Err(exception::ILLEGAL_FUNCTION);
        with_tables(&mut |tables| outcome = execute(tables, pdu));
        let reply = match &outcome {
            Ok(reply) => reply.clone(),
            Err(code) => vec![function | 0x80, *code],
        };
        if !matches!(function, 1..=4) || outcome.is_err() {
            let data: String = pdu.iter().map(|byte| format!("{byte:02x}")).collect();
            connection.did(
                "modbus",
                json!({ "function": function, "unit": unit, "pdu": data, "exception": outcome.as_ref().err() }),
            );
        }
        if T::EXTENDED && pdu.get(..3) == Some(&[8, 0, 4]) {
            listen_only = true;
        }
        if listen_only {
            continue;
        }
        let mut answer = header[..4].to_vec();
        answer.extend((reply.len() as u16 + 1).to_be_bytes());
        answer.push(unit);
        answer.extend(reply);
        if !connection.write(&answer) {
            return;
        }
    }
}

fn word(pdu: &[u8], at: usize) -> Result<u16, u8> {
    match (pdu.get(at), pdu.get(at + 1)) {
        (Some(high), Some(low)) => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(exception::ILLEGAL_VALUE),
    }
}

fn span(address: u16, quantity: u16, most: u16) -> Result<std::ops::Range<u32>, u8> {
    if quantity == 0 || quantity > most {
        return Err(exception::ILLEGAL_VALUE);
    }
    let end = u32::from(address) + u32::from(quantity);
    if end > 65_536 { Err(exception::ILLEGAL_ADDRESS) } else { Ok(u32::from(address)..end) }
}

fn read_registers<T: Tables>(tables: &T, address: u16, quantity: u16, input: bool) -> Result<Vec<u8>, u8> {
    let mut reply = vec![(quantity.min(125) * 2) as u8];
    for address in span(address, quantity, 125)? {
        reply.extend(tables.register(address as u16, input)?.to_be_bytes());
    }
    Ok(reply)
}

fn write_registers<T: Tables>(tables: &mut T, address: u16, quantity: u16, most: u16, data: &[u8]) -> Result<(), u8> {
    let addresses = span(address, quantity, most)?;
    if data.len() != usize::from(quantity) * 2 {
        return Err(exception::ILLEGAL_VALUE);
    }
    for (address, value) in addresses.zip(data.chunks_exact(2)) {
        tables.set_register(address as u16, u16::from_be_bytes([value[0], value[1]]))?;
    }
    Ok(())
}

fn execute<T: Tables>(tables: &mut T, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    let function = pdu.first().copied().unwrap_or_default();
    let mut reply = vec![function];
    match function {
        1 | 2 => {
            let (address, quantity) = (word(pdu, 1)?, word(pdu, 3)?);
            let mut bytes = vec![0_u8; usize::from(quantity.min(2000)).div_ceil(8)];
            for (bit, address) in span(address, quantity, 2000)?.enumerate() {
                if tables.bit(address as u16, function == 2)? {
                    bytes[bit / 8] |= 1 << (bit % 8);
                }
            }
            reply.push(bytes.len() as u8);
            reply.extend(bytes);
        }
        3 | 4 => reply.extend(read_registers(tables, word(pdu, 1)?, word(pdu, 3)?, function == 4)?),
        5 => {
            let on = match word(pdu, 3)? {
                0xff00 => true,
                0 => false,
                _ => return Err(exception::ILLEGAL_VALUE),
            };
            tables.set_bit(word(pdu, 1)?, on)?;
            reply.extend(&pdu[1..5]);
        }
        6 => {
            tables.set_register(word(pdu, 1)?, word(pdu, 3)?)?;
            reply.extend(&pdu[1..5]);
        }
        15 => {
            let (address, quantity) = (word(pdu, 1)?, word(pdu, 3)?);
            let addresses = span(address, quantity, 1968)?;
            let data = pdu.get(6..).ok_or(exception::ILLEGAL_VALUE)?;
            if data.len() != usize::from(quantity).div_ceil(8) {
                return Err(exception::ILLEGAL_VALUE);
            }
            for (bit, address) in addresses.enumerate() {
                tables.set_bit(address as u16, data[bit / 8] >> (bit % 8) & 1 != 0)?;
            }
            reply.extend(&pdu[1..5]);
        }
        16 => {
            let data = pdu.get(6..).ok_or(exception::ILLEGAL_VALUE)?;
            write_registers(tables, word(pdu, 1)?, word(pdu, 3)?, 123, data)?;
            reply.extend(&pdu[1..5]);
        }
        8 if T::EXTENDED => reply.extend(&pdu[1..]),
        22 if T::EXTENDED => {
            let (address, and, or) = (word(pdu, 1)?, word(pdu, 3)?, word(pdu, 5)?);
            let current = tables.register(address, false)?;
            tables.set_register(address, (current & and) | (or & !and))?;
            reply.extend(&pdu[1..7]);
        }
        23 if T::EXTENDED => {
            let data = pdu.get(10..).ok_or(exception::ILLEGAL_VALUE)?;
            write_registers(tables, word(pdu, 5)?, word(pdu, 7)?, 121, data)?;
            reply.extend(read_registers(tables, word(pdu, 1)?, word(pdu, 3)?, false)?);
        }
        _ => return Err(exception::ILLEGAL_FUNCTION),
    }
    Ok(reply)
}
