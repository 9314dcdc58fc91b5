//! From the text of a pack to [`Pack`], with every problem at once.

use std::collections::BTreeSet;

use super::vector::Vector;
use super::version::Range;
use super::{Contained, How, Pack, Patch, Sign};
use crate::command::Service;
use crate::document::{Problems, Source, Table, Value};
use crate::event::Reason;
use crate::policy::Denials;

/// The format that this version reads.
const FORMAT: i64 = 1;

pub(super) fn pack(name: &str, text: &str) -> Result<Pack, Problems> {
    let source = Source::parse(name, text);
    if source.has_problems() {
        return source.finish(None);
    }
    let root = source.root();
    if let Some(format) = root.require("format", "write format = 1") {
        match format.integer(1..=i64::MAX) {
            // What another format means can't be told, so its other problems would be none.
            Some(found) if found != FORMAT => {
                format.problem(
                    format!("format {found} is of a later version of this program"),
                    "update it, or take a pack of format 1",
                );
                return source.finish(None);
            }
            _ => {}
        }
    }
    let version = root
        .require("version", "write version = a number that grows with every issue, such as 2026113001")
        .and_then(|value| value.integer(1..=u32::MAX.into()))
        .and_then(|version| u32::try_from(version).ok());
    let attack = root
        .require("attack", "write attack = the version of ATT&CK for ICS, such as \"18.1\"")
        .and_then(|value| value.string().map(str::to_owned));
    let mut ids = BTreeSet::new();
    let patches = root.tables("patch").iter().filter_map(|table| patch(table, &mut ids)).collect();
    root.finish();
    let pack = version.zip(attack).map(|(version, attack)| Pack { version, attack, patches });
    source.finish(pack)
}

fn patch(table: &Table<'_>, ids: &mut BTreeSet<String>) -> Option<Patch> {
    let id = table.require("id", "write id = its CVE, or RVD-number").and_then(|value| id(&value, ids));
    let text = |key, mend: &str| {
        let value = table.require(key, mend)?;
        value.string().map(str::to_owned)
    };
    let title = text("title", "write title = \"...\", what it is in a line");
    let because = text("because", "write because = \"...\", how it is contained or why not");
    let open = table.take("open").and_then(|value| value.string().map(str::to_owned));
    let cve = table.take("cve").map(|value| names(&value, "CVE id", is_cve)).unwrap_or_default();
    let techniques = table.take("technique").map(|value| names(&value, "technique", is_technique)).unwrap_or_default();
    let source = table.require("source", "write source = [\"...\"], where it is described");
    let source = source.map(|value| names(&value, "source", |text| !text.is_empty())).unwrap_or_default();
    let rvd = table.take("rvd").map(|value| value.any_of()).unwrap_or_default();
    let rvd = rvd.iter().filter_map(|item| u32::try_from(item.integer(1..=1_000_000)?).ok()).collect();
    let affected =
        table.require("affected", "write affected = [{ generation = \"cb3\" }], or [] where no controller is");
    let affected = affected.map(|value| value.any_of()).unwrap_or_default();
    let affected: Vec<Range> = affected
        .iter()
        .filter_map(|item| {
            let table = item.table()?;
            let range = Range::read(&table);
            table.finish();
            range
        })
        .collect();
    let contained = table.require("contained", "write contained = \"yes\", \"partly\" or \"no\"");
    let contained_is = contained.as_ref().and_then(|value| value.choice(&Contained::NAMED));
    let how = table.take("how").map(|value| value.any_of()).unwrap_or_default();
    let how: Vec<How> = how.iter().filter_map(|item| item.choice(&How::NAMED)).collect();
    let signs = table.take("signs").map(|value| value.any_of()).unwrap_or_default();
    let signs: Vec<Sign> = signs.iter().filter_map(sign_set).flatten().collect();
    let denials = Denials::read(table, "deny");
    let read = |key| table.tables(key).iter().filter_map(Vector::read).collect::<Vec<_>>();
    let (vectors, harmless) = (read("vector"), read("harmless"));
    table.finish();
    let patch = Patch {
        id: id?,
        title: title?,
        cve,
        rvd,
        techniques,
        source,
        contained: contained_is?,
        how,
        because: because?,
        open,
        signs,
        vectors,
        harmless,
        affected,
        denials,
    };
    if let Some(value) = contained {
        agree(&patch, &value);
    }
    Some(patch)
}

/// What an entry says of itself must hold together, or its state would mislead.
fn agree(patch: &Patch, contained: &Value<'_>) {
    let id = &patch.id;
    let is_no = patch.contained == Contained::No;
    let check = |wrong: bool, what: &str, mend: &str| {
        if wrong {
            contained.problem(format!("{id} {what}"), mend);
        }
    };
    let has_rule = patch.how.contains(&How::Rule);
    check(
        patch.how.is_empty() != is_no,
        "and `how` don't agree",
        "say how it is contained, or nothing where it is not",
    );
    check(
        has_rule == patch.denials.is_empty(),
        "and its deny rules don't agree",
        "name \"rule\" in `how` with [[patch.deny]]",
    );
    check(
        patch.signs.is_empty() == patch.how.contains(&How::Grammar),
        "and its `signs` don't agree",
        "say how refusals look of what \"grammar\" contains: signs = [{ service = \"modbus\", reason = \"malformed\" }]",
    );
    check(patch.vectors.is_empty() != is_no, "and its vectors don't agree", "what is contained at all is tried");
    check(
        patch.open.is_none() && patch.contained == Contained::Partly,
        "is contained partly, but nothing is said to stay open",
        "write open = \"...\"",
    );
    check(patch.affected.is_empty() && !is_no, "is about no controller", "write the versions, or contained = \"no\"");
}

/// Services whose reader refuses for everybody.
const READ: [(&str, Service); 4] = [
    ("modbus", Service::Modbus),
    ("rtde", Service::Rtde),
    ("dashboard", Service::Dashboard),
    ("urscript", Service::UrScript),
];

/// One item of `signs`: a service, or none for all, with its reasons.
fn sign_set(item: &Value<'_>) -> Option<Vec<Sign>> {
    let table = item.table()?;
    let service = table.take("service").map(|value| value.choice(&READ));
    let reasons = table.require("reason", "write reason = [\"malformed\"] or other names of reasons");
    table.finish();
    let named = |item: &Value<'_>| {
        let text = item.string()?;
        let reason = Reason::named(text).filter(|reason| !reason.is_of_policy());
        if reason.is_none() {
            let all = Reason::ALL.iter().filter(|reason| !reason.is_of_policy());
            item.unknown_name(text, all.map(|reason| reason.name()));
        }
        reason
    };
    let service = service.map_or(Some(None), |service| service.map(Some))?;
    Some(reasons?.any_of().iter().filter_map(named).map(|reason| Sign { service, reason }).collect())
}

fn id(value: &Value<'_>, ids: &mut BTreeSet<String>) -> Option<String> {
    let text = value.string()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || text.len() > 40 || !text.bytes().all(fits) {
        value.problem(format!("\"{text}\" is no id"), "write up to 40 letters, digits and -");
        return None;
    }
    if !ids.insert(text.to_owned()) {
        value.problem(format!("a second entry has the id \"{text}\""), "give every entry its own id");
    }
    Some(text.to_owned())
}

fn names(value: &Value<'_>, kind: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let read = |item: &Value<'_>| {
        let text = item.string()?;
        if !fits(text) {
            item.problem(format!("\"{text}\" is no {kind}"), "mend it, or take it out");
        }
        Some(text.to_owned())
    };
    value.any_of().iter().filter_map(read).collect()
}

fn is_cve(text: &str) -> bool {
    let mut parts = text.split('-');
    let number = |part: Option<&str>, least: usize| {
        part.is_some_and(|part| part.len() >= least && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    parts.next() == Some("CVE") && number(parts.next(), 4) && number(parts.next(), 4) && parts.next().is_none()
}

fn is_technique(text: &str) -> bool {
    text.strip_prefix('T').is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
