//! The JSON Schema of descriptions: from the types, and for Vigil's own elements from the properties of their classes.

use serde_json::{Map, Value, json};

use super::catalog::{Catalog, ElementInfo, PropertyInfo, PropertyKind, Unit};
use super::convert::is_own;
use super::description::Description;
use super::resolve::WATCHDOG;

/// The elements whose properties the schema has; a stage may be of any other, too.
const STAGES: [&str; 5] = ["vigilinfer", "vigiltrack", "vigildrift", "vigiloverlay", "vigilexport"];

/// The JSON Schema (draft 2020-12) of a description, pretty-printed, with a newline at the end. It says all that a file
/// alone can be judged by; [`check`](super::check::check) knows more.
pub fn json_schema(catalog: &dyn Catalog) -> String {
    let mut schema = schemars::schema_for!(Description).to_value();
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        stages(definitions, catalog);
        if let Some(info) = catalog.element(WATCHDOG)
            && let Some(watchdog) = definitions.get_mut("Watchdog").and_then(Value::as_object_mut)
        {
            let known = properties(&info);
            if let Some(own) = watchdog.get_mut("properties").and_then(Value::as_object_mut) {
                own.extend(known);
            }
            watchdog.insert("additionalProperties".into(), Value::Bool(false));
        }
    }
    format!("{schema:#}\n")
}

/// What a stage of one of [`STAGES`] may have, by its `element`.
fn stages(definitions: &mut Map<String, Value>, catalog: &dyn Catalog) {
    let Some(stage) = definitions.get_mut("Stage").and_then(Value::as_object_mut) else { return };
    let common: Vec<Value> = match stage.get("properties").and_then(Value::as_object) {
        Some(own) => own.keys().map(|name| Value::from(name.as_str())).collect(),
        None => Vec::new(),
    };
    let mut cases = Vec::new();
    for factory in STAGES {
        let Some(info) = catalog.element(factory) else { continue };
        let known = properties(&info);
        let names: Vec<Value> =
            common.iter().cloned().chain(known.keys().map(|name| Value::from(name.as_str()))).collect();
        cases.push(json!({
            "if": { "properties": { "element": { "const": factory } }, "required": ["element"] },
            "then": { "properties": known, "propertyNames": { "enum": names } },
        }));
    }
    stage.insert("allOf".into(), Value::Array(cases));
}

/// The properties of an element that a description may set.
fn properties(info: &ElementInfo) -> Map<String, Value> {
    // What GStreamer's base classes have is of no use here, and differs from version to version.
    let base = ["qos", "async-handling", "message-forward"];
    let of_use = info
        .properties
        .iter()
        .filter(|p| p.writable && !is_own(&info.factory, &p.name) && !base.contains(&p.name.as_str()));
    of_use.map(|property| (property.name.clone(), schema_of(property))).collect()
}

fn schema_of(property: &PropertyInfo) -> Value {
    let mut schema = match &property.kind {
        PropertyKind::Bool => json!({ "type": "boolean" }),
        PropertyKind::Integer { min, max } => integer(property.unit, *min, *max),
        PropertyKind::Float { min, max } => json!({ "type": "number", "minimum": float(*min), "maximum": float(*max) }),
        PropertyKind::Text => json!({ "type": "string" }),
        PropertyKind::Enum(words) => json!({ "enum": words }),
        PropertyKind::Flags(_) => json!({ "type": "string" }),
        PropertyKind::Other(_) => json!({ "$ref": "#/$defs/Scalar" }),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), Value::from(property.blurb.as_str()));
    }
    schema
}

fn integer(unit: Unit, min: i128, max: i128) -> Value {
    // JSON's own numbers end where 64 bits do.
    let number = |number: i128| match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => Value::from(number),
        (_, Ok(number)) => Value::from(number),
        _ => Value::Null,
    };
    let plain = json!({ "type": "integer", "minimum": number(min), "maximum": number(max) });
    match unit {
        Unit::None => plain,
        // Over 0 a time has a unit.
        Unit::Nanoseconds => {
            json!({ "anyOf": [{ "$ref": "#/$defs/Duration" }, { "type": "integer", "minimum": number(min), "maximum": 0 }] })
        }
        Unit::Milliseconds => json!({ "anyOf": [{ "$ref": "#/$defs/Duration" }, plain] }),
        Unit::Bytes => {
            json!({ "anyOf": [{ "type": "string", "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)$" }, plain] })
        }
    }
}

/// A number without what an f32 adds to it when it becomes an f64.
fn float(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}
