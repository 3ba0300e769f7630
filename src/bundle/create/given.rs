//! Keys of `bundle.toml` that the user gives on the command line.

use std::str::FromStr;

use super::{Draft, Reason};
use crate::bundle::manifest;

/// Keys that are not values of the manifest, or that the model's file decides.
const FIXED: [&str; 4] = ["format", "labels", "variant", "reference"];

/// `KEY=VALUE` with a dotted key of `bundle.toml` and a TOML value; a text needs no quotes.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Dotted key, such as `output.decoder`.
    pub key: String,
    /// The value.
    pub value: toml::Value,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not KEY=VALUE, such as output.decoder=yolov5 or input.size=[640, 640]");
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let (key, value) = (key.trim(), value.trim());
        if key.split('.').any(str::is_empty) {
            return Err(wrong());
        }
        if FIXED.iter().any(|fixed| key.split('.').next() == Some(fixed)) {
            let hint = if key == "labels" { "; give the file with --labels" } else { "; edit bundle.toml" };
            return Err(format!("{key} cannot be set here{hint}"));
        }
        let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
        Ok(Self { key: key.into(), value: parsed.unwrap_or_else(|| value.into()) })
    }
}

impl Draft {
    /// Takes what the user gives in the place of what the draft says.
    ///
    /// # Errors
    /// Why the bundle would not be one; the draft is then as it was.
    pub fn give(&mut self, given: &[Given]) -> Result<(), String> {
        let bad = |why: &dyn std::fmt::Display| format!("--set: {why}");
        let text = self.manifest("model.onnx", &"0".repeat(64));
        let mut table: toml::Table = toml::from_str(&text).map_err(|e| bad(&e))?;
        for Given { key, value } in given {
            put(&mut table, key, value.clone()).map_err(|why| format!("--set {key}: {why}"))?;
        }
        // Padding goes with letterbox only, a fraction with crop only: they go where another way is given.
        let is_given = |key: &str| given.iter().any(|g| g.key == key);
        if let Some(toml::Value::Table(input)) = table.get_mut("input") {
            let resize = input.get("resize").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            for (key, with) in [("align", "letterbox"), ("pad", "letterbox"), ("crop-fraction", "crop")] {
                if resize != with && !is_given(&format!("input.{key}")) {
                    input.remove(key);
                }
            }
        }
        let text = toml::to_string(&table).map_err(|e| bad(&e))?;
        let plain = |e: crate::bundle::ConfigError| {
            format!("--set: {}{}", e.key.map(|k| format!("`{k}`: ")).unwrap_or_default(), e.message)
        };
        let read = manifest::parse(text.as_bytes(), "--set").map_err(plain)?;
        self.output = read.output(&self.labels).map_err(plain)?;
        (self.name, self.release, self.license) = (read.name, read.release, read.license);
        (self.task, self.input) = (read.task, read.input);
        for Given { key, .. } in given {
            let key = if key.starts_with("output.per-class.") { "output.per-class" } else { key };
            self.known.insert(key.into(), Reason::given());
        }
        Ok(())
    }
}

/// Puts a value where a dotted key says.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    let (tables, last) = key.rsplit_once('.').map_or((None, key), |(tables, last)| (Some(tables), last));
    let mut table = table;
    for name in tables.into_iter().flat_map(|t| t.split('.')) {
        let entry = table.entry(name).or_insert_with(|| toml::Table::new().into());
        table = entry.as_table_mut().ok_or_else(|| format!("`{}` is no table", tables.unwrap_or_default()))?;
    }
    table.insert(last.into(), value);
    Ok(())
}
