//! One command that does several things.

use rtde::MAX_NAMES;

use super::sample::{Script, Written};
use super::{Block, Sample};

impl Block {
    /// The command of all these elements; nothing where they don't fit into one.
    pub(in crate::policy) fn joined(&self, elements: &[usize]) -> Option<Sample> {
        let parts: Vec<&Sample> = elements.iter().map(|at| self.elements.get(*at)).collect::<Option<_>>()?;
        let [first, rest @ ..] = parts.as_slice() else { return None };
        if rest.is_empty() {
            return Some((*first).clone());
        }
        if parts.len() > self.most {
            return None;
        }
        let mut joined = (*first).clone();
        for part in rest {
            match (&mut joined, *part) {
                (Sample::Outputs { names, .. }, Sample::Outputs { names: more, .. })
                | (Sample::Inputs(names), Sample::Inputs(more)) => names.extend(more.iter().cloned()),
                (Sample::Data(fields), Sample::Data(more)) => fields.extend(more.iter().copied()),
                (Sample::Script(script), Sample::Script(more)) => {
                    script.statements.extend(more.statements.iter().cloned());
                    script.locals.extend(more.locals.iter().cloned());
                }
                (Sample::Modbus(request), Sample::Modbus(more)) => match (&mut request.write, &more.write) {
                    (Some((_, Written::Values(values))), Some((_, Written::Values(other)))) => values.extend(other),
                    _ => return None,
                },
                _ => return None,
            }
        }
        match &mut joined {
            Sample::Outputs { names, .. } | Sample::Inputs(names) => {
                let len = names.iter().fold(0_usize, |sum, name| sum.saturating_add(name.len()).saturating_add(1));
                (len <= MAX_NAMES).then_some(joined)
            }
            Sample::Script(Script { statements, .. }) if statements.iter().any(|line| line.contains("] = ")) => {
                // An assignment is no part of an expression.
                let in_lines = matches!(
                    joined,
                    Sample::Script(Script { kind: urscript::Kind::Program | urscript::Kind::Secondary, .. })
                );
                in_lines.then_some(joined)
            }
            Sample::Modbus(request) => {
                let (span, Written::Values(values)) = request.write.as_ref()? else { return None };
                if usize::from(span.quantity) >= values.len() {
                    return Some(joined);
                }
                let Some(Sample::Modbus(wide)) = &self.wide else { return None };
                let (span, _) = wide.write.as_ref()?;
                (usize::from(span.quantity) >= values.len()).then_some(())?;
                request.write = Some((*span, Written::Values(values.clone())));
                Some(joined)
            }
            _ => Some(joined),
        }
    }
}
