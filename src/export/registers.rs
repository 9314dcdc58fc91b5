use modbus::{FunctionCode, Table, ur};

/// What stands at these addresses of a Universal Robots controller, for the requests of a function: `register 16, analog
/// output 0`. Each name once, in order of address; nothing where the controller's map has no name for any of them.
#[must_use]
pub fn register_words(function: u8, address: u16, quantity: u16) -> Option<String> {
    // 23 reads and writes holding registers.
    let table = FunctionCode(function).table()?;
    let kind = match table {
        Table::Coils => "coil",
        Table::DiscreteInputs => "discrete input",
        Table::HoldingRegisters => "register",
        Table::InputRegisters => "input register",
    };
    let last = address.saturating_add(quantity.saturating_sub(1));
    let mut names: Vec<&str> = (address..=last).filter_map(|address| ur::name(table, address)).collect();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| name.replace('_', " ")).collect();
    let place = if last > address { format!("{kind}s {address} to {last}") } else { format!("{kind} {address}") };
    Some(format!("{place}, {}{more}", shown.join(", ")))
}

/// Names that are shown of one request; a read of the whole map has a hundred.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_name() {
        let words = |function, address, quantity| register_words(function, address, quantity).unwrap_or_default();
        assert_eq!(words(6, 16, 1), "register 16, analog output 0");
        assert_eq!(words(16, 128, 4), "registers 128 to 131, general purpose");
        assert_eq!(words(5, 17, 1), "coil 17, digital output");
        assert_eq!(words(3, 258, 3), "registers 258 to 260, robot mode, is power on");
        assert!(words(3, 0, 34).ends_with(", ..."));
        assert_eq!((words(3, 34, 5), words(0x5a, 16, 1)), (String::new(), String::new()));
        assert_eq!(words(3, u16::MAX, u16::MAX), "");
    }
}
