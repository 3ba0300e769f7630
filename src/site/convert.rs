//! A description's value for an element's property, as GStreamer's launch lines write it.

use std::path::Path;

use super::catalog::{PropertyInfo, PropertyKind, Unit};
use super::description::Scalar;
use super::resolve::WATCHDOG;
use super::units::Span;
use crate::export::receiver::RemoteUri;
use crate::export::units::parse_size;
use crate::suggest::nearest;

/// The text that a launch line has for `value`, before any quoting.
///
/// Durations become whole nanoseconds or milliseconds, sizes bytes. A property that counts nanoseconds takes no bare number
/// over 0, which would be a mistake by a thousand or more as good as always.
///
/// # Errors
/// A text for the user if the property cannot have this value.
pub fn value_text(value: &Scalar, property: &PropertyInfo) -> Result<String, String> {
    if !property.writable {
        return Err("this property can only be read".into());
    }
    match &property.kind {
        PropertyKind::Bool => match value {
            Scalar::Bool(truth) => Ok(truth.to_string()),
            other => Err(format!("true or false is expected, this is {}", kind(other))),
        },
        PropertyKind::Integer { min, max } => {
            integer(value, property.unit, *min, *max).map(|number| number.to_string())
        }
        PropertyKind::Float { min, max } => float(value, *min, *max).map(|number| number.to_string()),
        PropertyKind::Text => text(value).map(str::to_owned),
        PropertyKind::Enum(words) => text(value).and_then(|word| one_of(word, words)).map(str::to_owned),
        PropertyKind::Flags(words) => {
            let text = text(value)?;
            text.split('+').try_for_each(|word| one_of(word.trim(), words).map(drop))?;
            Ok(text.split('+').map(str::trim).collect::<Vec<_>>().join("+"))
        }
        PropertyKind::Other(_) => Ok(as_written(value)),
    }
}

/// The text of `value` for a property that nothing is known of.
pub fn as_written(value: &Scalar) -> String {
    match value {
        Scalar::Bool(truth) => truth.to_string(),
        Scalar::Integer(number) => number.to_string(),
        Scalar::Float(number) => number.to_string(),
        Scalar::Text(text) => text.clone(),
    }
}

/// A property's value as the camera `id` has it: `{camera}` in a text stands for the id. Options of a receiver's address have it for
/// themselves: all cameras that send there say the same.
pub fn for_camera(value: &Scalar, id: &str) -> Scalar {
    match value {
        Scalar::Text(text) => match text.split_once('?') {
            Some((address, options)) if RemoteUri::is_one(address) => {
                Scalar::Text(format!("{}?{options}", address.replace("{camera}", id)))
            }
            _ => Scalar::Text(text.replace("{camera}", id)),
        },
        other => other.clone(),
    }
}

/// Whether the site itself sets a property of an element, and no description may.
pub fn is_own(factory: &str, property: &str) -> bool {
    ["name", "parent"].contains(&property) || (factory == WATCHDOG && property == "chain")
}

/// A model as a description names it, with a path made absolute: a text with a slash, and one that ends in `.onnx` or
/// `.vigil`, is a path relative to `folder`, anything else is the name of an installed bundle, unless a bundle's folder
/// of that name is in `folder`.
pub fn model_text(folder: &Path, model: &str) -> String {
    let path = Path::new(model);
    let is_path = model.contains('/')
        || path.extension().is_some_and(|e| e == "onnx" || e == crate::bundle::archive::EXTENSION)
        || folder.join(model).join(crate::bundle::manifest::FILE_NAME).is_file();
    if is_path && !model.is_empty() { folder.join(path).display().to_string() } else { model.into() }
}

fn kind(value: &Scalar) -> &'static str {
    match value {
        Scalar::Bool(_) => "true or false",
        Scalar::Integer(_) => "a whole number",
        Scalar::Float(_) => "a number",
        Scalar::Text(_) => "a text",
    }
}

fn text(value: &Scalar) -> Result<&str, String> {
    match value {
        Scalar::Text(text) if text.contains('\0') => Err("a text cannot have a NUL in it".into()),
        Scalar::Text(text) => Ok(text),
        other => Err(format!("a text in quotes is expected, this is {}", kind(other))),
    }
}

fn one_of<'w>(word: &'w str, words: &[String]) -> Result<&'w str, String> {
    if words.iter().any(|known| known == word) {
        return Ok(word);
    }
    let list = words.join(", ");
    Err(match nearest(word, words.iter().map(String::as_str)) {
        Some(near) => format!("unknown value \"{word}\"; did you mean \"{near}\"? It is one of: {list}"),
        None => format!("unknown value \"{word}\"; it is one of: {list}"),
    })
}

fn integer(value: &Scalar, unit: Unit, min: i128, max: i128) -> Result<i128, String> {
    let number = match (value, unit) {
        (Scalar::Integer(number), Unit::Nanoseconds) if *number > 0 => {
            return Err(format!("this property is a time: write it with its unit, such as \"500ms\", not {number}"));
        }
        (Scalar::Integer(number), _) => i128::from(*number),
        (Scalar::Text(text), Unit::Nanoseconds) => span(text)?,
        (Scalar::Text(text), Unit::Milliseconds) => {
            let nanoseconds = span(text)?;
            if nanoseconds % 1_000_000 != 0 {
                return Err(format!("\"{text}\": this property counts whole milliseconds"));
            }
            nanoseconds / 1_000_000
        }
        (Scalar::Text(text), Unit::Bytes) => i128::from(parse_size(text).map_err(|e| e.to_string())?),
        (other, unit) => {
            let expected = match unit {
                Unit::None => "a whole number",
                Unit::Nanoseconds | Unit::Milliseconds => "a duration such as \"500ms\"",
                Unit::Bytes => "a size such as \"10MiB\"",
            };
            return Err(format!("{expected} is expected, this is {}", kind(other)));
        }
    };
    if !(min..=max).contains(&number) {
        return Err(format!("it is {}, this is {number}", range(&min.to_string(), &max.to_string(), unit)));
    }
    Ok(number)
}

fn range(min: &str, max: &str, unit: Unit) -> String {
    let what = match unit {
        Unit::None => "a number",
        Unit::Nanoseconds => "a time in nanoseconds",
        Unit::Milliseconds => "a time in milliseconds",
        Unit::Bytes => "a number of bytes",
    };
    format!("{what} of {min} to {max}")
}

fn span(text: &str) -> Result<i128, String> {
    let span: Span = text.parse()?;
    i128::try_from(span.0.as_nanos()).map_err(|_| format!("\"{text}\" is too long"))
}

fn float(value: &Scalar, min: f64, max: f64) -> Result<f64, String> {
    let number = match value {
        Scalar::Integer(number) => *number as f64,
        Scalar::Float(number) if number.is_finite() => *number,
        Scalar::Float(_) => return Err("the number must be finite".into()),
        other => return Err(format!("a number is expected, this is {}", kind(other))),
    };
    if !(min..=max).contains(&number) {
        return Err(match (min > f64::from(f32::MIN), max < f64::from(f32::MAX)) {
            (_, true) => format!("it is {}, this is {number}", range(&min.to_string(), &max.to_string(), Unit::None)),
            (true, _) => format!("it is a number of {min} or more, this is {number}"),
            _ => format!("{number} is out of range"),
        });
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(kind: PropertyKind, unit: Unit) -> PropertyInfo {
        PropertyInfo { name: "p".into(), kind, unit, writable: true, in_playing: true, blurb: String::new() }
    }

    fn told(value: impl Into<Scalar>, kind: PropertyKind, unit: Unit) -> String {
        value_text(&value.into(), &property(kind, unit)).unwrap_or_else(|e| format!("error: {e}"))
    }

    impl From<&str> for Scalar {
        fn from(text: &str) -> Self {
            Scalar::Text(text.into())
        }
    }

    impl From<i64> for Scalar {
        fn from(number: i64) -> Self {
            Scalar::Integer(number)
        }
    }

    impl From<f64> for Scalar {
        fn from(number: f64) -> Self {
            Scalar::Float(number)
        }
    }

    const U64: PropertyKind = PropertyKind::Integer { min: 0, max: u64::MAX as i128 };

    #[test]
    fn durations_become_what_the_property_counts() {
        assert_eq!(told("300ms", U64, Unit::Nanoseconds), "300000000");
        assert_eq!(told("1h 30m", U64, Unit::Milliseconds), "5400000");
        assert_eq!(told(0, U64, Unit::Nanoseconds), "0");
        assert_eq!(told(200, U64, Unit::Milliseconds), "200");
        assert_eq!(
            told(500, U64, Unit::Nanoseconds),
            "error: this property is a time: write it with its unit, such as \"500ms\", not 500"
        );
        assert_eq!(told("1us", U64, Unit::Milliseconds), "error: \"1us\": this property counts whole milliseconds");
        assert!(told("soon", U64, Unit::Nanoseconds).starts_with("error: \"soon\" is no duration"));
        assert!(told("-1s", U64, Unit::Nanoseconds).starts_with("error: \"-1s\" is no duration"));
        let int = PropertyKind::Integer { min: 0, max: 1000 };
        assert_eq!(
            told("2s", int.clone(), Unit::Milliseconds),
            "error: it is a time in milliseconds of 0 to 1000, this is 2000"
        );
        assert_eq!(
            told(0.5, int, Unit::Milliseconds),
            "error: a duration such as \"500ms\" is expected, this is a number"
        );
    }

    #[test]
    fn sizes_become_bytes() {
        assert_eq!(told("1GiB", U64, Unit::Bytes), "1073741824");
        assert_eq!(told(4096, U64, Unit::Bytes), "4096");
        assert!(told("1 gig", U64, Unit::Bytes).contains("is not a size"));
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let share = PropertyKind::Float { min: 0.0, max: 1.0 };
        assert_eq!(told(0.4, share.clone(), Unit::None), "0.4");
        assert_eq!(told(1, share.clone(), Unit::None), "1");
        assert_eq!(told(1.5, share.clone(), Unit::None), "error: it is a number of 0 to 1, this is 1.5");
        assert_eq!(told(f64::NAN, share.clone(), Unit::None), "error: the number must be finite");
        assert_eq!(told("0.4", share, Unit::None), "error: a number is expected, this is a text");
        let count = PropertyKind::Integer { min: 1, max: 10 };
        assert_eq!(told(0, count.clone(), Unit::None), "error: it is a number of 1 to 10, this is 0");
        assert_eq!(told("5s", count.clone(), Unit::None), "error: a whole number is expected, this is a text");
        assert_eq!(told(1.0, count, Unit::None), "error: a whole number is expected, this is a number");
    }

    #[test]
    fn words_are_known_or_suggested() {
        let words = || PropertyKind::Enum(vec!["wait".into(), "hold".into()]);
        assert_eq!(told("hold", words(), Unit::None), "hold");
        let e = "error: unknown value \"hole\"; did you mean \"hold\"? It is one of: wait, hold";
        assert_eq!(told("hole", words(), Unit::None), e);
        assert_eq!(told(1, words(), Unit::None), "error: a text in quotes is expected, this is a whole number");
        let flags = || PropertyKind::Flags(vec!["tcp".into(), "udp".into()]);
        assert_eq!(told("tcp + udp", flags(), Unit::None), "tcp+udp");
        assert!(told("tcp+upd", flags(), Unit::None).contains("did you mean \"udp\"?"));
    }

    #[test]
    fn what_can_only_be_read_is_not_set() {
        let stats = PropertyInfo { writable: false, ..property(PropertyKind::Text, Unit::None) };
        assert_eq!(value_text(&"x".into(), &stats).unwrap_err(), "this property can only be read");
        assert_eq!(told("a\0b", PropertyKind::Text, Unit::None), "error: a text cannot have a NUL in it");
        assert_eq!(value_text(&Scalar::Bool(true), &property(PropertyKind::Bool, Unit::None)).unwrap(), "true");
    }

    #[test]
    fn a_model_is_a_path_or_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(model_text(folder.path(), "people"), "people");
        assert_eq!(model_text(folder.path(), "people@2"), "people@2");
        assert_eq!(model_text(folder.path(), "m.onnx"), at("m.onnx"));
        assert_eq!(model_text(folder.path(), "models/people"), at("models/people"));
        assert_eq!(model_text(folder.path(), "/opt/people.vigil"), "/opt/people.vigil");
        assert_eq!(model_text(folder.path(), ""), "");
        std::fs::create_dir(folder.path().join("cars")).unwrap();
        assert_eq!(model_text(folder.path(), "cars"), "cars", "a folder that is no bundle");
        std::fs::write(folder.path().join("cars/bundle.toml"), "").unwrap();
        assert_eq!(model_text(folder.path(), "cars"), at("cars"));
    }
}
