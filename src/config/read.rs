//! From TOML to [`Config`], with every problem.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Age, Asset, Auditor, Bypass, BypassDriver, Config, Console, Control, DcpSet, Fail, FailState, FastPath, Guard,
    Ipv6, Layer2, Layer2Protocol, Link, MidStream, Mode, OnCrash, OnMidStream, OnMidStreamText, Patches, PolicyFile,
    Polling, Ports, Profile, Record, Side, Size,
};
use crate::document::{Problems, Source, Table, Value};

const MODE_MEND: &str = "write mode = \"observe\", \"learn\", \"shadow\" or \"enforce\"";

pub(super) fn config(name: &str, text: &str) -> Result<Config, Problems> {
    let source = Source::parse(name, text);
    if source.has_problems() {
        return source.finish(None);
    }
    let root = source.root();
    let mode = root.require("mode", MODE_MEND).and_then(|value| value.choice(&Mode::NAMED));
    let ports = ports(&root);
    let management =
        root.table("management").map_or_else(Default::default, |table| super::management::management(&table));
    let (bypass, driver) = root.table("bypass").map_or_else(Default::default, |table| bypass(&table));
    let fail = root.table("fail").map_or_else(Fail::default, |table| fail(&table, &bypass));
    if let Some(value) = driver
        && bypass.driver == BypassDriver::Watchdog
        && fail.power == FailState::Closed
    {
        let what = "a relay that is held by a timer leads frames past a box that has no power";
        value.problem(what, "write power = \"open\" in [fail], or use another driver");
    }
    let link = root.table("link").map_or_else(Link::default, |table| {
        let mirror = table.take("mirror").and_then(|value| value.boolean()).unwrap_or_default();
        table.finish();
        Link { mirror }
    });
    let midstream = root.table("midstream").map_or_else(MidStream::default, |table| midstream(&table));
    let fast_path = root.table("fast_path").map_or_else(FastPath::default, |table| fast_path(&table));
    let layer2 = root.table("layer2").map_or_else(Layer2::default, |table| layer2(&table));
    let guard = root.table("guard").map_or_else(Guard::default, |table| guard(&table));
    let assets = assets(&source, &root);
    let record = root.table("record").map_or_else(Record::default, |table| record(&table));
    let evidence =
        root.table("evidence").map_or_else(super::Evidence::default, |table| super::evidence::evidence(&table));
    let policy = root.table("policy").map_or_else(PolicyFile::default, |table| {
        let file = path(&table, "file").unwrap_or_else(|| PolicyFile::default().file);
        table.finish();
        PolicyFile { file }
    });
    let control = root.table("control").map_or_else(Control::default, |table| {
        let value = table.take("socket");
        let socket = value.as_ref().and_then(absolute).unwrap_or_else(|| Control::default().socket);
        // The address of a Unix socket holds 108 bytes with its final zero.
        if socket.as_os_str().len() > 107
            && let Some(value) = value
        {
            value.problem("the socket's path is longer than 107 bytes", "write a shorter path");
        }
        table.finish();
        Control { socket }
    });
    let patches = root.table("patches").map_or_else(Patches::default, |table| patches(&table));
    let console = root.table("console").map_or_else(Console::default, |table| super::console::console(&table));
    root.finish();
    let whole = mode.zip(ports).map(|(mode, ports)| Config {
        mode,
        ports,
        management,
        fail,
        bypass,
        link,
        midstream,
        fast_path,
        layer2,
        guard,
        assets,
        record,
        evidence,
        policy,
        control,
        patches,
        console,
    });
    source.finish(whole)
}

fn ports(root: &Table<'_>) -> Option<Ports> {
    let table = root.require("ports", "write [ports] with plant = \"...\" and robot = \"...\"")?.table()?;
    let mend = "name a network interface, such as \"enp1s0\"";
    let (plant, robot) = (table.require("plant", mend), table.require("robot", mend));
    let management = table.take("management");
    table.finish();
    let mut seen: Vec<String> = Vec::new();
    let mut name = |value: &Value<'_>| {
        let text = value.string()?;
        if text.is_empty() || text.contains(char::is_whitespace) {
            value.problem(format!("\"{text}\" names no interface"), mend);
            return None;
        }
        if seen.iter().any(|other| other.eq_ignore_ascii_case(text)) {
            value.problem(format!("\"{text}\" is used for two ports"), "give every port its own interface");
            return None;
        }
        seen.push(text.to_owned());
        Some(text.to_owned())
    };
    let plant = plant.as_ref().and_then(&mut name);
    let robot = robot.as_ref().and_then(&mut name);
    let management = management.as_ref().and_then(&mut name);
    Some(Ports { plant: plant?, robot: robot?, management })
}

fn fail(table: &Table<'_>, bypass: &Bypass) -> Fail {
    let state = |value: &Value<'_>| value.choice(&[("closed", FailState::Closed), ("open", FailState::Open)]);
    let (crash, power) = (table.take("crash"), table.take("power"));
    table.finish();
    let crash = crash.and_then(|value| {
        value.choice(&[("by_mode", OnCrash::ByMode), ("closed", OnCrash::Closed), ("open", OnCrash::Open)])
    });
    let wanted = power.as_ref().and_then(state);
    if let Some(value) = power
        && wanted == Some(FailState::Open)
        && bypass.driver == BypassDriver::None
    {
        let mend = "write \"closed\", or name the relay's driver in [bypass]";
        value.problem("without power only a relay leads frames past the box", mend);
    }
    let default = Fail::default();
    Fail { crash: crash.unwrap_or(default.crash), power: wanted.unwrap_or(default.power) }
}

/// The relay, and where its driver stands.
fn bypass<'a>(table: &Table<'a>) -> (Bypass, Option<Value<'a>>) {
    let default = Bypass::default();
    let value = table.take("driver");
    let driver = value.as_ref().and_then(|value| {
        let driver = value.choice(&BypassDriver::NAMED)?;
        let needs: &[(&str, &str)] = match driver {
            BypassDriver::None => &[],
            BypassDriver::Command => &[("command", "write command = [\"/path/of/program\"]")],
            BypassDriver::Gpio => {
                &[("device", "write device = \"/dev/gpiochip0\""), ("line", "write line = 4, its number at the chip")]
            }
            BypassDriver::Watchdog => &[("device", "write device = \"/dev/...\", the timer of the bypass card")],
        };
        for (key, mend) in needs.iter().filter(|(key, _)| !table.has(key)) {
            value.problem(format!("the driver {} has no `{key}`", value.raw()), *mend);
        }
        Some(driver)
    });
    let command = table.take("command").map(|value| {
        let words = value.any_of();
        if let Some(program) = words.first() {
            // The service has no PATH of a person.
            let _ = absolute(program);
        }
        words.iter().filter_map(|word| word.string().map(str::to_owned)).collect()
    });
    let device = table.take("device").and_then(|device| {
        // As the sample has it: none.
        if device.as_string() == Some("") { None } else { absolute(&device) }
    });
    let line = table.take("line").and_then(|line| u32::try_from(line.integer(0..=65535)?).ok());
    let active_low = table.take("active_low").and_then(|value| value.boolean());
    table.finish();
    let bypass = Bypass {
        driver: driver.unwrap_or(default.driver),
        command: command.unwrap_or(default.command),
        device: device.unwrap_or(default.device),
        line: line.unwrap_or(default.line),
        active_low: active_low.unwrap_or(default.active_low),
    };
    (bypass, value)
}

fn midstream(table: &Table<'_>) -> MidStream {
    let modbus = table.take("modbus");
    let modbus = modbus.and_then(|value| value.choice(&[("reset", OnMidStream::Reset), ("adopt", OnMidStream::Adopt)]));
    let text = table.take("text").and_then(|value| {
        if value.as_string() == Some("adopt") {
            value.problem("only Modbus connections can be adopted", "write \"reset\"");
            return None;
        }
        value.choice(&[("reset", OnMidStreamText::Reset)])
    });
    table.finish();
    let default = MidStream::default();
    MidStream { modbus: modbus.unwrap_or(default.modbus), text: text.unwrap_or(default.text) }
}

fn fast_path(table: &Table<'_>) -> FastPath {
    let default = FastPath::default();
    let workers = table.take("workers");
    if let Some(value) = &workers
        && let Some(count) = value.integer(1..=64)
        && count > 1
    {
        let what = format!("{count} workers: all that passes one robot's cable is judged by one");
        value.problem(what, "write workers = 1");
    }
    let cores_value = table.take("cores");
    let cores = cores_value.as_ref().map_or(default.cores, |value| {
        // The kernel's CPU_SETSIZE is 1024.
        let numbers = value.any_of().into_iter().filter_map(|item| item.integer(0..=1023));
        numbers.filter_map(|number| u16::try_from(number).ok()).collect()
    });
    if let Some(value) = &cores_value
        && cores.len() != 1
        && value.any_of().len() == cores.len()
    {
        let what = format!("1 worker has {} cores", cores.len());
        value.problem(what, "write one core a worker, such as cores = [1]");
    }
    let polling = table.take("polling").and_then(|value| value.choice(&Polling::NAMED));
    let ring_frames = table.take("ring_frames").and_then(|value| {
        let number = u32::try_from(value.integer(256..=65536)?).ok()?;
        if !number.is_power_of_two() {
            let near = number.checked_next_power_of_two().unwrap_or(65536);
            value.problem(format!("{number} is no power of two"), format!("write {near}"));
        }
        Some(number)
    });
    table.finish();
    FastPath {
        workers: default.workers,
        cores,
        polling: polling.unwrap_or(default.polling),
        ring_frames: ring_frames.unwrap_or(default.ring_frames),
    }
}

fn layer2(table: &Table<'_>) -> Layer2 {
    let default = Layer2::default();
    let pass = table.take("pass").map(|value| {
        let mut protocols: Vec<Layer2Protocol> = Vec::new();
        for item in value.any_of() {
            let Some(protocol) = item.choice(&Layer2Protocol::NAMED) else { continue };
            if protocols.contains(&protocol) {
                item.problem(format!("{} stands twice", item.raw()), "take one out");
            }
            protocols.push(protocol);
        }
        protocols
    });
    let set = table.take("profinet_dcp_set");
    let set = set.and_then(|value| value.choice(&[("refuse", DcpSet::Refuse), ("pass", DcpSet::Pass)]));
    let ipv6 = table.take("ipv6").and_then(|value| value.choice(&[("refuse", Ipv6::Refuse), ("pass", Ipv6::Pass)]));
    table.finish();
    Layer2 {
        pass: pass.unwrap_or(default.pass),
        profinet_dcp_set: set.unwrap_or(default.profinet_dcp_set),
        ipv6: ipv6.unwrap_or(default.ipv6),
    }
}

fn guard(table: &Table<'_>) -> Guard {
    let most = table.take("connections_per_second").and_then(|value| value.integer(0..=10_000));
    let late = table.take("late_ms").and_then(|value| value.integer(0..=1_000));
    table.finish();
    let default = Guard::default();
    let number = |given: Option<_>, unless_given| given.and_then(|it| u32::try_from(it).ok()).unwrap_or(unless_given);
    Guard {
        connections_per_second: number(most, default.connections_per_second),
        late_ms: number(late, default.late_ms),
    }
}

fn record(table: &Table<'_>) -> Record {
    let default = Record::default();
    let directory = path(table, "directory");
    let size_budget = table.take("size_budget").and_then(|value| {
        let text = value.string()?;
        let Ok(size) = text.parse::<Size>() else {
            value.problem(format!("\"{text}\" is no size"), "write a number and a unit, such as \"8 GiB\"");
            return None;
        };
        // Below this a single busy minute pushes out the refusals of the minute before.
        if size.bytes() < 64 << 20 {
            value.problem(format!("{size} is too little for records"), "write at least \"64 MiB\"");
        }
        Some(size)
    });
    let max_age = table.take("max_age").and_then(|value| {
        let text = value.string()?;
        let Ok(age) = text.parse::<Age>() else {
            value.problem(format!("\"{text}\" is no age"), "write a number and a unit, such as \"90 days\"");
            return None;
        };
        // Segments last ten minutes: below an hour next to nothing would be kept.
        if age.time() < Duration::from_secs(3600) {
            value.problem(format!("{age} is too little for records"), "write at least \"1 hour\"");
        }
        Some(age)
    });
    let witnesses = table.take("witness").and_then(|value| value.array()).unwrap_or_default();
    let witness: Vec<PathBuf> = witnesses.iter().filter_map(absolute).collect();
    let counter = table.take("counter").and_then(|value| absolute(&value));
    let encrypt_to = table.take("encrypt_to").map(|value| auditors(&value)).unwrap_or_default();
    let event_lines = table.take("event_lines").and_then(|value| value.boolean());
    table.finish();
    Record {
        directory: directory.unwrap_or(default.directory),
        size_budget: size_budget.unwrap_or(default.size_budget),
        max_age,
        witness,
        counter,
        encrypt_to,
        event_lines: event_lines.unwrap_or(default.event_lines),
    }
}

/// One auditor's public key, or a list of them.
fn auditors(value: &Value<'_>) -> Vec<Auditor> {
    /// More would make every segment's beginning long, and nobody gives evidence to more.
    const MOST: usize = 16;
    let mut found: Vec<Auditor> = Vec::new();
    for item in value.any_of() {
        let Some(text) = item.string() else { continue };
        match text.parse::<Auditor>() {
            Ok(auditor) if found.iter().any(|other| other.public == auditor.public) => {
                item.problem(format!("the key of {} stands there twice", auditor.name), "leave one of them out");
            }
            Ok(auditor) => found.push(auditor),
            Err(error) => item.problem(
                format!("`encrypt_to` {error}"),
                "write the line of the file that ends in .pub and that `vambrace evidence keygen NAME` makes",
            ),
        }
    }
    if found.len() > MOST {
        value.problem(format!("{} keys are too many", found.len()), "name 16 at most");
    }
    found
}

fn patches(table: &Table<'_>) -> Patches {
    let file = path(table, "file");
    let key = table.take("key").and_then(|value| {
        let text = value.string()?;
        let digits = text.strip_prefix("ed25519:");
        if !digits.is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            value.problem("the issuer's key is not readable", "write \"ed25519:\" and 64 hexadecimal digits");
            return None;
        }
        Some(text.to_owned())
    });
    // A pack that nobody vouches for is none, and a key alone means a forgotten file.
    for (has, key, other) in [("file", "key", "the issuer's public key"), ("key", "file", "the path of the pack")] {
        if table.has(has) && !table.has(key) {
            let mend = format!("write {key} = {other}");
            table.problem_at(table.offset(), format!("`patches` has `{has}` without `{key}`"), mend);
        }
    }
    table.finish();
    Patches { file, key }
}

pub(super) fn path(table: &Table<'_>, key: &'static str) -> Option<std::path::PathBuf> {
    let value = table.take(key)?;
    let text = value.string()?;
    if text.is_empty() {
        value.problem(format!("`{key}` is empty"), "write a path");
        return None;
    }
    Some(text.into())
}

fn absolute(value: &Value<'_>) -> Option<std::path::PathBuf> {
    let text = value.string()?;
    if !text.starts_with('/') {
        value.problem(format!("\"{text}\" is no absolute path"), "begin it with /");
        return None;
    }
    Some(text.into())
}

fn assets(source: &Source<'_>, root: &Table<'_>) -> Vec<Asset> {
    let tables = root.tables("asset");
    let mut assets: Vec<Asset> = Vec::new();
    let mut robots = 0_usize;
    for table in &tables {
        let side = table.require("side", "write side = \"robot\" or side = \"plant\"");
        let parsed_side =
            side.as_ref().and_then(|value| value.choice(&[("robot", Side::Robot), ("plant", Side::Plant)]));
        if parsed_side == Some(Side::Robot) {
            robots = robots.saturating_add(1);
            if robots > 1
                && let Some(value) = &side
            {
                value.problem("a second asset with side = \"robot\"", "one box guards one robot: write \"plant\" here");
            }
        }
        let name = table.require("name", "write name = \"...\"").and_then(|value| {
            let text = value.string()?;
            if text.is_empty() || text.contains(|c: char| c.is_control()) {
                value.problem("the asset has no usable name", "write a name of printable characters");
                return None;
            }
            if text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok() || text == "any" {
                value.problem(
                    format!("the name \"{text}\" would be read as an address in a policy"),
                    "choose a name that is no address",
                );
                return None;
            }
            if assets.iter().any(|other| other.name == text) {
                value.problem(format!("a second asset is called \"{text}\""), "give every asset its own name");
                return None;
            }
            Some(text.to_owned())
        });
        let ip = table.require("ip", "write ip = \"...\"").and_then(|value| {
            let text = value.string()?;
            let Ok(ip) = text.parse::<IpAddr>() else {
                let mend = if text.contains('/') {
                    "write one address; a policy may name networks directly"
                } else {
                    "write an address such as \"192.168.0.10\""
                };
                value.problem(format!("\"{text}\" is no IP address"), mend);
                return None;
            };
            if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]) {
                value.problem(format!("{ip} is the address of no single device"), "write the device's own address");
                return None;
            }
            if let Some(other) = assets.iter().find(|other| other.ip == ip) {
                let what = format!("the address {ip} is also that of \"{}\"", other.name);
                value.problem(what, "give every asset its own address");
                return None;
            }
            Some(ip)
        });
        let mac = table.take("mac").and_then(|value| mac(&value, &assets));
        let profile_value = table.take("profile");
        if let (Some(value), Some(Side::Plant)) = (&profile_value, parsed_side) {
            value.problem("only the robot has a profile", "take it out");
        }
        let profile = profile_value.and_then(|value| profile(&value));
        table.finish();
        if let (Some(name), Some(ip), Some(side)) = (name, ip, parsed_side) {
            let profile = (side == Side::Robot).then(|| profile.unwrap_or_default());
            assets.push(Asset { name, ip, mac, profile, side });
        }
    }
    if robots == 0 && !tables.iter().any(|table| table.has("side") && !table.has("ip")) {
        let at = tables.first().map_or(0, Table::offset);
        source.problem(at, "no asset has side = \"robot\"", "write [[asset]] with name, ip and side = \"robot\"");
    }
    assets
}

fn profile(value: &Value<'_>) -> Option<Profile> {
    value.choice(&[
        ("ur-cb3", Profile::UrCb3),
        ("ur-e-series", Profile::UrESeries),
        ("polyscope-x", Profile::PolyscopeX),
    ])
}

fn mac(value: &Value<'_>, assets: &[Asset]) -> Option<[u8; 6]> {
    let text = value.string()?;
    let parts: Vec<_> = text.split([':', '-']).collect();
    let octets = parts.iter().map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten());
    let octets = octets.collect::<Option<Vec<u8>>>().and_then(|octets| <[u8; 6]>::try_from(octets).ok());
    let Some(octets) = octets else {
        value.problem(format!("\"{text}\" is no MAC address"), "write six pairs such as \"00:1b:1b:aa:bb:cc\"");
        return None;
    };
    if octets.first().is_some_and(|first| first & 1 == 1) || octets == [0; 6] {
        value.problem(format!("\"{text}\" is the MAC address of no single device"), "write the device's own MAC");
        return None;
    }
    if let Some(other) = assets.iter().find(|other| other.mac == Some(octets)) {
        value.problem(format!("the MAC is also that of \"{}\"", other.name), "give every asset its own MAC");
        return None;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::super::SAMPLE;
    use super::*;

    const LEAST: &str = "mode = \"shadow\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
                         [[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n";

    fn wrong(text: &str) -> String {
        config("c.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_sample_says_the_defaults() {
        let sample = config("sample", SAMPLE).unwrap();
        let least = config("least", LEAST).unwrap();
        assert_eq!(sample.fail, least.fail);
        assert_eq!(sample.bypass, least.bypass);
        assert_eq!(sample.link, least.link);
        assert_eq!(sample.midstream, least.midstream);
        assert_eq!(sample.fast_path, least.fast_path);
        assert_eq!(sample.layer2, least.layer2);
        assert_eq!(sample.guard, least.guard);
        assert_eq!(sample.record, least.record);
        assert_eq!(sample.evidence, least.evidence);
        assert_eq!(sample.policy, least.policy);
        assert_eq!(sample.control, least.control);
        assert_eq!(sample.patches, least.patches);
        assert_eq!(sample.console, least.console);
        assert_eq!(sample.robot().unwrap().profile, least.robot().unwrap().profile);
    }

    #[test]
    fn the_sample_and_the_schema_have_the_same_keys() {
        let schema = Config::schema();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        let root = schema["properties"].as_object().unwrap();
        let sample: toml::Table = SAMPLE.parse().unwrap();
        for key in root.keys() {
            assert!(sample.contains_key(key), "{key} is not in the sample");
        }
        for (key, value) in &sample {
            let of = |value: &toml::Value, name: &str| {
                let known = schema["definitions"][name]["properties"].as_object().unwrap();
                for key in value.as_table().unwrap().keys() {
                    assert!(known.contains_key(key), "{name}.{key}");
                }
            };
            match key.as_str() {
                "mode" => {}
                "asset" => of(&value[0], "Asset"),
                _ => {
                    let reference = root[key].to_string();
                    let name = reference.split("definitions/").nth(1).unwrap().split('"').next().unwrap().to_owned();
                    of(value, &name);
                }
            }
        }
    }

    #[test]
    fn all_problems_at_once_with_their_places() {
        let text = "mod = \"learn\"\n[ports]\nplant = \"a\"\nrobot = \"a\"\n[fail]\npower = \"open\"\n\
                    [midstream]\ntext = \"adopt\"\n[fast_path]\npolling = \"buzy\"\nring_frames = 1000\ncores = [2000]\n\
                    [[asset]]\nname = \"x\"\nip = \"10.0.0.300\"\nside = \"plant\"\nmac = \"1:2\"\n";
        assert_eq!(
            wrong(text).lines().map(|line| line.strip_prefix("c.toml:").unwrap()).collect::<Vec<_>>(),
            [
                "1:1: `mode` is missing; write mode = \"observe\", \"learn\", \"shadow\" or \"enforce\"",
                "1:1: unknown key `mod` at the top level; write `mode` or take it out",
                "4:9: \"a\" is used for two ports; give every port its own interface",
                "6:9: without power only a relay leads frames past the box; write \"closed\", or name the relay's driver \
                 in [bypass]",
                "8:8: only Modbus connections can be adopted; write \"reset\"",
                "10:11: `fast_path.polling` has no \"buzy\"; write \"busy\" or another of busy, adaptive, blocking",
                "11:15: 1000 is no power of two; write 1024",
                "12:10: `fast_path.cores` is 2000; write a number from 0 to 1023",
                "13:1: no asset has side = \"robot\"; write [[asset]] with name, ip and side = \"robot\"",
                "15:6: \"10.0.0.300\" is no IP address; write an address such as \"192.168.0.10\"",
                "17:7: \"1:2\" is no MAC address; write six pairs such as \"00:1b:1b:aa:bb:cc\"",
            ]
        );
    }

    #[test]
    fn a_pack_and_its_key_come_together() {
        let key = format!("ed25519:{}", "0a".repeat(32));
        let with = |text: &str| config("c.toml", &format!("{LEAST}[patches]\n{text}"));
        let both = with(&format!("file = \"p.toml\"\nkey = \"{key}\"\n")).unwrap();
        assert_eq!(both.patches.key, Some(key.clone()));
        for (text, what) in [
            ("file = \"p.toml\"\n".to_owned(), "has `file` without `key`"),
            (format!("key = \"{key}\"\n"), "has `key` without `file`"),
            (format!("file = \"p.toml\"\nkey = \"{key}0\"\n"), "key is not readable"),
            ("files = 1\n".to_owned(), "unknown key `files`"),
        ] {
            let problems = with(&text).unwrap_err().to_string();
            assert!(problems.contains(what) && problems.lines().count() == 1, "{problems}");
        }
    }

    #[test]
    fn a_relay_has_a_driver_and_its_driver_a_program() {
        let with = |text: &str| config("c.toml", &format!("{LEAST}{text}"));
        let open = with("[fail]\ncrash = \"open\"\n").unwrap();
        assert_eq!((open.fail.crash, open.fail.power), (OnCrash::Open, FailState::Closed));
        let relay = "[bypass]\ndriver = \"command\"\ncommand = [\"/usr/lib/relay\", \"7\"]\n";
        let whole = with(&format!("{relay}[fail]\npower = \"open\"\n")).unwrap();
        assert_eq!(whole.bypass.command, ["/usr/lib/relay", "7"]);
        assert_eq!(whole.fail.power, FailState::Open);
        let gpio = with("[bypass]\ndriver = \"gpio\"\ndevice = \"/dev/gpiochip1\"\nline = 7\nactive_low = true\n");
        let gpio = gpio.unwrap().bypass;
        assert_eq!((gpio.driver, gpio.line, gpio.active_low), (BypassDriver::Gpio, 7, true));
        assert_eq!(gpio.device, PathBuf::from("/dev/gpiochip1"));
        let timer = "[bypass]\ndriver = \"watchdog\"\ndevice = \"/dev/watchdog1\"\n";
        assert_eq!(with(&format!("{timer}[fail]\npower = \"open\"\n")).unwrap().bypass.driver, BypassDriver::Watchdog);
        for (text, what) in [
            (timer, "a box that has no power; write power = \"open\""),
            ("[bypass]\ndriver = \"gpio\"\nline = 7\n", "has no `device`"),
            ("[bypass]\ndriver = \"gpio\"\ndevice = \"/dev/gpiochip1\"\n", "has no `line`"),
            ("[bypass]\ndriver = \"watchdog\"\n[fail]\npower = \"open\"\n", "has no `device`"),
            ("[bypass]\ndriver = \"gpio\"\ndevice = \"chip\"\nline = 7\n", "no absolute path"),
            ("[bypass]\ndriver = \"relay\"\n", "one of none, command, gpio, watchdog"),
            ("[fail]\npower = \"open\"\n", "without power only a relay"),
            ("[bypass]\ndriver = \"command\"\n", "has no `command`"),
            ("[bypass]\ndriver = \"command\"\ncommand = [\"relay\"]\n", "no absolute path"),
        ] {
            let problems = with(text).unwrap_err().to_string();
            assert!(problems.contains(what) && problems.lines().count() == 1, "{problems}");
        }
    }

    #[test]
    fn assets_are_told_apart() {
        let more = format!("{LEAST}[[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n");
        let text = wrong(&more);
        assert!(text.contains("a second asset is called \"arm\""), "{text}");
        assert!(text.contains("the address 10.0.0.1 is also that of \"arm\""), "{text}");
        assert!(text.contains("a second asset with side = \"robot\""), "{text}");
    }

    #[test]
    fn one_robot_has_one_worker() {
        let text = wrong(&LEAST.replace("[ports]", "[fast_path]\nworkers = 2\n[ports]"));
        assert!(
            text.contains("2 workers: ") && text.contains("write workers = 1") && text.lines().count() == 1,
            "{text}"
        );
    }

    #[test]
    fn each_way_of_polling_is_read_by_its_name() {
        for (name, polling) in Polling::NAMED {
            let text = LEAST.replace("[ports]", &format!("[fast_path]\npolling = \"{name}\"\n[ports]"));
            assert_eq!(config("c.toml", &text).unwrap().fast_path.polling, polling);
            assert_eq!(polling.name(), name);
        }
    }

    #[test]
    fn where_and_how_long_records_are_kept() {
        let with = |more: &str| LEAST.to_owned() + "[record]\n" + more;
        let record = config("c.toml", &with("max_age = \"90 days\"\nwitness = [\"/media/usb/a\"]\ncounter = \"/c\"\n"));
        let record = record.unwrap().record;
        assert_eq!(record.max_age, Some(Age(90 * 86_400)));
        assert_eq!((record.witness, record.counter), (vec!["/media/usb/a".into()], Some("/c".into())));
        let line = "anna+7a7a7a7a+x";
        let auditor = Auditor { name: "anna".into(), public: [9; 32] };
        let (line, other) = (auditor.to_string(), line);
        for text in [format!("encrypt_to = \"{line}\"\n"), format!("encrypt_to = [\"{line}\"]\nevent_lines = false\n")]
        {
            let record = config("c.toml", &with(&text)).unwrap().record;
            assert_eq!(record.encrypt_to, std::slice::from_ref(&auditor));
            assert_eq!(record.event_lines, !text.contains("false"));
        }
        for (more, what) in [
            (
                format!("encrypt_to = \"{other}\"\n"),
                "`encrypt_to` is no auditor's public key; write the line of the file",
            ),
            (format!("encrypt_to = [\"{line}\", \"{line}\"]\n"), "the key of anna stands there twice"),
            ("event_lines = \"no\"\n".into(), "`record.event_lines` is a string; write true or false"),
        ] {
            let text = wrong(&with(&more));
            assert!(text.contains(what) && text.lines().count() == 1, "{text}");
        }
        for (more, what) in [
            ("max_age = \"90\"\n", "\"90\" is no age; write a number and a unit"),
            ("max_age = \"0 days\"\n", "0 days is too little for records"),
            ("witness = [\"usb\"]\n", "\"usb\" is no absolute path; begin it with /"),
            ("counter = \"c\"\n", "\"c\" is no absolute path"),
        ] {
            let text = wrong(&with(more));
            assert!(text.contains(what) && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn which_frames_are_kept() {
        let with = |more: &str| LEAST.to_owned() + "[evidence]\n" + more;
        let off = config("c.toml", &with("ring = \"0 B\"\nafter_seconds = 3\n")).unwrap().evidence;
        assert_eq!((off.ring.bytes(), off.before_seconds, off.after_seconds), (0, 2, 3));
        for (more, what) in [
            ("ring = \"1 KiB\"\n", "1 KiB is no size for the ring; write \"0 B\" to keep no frames"),
            ("ring = \"1 GiB\"\n", "1 GiB is no size for the ring"),
            ("ring = 8\n", "8"),
            ("kept_an_hour = \"much\"\n", "\"much\" is no size; write a number and a unit, such as \"32 MiB\""),
            ("before_seconds = 61\n", "61"),
        ] {
            let text = wrong(&with(more));
            assert!(text.contains(what) && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn an_empty_file_says_what_is_needed() {
        let text = wrong("");
        for needed in ["`mode`", "`ports`", "side = \"robot\""] {
            assert!(text.contains(needed), "{text}");
        }
    }
}
