//! What elements say, as JSON: messages, statistics; and what is asked of them, as structures.

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

#[cfg(test)]
mod tests {
    use super::*;

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
