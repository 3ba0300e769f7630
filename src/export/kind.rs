//! What a record is about, which decides what is sent first and what is given up last.

use serde::{Deserialize, Serialize};

/// What a record is about, the most important first: it is sent before the others, and given up after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody should do something: a camera is lost, a model was rolled back, predictions have drifted.
    Alarm,
    /// Something happened: an object came or went, a model was swapped.
    Event,
    /// What is known about one frame.
    Frame,
    /// Figures about the gateway itself.
    Telemetry,
}

impl Kind {
    /// All of them, the most important first.
    pub const ALL: [Self; 4] = [Self::Alarm, Self::Event, Self::Frame, Self::Telemetry];

    /// The word in topics, records and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Event => "event",
            Self::Frame => "frame",
            Self::Telemetry => "telemetry",
        }
    }

    /// Its place in [`ALL`](Self::ALL), which files keep.
    pub const fn index(self) -> usize {
        self as usize
    }
}
