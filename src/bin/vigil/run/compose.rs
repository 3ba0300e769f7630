//! From the description's files and the changes of the API to a plan, with all that is wrong.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};

use gstvigil::site::check::{Surroundings, check};
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::plan::{Node, Plan, Value};
use gstvigil::site::problem::Problems;
use gstvigil::site::read::Document;
use gstvigil::site::resolve::resolve;

use super::changes::Changes;

/// Reads the description.
///
/// # Errors
/// All that is wrong with how it is written.
pub fn read(file: &Path) -> Result<Document, Problems> {
    match gstvigil::site::read::read(file) {
        (Some(document), problems) if !problems.has_errors() => Ok(document),
        (_, problems) => Err(problems),
    }
}
