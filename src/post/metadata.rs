//! What exporters embed in a model: Ultralytics writes Python literals into `metadata_props`.
//!
//! Source: Ultralytics `engine/exporter.py` (`self.metadata`: names, task, imgsz, stride, author, end2end, kpt_shape, args,
//! head, …), YOLOv5 `export.py` (names and stride only).

use std::collections::BTreeMap;

use crate::bundle::contract::Labels;

/// The keys that say how a model is to be used.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metadata {
    /// Whether Ultralytics exported the model.
    pub ultralytics: bool,
    /// Whether YOLOv5's own `export.py` did: it embeds `stride` and `names`, and nothing else.
    pub yolov5: bool,
    /// `detect`, `classify`, `segment`, `semantic`, `pose`, `obb`, `depth`.
    pub task: Option<String>,
    /// Class of the last layer, such as `Detect` or `RTDETRDecoder`; newer versions only.
    pub head: Option<String>,
    /// Whether the description names an RT-DETR; older versions have no `head`.
    pub rtdetr: bool,
    /// Whether the model answers with finished detections; absent before the version 8.4.
    pub end2end: Option<bool>,
    /// Whether NMS was exported with the model.
    pub nms: bool,
    /// Number of keypoints and values of each.
    pub keypoint_shape: Option<[usize; 2]>,
    /// Labels by class id.
    pub names: Option<Labels>,
    /// Width and height of the input.
    pub size: Option<(u32, u32)>,
}

impl Metadata {
    /// Reads the known keys; what cannot be read counts as absent.
    pub(super) fn read(props: &BTreeMap<String, String>) -> Self {
        let get = |key: &str| props.get(key).map(String::as_str);
        let flag = |text: &str| match text.trim() {
            "True" | "true" => Some(true),
            "False" | "false" => Some(false),
            _ => None,
        };
        let description = get("description").unwrap_or_default();
        Self {
            ultralytics: get("author") == Some("Ultralytics") || description.starts_with("Ultralytics"),
            yolov5: props.len() == 2 && props.contains_key("stride") && props.contains_key("names"),
            task: get("task").map(str::to_owned),
            head: get("head").map(str::to_owned),
            rtdetr: description.to_ascii_lowercase().contains("rtdetr"),
            end2end: get("end2end").and_then(flag),
            nms: get("args").is_some_and(|args| args.contains("'nms': True") || args.contains("\"nms\": true")),
            keypoint_shape: get("kpt_shape").and_then(|text| match numbers(text)?.as_slice() {
                [count, values] => Some([*count as usize, *values as usize]),
                _ => None,
            }),
            names: get("names").and_then(names),
            size: get("imgsz").and_then(size),
        }
    }
}

/// `[17, 3]`, `(17, 3)` or one number.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let text = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
    text.split(',').map(|s| s.trim().parse().ok()).collect()
}

/// `[height, width]` or one side → width and height.
fn size(text: &str) -> Option<(u32, u32)> {
    match numbers(text)?.as_slice() {
        [side] => Some((*side, *side)),
        [height, width] => Some((*width, *height)),
        _ => None,
    }
}

/// `{0: 'person', 1: "driver's seat"}` or `['person', 'car']`; class ids must run from 0 without a gap.
fn names(text: &str) -> Option<Labels> {
    let mut rest = Literal(text.trim());
    let keyed = rest.take('{');
    if !keyed && !rest.take('[') {
        return None;
    }
    let close = if keyed { '}' } else { ']' };
    let mut names = BTreeMap::new();
    while !rest.take(close) {
        let id = if keyed {
            let id = rest.key()?;
            rest.take(':').then_some(id)?
        } else {
            names.len()
        };
        names.insert(id, rest.string()?);
        if !rest.take(',') && !rest.0.starts_with(close) {
            return None;
        }
    }
    let dense = !names.is_empty() && names.keys().enumerate().all(|(i, id)| i == *id);
    dense.then(|| names.into_values().map(Into::into).collect())
}

/// What is left of a Python literal.
struct Literal<'a>(&'a str);

impl Literal<'_> {
    /// Takes one character, and the blanks behind it, if it is next.
    fn take(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        if let Some(rest) = rest {
            self.0 = rest.trim_start();
        }
        rest.is_some()
    }

    /// A class id, plain or (in JSON) quoted.
    fn key(&mut self) -> Option<usize> {
        if self.0.starts_with(['\'', '"']) {
            return self.string()?.parse().ok();
        }
        let end = self.0.find(|c: char| !c.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.trim_start();
        digits.parse().ok()
    }

    /// A quoted string; a backslash makes the next character plain.
    fn string(&mut self) -> Option<String> {
        let mut chars = self.0.chars();
        let quote = chars.next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut text = String::new();
        loop {
            match chars.next()? {
                '\\' => text.push(chars.next()?),
                c if c == quote => break,
                c => text.push(c),
            }
        }
        self.0 = chars.as_str().trim_start();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_names(text: &str) -> Option<Vec<String>> {
        names(text).map(|n| n.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_are_read_from_python_and_json() {
        let expected = Some(vec!["person".to_owned(), "driver's seat".to_owned()]);
        assert_eq!(read_names(r#"{0: 'person', 1: "driver's seat"}"#), expected);
        assert_eq!(read_names(r"{1: 'driver\'s seat', 0: 'person',}"), expected);
        assert_eq!(read_names(r#"{"0": "person", "1": "driver's seat"}"#), expected);
        assert_eq!(read_names(r#"["person", "driver's seat"]"#), expected);
    }

    #[test]
    fn names_that_make_no_list_are_absent() {
        for text in
            ["", "{", "{}", "[]", "{0", "{0:", "{0: 'a'", "{0: 'a", "{1: 'a'}", "{0: 'a', 2: 'b'}", "{0: a}", "x"]
        {
            assert_eq!(read_names(text), None, "{text}");
        }
        assert_eq!(read_names("{99999999999999999999999: 'a'}"), None);
    }

    #[test]
    fn ultralytics_flags_and_keypoints_are_read() {
        let read = |pairs: &[(&str, &str)]| {
            Metadata::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let meta = read(&[
            ("description", "Ultralytics rtdetr-l model trained on coco.yaml"),
            ("end2end", "True"),
            ("args", "{'batch': 1, 'nms': True, 'dynamic': False}"),
            ("kpt_shape", "[17, 3]"),
            ("head", "Pose26"),
        ]);
        assert!(meta.ultralytics && meta.rtdetr && meta.nms && !meta.yolov5);
        assert_eq!(
            (meta.end2end, meta.keypoint_shape, meta.head.as_deref()),
            (Some(true), Some([17, 3]), Some("Pose26"))
        );
        let meta = read(&[("stride", "32"), ("names", "{0: 'face'}")]);
        assert!(meta.yolov5 && !meta.ultralytics && !meta.nms && !meta.rtdetr);
        let meta = read(&[("end2end", "perhaps"), ("args", "{'nms': False}"), ("kpt_shape", "[17]")]);
        assert_eq!((meta.end2end, meta.nms, meta.keypoint_shape), (None, false, None));
    }

    #[test]
    fn size_is_height_then_width() {
        assert_eq!(size("[384, 640]"), Some((640, 384)));
        assert_eq!(size("(384,640)"), Some((640, 384)));
        assert_eq!(size("320"), Some((320, 320)));
        assert_eq!(size("[a]"), None);
        assert_eq!(size("[1, 2, 3]"), None);
    }
}
