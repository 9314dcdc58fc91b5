//! The management port: in a network namespace of its own, so that nothing that listens there can ever be reached over a
//! data port, and nothing of the guard's can be reached over this one.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::netlink::Netlink;
use crate::ports::Port;
use crate::{At, Failure};

/// The namespace, for whoever is to live in it.
pub const NAMESPACE: &str = "/run/netns/management";

/// `[management]` of a configuration, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// The port as `ports.management` names it.
    pub port: String,
    /// Address and length of the network's prefix.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Router to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<IpAddr>,
}

/// Reads a configuration that the guard has checked; `None` where it names no management port.
#[must_use]
pub fn configured(config: &str) -> Option<Management> {
    let table = config.parse::<toml::Table>().ok()?;
    let port = table.get("ports")?.get("management")?.as_str()?.to_owned();
    let of = |key: &str| table.get("management")?.get(key);
    let address = of("address").and_then(toml::Value::as_str).and_then(|text| text.split_once('/'));
    let address = address.and_then(|(address, prefix)| Some((address.parse().ok()?, prefix.parse().ok()?)));
    let gateway = of("gateway").and_then(toml::Value::as_str).and_then(|text| text.parse().ok());
    let servers = of("ntp").and_then(toml::Value::as_array).into_iter().flatten();
    let ntp = servers.filter_map(|server| server.as_str()?.parse().ok()).collect();
    Some(Management { port, address, gateway, ntp })
}

/// Whether a configuration gives the management process something to do.
#[must_use]
pub fn has_console(config: &str) -> bool {
    config.parse::<toml::Table>().is_ok_and(|table| table.contains_key("console"))
}

/// Makes the namespace, with nothing in it but a loopback.
///
/// # Errors
/// The kernel refuses.
pub fn make() -> Result<(), Failure> {
    let place = Path::new(NAMESPACE);
    place.parent().map_or(Ok(()), fs::create_dir_all).at(NAMESPACE)?;
    File::create(place).at(NAMESPACE)?;
    in_thread(|| {
        #[allow(deprecated, reason = "what is unsafe of it is to give up open files, which is not asked here")]
        rustix::thread::unshare(UnshareFlags::NEWNET).at("network namespace")?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", place).at(NAMESPACE)?;
        // No address that nobody gave: neighbours are to see the one of the configuration alone.
        for which in ["all", "default"] {
            let setting = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            if Path::new(&setting).exists() {
                fs::write(&setting, "1").at(&setting)?;
            }
        }
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).at("socket")?;
        let index = rustix::net::netdevice::name_to_index(&socket, "lo").at("lo")?;
        Netlink::open().and_then(|kernel| kernel.up(number(index))).at("lo")
    })
}

/// Moves the port into the namespace and gives it its address.
///
/// # Errors
/// The kernel refuses a step; those before it were done.
pub fn set_up(port: &Port, wanted: &Management) -> Result<(), Failure> {
    let what = format!("management port {} ({})", port.name, port.pci);
    let namespace = File::open(NAMESPACE).at(NAMESPACE)?;
    Netlink::open().and_then(|kernel| kernel.move_to(port.index, namespace.as_fd())).at(&what)?;
    in_thread(|| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).at(&what)?;
        let kernel = Netlink::open().at(&what)?;
        // Its number may be another one here.
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).at(&what)?;
        let index = number(rustix::net::netdevice::name_to_index(&socket, &port.name).at(&what)?);
        if let Some((address, prefix)) = wanted.address {
            kernel.address(index, address, prefix).at(&format!("{what}: {address}/{prefix}"))?;
        }
        kernel.up(index).at(&what)?;
        wanted.gateway.map_or(Ok(()), |gateway| kernel.default_route(gateway)).at(&format!("{what}: gateway"))
    })
}

/// Where a thread of its own is in the namespace, PID 1 is not.
fn in_thread(work: impl FnOnce() -> Result<(), Failure> + Send) -> Result<(), Failure> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(_) => Err(Failure("a thread of the management port ended".to_owned())),
    })
}

fn number(index: u32) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_port_and_its_place_are_read() {
        let text = "[ports]\nplant = \"a\"\nrobot = \"b\"\nmanagement = \"0000:00:05.0\"\n\
                    [management]\naddress = \"10.1.0.5/16\"\ngateway = \"10.1.0.1\"\nntp = [\"10.1.0.2\", \"nonsense\"]\n";
        let wanted = Management {
            port: "0000:00:05.0".to_owned(),
            address: Some((Ipv4Addr::new(10, 1, 0, 5), 16)),
            gateway: Some(Ipv4Addr::new(10, 1, 0, 1)),
            ntp: vec![IpAddr::from([10, 1, 0, 2])],
        };
        assert_eq!(configured(text), Some(wanted));
        let bare = configured("[ports]\nmanagement = \"c\"\n").unwrap();
        assert_eq!((bare.address, bare.gateway, bare.ntp), (None, None, Vec::new()));
        assert_eq!(configured("[ports]\nplant = \"a\"\n[management]\naddress = \"10.1.0.5/16\"\n"), None);
        assert_eq!(configured("[ports"), None);
        assert!(has_console("[console]\nlisten = \"10.1.0.5:7443\"\n") && !has_console("[record]\n"));
    }
}
