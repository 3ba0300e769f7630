//! From a description's file to a plan, by what this machine has.

use std::path::Path;

use super::introspect::Registry;
use super::surroundings::Machine;
use crate::site::check::check;
use crate::site::plan::Plan;
use crate::site::problem::Problems;
use crate::site::read::{Document, read};
use crate::site::resolve::resolve;

/// Reads, checks and resolves a description; with what is only a warning. Problems are in the order of their places.
///
/// # Errors
/// All that is wrong with it, warnings too.
pub fn load(path: &Path) -> Result<(Document, Plan, Problems), Problems> {
    let catalog = Registry::new();
    let (document, mut problems) = read(path);
    if let Some(document) = document {
        problems.append(check(&document, &catalog, &Machine::new()));
        if !problems.has_errors() {
            match resolve(&document, &catalog) {
                Ok(plan) => {
                    problems.sort();
                    return Ok((document, plan, problems));
                }
                Err(more) => problems.append(more),
            }
        }
    }
    problems.sort();
    Err(problems)
}
