//! The power button: pressed, it asks for an orderly end.

use std::fs::{self, File};
use std::io::Read;
use std::sync::mpsc::Sender;

/// Size of an input event on 64-bit machines: two words of time, kind, code, value. Source: `linux/input.h`.
const EVENT: usize = 24;

/// Listens at every input device, each in a thread of its own, and sends when the power button is pressed. Says at how
/// many it listens.
#[must_use]
pub fn listen(pressed: &Sender<()>) -> usize {
    let devices = fs::read_dir("/dev/input")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("event")));
    devices
        .filter_map(|entry| {
            let mut device = File::open(entry.path()).ok()?;
            let pressed = pressed.clone();
            let listen = move || {
                let mut event = [0_u8; EVENT];
                while device.read_exact(&mut event).is_ok() {
                    if is_power(&event) && pressed.send(()).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new().name("power button".to_owned()).spawn(listen).ok()
        })
        .count()
}

fn is_power(event: &[u8; EVENT]) -> bool {
    const KEY: [u8; 2] = 1_u16.to_le_bytes();
    const POWER: [u8; 2] = 116_u16.to_le_bytes();
    const PRESSED: [u8; 4] = 1_u32.to_le_bytes();
    let [.., k1, k2, c1, c2, v1, v2, v3, v4] = event;
    [*k1, *k2] == KEY && [*c1, *c2] == POWER && [*v1, *v2, *v3, *v4] == PRESSED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_button_counts() {
        let mut event = [0xee_u8; EVENT];
        event[16..].copy_from_slice(&[1, 0, 116, 0, 1, 0, 0, 0]);
        assert!(is_power(&event));
        for (at, value) in [(16, 2), (18, 30), (20, 0), (20, 2), (23, 1)] {
            let mut other = event;
            other[at] = value;
            assert!(!is_power(&other), "byte {at}");
        }
    }
}
