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
    let Value::Table(table) = value else { return Err(format!("{} is no table", path.join("."))) };
    if table.is_empty() && path.len() == 1 {
        return Ok(String::new());
    }
    let path: Vec<String> = path.iter().map(|name| key(name)).collect();
    let mut text = String::new();
    write(&mut text, &path.join("."), &table, false);
    Ok(text)
}

/// Writes a table: what names and kinds it first, then the other values, then lists of tables; small tables in line.
fn write(text: &mut String, path: &str, table: &Table, in_list: bool) {
    const FIRST: [&str; 6] = ["kind", "element", "name", "model", "uri", "profile"];
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut entries: Vec<(&String, &Value)> = table.iter().collect();
    entries.sort_by_key(|(name, _)| rank(name));
    let (lists, values): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, value)| is_list(value));
    if in_list {
        let _ = writeln!(text, "\n[[{path}]]");
    } else if !values.is_empty() || lists.is_empty() {
        let _ = writeln!(text, "\n[{path}]");
    }
    for (name, value) in values {
        let _ = writeln!(text, "{} = {value}", key(name));
    }
    for (name, value) in lists {
        for item in value.as_array().into_iter().flatten().filter_map(Value::as_table) {
            write(text, &format!("{path}.{}", key(name)), item, true);
        }
    }
}

/// Whether it is a list of tables.
fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_table))
}

/// A key as TOML has it.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !name.is_empty() && name.chars().all(bare) { name.into() } else { Value::from(name).to_string() }
}

/// Takes out tables that say nothing.
fn prune(value: &mut Value) {
    match value {
        Value::Table(table) => {
            table.iter_mut().for_each(|(_, value)| prune(value));
            table.retain(|_, value| !value.as_table().is_some_and(Table::is_empty));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
