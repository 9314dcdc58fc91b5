//! Modbus server of the emulated controller, with the register map of the maker's "Modbus Server" article.

use super::state::{Program, Robot, Safety};
use crate::lab::modbus_server::{Tables, exception};

fn milli(value: f64) -> u16 {
    // Two's complement in an unsigned register.
    (value * 1000.0).round() as i16 as u16
}

impl Tables for Robot {
    const EXTENDED: bool = false;

    fn bit(&self, address: u16, _input: bool) -> Result<bool, u8> {
        match address {
            0..=15 => Ok(self.digital_in >> address & 1 != 0),
            16..=31 => Ok(self.digital_out >> (address - 16) & 1 != 0),
            260..=265 => Ok(self.register(address, false)? != 0),
            _ => Err(exception::ILLEGAL_ADDRESS),
        }
    }

    fn register(&self, address: u16, _input: bool) -> Result<u16, u8> {
        let joint = usize::from(address % 10);
        Ok(match address {
            0 => self.digital_in as u16,
            1 => self.digital_out as u16,
            16 | 18 => milli(self.analog_out[usize::from(address / 2 - 8)]),
            17 | 19 => u16::from(self.analog_type >> ((address - 17) / 2) & 1),
            20 => self.tool_voltage as u16,
            21 => (self.digital_in >> 16) as u16,
            22 => (self.digital_out >> 16) as u16,
            30 => (self.digital_in >> 8 & 0xff) as u16,
            31 => (self.digital_out >> 8 & 0xff) as u16,
            2..=15 | 23..=29 | 32..=33 => 0,
            128..=255 => self.general[usize::from(address) - 128],
            256 => 5,
            257 => 13,
            258 => self.mode as u16,
            260 => u16::from(self.powered()),
            261 => u16::from(self.safety == Safety::ProtectiveStop),
            259 | 262..=269 => 0,
            270..=275 => milli(self.q()[joint]),
            280..=285 => milli(self.qd()[joint]),
            290..=295 => milli(self.qdd()[joint] * 0.5),
            300..=305 => 31,
            310..=315 => {
                if self.powered() {
                    253
                } else {
                    239
                }
            }
            320..=325 => u16::from(self.q()[joint] < 0.0),
            400..=402 => milli(self.pose()[joint] * 10.0),
            403..=405 => milli(self.pose()[joint]),
            410..=415 => milli(self.pose_speed()[joint]),
            420..=425 => milli(self.tcp_offset[joint]),
            450 => 800,
            451 => 0,
            768 => 253,
            769 => 29,
            770 => 0,
            276..=279 | 286..=289 | 296..=299 | 306..=309 | 316..=319 | 326..=399 | 406..=409 | 416..=419 => 0,
            _ => return Err(exception::ILLEGAL_ADDRESS),
        })
    }

    fn set_bit(&mut self, address: u16, on: bool) -> Result<(), u8> {
        match address {
            16..=31 => self.set_digital_out(u32::from(address) - 16, on),
            _ => return Err(exception::ILLEGAL_ADDRESS),
        }
        Ok(())
    }

    fn set_register(&mut self, address: u16, value: u16) -> Result<(), u8> {
        let wide = u64::from(value);
        match address {
            1 => self.digital_out = (self.digital_out & !0xffff) | wide,
            2 => self.digital_out |= wide,
            3 => self.digital_out &= !wide,
            16 | 18 => self.analog_out[usize::from(address / 2 - 8)] = f64::from(value) / 1000.0,
            17 | 19 => {
                let bit = 1 << ((address - 17) / 2);
                self.analog_type = if value == 0 { self.analog_type & !bit } else { self.analog_type | bit };
            }
            20 if matches!(value, 0 | 12 | 24) => self.tool_voltage = i32::from(value),
            20 => return Err(exception::ILLEGAL_VALUE),
            31 => self.digital_out = (self.digital_out & !0xff00) | ((wide & 0xff) << 8),
            32 => self.digital_out |= (wide & 0xff) << 8,
            33 => self.digital_out &= !((wide & 0xff) << 8),
            5 | 7 | 9 | 11 => {}
            128..=255 => {
                self.general[usize::from(address) - 128] = value;
                self.steer(address, value);
            }
            _ => return Err(exception::ILLEGAL_ADDRESS),
        }
        Ok(())
    }
}

impl Robot {
    /// What the production program does with the general purpose registers: 128 is the order (1 go, 2 hold), 129 the
    /// product, which shows on outputs 4 to 7.
    fn steer(&mut self, address: u16, value: u16) {
        match (address, value) {
            (128, 1) if self.program == Program::Paused && self.safety == Safety::Normal => {
                self.program = Program::Playing;
            }
            (128, 2) if self.program == Program::Playing && !self.register_steered => self.program = Program::Paused,
            (129, product) => self.digital_out = (self.digital_out & !0xf0) | (u64::from(product & 0xf) << 4),
            _ => {}
        }
    }
}
