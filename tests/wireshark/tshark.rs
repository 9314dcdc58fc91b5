//! What tshark makes of a capture with the dissectors of `protocols/wireshark`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The dissectors, by the names of their protocols.
pub(crate) const PROTOCOLS: [&str; 5] = ["rtde", "urclient", "urdash", "urext", "urscript"];

/// Fields of one unit with all their values, in order.
pub(crate) type Unit = BTreeMap<String, Vec<String>>;

/// Units by direction: from whom, to whom.
pub(crate) type Units = BTreeMap<(SocketAddrV4, SocketAddrV4), Vec<Unit>>;

/// Where the dissectors are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols/wireshark")
}

/// tshark with the dissectors alone, whatever the user has installed; `first` stands before them.
fn tshark(first: &[&str]) -> Command {
    let mut command = Command::new("tshark");
    command.args(first);
    command.env("HOME", env!("CARGO_TARGET_TMPDIR")).env_remove("XDG_CONFIG_HOME");
    for name in PROTOCOLS {
        command.arg("-X").arg(format!("lua_script:{}", folder().join(format!("{name}.lua")).display()));
    }
    command
}

/// Name and type of every field of the dissectors.
pub(crate) fn fields() -> BTreeMap<String, String> {
    let output = tshark(&["-G", "fields"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|parts| parts[0] == "F" && PROTOCOLS.contains(&parts[4]))
        .map(|parts| (parts[2].to_owned(), parts[3].to_owned()))
        .collect()
}

/// Runs it on a capture; a Lua error or a dissector's bug is a failure. Gives what it printed.
pub(crate) fn run(capture: &Path, arguments: &[&str]) -> String {
    let output = tshark(&[]).arg("-r").arg(capture).args(arguments).output().unwrap();
    let (text, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaint}");
    // What Wireshark writes of an error in Lua, of a call that it does not allow, and of too many items.
    for bad in ["Lua Error", "Dissector bug", "would put more than", "attempt to "] {
        let context = |text: &str| text.find(bad).map(|at| text[at..].chars().take(300).collect::<String>());
        assert_eq!(context(&text).or(context(&complaint)), None, "{}", capture.display());
    }
    text.into_owned()
}

/// The units of a capture; `passes` is 2 to read what the second look at each packet shows.
pub(crate) fn units(capture: &Path, passes: usize) -> Units {
    let filter = PROTOCOLS.join(" or ");
    let layers = format!("ip tcp {}", PROTOCOLS.join(" "));
    let mut arguments = vec!["-T", "pdml", "-J", &layers, "-Y", &filter];
    arguments.extend(["-2"].iter().take(passes - 1));
    parse(&run(capture, &arguments))
}

/// Reads PDML as tshark writes it: one element a line.
fn parse(pdml: &str) -> Units {
    let mut units = Units::new();
    let mut packet: Unit = Unit::new();
    let mut found: Vec<Unit> = Vec::new();
    let mut inside = "";
    for line in pdml.lines().map(str::trim_start) {
        if let Some(rest) = line.strip_prefix("<proto name=\"") {
            inside = rest.split('"').next().unwrap();
            if PROTOCOLS.contains(&inside) {
                found.push(Unit::new());
            }
        } else if line.starts_with("</proto>") {
            inside = "";
        } else if line.starts_with("</packet>") {
            let address = |ip: &str, port: &str| {
                let last = |name: &str| packet[name].last().unwrap().clone();
                SocketAddrV4::new(last(ip).parse().unwrap(), last(port).parse().unwrap())
            };
            let between = (address("ip.src", "tcp.srcport"), address("ip.dst", "tcp.dstport"));
            units.entry(between).or_default().append(&mut found);
            packet.clear();
        } else if let Some(rest) = line.strip_prefix("<field name=\"") {
            let name = rest.split('"').next().unwrap().to_owned();
            let show = rest.split_once(" show=\"").map_or("", |(_, rest)| rest.split('"').next().unwrap());
            let unit = match found.last_mut() {
                Some(unit) if PROTOCOLS.contains(&inside) => unit,
                _ => &mut packet,
            };
            unit.entry(name).or_default().push(plain(show));
        }
    }
    units
}

/// Without the escapes of XML.
fn plain(text: &str) -> String {
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&apos;", "'"), ("&amp;", "&")];
    marks.iter().fold(text.to_owned(), |text, (escaped, mark)| text.replace(escaped, mark))
}
