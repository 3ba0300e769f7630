//! What receivers say, made fit for messages, and what they need to know of a record.

use std::borrow::Cow;

use serde::Deserialize;

/// Most characters of a text of others' that a message has.
const SHOWN: usize = 200;

/// The beginning of a text of unknown origin, fit for a message: on one line and without control characters.
pub(crate) fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    let mut room = SHOWN;
    for (index, word) in words.enumerate() {
        let space = usize::from(index > 0);
        if room <= space {
            break;
        }
        if space == 1 {
            line.push(' ');
        }
        room -= space;
        line.extend(word.chars().take(room));
        room -= word.chars().count().min(room);
    }
    line
}

/// The id in a record's JSON, if it has one.
pub(crate) fn record_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    serde_json::from_slice(body).ok().map(|named: Named<'_>| named.id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_an_id() {
        let id = |text: &str| record_id(text.as_bytes());
        assert_eq!(id(r#"{"schema":"vigil/1","id":"gate/t/7","objects":[{"id":3}]}"#).as_deref(), Some("gate/t/7"));
        assert_eq!(id(r#"{"id":"a\u0041\"b"}"#).as_deref(), Some("aA\"b"));
        for none in [r#"{"objects":[{"id":"x"}]}"#, r#"{"id":3}"#, "[1]", "", "{\"id\":\"a\"", "\u{ff}"] {
            assert_eq!(id(none), None, "{none}");
        }
    }

    #[test]
    fn what_others_wrote_becomes_a_short_line() {
        assert_eq!(plain(" a\r\n\tb\u{1b}[31mc\0 "), "a b [31mc");
        assert_eq!(plain(""), "");
        assert_eq!(plain(&"ü".repeat(1000)), "ü".repeat(200));
        assert_eq!(plain(&"ab ".repeat(1000)).chars().count(), 200);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_long_or_has_control_characters(text in "\\PC*", wild in ".{0,400}") {
            for text in [text, wild] {
                let line = plain(&text);
                assert!(line.chars().count() <= SHOWN && !line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
