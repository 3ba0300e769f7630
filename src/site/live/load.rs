//! From a description's file to a plan, by what this machine has.

use std::path::Path;

use super::introspect::Registry;
use super::surroundings::Machine;
use crate::site::check::check;
use crate::site::plan::Plan;
use crate::site::problem::Problems;
use crate::site::read::{Document, read};
use crate::site::resolve::resolve;

/// Reads, checks and resolves a description; with what is only a warning.
///
/// # Errors
/// All that is wrong with it, warnings too.
pub fn load(path: &Path) -> Result<(Document, Plan, Problems), Problems> {
    let catalog = Registry::new();
    let (document, mut problems) = read(path);
    let Some(document) = document else { return Err(problems) };
    problems.0.extend(check(&document, &catalog, &Machine::new()).0);
    if problems.has_errors() {
        return Err(problems);
    }
    match resolve(&document, &catalog) {
        Ok(plan) => Ok((document, plan, problems)),
        Err(more) => {
            problems.0.extend(more.0);
            Err(problems)
        }
    }
}
