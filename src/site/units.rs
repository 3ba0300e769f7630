//! Durations and secrets as they are written in a description.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::export::units::{DURATIONS, read_duration};
use crate::secret::Secret;

/// A duration, written with its unit: `"300ms"`, `"5s"`, `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read_duration(text).map(Self).ok_or_else(|| {
            format!(
                "\"{text}\" is no duration: it is a number with a unit ({DURATIONS}), such as \"300ms\", \"5s\" or \"1h 30m\""
            )
        })
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{span:#}")
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with its unit: 300ms, 5s, 2m, 1h 30m, 7d.",
            "examples": ["300ms", "5s", "1h 30m"],
        })
    }
}

/// A secret, or a text that is none (a user's name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrSecret {
    /// As it is written.
    Text(String),
    /// To be found elsewhere.
    Secret(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::units::parse_duration;

    #[test]
    fn a_duration_is_read_as_it_is_written() {
        let read = |text: &str| text.parse::<Span>().map(|span| span.0);
        // As sinks do; and what the schema's description promises.
        for text in ["300ms", "5s", "2m", "15min", "1h 30m", "7d"] {
            assert_eq!(read(text).ok(), parse_duration(text).ok(), "{text}");
            assert!(read(text).is_ok(), "{text}");
        }
        assert_eq!(read("0s"), Ok(Duration::ZERO));
        assert_eq!(
            read("soon").unwrap_err(),
            "\"soon\" is no duration: it is a number with a unit (ms, s, m or min, h, d), such as \"300ms\", \"5s\" or \"1h 30m\""
        );
        for time in
            [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(604_800), Duration::from_secs(u64::MAX / 2)]
        {
            assert_eq!(Span(time).to_string().parse(), Ok(Span(time)), "{}", Span(time));
        }
    }
}
