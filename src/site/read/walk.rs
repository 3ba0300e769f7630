//! A tree against the JSON Schema of the types: one walk that finds every unknown key, wrong type, bad word, missing key
//! and number out of range, and keeps what is good.
//!
//! The schema is the one that `vigil schema site` publishes, so that an editor and this agree on what is right.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Map, Value};

use super::super::problem::{Place, Places, Problem, Problems};
use super::super::units::Span;
use super::tree::{At, Entry, Lines, Tree};
use crate::suggest::{did_you_mean, nearest};

/// One file's walk.
pub(super) struct Walk<'a> {
    /// The schema with its definitions.
    pub schema: &'a Value,
    pub lines: &'a Lines<'a>,
    /// Whether the file is JSON, for examples of how something is written.
    pub json: bool,
    pub places: Places,
    pub problems: Problems,
}

impl Walk<'_> {
    /// Walks the whole file; what is good of it.
    pub fn file(&mut self, root: &At) -> Map<String, Value> {
        let schema = self.schema;
        match (&root.value, schema.get("properties").and_then(Value::as_object)) {
            (Tree::Table(entries), Some(_)) => self.entries(schema, entries, "").0,
            _ => {
                self.expected("a table", root, "");
                Map::new()
            }
        }
    }

    /// Walks a value of the type `name`; what is good of it.
    pub fn definition(&mut self, name: &str, at: &At, path: &str) -> Option<Value> {
        self.value(&serde_json::json!({ "$ref": format!("#/$defs/{name}") }), at, path)
    }

    /// A problem at the bytes `at`.
    pub fn error(&mut self, at: &Range<usize>, path: &str, text: impl Into<String>) {
        let (place, key) = (Some(self.lines.place(at.start)), path.to_owned());
        self.problems.0.push(Problem::wrong(place, key, text));
    }

    fn expected(&mut self, expected: &str, at: &At, path: &str) {
        self.error(&at.span, path, format!("{expected} is expected, this is {}", at.value.kind()));
    }

    /// The definition that `schema` refers to, with its name.
    fn resolve<'s>(&'s self, schema: &'s Value) -> (&'s str, &'s Value) {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix("#/$defs/"));
        let found = name.and_then(|name| Some((name, self.schema.get("$defs")?.get(name)?)));
        found.unwrap_or(("", schema))
    }

    /// A value against `schema`; `None` if it is bad, which has been told then.
    fn value(&mut self, schema: &Value, at: &At, path: &str) -> Option<Value> {
        let (name, schema) = self.resolve(schema);
        match name {
            "Duration" => return self.duration(at, path),
            "Secret" => return self.secret(&schema.clone(), at, path),
            _ => {}
        }
        let schema = schema.clone();
        for union in ["anyOf", "oneOf"] {
            if let Some(variants) = schema.get(union).and_then(Value::as_array) {
                return self.union(variants, at, path);
            }
        }
        self.plain(&schema, at, path)
    }

    /// A value against a schema that is no union.
    fn plain(&mut self, schema: &Value, at: &At, path: &str) -> Option<Value> {
        let types = types(schema);
        match &at.value {
            Tree::Null if types.contains(&"null") => Some(Value::Null),
            Tree::Bool(truth) if types.contains(&"boolean") => Some(Value::Bool(*truth)),
            Tree::Integer(number) if types.contains(&"integer") || types.contains(&"number") => {
                self.number(schema, *number as f64, at, path).then(|| Value::from(*number))
            }
            Tree::Float(number) if types.contains(&"number") && number.is_finite() => {
                self.number(schema, *number, at, path).then(|| Value::from(*number))
            }
            Tree::Text(text) if types.contains(&"string") => {
                let words = words(std::slice::from_ref(schema));
                if !words.is_empty() && !words.contains(&text.as_str()) {
                    self.bad_word(text, &words, at, path);
                    return None;
                }
                Some(Value::from(text.as_str()))
            }
            Tree::List(items) if types.contains(&"array") => self.list(schema, items, at, path),
            Tree::Table(entries) if types.contains(&"object") => self.table(schema, entries, at, path),
            _ => {
                self.expected(expected(&types), at, path);
                None
            }
        }
    }

    fn number(&mut self, schema: &Value, number: f64, at: &At, path: &str) -> bool {
        let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => Some(f64::from(u32::MAX)),
            _ => None,
        };
        let (least, most) = (limit("minimum"), limit("maximum").or(most));
        let above = limit("exclusiveMinimum");
        let good = least.is_none_or(|least| number >= least)
            && most.is_none_or(|most| number <= most)
            && above.is_none_or(|above| number > above);
        if !good {
            let range = match (least, above, most) {
                (Some(least), _, Some(most)) => format!("of {least} to {most}"),
                (_, Some(above), Some(most)) => format!("over {above} and up to {most}"),
                (Some(least), ..) => format!("of {least} or more"),
                (_, Some(above), _) => format!("over {above}"),
                (.., Some(most)) => format!("of {most} or less"),
                _ => "of the allowed range".into(),
            };
            self.error(&at.span, path, format!("it is a number {range}, this is {number}"));
        }
        good
    }

    fn bad_word(&mut self, word: &str, known: &[&str], at: &At, path: &str) {
        let list = known.join(", ");
        let text = match nearest(word, known.iter().copied()) {
            Some(near) => format!("unknown value \"{word}\"; did you mean \"{near}\"? It is one of: {list}"),
            None => format!("unknown value \"{word}\"; it is one of: {list}"),
        };
        self.error(&at.span, path, text);
    }

    fn list(&mut self, schema: &Value, items: &[At], at: &At, path: &str) -> Option<Value> {
        let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
        let (least, most) = (limit("minItems").unwrap_or(0), limit("maxItems").unwrap_or(u64::MAX));
        if !(least..=most).contains(&(items.len() as u64)) {
            let text = format!("a list of {least} items is expected, this one has {}", items.len());
            self.error(&at.span, path, text);
            return None;
        }
        let of = schema.get("items").cloned().unwrap_or(Value::Bool(true));
        let mut good = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let path = format!("{path}.{number}");
            self.places.0.insert(path.clone(), self.lines.place(item.span.start));
            good.push(self.value(&of, item, &path));
        }
        // Whole or not at all: what is said of an item names it by its number.
        good.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn table(&mut self, schema: &Value, entries: &[Entry], at: &At, path: &str) -> Option<Value> {
        let (good, bad) = self.entries(schema, entries, path);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let mut whole = true;
        for key in required {
            if !good.contains_key(key) {
                whole = false;
                // One that is there and bad has been told.
                if !bad.contains(key) {
                    self.error(&at.span, path, format!("the key `{key}` is missing"));
                }
            }
        }
        whole.then_some(Value::Object(good))
    }

    /// The keys of a table: good ones with their values, and the names of bad ones.
    fn entries(&mut self, schema: &Value, entries: &[Entry], path: &str) -> (Map<String, Value>, BTreeSet<String>) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let others = schema.get("additionalProperties");
        let (mut good, mut bad) = (Map::new(), BTreeSet::new());
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for Entry { key, key_at, value } in entries {
            let path = join(path, key);
            if let Some(first) = seen.get(key.as_str()) {
                let text = format!("it is written twice; the first is at {first}");
                self.error(key_at, &path, text);
                continue;
            }
            seen.insert(key, self.lines.place(key_at.start));
            let of = match (known.get(key), others) {
                (Some(of), _) => of,
                (None, Some(Value::Bool(false))) => {
                    let help = did_you_mean(key, known.keys().map(String::as_str), "known here");
                    self.error(key_at, &path, format!("unknown key; {help}"));
                    bad.insert(key.clone());
                    continue;
                }
                (None, Some(of)) => of,
                (None, None) => &Value::Bool(true),
            };
            // A table is where its key is, anything else where its value is.
            let at = if matches!(value.value, Tree::Table(_)) { key_at } else { &value.span };
            self.places.0.insert(path.clone(), self.lines.place(at.start));
            match self.value(of, value, &path) {
                Some(Value::Null) => {}
                Some(value) => _ = good.insert(key.clone(), value),
                None => _ = bad.insert(key.clone()),
            }
        }
        (good, bad)
    }

    fn union(&mut self, variants: &[Value], at: &At, path: &str) -> Option<Value> {
        let words = words(variants);
        if !words.is_empty() {
            match &at.value {
                Tree::Text(text) if words.contains(&text.as_str()) => return Some(Value::from(text.as_str())),
                Tree::Text(text) => self.bad_word(text, &words, at, path),
                Tree::Null if variants.iter().any(|v| types(v).contains(&"null")) => return Some(Value::Null),
                _ => self.expected("a text in quotes", at, path),
            }
            return None;
        }
        if let Some(tag) = tag(variants) {
            return self.tagged(variants, tag, at, path);
        }
        // By what the value is.
        let resolved: Vec<(&Value, Vec<&str>)> = variants.iter().map(|v| (v, types(self.resolve(v).1))).collect();
        let fits = |types: &[&str]| match &at.value {
            Tree::Null => types.contains(&"null"),
            Tree::Bool(_) => types.contains(&"boolean"),
            Tree::Integer(_) => types.contains(&"integer") || types.contains(&"number"),
            Tree::Float(_) => types.contains(&"number"),
            Tree::Text(_) => types.contains(&"string"),
            Tree::List(_) => types.contains(&"array"),
            Tree::Table(_) => types.contains(&"object"),
            Tree::Other(_) => false,
        };
        let real: Vec<&(&Value, Vec<&str>)> = resolved.iter().filter(|(_, types)| *types != ["null"]).collect();
        let choice = match (resolved.iter().find(|(_, types)| fits(types)), real.as_slice()) {
            (Some((variant, _)), _) => (*variant).clone(),
            // Of one that may be left out, what it is where it is there.
            (None, [(only, _)]) => (*only).clone(),
            (None, _) => {
                let types: Vec<&str> = real.iter().flat_map(|(_, types)| types.iter().copied()).collect();
                let text = expected(&types);
                self.expected(text, at, path);
                return None;
            }
        };
        if choice.get("type").and_then(Value::as_str) == Some("null") {
            return Some(Value::Null);
        }
        self.value(&choice, at, path)
    }

    /// A table whose key `tag` says of which kind it is.
    fn tagged(&mut self, variants: &[Value], tag: &str, at: &At, path: &str) -> Option<Value> {
        let Tree::Table(entries) = &at.value else {
            self.expected("a table", at, path);
            return None;
        };
        let kinds: Vec<&str> = variants.iter().filter_map(|v| constant(v, tag)).collect();
        let Some(entry) = entries.iter().find(|entry| entry.key == tag) else {
            self.error(&at.span, path, format!("the key `{tag}` is missing; it is one of: {}", kinds.join(", ")));
            return None;
        };
        match &entry.value.value {
            Tree::Text(kind) => match variants.iter().find(|v| constant(v, tag) == Some(kind)) {
                Some(variant) => return self.table(variant, entries, at, path),
                None => self.bad_word(kind, &kinds, &entry.value, &join(path, tag)),
            },
            _ => self.expected("a text in quotes", &entry.value, &join(path, tag)),
        }
        None
    }

    fn duration(&mut self, at: &At, path: &str) -> Option<Value> {
        match &at.value {
            Tree::Text(text) => match text.parse::<Span>() {
                Ok(_) => Some(Value::from(text.as_str())),
                Err(wrong) => {
                    self.error(&at.span, path, wrong);
                    None
                }
            },
            _ => {
                let text = format!(
                    "a duration is a text with its unit, such as \"300ms\" or \"5s\"; this is {}",
                    at.value.kind()
                );
                self.error(&at.span, path, text);
                None
            }
        }
    }

    /// A secret, which is never in the description itself, and never in what is said of it.
    fn secret(&mut self, schema: &Value, at: &At, path: &str) -> Option<Value> {
        let how = if self.json {
            "{\"env\": \"NAME\"} for a variable of the environment, or {\"file\": \"PATH\"}"
        } else {
            "{ env = \"NAME\" } for a variable of the environment, or { file = \"PATH\" }"
        };
        let Tree::Table(entries) = &at.value else {
            let text = format!("a secret is not written in a description, only where it is to be found: {how}");
            self.error(&at.span, path, text);
            return None;
        };
        let variants = schema.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
        let known = |key: &str| variants.iter().find(|v| v.get("properties").is_some_and(|p| p.get(key).is_some()));
        match entries.as_slice() {
            [entry] => match known(&entry.key) {
                Some(variant) => self.table(variant, entries, at, path),
                None => {
                    self.error(&entry.key_at, &join(path, &entry.key), format!("unknown key; a secret is {how}"));
                    None
                }
            },
            _ => {
                self.error(&at.span, path, format!("a secret has one key: {how}"));
                None
            }
        }
    }
}

/// The path of `key` in the table `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// The types that a schema without references names; `true` takes all.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        // A union is what its members are.
        _ => match schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
            Some(variants) => variants.iter().flat_map(types).collect(),
            None => vec!["null", "boolean", "integer", "number", "string", "array", "object"],
        },
    }
}

/// The words that schemas allow: constants and enumerations of texts.
fn words(variants: &[Value]) -> Vec<&str> {
    fn of(schema: &Value) -> impl Iterator<Item = &str> {
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        schema.get("const").into_iter().chain(listed).filter_map(Value::as_str)
    }
    variants.iter().flat_map(of).collect()
}

/// What the property `tag` of a variant must be.
fn constant<'v>(variant: &'v Value, tag: &str) -> Option<&'v str> {
    variant.get("properties")?.get(tag)?.get("const")?.as_str()
}

/// The key that tells variants apart.
fn tag(variants: &[Value]) -> Option<&str> {
    let properties = variants.first()?.get("properties")?.as_object()?;
    let tells = |key: &&String| variants.iter().all(|variant| constant(variant, key).is_some());
    properties.keys().find(tells).map(String::as_str)
}

/// What a value of one of `types` is called.
fn expected(types: &[&str]) -> &'static str {
    let has = |name| types.contains(&name);
    match (has("string"), has("object"), has("array"), has("boolean"), has("integer"), has("number")) {
        (true, _, _, true, ..) => "a text, a number, or true or false",
        (true, true, ..) => "a text in quotes or a table",
        (true, ..) => "a text in quotes",
        (_, true, ..) => "a table",
        (_, _, true, ..) => "a list",
        (_, _, _, true, ..) => "true or false",
        (_, _, _, _, true, false) => "a whole number",
        _ => "a number",
    }
}
