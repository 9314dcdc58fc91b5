//! Units that are longer than what their event lines hold, put together from the evidence.

use std::collections::{BTreeMap, HashMap, VecDeque};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::document::hex;

/// Most bytes that are kept: a thousand programs. The evidence tells of each one again in every segment, so the oldest
/// can be forgotten.
const MOST: usize = 64 << 20;

/// Units by the hash that event lines name them with.
#[derive(Default)]
pub(super) struct Units {
    units: HashMap<String, Parts>,
    /// In the order in which they were first told of.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Default)]
struct Parts {
    parts: BTreeMap<u64, Vec<u8>>,
    /// All of it, once every part has come and it has the hash by which it goes.
    whole: Option<Vec<u8>>,
}

impl Units {
    /// Takes the member `unit` of a line: one part.
    pub(super) fn take(&mut self, unit: &Value) {
        let (Some(hash), Some(total), Some(offset)) =
            (unit["sha256"].as_str(), unit["bytes"].as_u64(), unit["offset"].as_u64())
        else {
            return;
        };
        let text = || Some(unit["text"].as_str()?.as_bytes().to_vec());
        let coded = || BASE64_STANDARD.decode(unit["base64"].as_str()?).ok();
        let Some(bytes) = text().or_else(coded) else { return };
        if !self.units.contains_key(hash) {
            self.order.push_back(hash.to_owned());
        }
        let parts = self.units.entry(hash.to_owned()).or_default();
        if parts.whole.is_some() {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        if let Some(before) = parts.parts.insert(offset, bytes) {
            self.bytes = self.bytes.saturating_sub(before.len());
        }
        let have = parts.parts.values().map(Vec::len).fold(0, usize::saturating_add);
        if u64::try_from(have) == Ok(total) {
            let whole = std::mem::take(&mut parts.parts).into_values().collect::<Vec<_>>().concat();
            if hex(&Sha256::digest(&whole)) == hash {
                parts.whole = Some(whole);
            } else {
                self.bytes = self.bytes.saturating_sub(whole.len());
            }
        }
        while self.bytes > MOST {
            let Some(oldest) = self.order.pop_front().and_then(|oldest| self.units.remove(&oldest)) else { break };
            let parts = oldest.parts.values().map(Vec::len).fold(0, usize::saturating_add);
            self.bytes = self.bytes.saturating_sub(oldest.whole.map_or(parts, |whole| whole.len()));
        }
    }

    /// The unit with this hash, where all of it was told of.
    pub(super) fn whole(&self, hash: &str) -> Option<&[u8]> {
        self.units.get(hash)?.whole.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    #[test]
    fn parts_in_any_order_make_the_whole() {
        let unit = [b"def a():\n".to_vec(), vec![0xff; 300]].concat();
        let hash = hash(&unit);
        let mut units = Units::default();
        let part = |offset: usize, value: Value| {
            let mut part = json!({"sha256": hash, "bytes": unit.len(), "offset": offset});
            part.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            part
        };
        units.take(&part(9, json!({"base64": BASE64_STANDARD.encode(&unit[9..])})));
        assert_eq!(units.whole(&hash), None);
        units.take(&part(0, json!({"text": "def a():\n"})));
        units.take(&part(0, json!({"text": "def b():\n"})));
        assert_eq!(units.whole(&hash), Some(&unit[..]));
        assert_eq!(units.bytes, unit.len());
    }

    #[test]
    fn what_has_another_hash_is_not_taken_for_it() {
        let mut units = Units::default();
        units.take(&json!({"sha256": hash(b"one"), "bytes": 3, "offset": 0, "text": "two"}));
        assert_eq!((units.whole(&hash(b"one")), units.bytes), (None, 0));
        for odd in [json!(null), json!({"sha256": 1}), json!({"sha256": "", "bytes": 1, "offset": 0, "base64": "?"})] {
            units.take(&odd);
        }
        assert_eq!(units.bytes, 0);
    }

    #[test]
    fn memory_stays_bounded() {
        let mut units = Units::default();
        let long = "x".repeat(1 << 20);
        for n in 0..100 {
            let text = format!("{n}{long}");
            units.take(&json!({"sha256": hash(text.as_bytes()), "bytes": text.len(), "offset": 0, "text": text}));
        }
        assert!(units.bytes <= MOST, "{}", units.bytes);
        let last = format!("99{long}");
        assert!(
            units.whole(&hash(last.as_bytes())).is_some()
                && units.whole(&hash(format!("0{long}").as_bytes())).is_none()
        );
    }
}
