//! What elements say, as JSON: messages, statistics; and what is asked of them, or told on, as structures.

use gst::glib;
use gst::prelude::*;
use serde_json::{Map, Value};

use crate::site::units::Span;

/// A structure's fields, by name.
pub fn from_structure(structure: &gst::StructureRef) -> Value {
    Value::Object(structure.iter().map(|(name, value)| (name.to_string(), from_value(value))).collect())
}

/// A value of GStreamer's. What JSON has no words for is written as GStreamer does; a number that is none is null.
fn from_value(value: &glib::SendValue) -> Value {
    let value: &glib::Value = value;
    macro_rules! one_of {
        ($($type:ty),*) => {
            $(if let Ok(found) = value.get::<$type>() { return Value::from(found); })*
        };
    }
    one_of!(bool, i32, u32, i64, u64, f64);
    if let Ok(number) = value.get::<f32>() {
        return Value::from(number);
    }
    if let Ok(text) = value.get::<Option<String>>() {
        return text.map_or(Value::Null, Value::from);
    }
    if let Ok(inner) = value.get::<gst::Structure>() {
        return from_structure(&inner);
    }
    if let Ok(list) = value.get::<gst::ArrayRef<'_>>() {
        return list.iter().map(from_value).collect();
    }
    if let Ok(list) = value.get::<gst::ListRef<'_>>() {
        return list.iter().map(from_value).collect();
    }
    value.serialize().map_or(Value::Null, |text| Value::from(text.as_str()))
}

/// The options of a swap as `vigilinfer` takes them: whole numbers are unsigned, a duration may have its unit.
///
/// # Errors
/// A text that names the option that cannot be one.
pub fn to_options(options: &Map<String, Value>) -> Result<gst::Structure, String> {
    let mut structure = gst::Structure::new_empty("options");
    for (name, value) in options {
        let number = value.as_u64();
        let span = |text: &str| text.parse::<Span>().ok().and_then(|span| u64::try_from(span.0.as_nanos()).ok());
        match value {
            Value::Bool(value) => structure.set(name.as_str(), *value),
            Value::Number(_) if number.is_some() => structure.set(name.as_str(), number.unwrap_or_default()),
            Value::String(text) if name.ends_with("-time") => {
                structure.set(name.as_str(), span(text).ok_or_else(|| format!("{name}: \"{text}\" is no duration"))?);
            }
            Value::String(text) => structure.set(name.as_str(), text),
            other => return Err(format!("{name}: {other} is no text, whole number or boolean")),
        }
    }
    Ok(structure)
}

/// A structure with the fields of an object: texts, booleans, `guint64`, `gint64` and `gdouble`; objects are structures, arrays
/// are `GstValueArray`s. What is null is left out.
pub fn to_structure(name: &str, fields: &Value) -> gst::Structure {
    let mut structure = gst::Structure::new_empty(name);
    for (field, value) in fields.as_object().into_iter().flatten() {
        if let Some(value) = to_value(value) {
            structure.set_value(field.as_str(), value);
        }
    }
    structure
}

fn to_value(value: &Value) -> Option<glib::SendValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => flag.to_send_value(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.to_send_value(),
            (None, Some(number)) => number.to_send_value(),
            (None, None) => number.as_f64()?.to_send_value(),
        },
        Value::String(text) => text.to_send_value(),
        Value::Array(items) => gst::Array::from_iter(items.iter().filter_map(to_value)).to_send_value(),
        // Of a constant name: outside names need not be such as GStreamer takes, and the field has it.
        Value::Object(_) => to_structure("fields", value).to_send_value(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_fields_that_become_the_same_json() {
        gst::init().unwrap();
        let json = serde_json::json!({
            "text": "a", "nothing": null, "on": true, "count": 3, "change": -3, "part": 0.5,
            "times": { "median": 5, "share": 0.25 }, "list": [1, 2], "1st": { "-a": { "2": 1 } },
        });
        let structure = to_structure("stats", &json);
        assert_eq!((structure.get::<u64>("count"), structure.get::<i64>("change")), (Ok(3), Ok(-3)));
        assert!(!structure.has_field("nothing"));
        let mut back = from_structure(&structure);
        back["nothing"] = Value::Null;
        assert_eq!(back, json);
    }

    #[test]
    fn fields_become_json_of_their_kind() {
        gst::init().unwrap();
        let inner = gst::Structure::builder("causes").field("late", 3u64).build();
        let structure = gst::Structure::builder("s")
            .field("yes", true)
            .field("count", u64::MAX)
            .field("minus", -4i32)
            .field("share", 0.5f64)
            .field("nothing", f64::NAN)
            .field("text", "a \"b\"")
            .field("none", None::<String>)
            .field("inner", inner)
            .field("list", gst::Array::new([1i32, 2]))
            .field("rate", gst::Fraction::new(25, 1))
            .build();
        let expected = serde_json::json!({
            "yes": true, "count": u64::MAX, "minus": -4, "share": 0.5, "nothing": null, "text": "a \"b\"", "none": null,
            "inner": {"late": 3}, "list": [1, 2], "rate": "25/1",
        });
        assert_eq!(from_structure(&structure), expected);
    }

    #[test]
    fn options_are_of_the_types_that_vigilinfer_takes() {
        gst::init().unwrap();
        let options =
            serde_json::json!({"provider": "cpu", "shadow": true, "probation-time": "2s", "probation-frames": 30});
        let structure = to_options(options.as_object().unwrap()).unwrap();
        assert_eq!(structure.get::<u64>("probation-time"), Ok(2_000_000_000));
        assert_eq!(structure.get::<u64>("probation-frames"), Ok(30));
        assert_eq!(structure.get::<bool>("shadow"), Ok(true));
        assert_eq!(structure.get::<&str>("provider"), Ok("cpu"));
        let bad = serde_json::json!({"probation-time": "soon"});
        assert_eq!(to_options(bad.as_object().unwrap()), Err("probation-time: \"soon\" is no duration".to_owned()));
        let bad = serde_json::json!({"shadow": [1]});
        assert!(to_options(bad.as_object().unwrap()).is_err());
    }
}
