//! What was denied once is not learned again.

/// The deny rules of a policy file, each as the TOML below its `[[deny]]`; none where the text is no TOML.
#[must_use]
pub fn denials(policy: &str) -> Vec<String> {
    let Ok(table) = policy.parse::<toml::Table>() else { return Vec::new() };
    let rules = table.get("deny").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    // Tables come last in TOML, so one rule on lines of its own needs its keys in that order.
    rules
        .into_iter()
        .filter_map(|rule| match rule {
            toml::Value::Table(keys) => {
                Some(keys.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
            }
            _ => None,
        })
        .collect()
}

/// The id of such a rule.
pub(super) fn id(rule: &str) -> Option<String> {
    rule.parse::<toml::Table>().ok()?.get("id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_out_as_they_went_in() {
        let text = "version = 1\n[[allow]]\nfrom = \"a\"\n[[deny]]\nid = \"no \\\"x\\\"\"\ncommand = [\"load\", \"play\"]\n\
                    when = { program = [\"playing\"] }\n[[deny]]\nservice = \"any\"\nuntil = 2026-12-24T18:00:00Z\n";
        let rules = denials(text);
        assert_eq!(rules.len(), 2);
        assert_eq!(id(&rules[0]), Some("no \"x\"".to_owned()));
        let again: String = rules.iter().map(|rule| format!("[[deny]]\n{rule}")).collect();
        let deny = |text: &str| text.parse::<toml::Table>().unwrap().get("deny").cloned();
        assert_eq!(deny(&again), deny(text));
        assert_eq!(denials("no toml ["), Vec::<String>::new());
    }
}
