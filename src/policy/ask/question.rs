//! A question to a policy, from words and flags.

use std::net::IpAddr;

use ipnet::IpNet;

use super::filter::{Filter, Wants};
use super::words;
use crate::command::{Class, Service};
use crate::policy::ranges::{Numbers, Ranges};
use crate::policy::rule::{Asset, Body, Rule};
use crate::policy::space::{Built, Sample};

/// What is asked, as people write it; all of it holds together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Plain words: a command, a class, a register, a function, what people call them.
    pub words: Option<String>,
    /// Name of a service, or a port such as `tcp/22`.
    pub service: Option<String>,
    /// Name of a class.
    pub class: Option<String>,
    /// A function of Modbus, URScript or external control, a mode of external control, or a verb of the Dashboard.
    pub function: Option<String>,
    /// Address or name of a Modbus register or coil, or a range `128..=131`.
    pub address: Option<String>,
    /// What is written.
    pub value: Option<f64>,
    /// An RTDE input that is written.
    pub input: Option<String>,
    /// The argument of a Dashboard line.
    pub argument: Option<String>,
    /// A TCP port of the robot.
    pub port: Option<u16>,
    /// The peer that is asked about: device, address or network.
    pub from: Option<String>,
}

/// A question that a policy can answer.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) asked: String,
    pub(super) from: Option<Vec<IpNet>>,
    /// Any of these.
    pub(super) filters: Vec<Filter>,
}

impl Question {
    /// Reads a question; devices are those that the policy was compiled with.
    ///
    /// # Errors
    /// A word that nothing is called, in one line with the nearest that something is called.
    pub fn read(wanted: &Wanted, assets: &[Asset]) -> Result<Self, String> {
        let mut filters = match &wanted.words {
            Some(words) => words::meant(words)?,
            None => vec![Filter::default()],
        };
        if let Some(function) = &wanted.function {
            filters = crossed(&filters, &function_named(function)?);
        }
        let address = wanted.address.as_deref().map(address).transpose()?;
        let service = wanted.service.as_deref().map(service).transpose()?;
        let class = match wanted.class.as_deref() {
            Some(name) => Some(Class::named(name).ok_or_else(|| words::unknown(name, Some(&["class"])))?),
            None => None,
        };
        let input = match wanted.input.as_deref() {
            Some(name) => Some(input(name)?),
            None => None,
        };
        for filter in &mut filters {
            if let Some(address) = &address {
                (filter.address, filter.registers) = address.clone();
                filter.service = Some(Service::Modbus);
            }
            if let Some(value) = wanted.value {
                filter.value = Some(Numbers::only(value));
                filter.whole = Some(whole(value));
            }
            filter.class = class.or(filter.class);
            if let Some(input) = input {
                (filter.input, filter.service) = (Some(input), Some(Service::Rtde));
            }
            filter.argument = wanted.argument.clone().or(filter.argument.take());
            if let Some(service) = service {
                if service.is_dissected() { filter.service = Some(service) } else { filter.port = Some(service) }
            }
            if let Some(port) = wanted.port {
                let service = Service::of_tcp_port(port);
                if service.is_dissected() { filter.service = Some(service) } else { filter.port = Some(service) }
            }
        }
        let from = wanted.from.as_deref().map(|text| peer(text, assets)).transpose()?;
        Ok(Self { asked: wanted.to_string(), from, filters })
    }

    /// Whether the command is asked about.
    pub(super) fn wants(&self, sample: &Sample, built: &Built<'_>) -> Wants {
        let mut wants = Wants::No;
        for filter in &self.filters {
            match filter.wants(sample, built) {
                Wants::Yes => return Wants::Yes,
                Wants::Maybe => wants = Wants::Maybe,
                Wants::No => {}
            }
        }
        wants
    }

    /// Whether an allow rule could cover something that is asked about; true where that is not told at a glance.
    pub(super) fn may_mean(&self, rule: &Rule) -> bool {
        self.filters.iter().any(|filter| match (&rule.body, &filter.address) {
            _ if rule.deny => true,
            (Body::Modbus(body), Some(addresses)) => body.may_reach(addresses),
            _ => true,
        })
    }

    /// Ports that are asked about.
    pub(super) fn ports(&self) -> impl Iterator<Item = Service> {
        self.filters.iter().filter_map(|filter| filter.port)
    }

    /// Whether what is asked about could go over a connection that nobody reads.
    pub(super) fn may_be_unread(&self) -> bool {
        self.filters.iter().any(|filter| {
            filter.verb.is_some()
                || filter.bare.is_some()
                || filter.call.is_some()
                || filter.class.is_some_and(|class| class != Class::Read)
        })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = self.words.iter().cloned().collect();
        let texts = [
            ("service", self.service.clone()),
            ("class", self.class.clone()),
            ("function", self.function.clone()),
            ("address", self.address.clone()),
            ("value", self.value.map(|value| value.to_string())),
            ("input", self.input.clone()),
            ("argument", self.argument.clone()),
            ("port", self.port.map(|port| port.to_string())),
            ("from", self.from.clone()),
        ];
        parts.extend(texts.into_iter().filter_map(|(key, text)| Some(format!("{key} {}", text?))));
        f.write_str(&parts.join(", "))
    }
}

/// Each with each, where both can hold.
fn crossed(some: &[Filter], others: &[Filter]) -> Vec<Filter> {
    let join = |a: &Filter, b: &Filter| Filter {
        service: a.service.or(b.service),
        class: a.class.or(b.class),
        functions: b.functions.or(a.functions),
        verb: b.verb.or(a.verb),
        call: b.call.clone().or_else(|| a.call.clone()),
        mode: b.mode.or(a.mode),
        order: b.order.or(a.order),
        ..a.clone()
    };
    some.iter().flat_map(|a| others.iter().map(move |b| join(a, b))).collect()
}

const FUNCTIONS: [&str; 6] = ["modbus", "urscript", "external_control", "mode", "dashboard", "bare"];

fn function_named(name: &str) -> Result<Vec<Filter>, String> {
    let asked = words::plain(name);
    let found: Vec<Filter> = words::names()
        .into_iter()
        .filter(|(table, known, _)| FUNCTIONS.contains(table) && words::plain(known) == asked)
        .map(|(.., filter)| filter)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    match name.parse::<u8>() {
        Ok(code) if (1..=127).contains(&code) => {
            Ok(vec![Filter { service: Some(Service::Modbus), functions: Some(1 << code), ..Filter::default() }])
        }
        _ => Err(words::unknown(name, Some(&FUNCTIONS))),
    }
}

/// Registers or coils, and which of both where a name says so.
fn address(text: &str) -> Result<(Option<Ranges>, Option<bool>), String> {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let range = match text.split_once("..=") {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|one| (one, one)),
    };
    if let Some((first, last)) = range.filter(|(first, last)| first <= last) {
        return Ok((Some(Ranges::new(vec![(first, last)])), None));
    }
    let asked = words::plain(text);
    let mut named =
        words::names().into_iter().filter(|(table, known, _)| *table == "register" && words::plain(known) == asked);
    match named.next() {
        Some((.., filter)) => Ok((filter.address, filter.registers)),
        None => Err(words::unknown(text, Some(&["register"]))),
    }
}

fn service(name: &str) -> Result<Service, String> {
    let known = super::DISSECTED.into_iter().find(|service| service.to_string() == name);
    known.or_else(|| words::port(name)).ok_or_else(|| words::unknown(name, Some(&["service"])))
}

fn input(name: &str) -> Result<rtde::Variable, String> {
    let variable = rtde::Variable::named(name.as_bytes());
    if variable.is_input() { Ok(variable) } else { Err(words::unknown(name, Some(&["input"]))) }
}

fn whole(value: f64) -> Ranges {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    let one = (value.fract() == 0.0 && (0.0..=65_535.0).contains(&value)).then_some(value as u16);
    Ranges::new(one.map(|one| (one, one)).into_iter().collect())
}

fn peer(text: &str, assets: &[Asset]) -> Result<Vec<IpNet>, String> {
    if let Some(asset) = assets.iter().find(|asset| asset.name == text) {
        return Ok(vec![IpNet::from(asset.address)]);
    }
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| vec![net.trunc()]).ok_or_else(|| {
        let near = crate::document::nearest(text, assets.iter().map(|asset| asset.name.as_str()));
        let mend = near.map_or_else(
            || "name a device of the policy or an address".to_owned(),
            |near| format!("the nearest is \"{near}\""),
        );
        format!("no device is called \"{text}\"; {mend}")
    })
}
