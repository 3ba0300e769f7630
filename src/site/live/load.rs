//! From a file to a plan, with what this machine has.

use std::path::Path;

use crate::site::plan::Plan;
use crate::site::problem::Problems;

/// x
pub fn load(_path: &Path) -> Result<((), Plan, Problems), Problems> {
    Err(Problems::default())
}
