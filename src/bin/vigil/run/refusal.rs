//! Why the gateway does not do what its API was asked for.

use gstvigil::site::live::SiteError;
use gstvigil::site::problem::Problems;

/// Why something that the API asked for is not done.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such camera.
    NoCamera(String),
    /// It is at odds with how things are.
    Conflict(String),
    /// It may not be done this way.
    Forbidden(String),
    /// The description would not check.
    Problems(Problems),
    /// The machine does not let it.
    Failed(String),
}

impl From<SiteError> for Refusal {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::NoCamera(id) => Self::NoCamera(id),
            SiteError::Refused(text) => Self::Conflict(text),
        }
    }
}
