//! What an attack of an entry's class says on the wire, and harmless traffic beside it.

use dissect::Toward;

use crate::document::{Table, Value};

/// What carries a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A TCP connection to this port.
    Tcp(u16),
    /// A datagram to this UDP port.
    Udp(u16),
    /// An ARP reply with a MAC of the attacker's, toward the robot, that claims somebody's address.
    Arp(Claim),
}

/// Whose address an ARP message claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The robot's.
    Robot,
    /// That of a device of the plant.
    Client,
}

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Everybody: peers with rules of their own and strangers.
    Anyone,
    /// Peers that no rule names: for what production itself says.
    Strangers,
}

/// One exchange. What must not come through, or, of harmless traffic, what must, is its last step; without steps it is
/// the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// What it is, for people.
    pub name: String,
    /// Who sends it.
    pub sender: Sender,
    /// Who opens the connection: [`Toward::Robot`] = the plant side does.
    pub opened: Toward,
    /// What carries it.
    pub carrier: Carrier,
    /// Bytes, each with the side that they travel to.
    pub steps: Vec<(Toward, Vec<u8>)>,
}

/// Most bytes of one step: the longest unit of a service that is no program fits several times.
const MAX_BYTES: usize = 16 * 1024;

/// Services by name with the port that a vector goes to unless it says another.
const SERVICES: [(&str, Carrier); 5] = [
    ("modbus", Carrier::Tcp(502)),
    ("rtde", Carrier::Tcp(30004)),
    ("dashboard", Carrier::Tcp(29999)),
    ("urscript", Carrier::Tcp(30001)),
    ("arp", Carrier::Arp(Claim::Client)),
];

impl Vector {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let name = table.require("name", "write name = \"...\", what it tries").and_then(|value| value.string());
        let carrier = table
            .require("service", "write service = \"dashboard\", \"tcp/22\" or another")
            .and_then(|value| carrier(&value));
        let port = table.take("port").and_then(|value| Some((value.clone(), value.integer(1..=65535)?)));
        let carrier = match (carrier, port) {
            (Some(Carrier::Tcp(_)), Some((_, port))) => u16::try_from(port).ok().map(Carrier::Tcp),
            (carrier, Some((value, _))) if carrier.is_some() => {
                value.problem("only a service over TCP has a `port`", "take it out, or write service = \"udp/PORT\"");
                None
            }
            (carrier, _) => carrier,
        };
        let claim =
            table.take("claims").and_then(|value| value.choice(&[("robot", Claim::Robot), ("client", Claim::Client)]));
        let carrier = match (carrier, claim) {
            (Some(Carrier::Arp(_)), Some(claim)) => Some(Carrier::Arp(claim)),
            (carrier, _) => carrier,
        };
        let sender = table
            .take("from")
            .and_then(|value| value.choice(&[("anyone", Sender::Anyone), ("strangers", Sender::Strangers)]));
        let opened = table
            .take("opened")
            .and_then(|value| value.choice(&[("plant", Toward::Robot), ("robot", Toward::Plant)]))
            .unwrap_or(Toward::Robot);
        let mut steps: Vec<_> = table.take("before").map(|value| before(&value)).unwrap_or_default();
        let text = table.take("text").and_then(|value| Some(value.string()?.as_bytes().to_vec()));
        let bytes = table.take("bytes").and_then(|value| hex(&value, value.string()?));
        if text.is_some() && bytes.is_some() {
            table.problem_at(table.offset(), "it has both `text` and `bytes`", "keep one of the two");
        }
        steps.extend(text.or(bytes).map(|bytes| (opened, bytes)));
        if steps.iter().any(|(_, bytes)| bytes.is_empty() || bytes.len() > MAX_BYTES) {
            let what = format!("a step has no bytes, or more than {MAX_BYTES}");
            table.problem_at(table.offset(), what, "write what goes over the wire");
        }
        if matches!(carrier, Some(Carrier::Arp(_))) && !steps.is_empty() {
            table.problem_at(table.offset(), "an ARP message is made from `claims` alone", "take the rest out");
        }
        if matches!(carrier, Some(Carrier::Udp(_))) && steps.len() != 1 {
            table.problem_at(table.offset(), "a datagram is one `text` or `bytes`", "write that alone");
        }
        table.finish();
        Some(Self {
            name: name?.to_owned(),
            sender: sender.unwrap_or(Sender::Anyone),
            opened,
            carrier: carrier?,
            steps,
        })
    }
}

fn carrier(value: &Value<'_>) -> Option<Carrier> {
    let text = value.string()?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let known = SERVICES.iter().find(|(name, _)| *name == text).map(|(_, carrier)| *carrier);
    let found = known.or_else(|| match text.split_once('/')? {
        ("tcp", number) => port(number).map(Carrier::Tcp),
        ("udp", number) => port(number).map(Carrier::Udp),
        _ => None,
    });
    if found.is_none() {
        value.unknown_name(text, SERVICES.iter().map(|(name, _)| *name).chain(["tcp/22", "udp/2222"]));
    }
    found
}

/// What goes before: `> 00 05` toward the robot, `< 00 04` its answer.
fn before(value: &Value<'_>) -> Vec<(Toward, Vec<u8>)> {
    let read = |item: &Value<'_>| {
        let text = item.string()?;
        let step = match text.split_at_checked(1) {
            Some((">", digits)) => Some((Toward::Robot, digits)),
            Some(("<", digits)) => Some((Toward::Plant, digits)),
            _ => None,
        };
        if step.is_none() {
            item.problem("a step before says no direction", "begin it with > (toward the robot) or < (its answer)");
        }
        let (toward, digits) = step?;
        Some((toward, hex(item, digits)?))
    };
    value.any_of().iter().filter_map(read).collect()
}

/// Bytes in hexadecimal, blanks between them as one likes; `41*300` is 300 times 0x41.
fn hex(value: &Value<'_>, text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in text.split_ascii_whitespace() {
        let (digits, times) = match word.split_once('*') {
            Some((digits, times)) => (digits, times.parse::<usize>().ok().filter(|times| *times <= MAX_BYTES)),
            None => (word, Some(1)),
        };
        let pairs = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            pair.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        });
        let (Some(pairs), Some(times)) = (pairs.collect::<Option<Vec<u8>>>(), times) else {
            value.problem(format!("\"{word}\" is no bytes in hexadecimal"), "write pairs of digits, or 41*300");
            return None;
        };
        bytes.extend(pairs.repeat(times));
        if bytes.len() > MAX_BYTES {
            break;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::document::{Problems, Source};

    fn vector(text: &str) -> Result<Vector, Problems> {
        let text = format!("name = \"x\"\n{text}");
        let source = Source::parse("v", &text);
        let vector = Vector::read(&source.root());
        source.finish(vector)
    }

    #[test]
    fn steps_are_read_in_order() {
        let found =
            vector("service = \"rtde\"\nbefore = [\"> 0005 56 0002\", \"< 00045601\"]\nbytes = \"41*3 ff\"").unwrap();
        assert_eq!(found.carrier, Carrier::Tcp(30004));
        let expected = [
            (Toward::Robot, vec![0, 5, 0x56, 0, 2]),
            (Toward::Plant, vec![0, 4, 0x56, 1]),
            (Toward::Robot, vec![0x41, 0x41, 0x41, 0xff]),
        ];
        assert_eq!(found.steps, expected);
        let found = vector("service = \"urscript\"\nport = 30003\ntext = \"a\\n\"\nfrom = \"strangers\"").unwrap();
        assert_eq!((found.carrier, found.sender), (Carrier::Tcp(30003), Sender::Strangers));
        let found = vector("service = \"tcp/443\"\nopened = \"robot\"").unwrap();
        assert_eq!((found.opened, found.steps.len()), (Toward::Plant, 0));
    }

    #[test]
    fn what_is_no_vector_is_told() {
        for (text, what) in [
            ("service = \"dashbord\"", "has no \"dashbord\""),
            ("service = \"tcp/0\"", "has no \"tcp/0\""),
            ("service = \"modbus\"\nbytes = \"0\"", "no bytes in hexadecimal"),
            ("service = \"modbus\"\nbytes = \"+1\"", "no bytes in hexadecimal"),
            ("service = \"modbus\"\nbytes = \"41*99999\"", "no bytes in hexadecimal"),
            ("service = \"modbus\"\nbytes = \"41*9000 41*9000\"", "more than 16384"),
            ("service = \"modbus\"\nbytes = \"\"", "has no bytes"),
            ("service = \"modbus\"\nbytes = \"00\"\ntext = \"a\"", "both `text` and `bytes`"),
            ("service = \"modbus\"\nbefore = [\"00\"]", "says no direction"),
            ("service = \"udp/53\"", "a datagram is one"),
            ("service = \"udp/53\"\nport = 4\ntext = \"a\"", "only a service over TCP"),
            ("service = \"arp\"\ntext = \"a\"", "from `claims` alone"),
            ("service = \"modbus\"\nbites = \"00\"", "unknown key `bites`"),
        ] {
            let problems = vector(text).unwrap_err().to_string();
            assert!(problems.contains(what) && problems.lines().count() == 1, "{text}: {problems}");
        }
    }
}
