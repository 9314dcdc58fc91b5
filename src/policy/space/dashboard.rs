//! Lines of the Dashboard: by verb and argument.

use std::collections::BTreeSet;

use dashboard::{Argument, Line, Verb};

use super::{Block, Sample, Space};
use crate::command::Service;

/// Adds the lines.
pub(super) fn add(space: &mut Space, arguments: &BTreeSet<&[u8]>) {
    for verb in Verb::all() {
        let texts: Vec<String> = match verb.argument {
            Argument::None => vec![String::new()],
            Argument::OneOf(choices) => choices.iter().map(|choice| (*choice).to_owned()).collect(),
            kind => {
                let named = arguments.iter().filter_map(|argument| std::str::from_utf8(argument).ok());
                named.map(str::to_owned).chain([other(kind, arguments)]).collect()
            }
        };
        let lines = texts.into_iter().map(|text| format!("{} {text}", verb.name).trim_end().to_owned());
        // What the argument is decides whether it is a line of this verb at all.
        let lines = lines.filter(|line| Line::read(line.as_bytes()).verb == Ok(verb));
        let elements = lines.map(Sample::Line).collect();
        space.blocks.push(Block::single(Service::Dashboard, verb.name, elements));
    }
    let unknown = Sample::Line("unheard-of command".to_owned());
    space.blocks.push(Block::single(Service::Dashboard, "a command that is in no table", vec![unknown]));
}

/// An argument that no rule names.
fn other(kind: Argument, arguments: &BTreeSet<&[u8]>) -> String {
    let base = if kind == Argument::Path { "/programs/other.urp" } else { "other" };
    let numbered = (2_u32..).map(|number| match kind {
        Argument::Path => format!("/programs/other{number}.urp"),
        _ => format!("other{number}"),
    });
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    names.find(|name| !arguments.contains(name.as_bytes())).unwrap_or_default()
}
