//! Structures of messages and statistics as JSON, and back.

use gst::glib;
use gst::prelude::*;
use serde_json::{Map, Number, Value};

/// A structure's fields by name; nested structures are objects, lists are arrays.
pub fn of_structure(structure: &gst::StructureRef) -> Value {
    let fields = structure.iter().map(|(name, value)| (name.to_string(), of_value(value)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// A value; what JSON has no word for is the text that GStreamer writes it as, or nothing.
pub fn of_value(value: &glib::SendValue) -> Value {
    fn as_is<'a, T>(value: &'a glib::SendValue) -> Option<Value>
    where
        T: glib::value::FromValue<'a> + Into<Value>,
    {
        value.get::<T>().ok().map(Into::into)
    }
    let list = |items: &[glib::SendValue]| Value::Array(items.iter().map(of_value).collect());
    if let Ok(structure) = value.get::<Option<gst::Structure>>() {
        return structure.map_or(Value::Null, |structure| of_structure(&structure));
    }
    if let Ok(text) = value.get::<Option<String>>() {
        return text.map_or(Value::Null, Value::String);
    }
    if let Ok(items) = value.get::<gst::Array>() {
        return list(items.as_slice());
    }
    if let Ok(items) = value.get::<gst::List>() {
        return list(items.as_slice());
    }
    if let Ok(number) = value.get::<f32>() {
        // The shortest text that is this number, not the nearest double.
        return number.to_string().parse::<f64>().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number);
    }
    as_is::<bool>(value)
        .or_else(|| as_is::<u64>(value))
        .or_else(|| as_is::<i64>(value))
        .or_else(|| as_is::<u32>(value))
        .or_else(|| as_is::<i32>(value))
        .or_else(|| value.get::<f64>().ok().map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)))
        .or_else(|| {
            let (_, word) = glib::EnumValue::from_value(value)?;
            Some(word.nick().into())
        })
        .or_else(|| value.serialize().ok().map(|text| text.to_string().into()))
        .unwrap_or(Value::Null)
}

/// A structure with the fields of an object: texts, booleans, `guint64`, `gint64` and `gdouble`; objects are structures, arrays
/// are `GstValueArray`s. What is null is left out.
pub fn to_structure(name: &str, fields: &Value) -> gst::Structure {
    let mut structure = gst::Structure::new_empty(name);
    for (field, value) in fields.as_object().into_iter().flatten() {
        if let Some(value) = to_value(field, value) {
            structure.set_value(field.as_str(), value);
        }
    }
    structure
}

fn to_value(name: &str, value: &Value) -> Option<glib::SendValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => flag.to_send_value(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.to_send_value(),
            (None, Some(number)) => number.to_send_value(),
            (None, None) => number.as_f64()?.to_send_value(),
        },
        Value::String(text) => text.to_send_value(),
        Value::Array(items) => gst::Array::from_iter(items.iter().filter_map(|item| to_value("item", item))).to_send_value(),
        Value::Object(_) => to_structure(name, value).to_send_value(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_structure_says_goes_both_ways() {
        gst::init().unwrap();
        let inner = gst::Structure::builder("times").field("median", 5_u64).field("share", 0.25_f64).build();
        let structure = gst::Structure::builder("stats")
            .field("text", "a")
            .field("nothing", None::<String>)
            .field("on", true)
            .field("count", 3_u32)
            .field("change", -3_i32)
            .field("part", 0.1_f32)
            .field("state", gst::State::Playing)
            .field("times", inner)
            .field("list", gst::Array::new([1_u64, 2]))
            .build();
        let json = of_structure(&structure);
        let expected = serde_json::json!({
            "text": "a", "nothing": null, "on": true, "count": 3, "change": -3, "part": 0.1, "state": "playing",
            "times": { "median": 5, "share": 0.25 }, "list": [1, 2],
        });
        assert_eq!(json, expected);
        let back = to_structure("stats", &json);
        assert_eq!(back.get::<u64>("count"), Ok(3));
        assert!(!back.has_field("nothing"));
        let mut again = of_structure(&back);
        again["nothing"] = Value::Null;
        assert_eq!(again, json);
    }
}
