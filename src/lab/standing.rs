//! A cell that outlives the command that built it: `lab up`, `lab attack`, `lab down`.

use std::process::Command;

use super::LabError;
use super::attacks;
use super::cell::{self, Cell, Host, Options, Wiring};

/// Builds the cell, starts robot, appliance and cycle, and leaves them.
pub(super) fn up(name: &str, direct: bool) -> Result<(), LabError> {
    let wiring = if direct { Wiring::DirectCable } else { Wiring::Box };
    let mut cell = Cell::up(&Options { name: Some(name.into()), wiring, program: None })?;
    cell.start_robot()?;
    if !direct {
        cell.start_appliance("learn")?;
    }
    cell.start_cycle()?;
    println!("cell {name} stands; its files are in {}", cell.directory().display());
    for host in Host::ADDRESSED {
        println!("  {:12} {:12} ip netns exec {} bash", host.name(), host.address(), cell.namespace(host));
    }
    println!("take it down with `vambrace lab down {name}`");
    cell.detach();
    Ok(())
}

/// Runs attacks in a standing cell.
pub(super) fn attack(cell: &str, from: Host, name: Option<&str>) -> Result<(), LabError> {
    if !cell::stands(cell)? {
        return Err(LabError::Said(format!("no cell called {cell} stands; run `vambrace lab up {cell}`")));
    }
    let program = std::env::current_exe().map_err(LabError::io("path of this program"))?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &cell::namespace(cell, from)]).arg(program);
    command.args(["lab", "actor", "attacks", "--host", from.name()]);
    if let Some(name) = name {
        command.args(["--name", name]);
    }
    let status = command.status().map_err(LabError::io("cannot run ip; install the package iproute2"))?;
    if status.success() { Ok(()) } else { Err(LabError::Said("the attack could not be run".into())) }
}

/// Names every attack, where it is known from, and what it would do.
pub(super) fn list_attacks() {
    for attack in attacks::all() {
        println!("{:26} {:32} {}", attack.name, attack.source, attack.description);
    }
}

/// Takes a cell down.
pub(super) fn down(name: &str) -> Result<(), LabError> {
    if cell::down(name)? == 0 {
        return Err(LabError::Said(format!("no cell called {name} stands")));
    }
    let _already_gone = std::fs::remove_dir_all(cell::directory_of(name));
    Ok(())
}
