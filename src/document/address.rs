//! Addresses as people write them.

use std::net::IpAddr;

/// `HOST:PORT` of what may have no port: a host name, an IPv4 address or an IPv6 address, that with brackets where a
/// port follows. `None` where it is none of these.
#[must_use]
pub fn with_port(text: &str, port: u16) -> Option<String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(if ip.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, own)) => (host, own.parse().ok().filter(|port| *port != 0)?),
        None => (text, port),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fine = match bare {
        Some(bare) => bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
        None => is_host(host),
    };
    fine.then(|| format!("{host}:{port}"))
}

/// The host of what [`with_port`] gave, without brackets.
#[must_use]
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn is_host(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= 253 && !text.starts_with('-') && text.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_added_where_they_are_missing() {
        for (text, whole) in [
            ("box-4", Some("box-4:7")),
            ("box-4.plant:12", Some("box-4.plant:12")),
            ("10.0.0.1", Some("10.0.0.1:7")),
            ("10.0.0.1:9", Some("10.0.0.1:9")),
            ("::1", Some("[::1]:7")),
            ("[::1]:9", Some("[::1]:9")),
            ("", None),
            (":7", None),
            ("a:0", None),
            ("a:70000", None),
            ("a b", None),
            ("[a]:7", None),
            ("-x", None),
            ("http://a", None),
        ] {
            assert_eq!(with_port(text, 7).as_deref(), whole, "{text}");
        }
        assert_eq!((host_of("[::1]:9"), host_of("a.b:9")), ("::1", "a.b"));
    }
}
