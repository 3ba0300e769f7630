//! What elements there are and what properties they have, as GStreamer's registry knows them.

use std::sync::Arc;

/// What a property takes.
#[derive(Debug, Clone, PartialEq)]
pub enum PropertyKind {
    /// `true` or `false`.
    Bool,
    /// A whole number of this range.
    Integer {
        /// Least.
        min: i128,
        /// Most.
        max: i128,
    },
    /// A number of this range.
    Float {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of these words.
    Enum(Vec<String>),
    /// Some of these words, with `+` between them.
    Flags(Vec<String>),
    /// Something else, of the type that is named: it is given as GStreamer's launch lines give it.
    Other(String),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nothing in particular.
    None,
    /// Nanoseconds: a description may give a duration, such as `"300ms"`.
    Nanoseconds,
    /// Milliseconds: likewise.
    Milliseconds,
    /// Bytes: a description may give a size, such as `"1GiB"`.
    Bytes,
}

/// A property of an element.
#[derive(Debug, Clone, PartialEq)]
pub struct PropertyInfo {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: PropertyKind,
    /// What its number counts.
    pub unit: Unit,
    /// Whether it can be set.
    pub writable: bool,
    /// Whether it can be set while frames flow.
    pub in_playing: bool,
    /// The element's own words about it.
    pub blurb: String,
}

/// An element's factory.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementInfo {
    /// Its name.
    pub factory: String,
    /// Whether raw video goes in on one pad and out on another, both always there: what a stage must be.
    pub filter: bool,
    /// Its properties, in its own order.
    pub properties: Vec<PropertyInfo>,
}

impl ElementInfo {
    /// A property by its name.
    pub fn property(&self, name: &str) -> Option<&PropertyInfo> {
        self.properties.iter().find(|property| property.name == name)
    }
}

/// The elements that a machine has.
pub trait Catalog {
    /// An element by its factory's name; `None` if there is none.
    fn element(&self, factory: &str) -> Option<Arc<ElementInfo>>;

    /// Names of all factories, for what may have been meant.
    fn factories(&self) -> Vec<String>;
}
