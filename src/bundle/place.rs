//! Mistakes in a TOML file, told with their place, their key and, where there is one, the word that was meant.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use crate::suggest::{did_you_mean, nearest};

/// A mistake in a TOML file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {}{message}", .key.as_ref().map(|k| format!("`{k}`: ")).unwrap_or_default())]
pub struct ConfigError {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key with its tables, such as `output.decoder`; `None` for the file as a whole and for bad syntax.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// A TOML file's text and name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// Reads the whole file as a `T`; the types of `T` decide which keys are known.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|e| {
            // A key that is missing at the top has the whole text as its place.
            let span = e.span().filter(|span| *span != (0..self.text.len())).unwrap_or(0..0);
            self.error(span, reworded(e.message()))
        })
    }

    /// A mistake at the bytes `at` of the text; with an empty range, one of the file as a whole.
    pub fn error(&self, at: Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let root = if at.is_empty() { None } else { DeTable::parse(self.text).ok() };
        let key = root.and_then(|root| key_at(root.get_ref(), at.start));
        ConfigError {
            file: self.file.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key,
            message: message.into(),
        }
    }
}

/// The dotted name of the innermost key that the byte `at` belongs to.
fn key_at(table: &DeTable, at: usize) -> Option<String> {
    // Tables with a header span only that header, so every table is searched, and the innermost hit wins.
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        match within(value, at) {
            Some(inner) => Some(format!("{name}.{inner}")),
            None => (key.span().contains(&at) || value.span().contains(&at)).then(|| name.to_string()),
        }
    })
}

fn within(value: &Spanned<DeValue>, at: usize) -> Option<String> {
    match value.get_ref() {
        DeValue::Table(table) => key_at(table, at),
        DeValue::Array(items) => items.iter().find_map(|item| within(item, at)),
        _ => None,
    }
}

/// serde's message in the words of someone who writes the file.
fn reworded(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        return format!("unknown key; {}", did_you_mean(key, quoted, "known here"));
    }
    if message.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        let list = known.join(", ");
        return match nearest(word, known) {
            Some(near) => format!("unknown value \"{word}\"; did you mean \"{near}\"? It is one of: {list}"),
            None => format!("unknown value \"{word}\"; it is one of: {list}"),
        };
    }
    if message.starts_with("missing field") {
        return format!("the key `{}` is missing", quoted.next().unwrap_or_default());
    }
    let Some((found, expected)) = message.split_once(", expected ") else { return message.into() };
    let expected = match expected {
        "u8" | "u32" | "u64" | "usize" | "i64" => "a whole number of the allowed range",
        "f32" | "f64" => "a number",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        "an array of length 2" => "a list of 2 numbers",
        "an array of length 4" => "a list of 4 numbers",
        other => other,
    };
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_headers_inline_tables_and_arrays_of_tables() {
        let text = "a = 1\n[b]\nc = { d = 2 }\n[[e]]\nf = 3\n[[e]]\nf = [4, 5]\n";
        let source = Source { file: "x.toml", text };
        let key = |needle: &str| {
            let at = text.find(needle).unwrap();
            source.error(at..at + 1, "").key
        };
        assert_eq!(key("a ="), Some("a".into()));
        assert_eq!(key("b]"), Some("b".into()));
        assert_eq!(key("d ="), Some("b.c.d".into()));
        assert_eq!(key("3"), Some("e.f".into()));
        assert_eq!(key("5]"), Some("e.f".into()));
    }

    #[test]
    fn columns_count_characters() {
        let text = "# ü\nk = \"äö\" # z\n";
        let at = text.find('z').unwrap();
        let e = Source { file: "x.toml", text }.error(at..at + 1, "m");
        assert_eq!((e.line, e.column), (2, 12));
        assert_eq!(e.to_string(), "x.toml:2:12: m");
    }
}
