//! A TOML or JSON text as one tree, in which every key and value knows its place.

use std::ops::Range;

use jsonc_parser::ast::{ObjectPropName, Value as JsonNode};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::problem::Place;

/// A value and the bytes that it is written in; a table with a header is written in that header.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At {
    pub value: Tree,
    pub span: Range<usize>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// TOML's dates and times, and whole numbers over 64 bits: nothing in a description is one.
    Other(&'static str),
    List(Vec<At>),
    Table(Vec<Entry>),
}

impl Tree {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Tree::Null => "null",
            Tree::Bool(_) => "true or false",
            Tree::Integer(_) => "a whole number",
            Tree::Float(_) => "a number",
            Tree::Text(_) => "a text",
            Tree::Other(what) => what,
            Tree::List(_) => "a list",
            Tree::Table(_) => "a table",
        }
    }
}

/// A key of a table, with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Range<usize>,
    pub value: At,
}

/// A mistake in the syntax: the bytes, and what is wrong.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub at: Range<usize>,
    pub message: String,
    /// Whether a key is there twice: the rest of the tree is as it was written.
    pub twice: bool,
}

/// Reads TOML. With mistakes, the tree is what could be made of the rest.
pub(super) fn from_toml(text: &str) -> (At, Vec<SyntaxError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors = errors
        .iter()
        .map(|e| {
            let twice = e.message() == "duplicate key";
            SyntaxError { at: e.span().unwrap_or(0..0), message: e.message().into(), twice }
        })
        .collect();
    (At { span: table.span(), value: toml_table(table.get_ref()) }, errors)
}

fn toml_table(table: &DeTable) -> Tree {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<str>>, &Spanned<DeValue>)| Entry {
        key: key.get_ref().to_string(),
        key_at: key.span(),
        value: toml_value(value),
    };
    Tree::Table(table.iter().map(entry).collect())
}

fn toml_value(value: &Spanned<DeValue>) -> At {
    let tree = match value.get_ref() {
        DeValue::String(text) => Tree::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Tree::Integer(number),
            Err(_) => Tree::Other("a number that is too large"),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Tree::Float(number),
            Err(_) => Tree::Other("no number"),
        },
        DeValue::Boolean(truth) => Tree::Bool(*truth),
        DeValue::Datetime(_) => Tree::Other("a date or time"),
        DeValue::Array(items) => Tree::List(items.iter().map(toml_value).collect()),
        DeValue::Table(table) => toml_table(table),
    };
    At { value: tree, span: value.span() }
}

/// Reads JSON, strictly: what this takes, any JSON parser takes.
pub(super) fn from_json(text: &str) -> Result<At, SyntaxError> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let fail = |at, message: String| SyntaxError { at, message, twice: false };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict)
        .map_err(|e| fail(e.range().start..e.range().end, lower_first(&e.kind().to_string())))?;
    let root = parsed.value.ok_or_else(|| fail(0..0, "the file is empty".into()))?;
    Ok(json_value(&root))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn json_value(node: &JsonNode) -> At {
    let range = node.range();
    let value = match node {
        JsonNode::NullKeyword(_) => Tree::Null,
        JsonNode::BooleanLit(literal) => Tree::Bool(literal.value),
        JsonNode::NumberLit(literal) => json_number(literal.value),
        JsonNode::StringLit(literal) => Tree::Text(literal.value.to_string()),
        JsonNode::Array(array) => Tree::List(array.elements.iter().map(json_value).collect()),
        JsonNode::Object(object) => {
            let entry = |property: &jsonc_parser::ast::ObjectProp| {
                let (key, at) = match &property.name {
                    ObjectPropName::String(name) => (name.value.to_string(), name.range),
                    ObjectPropName::Word(word) => (word.value.to_owned(), word.range),
                };
                Entry { key, key_at: at.start..at.end, value: json_value(&property.value) }
            };
            Tree::Table(object.properties.iter().map(entry).collect())
        }
    };
    At { value, span: range.start..range.end }
}

fn json_number(text: &str) -> Tree {
    if let Ok(number) = text.parse() {
        return Tree::Integer(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && text.contains(['.', 'e', 'E']) => Tree::Float(number),
        _ => Tree::Other("a number that is too large"),
    }
}

/// A text whose lines are known.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file, text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The place of the byte `at`.
    pub fn place(&self, at: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        Place { file: self.file.into(), line, column }
    }

    /// What is written at `span`.
    pub fn slice(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    /// The first line before the byte `before` that is TOML's header of the table `path`.
    pub fn header(&self, path: &str, before: usize) -> Option<Place> {
        let header = format!("[{path}]");
        self.starts.iter().copied().take_while(|start| *start < before).find_map(|start| {
            let line = self.text.get(start..)?.lines().next()?;
            let bare: String = line.chars().filter(|c| !c.is_whitespace() && !['"', '\''].contains(c)).collect();
            bare.starts_with(&header).then(|| self.place(start))
        })
    }
}
