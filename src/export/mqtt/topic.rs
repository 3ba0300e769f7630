//! Topics of MQTT, made from a template.

use crate::export::uri::UriError;

/// Longest topic that the protocol has, bytes.
pub const LONGEST: usize = 65_535;

/// A topic with places to fill in, such as `{prefix}/{camera}/{kind}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

impl Template {
    /// The template in `text`, in which `known` places may stand in braces.
    ///
    /// # Errors
    /// [`UriError::Value`] of `option` for an empty text, wildcards, control characters and places that there are not.
    pub fn parse(option: &'static str, text: &str, known: &'static [&'static str]) -> Result<Self, UriError> {
        let wrong = |wanted| UriError::Value { option, value: text.to_string(), wanted };
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, after) = rest.split_once('{').unwrap_or((rest, ""));
            let opened = before.len() < rest.len();
            if !is_safe(before) || before.contains('}') {
                return Err(wrong("a topic without wildcards, control characters and stray braces"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_string()));
            }
            if !opened {
                break;
            }
            let closed = after.split_once('}').filter(|(place, _)| known.contains(place));
            let (place, tail) = closed.ok_or_else(|| wrong("a topic with places that there are"))?;
            parts.push(Part::Place(place.to_string()));
            rest = tail;
        }
        if parts.is_empty() || text.len() > LONGEST {
            return Err(wrong("a topic of 1 to 65535 bytes"));
        }
        Ok(Self { parts })
    }

    /// The topic, with what `value` has for each place.
    pub fn fill<'a>(&'a self, mut value: impl FnMut(&'a str) -> String) -> String {
        let mut topic = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Place(place) => topic.push_str(&value(place)),
            }
        }
        topic
    }
}

/// Whether a text may be part of a topic as it is; it may have several levels.
pub fn is_safe(text: &str) -> bool {
    !text.chars().any(is_foreign)
}

/// A name as one level of a topic: `_` stands for what would be a wildcard or another level, and for characters that
/// brokers refuse.
pub fn level(name: &str) -> String {
    if name.is_empty() {
        return "_".to_string();
    }
    name.chars().map(|c| if c == '/' || is_foreign(c) { '_' } else { c }).collect()
}

/// Wildcards, and what MQTT asks not to have in topics (section 1.5.4 of version 5): brokers hang up on it.
fn is_foreign(c: char) -> bool {
    let point = u32::from(c);
    matches!(c, '+' | '#') || c.is_control() || (0xFDD0..=0xFDEF).contains(&point) || point & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["prefix", "camera", "kind"];

    fn parse(text: &str) -> Result<Template, UriError> {
        Template::parse("topic", text, KNOWN)
    }

    #[test]
    fn a_template_is_filled_in() {
        let fill = |text: &str| parse(text).unwrap().fill(|place| place.to_uppercase());
        assert_eq!(fill("{prefix}/{camera}/{kind}"), "PREFIX/CAMERA/KIND");
        assert_eq!(fill("a/{camera}{kind}-x"), "a/CAMERAKIND-x");
        assert_eq!(fill("plain"), "plain");
    }

    #[test]
    fn what_is_no_topic_is_an_error() {
        for text in ["", "{x}", "{camera", "camera}", "a/{}", "+/a", "a/#", "a\n", "{came{ra}}", "a{{camera}"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("topic: `{text}` is not a topic")), "{error}");
        }
    }

    #[test]
    fn names_become_one_level() {
        for (name, safe) in [
            ("gate", "gate"),
            ("a/b", "a_b"),
            ("+", "_"),
            ("#1", "_1"),
            ("a\0b\u{7f}\u{fffe}", "a_b__"),
            ("", "_"),
            ("Tür 1", "Tür 1"),
        ] {
            assert_eq!(level(name), safe);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_name_the_topic_has_its_levels_and_no_wildcard(name in proptest::prelude::any::<String>(), kind in "[a-z]{1,9}") {
            let template = parse("{prefix}/{camera}/{kind}").unwrap();
            let topic = template.fill(|place| match place {
                "prefix" => "a/b".to_string(),
                "camera" => level(&name),
                _ => kind.clone(),
            });
            proptest::prop_assert_eq!(topic.split('/').count(), 4, "{}", topic);
            proptest::prop_assert!(is_safe(&topic) && !topic.contains(['+', '#', '\0']), "{}", topic);
            proptest::prop_assert_eq!(level(&name).chars().count(), name.chars().count().max(1));
            proptest::prop_assert_eq!(level(&level(&name)), level(&name), "twice is once");
        }

        #[test]
        fn no_template_panics(text in "[a-z{}/+#]{0,24}") {
            if let Ok(template) = parse(&text) {
                let topic = template.fill(|_| "x".to_string());
                proptest::prop_assert!(!topic.is_empty() && is_safe(&topic));
                proptest::prop_assert!(!topic.contains(['{', '}']), "{}", topic);
            }
        }
    }
}
