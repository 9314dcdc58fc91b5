//! TEMP
/// T
#[derive(Debug)]
pub struct PreparedPort {
    /// n
    pub name: String,
    /// m
    pub mtu: u32,
}
/// T
#[derive(Debug)]
pub struct Prepared {
    /// p
    pub plant: PreparedPort,
    /// r
    pub robot: PreparedPort,
}
/// T
pub fn prepare(plant: &str, robot: &str) -> Result<Prepared, Vec<String>> {
    Ok(Prepared {
        plant: PreparedPort { name: plant.into(), mtu: 1500 },
        robot: PreparedPort { name: robot.into(), mtu: 1500 },
    })
}
