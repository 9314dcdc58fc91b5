use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Context, Exit, ask, fail};
use crate::config::Config;
use crate::control::{Request, Response};
use crate::record::{EVENT_FILE, event_files};

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Goes on with new events as they come.
    #[arg(long, short)]
    follow: bool,
    /// Only events where all of these hold: FIELD=TEXT, FIELD!=TEXT or FIELD~TEXT (contains); FIELD as in the JSON, with
    /// dots, or the last part of it alone. Several are joined with `and`.
    #[arg(long, value_name = "EXPR")]
    r#where: Option<String>,
    /// Folder of the records; the running appliance's where absent.
    #[arg(long, value_name = "DIRECTORY")]
    records: Option<PathBuf>,
    /// Configuration that tells where records lie.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One comparison.
#[derive(Debug, PartialEq, Eq)]
struct Term {
    field: String,
    operator: Operator,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Contains,
}

/// Reads `field=text and field~text`.
fn parse(expression: &str) -> Result<Vec<Term>, String> {
    expression
        .split(" and ")
        .map(|term| {
            let term = term.trim();
            let place = term.find(['=', '!', '~']).filter(|place| *place > 0);
            let (field, rest) = place.and_then(|place| term.split_at_checked(place)).ok_or_else(|| wrong(term))?;
            let (operator, text) = match rest.strip_prefix("!=") {
                Some(text) => (Operator::IsNot, text),
                None => match (rest.strip_prefix('='), rest.strip_prefix('~')) {
                    (Some(text), _) => (Operator::Is, text),
                    (None, Some(text)) => (Operator::Contains, text),
                    (None, None) => return Err(wrong(term)),
                },
            };
            let text = text.trim().trim_matches('"').to_owned();
            Ok(Term { field: field.trim().to_owned(), operator, text })
        })
        .collect()
}

fn wrong(term: &str) -> String {
    format!("{term:?} is no comparison; write FIELD=TEXT, FIELD!=TEXT or FIELD~TEXT, joined with ` and `")
}

/// The value of a field: by its whole path with dots, or the first of that name at any depth.
pub(super) fn find<'v>(value: &'v Value, field: &str) -> Option<&'v Value> {
    let pointer = format!("/{}", field.replace('.', "/"));
    if let Some(found) = value.pointer(&pointer) {
        return Some(found);
    }
    let inner: Vec<&Value> = match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(list) => list.iter().collect(),
        _ => return None,
    };
    inner.into_iter().find_map(|value| find(value, field))
}

/// The number of an event.
pub(super) fn id_of(event: &Value) -> Option<u64> {
    let id = find(event, "event_id")?;
    id.as_u64().or_else(|| id.as_str().and_then(|text| text.parse().ok()))
}

fn holds(terms: &[Term], event: &Value) -> bool {
    terms.iter().all(|term| {
        let text =
            find(event, &term.field).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        match (term.operator, text) {
            (Operator::Is, text) => text.as_deref() == Some(&term.text),
            (Operator::IsNot, text) => text.as_deref() != Some(&term.text),
            (Operator::Contains, text) => text.is_some_and(|text| text.contains(&term.text)),
        }
    })
}

fn directory(context: &Context, config: Option<&Path>, records: Option<&Path>) -> Result<PathBuf, Exit> {
    if let Some(records) = records {
        return Ok(records.to_owned());
    }
    if let Some(path) = config {
        return Config::load(path)
            .map(|config| config.record.directory)
            .map_err(|problems| fail(Exit::Usage, &problems));
    }
    match ask(context, &Request::Events)? {
        Response::Events { directory } => Ok(directory.into()),
        _ => Err(fail(Exit::Failed, &"the appliance answered something else")),
    }
}

/// Every line of the event files, oldest first.
pub(super) fn lines(context: &Context, config: Option<&Path>, records: Option<&Path>) -> Result<Vec<String>, Exit> {
    let directory = directory(context, config, records)?;
    let failed = |error: std::io::Error| fail(Exit::Failed, &format!("{}: {error}", directory.display()));
    let mut lines = Vec::new();
    for file in event_files(&directory).map_err(failed)? {
        let file = std::fs::File::open(file).map_err(failed)?;
        lines.extend(BufReader::new(file).lines().map_while(Result::ok));
    }
    Ok(lines)
}

/// Prints events.
pub(super) fn run(context: &Context, args: &EventsArgs) -> Exit {
    let terms = match args.r#where.as_deref().map(parse).transpose() {
        Ok(terms) => terms.unwrap_or_default(),
        Err(error) => return fail(Exit::Usage, &error),
    };
    let directory = match directory(context, args.config.as_deref(), args.records.as_deref()) {
        Ok(directory) => directory,
        Err(exit) => return exit,
    };
    // The place to follow from is taken first, so that nothing is told twice or never.
    let growing = directory.join(EVENT_FILE);
    let end = growing.metadata().map_or(0, |meta| meta.len());
    match lines(context, None, Some(&directory)) {
        Ok(lines) => lines.iter().for_each(|line| show(&terms, line)),
        Err(exit) => return exit,
    }
    if args.follow { follow(&growing, end, &terms) } else { Exit::Fine }
}

fn show(terms: &[Term], line: &str) {
    if terms.is_empty() || serde_json::from_str(line).is_ok_and(|event: Value| holds(terms, &event)) {
        super::print(line);
    }
}

fn follow(path: &Path, mut at: u64, terms: &[Term]) -> Exit {
    let mut rest = String::new();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let Ok(mut file) = std::fs::File::open(path) else { continue };
        let len = file.metadata().map_or(0, |meta| meta.len());
        if len < at {
            // The file was turned over.
            at = 0;
            rest.clear();
        }
        if len == at || file.seek(SeekFrom::Start(at)).is_err() {
            continue;
        }
        let mut bytes = Vec::new();
        let Ok(read) = file.take(1 << 20).read_to_end(&mut bytes) else { continue };
        at = at.saturating_add(u64::try_from(read).unwrap_or(0));
        rest.push_str(&String::from_utf8_lossy(&bytes));
        while let Some((line, after)) = rest.split_once('\n') {
            show(terms, line);
            rest = after.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_look_at_any_depth() {
        let event: Value = serde_json::json!({"a": {"reason": "no_rule", "port": 502}, "event_type": "alert"});
        let holds = |text: &str| holds(&parse(text).unwrap(), &event);
        assert!(holds("reason=no_rule") && holds("a.reason=no_rule") && holds("port=502 and event_type~ler"));
        assert!(!holds("reason=other") && !holds("reason!=no_rule") && holds("nothing!=x"));
        for wrong in ["", "reason", "=x", "reason<3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
