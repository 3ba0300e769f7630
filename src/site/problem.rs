//! What is wrong with a description, and where.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Place {
    /// The file, as the user named it or the pattern found it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Where each key of a description is written, by its dotted path; items of lists by their number: `profile.people.stage.0.model`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places(pub BTreeMap<String, Place>);

impl Places {
    /// Where `path` is written, or the nearest table around it that is.
    pub fn find(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind('.')?];
        }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The site does not start with it.
    Error,
    /// It starts, and may not do what was meant.
    Warning,
}

/// Something that is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None` for what is not in a file.
    pub place: Option<Place>,
    /// The key with its tables, such as `camera.gate.uri`; empty for a file as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// All that is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether the site cannot start.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Adds those of `other`.
    pub fn append(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    /// Puts them in the order of their places: what is not in a file first, and then file by file, from top to bottom.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
    }

    /// How many errors and warnings there are.
    pub fn count(&self) -> (usize, usize) {
        let errors = self.0.iter().filter(|problem| problem.severity == Severity::Error).count();
        (errors, self.0.len() - errors)
    }

    /// Adds an error at the key `path`.
    pub fn error(&mut self, places: &Places, path: &str, text: impl Into<String>) {
        self.add(Severity::Error, places, path, text);
    }

    /// Adds a warning at the key `path`.
    pub fn warn(&mut self, places: &Places, path: &str, text: impl Into<String>) {
        self.add(Severity::Warning, places, path, text);
    }

    fn add(&mut self, severity: Severity, places: &Places, path: &str, text: impl Into<String>) {
        let problem = Problem { severity, place: places.find(path).cloned(), key: path.into(), text: text.into() };
        self.0.push(problem);
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}
