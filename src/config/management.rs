//! `[management]`: the management port's place in the network, where the appliance image sets it up.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Serialize;

use crate::document::{Table, Value};

/// How the management port is reached. Only the appliance's PID 1 reads it: elsewhere the system sets its ports up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Management {
    /// Address and length of the network's prefix, such as `192.168.1.5/24`.
    #[schemars(with = "Option<String>")]
    pub address: Option<Ipv4Net>,
    /// Router to other networks.
    #[schemars(with = "Option<String>")]
    pub gateway: Option<Ipv4Addr>,
    /// Time servers, asked in this order.
    #[schemars(with = "Vec<String>")]
    pub ntp: Vec<IpAddr>,
}

/// Most time servers: one that answers is enough, and more than a few are a mistake.
const SERVERS: usize = 4;

pub(super) fn management(table: &Table<'_>) -> Management {
    let address = table.take("address").and_then(|value| address(&value));
    let gateway = table.take("gateway").and_then(|value| {
        let gateway: Ipv4Addr = parsed(&value, "an address of the management network, such as \"192.168.1.1\"")?;
        if !address.is_some_and(|own| own.contains(&gateway) && own.addr() != gateway) {
            let mend = "write the router's address, which is in the network of `address`";
            value.problem(format!("\"{gateway}\" is not reached over the management port"), mend);
            return None;
        }
        Some(gateway)
    });
    let ntp = table.take("ntp").and_then(|value| {
        let servers = value.array()?;
        if servers.len() > SERVERS {
            value.problem(format!("{} time servers", servers.len()), format!("write {SERVERS} at most"));
        }
        let such = "an address, such as \"192.168.1.1\": names are not looked up";
        Some(servers.iter().filter_map(|server| parsed(server, such)).collect())
    });
    table.finish();
    Management { address, gateway, ntp: ntp.unwrap_or_default() }
}

fn address(value: &Value<'_>) -> Option<Ipv4Net> {
    let net: Ipv4Net = parsed(value, "an address with the length of its prefix, such as \"192.168.1.5/24\"")?;
    let address = net.addr();
    let is_hosts = net.prefix_len() >= 31 || (address != net.network() && address != net.broadcast());
    let is_usable = !address.is_loopback() && !address.is_multicast() && !address.is_unspecified();
    if net.prefix_len() < 8 || !is_hosts || !is_usable {
        value.problem(format!("\"{net}\" is no address of a host"), "write one, such as \"192.168.1.5/24\"");
        return None;
    }
    Some(net)
}

fn parsed<T: std::str::FromStr>(value: &Value<'_>, such: &str) -> Option<T> {
    let text = value.string()?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        value.problem(format!("\"{text}\" can't be read"), format!("write {such}"));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<Management, String> {
        let least = "mode = \"shadow\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
                     [[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n[management]\n";
        let config = Config::parse("c.toml", &format!("{least}{text}"));
        config.map(|config| config.management).map_err(|problems| problems.to_string())
    }

    #[test]
    fn all_of_it_is_read() {
        let found =
            read("address = \"10.1.0.5/16\"\ngateway = \"10.1.0.1\"\nntp = [\"10.1.0.2\", \"fd00::1\"]\n").unwrap();
        assert_eq!(found.address.unwrap().to_string(), "10.1.0.5/16");
        assert_eq!(found.gateway.unwrap().to_string(), "10.1.0.1");
        assert_eq!(found.ntp.len(), 2);
        assert_eq!(read("").unwrap(), Management::default());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, what) in [
            ("address = \"10.1.0.5\"\n", "\"10.1.0.5\" can't be read; write an address with the length"),
            ("address = \"10.1.0.0/16\"\n", "is no address of a host"),
            ("address = \"10.1.255.255/16\"\n", "is no address of a host"),
            ("address = \"127.0.0.1/8\"\n", "is no address of a host"),
            ("address = \"10.1.0.5/16\"\ngateway = \"10.2.0.1\"\n", "not reached over the management port"),
            ("gateway = \"10.2.0.1\"\n", "not reached over the management port"),
            ("ntp = [\"pool.ntp.org\"]\n", "names are not looked up"),
            ("ntp = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\", \"10.0.0.5\"]\n", "5 time servers"),
            ("dhcp = true\n", "unknown key `dhcp`"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems.contains(what), "{text}: {problems}");
        }
    }
}
