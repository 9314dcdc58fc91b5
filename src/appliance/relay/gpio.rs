//! A relay at a line of a GPIO chip. Source: Linux, `Documentation/userspace-api/gpio/chardev.rst`, version 2 of the
//! interface.

use std::io;
use std::path::PathBuf;

use gpiocdev::Request;
use gpiocdev::line::Value;

use super::Relay;

/// The line is active while frames go past the box. It is held from the first order on; what it does when nobody holds it
/// is the board's.
#[derive(Debug)]
pub(super) struct Gpio {
    chip: PathBuf,
    line: u32,
    active_low: bool,
    held: Option<Request>,
}

impl Gpio {
    pub(super) fn new(chip: PathBuf, line: u32, active_low: bool) -> Self {
        Self { chip, line, active_low, held: None }
    }

    fn drive(&mut self, value: Value) -> gpiocdev::Result<()> {
        if let Some(held) = &self.held {
            return held.set_value(self.line, value);
        }
        let mut builder = Request::builder();
        builder.on_chip(&self.chip).with_consumer("vambrace bypass").with_line(self.line);
        if self.active_low {
            builder.as_active_low();
        }
        // It is given its value with the request: no other lies between.
        self.held = Some(builder.as_output(value).request()?);
        Ok(())
    }
}

impl Relay for Gpio {
    fn set(&mut self, past: bool) -> io::Result<()> {
        self.drive(if past { Value::Active } else { Value::Inactive }).map_err(|error| {
            // The chip may come back under the same name, as one behind USB does.
            self.held = None;
            io::Error::other(format!("{} line {}: {error}", self.chip.display(), self.line))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_chip_is_an_error_that_names_it() {
        let file = std::env::temp_dir().join(format!("vambrace-no-chip-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), "/no/such/gpiochip9".into(), "/dev/null".into()] {
            let mut relay = Gpio::new(path.clone(), 4, true);
            for past in [true, false] {
                let error = relay.set(past).unwrap_err().to_string();
                assert!(error.starts_with(&format!("{} line 4: ", path.display())), "{error}");
            }
        }
        std::fs::remove_file(file).unwrap();
    }
}
