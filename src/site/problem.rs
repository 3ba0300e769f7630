//! What is wrong with a description, and where.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Something does not work with it: [`About`] says what.
    Error,
    /// It starts, and may not do what was meant.
    Warning,
}

/// What must be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The description: its text is wrong on any machine. With such an error no site starts.
    Description,
    /// The machine: it lacks something here and now, such as a bundle, a file, a folder, a port or an element. Such an error
    /// costs what needs it, until it is there.
    Machine,
}

/// Something that is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What must be mended.
    pub about: About,
    /// Where; `None` for what is not in a file.
    pub place: Option<Place>,
    /// The key with its tables, such as `camera.gate.uri`; empty for a file as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub text: String,
}

impl Problem {
    /// An error of the description.
    pub fn wrong(place: Option<Place>, key: impl Into<String>, text: impl Into<String>) -> Self {
        let (severity, about) = (Severity::Error, About::Description);
        Self { severity, about, place, key: key.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        } else if self.about == About::Machine {
            f.write_str("this machine: ")?;
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
    /// Whether there are errors, of the description or of the machine.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Whether no site can start: the description itself is wrong.
    pub fn bar_start(&self) -> bool {
        self.wrong().next().is_some()
    }

    /// Whether a site that runs must not become what these are about: the description itself is wrong, or it asks for something
    /// that the machine lacks. What it lacks for what runs too, by the problems of that, does not count.
    pub fn bar_change(&self, running: &Problems) -> bool {
        let known: BTreeSet<&str> = running.lacks().map(|problem| problem.text.as_str()).collect();
        self.bar_start() || self.lacks().any(|problem| !known.contains(problem.text.as_str()))
    }

    /// All errors.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// The errors of the description.
    pub fn wrong(&self) -> impl Iterator<Item = &Problem> {
        self.errors().filter(|problem| problem.about == About::Description)
    }

    /// The errors of the machine.
    pub fn lacks(&self) -> impl Iterator<Item = &Problem> {
        self.errors().filter(|problem| problem.about == About::Machine)
    }

    /// Adds those of `other`.
    pub fn append(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    /// Puts them in the order of their places: what is not in a file first, and then file by file, from top to bottom.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
    }

    /// Adds an error of the description at the key `path`.
    pub fn error(&mut self, places: &Places, path: &str, text: impl Into<String>) {
        self.add((Severity::Error, About::Description), places, path, text);
    }

    /// Adds a warning about the description at the key `path`.
    pub fn warn(&mut self, places: &Places, path: &str, text: impl Into<String>) {
        self.add((Severity::Warning, About::Description), places, path, text);
    }

    /// Adds a problem at the key `path`.
    pub fn add(&mut self, (severity, about): (Severity, About), places: &Places, path: &str, text: impl Into<String>) {
        let (place, key) = (places.find(path).cloned(), path.into());
        self.0.push(Problem { severity, about, place, key, text: text.into() });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(all: &[(Severity, About, &str)]) -> Problems {
        let mut problems = Problems::default();
        for (severity, about, text) in all {
            problems.add((*severity, *about), &Places::default(), "camera.gate", *text);
        }
        problems
    }

    #[test]
    fn the_machine_bars_no_start_and_only_what_it_lacks_anew_bars_a_change() {
        use About::{Description, Machine};
        use Severity::{Error, Warning};
        let nothing = Problems::default();
        let lacks = problems(&[(Error, Machine, "no model"), (Warning, Machine, "no screen")]);
        assert!(lacks.has_errors() && !lacks.bar_start());
        assert!(lacks.bar_change(&nothing) && !lacks.bar_change(&lacks));
        let more = problems(&[(Error, Machine, "no model"), (Error, Machine, "no file")]);
        assert!(more.bar_change(&lacks) && !lacks.bar_change(&more));
        // A warning is no error that is known.
        assert!(problems(&[(Error, Machine, "no screen")]).bar_change(&lacks));
        let wrong = problems(&[(Error, Description, "no such key")]);
        assert!(wrong.bar_start() && wrong.bar_change(&wrong));
        let warned = problems(&[(Warning, Description, "no effect")]);
        assert!(!warned.has_errors() && !warned.bar_change(&nothing));
    }

    #[test]
    fn a_problem_says_what_must_be_mended() {
        let told = problems(&[
            (Severity::Error, About::Description, "wrong"),
            (Severity::Error, About::Machine, "missing"),
            (Severity::Warning, About::Machine, "taken"),
        ]);
        let lines = "`camera.gate`: wrong\nthis machine: `camera.gate`: missing\nwarning: `camera.gate`: taken\n";
        assert_eq!(told.to_string(), lines);
    }
}
