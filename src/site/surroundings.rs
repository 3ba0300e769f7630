//! What a check asks of the machine: files, models, ports, and whether GStreamer understands a text.

use std::net::SocketAddr;
use std::path::Path;

use crate::bundle::contract::Task;

/// What is known about a model without running it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelFacts {
    /// What it answers; `None` for a bare model.
    pub task: Option<Task>,
    /// Its classes; `None` for a bare model.
    pub labels: Option<Vec<String>>,
    /// What the user should know about how it was found.
    pub warnings: Vec<String>,
}

/// Whether a port can be listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// It is free.
    Free,
    /// Somebody listens on it.
    Taken,
    /// It never can; the text says why.
    Unusable(String),
}

/// Why a launch fragment cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadFragment {
    /// An element of it is not on this machine; the text says which.
    Absent(String),
    /// It is wrong on any machine; the text says why.
    Wrong(String),
}

/// The machine, as far as a description depends on it. Nothing of it is changed by asking.
pub trait Surroundings {
    /// What is known about the model that `model` names: an absolute path, or the name of an installed bundle.
    ///
    /// # Errors
    /// A text for the user if it cannot be used.
    fn model(&self, model: &str) -> Result<ModelFacts, String>;

    /// Whether a file can be read.
    ///
    /// # Errors
    /// A text for the user that says why not.
    fn file(&self, path: &Path) -> Result<(), String>;

    /// Whether there is anything at a path.
    fn exists(&self, path: &Path) -> bool;

    /// Whether files can be made in a folder, or the folder itself if it is not there.
    ///
    /// # Errors
    /// A text for the user that says why not.
    fn folder(&self, path: &Path) -> Result<(), String>;

    /// Whether a port can be listened on.
    fn port(&self, address: SocketAddr) -> Port;

    /// Whether the environment has a variable.
    fn variable(&self, name: &str) -> bool;

    /// Whether GStreamer understands a launch fragment with one output, and one input if it is a `filter`.
    ///
    /// # Errors
    /// [`BadFragment`], with a text for the user.
    fn launch(&self, fragment: &str, filter: bool) -> Result<(), BadFragment>;

    /// Whether GStreamer understands caps.
    ///
    /// # Errors
    /// A text for the user that says why not.
    fn caps(&self, caps: &str) -> Result<(), String>;

    /// Whether this build has the RTSP server.
    fn rtsp_server(&self) -> bool;
}
