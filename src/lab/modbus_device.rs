//! A remote I/O device: sixteen inputs, sixteen outputs, a block of registers, over Modbus/TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::journal::{Journal, serve};
use super::modbus_server::{self, Tables, exception};

/// What the device holds.
#[derive(Debug, Default)]
struct RemoteIo {
    coils: [bool; 16],
    registers: [u16; 32],
}

impl Tables for RemoteIo {
    const EXTENDED: bool = true;

    fn bit(&self, address: u16, input: bool) -> Result<bool, u8> {
        // Input 0 is a part sensor that is always covered; the others read the outputs back.
        let coil = self.coils.get(usize::from(address)).copied().ok_or(exception::ILLEGAL_ADDRESS)?;
        Ok(if input { address == 0 || coil } else { coil })
    }

    fn register(&self, address: u16, _input: bool) -> Result<u16, u8> {
        self.registers.get(usize::from(address)).copied().ok_or(exception::ILLEGAL_ADDRESS)
    }

    fn set_bit(&mut self, address: u16, on: bool) -> Result<(), u8> {
        *self.coils.get_mut(usize::from(address)).ok_or(exception::ILLEGAL_ADDRESS)? = on;
        Ok(())
    }

    fn set_register(&mut self, address: u16, value: u16) -> Result<(), u8> {
        *self.registers.get_mut(usize::from(address)).ok_or(exception::ILLEGAL_ADDRESS)? = value;
        Ok(())
    }
}

/// Listens on `address` until the process ends.
pub(crate) fn start(address: SocketAddr, journal: &Journal) -> io::Result<()> {
    let device = Arc::new(Mutex::new(RemoteIo::default()));
    serve(address, "remote-io", journal, move |connection| {
        modbus_server::serve::<RemoteIo>(connection, |act| {
            act(&mut device.lock().unwrap_or_else(PoisonError::into_inner));
        });
    })
}
