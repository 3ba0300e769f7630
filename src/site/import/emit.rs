//! The description as a file, with remarks on where things come from and on what could not come along.

use std::fmt::Write;

use serde::Serialize;
use toml::{Table, Value};

use super::app::Imported;
use super::findings::{Findings, Level};
use crate::site::description::{Description, RtspServer};

/// The text of `site.toml`.
///
/// # Errors
/// If a value cannot be written as TOML.
pub fn site(imported: &Imported, source: &str) -> Result<String, String> {
    let Description { format, name, rtsp, defaults, profile, camera, tile, .. } = &imported.description;
    let mut text = format!("# Made from {source} by `vigil import deepstream-app`.\n");
    text += "# At the end: what DeepStream had and this file has not. `vigil check` tells what is missing yet.\n\n";
    let _ = writeln!(text, "format = {format}\nname = {}", Value::from(name.as_str()));
    if *rtsp != RtspServer::default() {
        text += &table(&["rtsp"], rtsp)?;
    }
    text += &table(&["defaults"], defaults)?;
    for (name, profile) in profile {
        text += &table(&["profile", name], profile)?;
    }
    for (id, camera) in camera {
        if let Some(from) = imported.from.get(id) {
            let _ = write!(text, "\n# {from}");
        }
        text += &table(&["camera", id], camera)?;
    }
    for (name, tile) in tile {
        text += &table(&["tile", name], tile)?;
    }
    text += &remarks(&imported.findings);
    Ok(text)
}

/// What could not come along, as remarks of a TOML file.
pub fn remarks(findings: &Findings) -> String {
    let mut text = String::new();
    for level in [Level::Lost, Level::Changed] {
        let mut list = findings.0.iter().filter(|finding| finding.level == level).peekable();
        if list.peek().is_some() {
            let _ = writeln!(text, "\n# {}:", level.heading());
        }
        for finding in list {
            // A value may not end the remark.
            let plain: String = finding.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(text, "#   {plain}");
        }
    }
    text
}

/// A value as the table `path`, without what is empty; nothing if all of it is.
fn table(path: &[&str], value: &impl Serialize) -> Result<String, String> {
    let mut value = Value::try_from(value).map_err(|e| e.to_string())?;
    prune(&mut value);
    if value.as_table().is_some_and(Table::is_empty) && path.len() == 1 {
        return Ok(String::new());
    }
    for name in path.iter().rev() {
        value = Value::Table(Table::from_iter([((*name).to_owned(), value)]));
    }
    let text = toml::to_string(&value).map_err(|e| e.to_string())?;
    Ok(format!("\n{text}"))
}

/// Takes out tables that say nothing.
fn prune(value: &mut Value) {
    let Value::Table(table) = value else {
        if let Value::Array(items) = value {
            items.iter_mut().for_each(prune);
        }
        return;
    };
    table.iter_mut().for_each(|(_, value)| prune(value));
    table.retain(|_, value| !value.as_table().is_some_and(Table::is_empty));
}
