//! From a description to a plan, by what this machine has.

use std::path::Path;

use super::introspect::Registry;
use super::surroundings::Machine;
use crate::site::check::check;
use crate::site::plan::Plan;
use crate::site::problem::Problems;
use crate::site::read::{Document, read};
use crate::site::resolve::resolve;

/// A description, its plan, and what there is to say of it.
pub type Loaded = (Document, Plan, Problems);

/// Reads, checks and resolves a description, for a site that is to start; with what is odd, and what the machine lacks: that costs what
/// needs it. Problems are in the order of their places.
///
/// # Errors
/// All that is wrong, if that is the description itself.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let (document, written) = read(path);
    let Some(document) = document else { return Err(written) };
    let (plan, problems) = plan(&document, written)?;
    Ok((document, plan, problems))
}

/// Reads, checks and resolves a description as [`load`] does, for a site that is to change while it runs as `running` says.
///
/// # Errors
/// All that is wrong, if that keeps the site from changing: see [`change`].
pub fn reload(path: &Path, running: &Document) -> Result<Loaded, Problems> {
    let (document, written) = read(path);
    let Some(document) = document else { return Err(written) };
    let (plan, problems) = change(&document, written, running)?;
    Ok((document, plan, problems))
}

/// Checks and resolves a description that was read with the problems `written`, which are among those that come of it.
///
/// # Errors
/// All that is wrong, if that is the description itself.
pub fn plan(document: &Document, written: Problems) -> Result<(Plan, Problems), Problems> {
    plan_on(&Machine::new(), document, written)
}

/// The same for a site that is to change while it runs as `running` says: what the machine lacks keeps it from that, unless it lacks the
/// same for what runs.
///
/// # Errors
/// All that is wrong, if that keeps the site from changing.
pub fn change(document: &Document, written: Problems, running: &Document) -> Result<(Plan, Problems), Problems> {
    let machine = Machine::new();
    let (plan, problems) = plan_on(&machine, document, written)?;
    if problems.lacks().next().is_none() {
        return Ok((plan, problems));
    }
    let known = match plan_on(&machine, running, Problems::default()) {
        Ok((_, known)) | Err(known) => known,
    };
    if problems.bar_change(&known) { Err(problems) } else { Ok((plan, problems)) }
}

fn plan_on(machine: &Machine, document: &Document, written: Problems) -> Result<(Plan, Problems), Problems> {
    let catalog = Registry::new();
    let mut problems = written;
    problems.append(check(document, &catalog, machine));
    let mut plan = None;
    if !problems.bar_start() {
        match resolve(document, &catalog) {
            Ok((resolved, lacks)) => {
                plan = Some(resolved);
                problems.append(lacks);
            }
            Err(more) => problems.append(more),
        }
    }
    problems.sort();
    match plan {
        Some(plan) => Ok((plan, problems)),
        None => Err(problems),
    }
}
