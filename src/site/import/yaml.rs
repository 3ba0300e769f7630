//! DeepStream's configuration in YAML: mappings of mappings, as groups.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::config::Group;

/// A value of the document.
enum Node {
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a list or a mapping")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(if value { "1" } else { "0" }.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.trim().to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(String::new()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(String::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            list.push(entry);
        }
        Ok(Node::Map(list))
    }
}

/// The groups of the YAML document `text`, of the file `file`.
///
/// # Errors
/// Where it is not YAML, or not of this form.
pub(super) fn groups(text: &str, file: &str) -> Result<Vec<Group>, String> {
    // Trackers' files begin with OpenCV's `%YAML:1.0`, which is no directive of YAML.
    let plain = |line: &str| if line.starts_with("%YAML:") { "#".to_owned() } else { line.to_owned() };
    let text = text.trim_start_matches('\u{feff}').lines().map(plain).collect::<Vec<_>>().join("\n");
    if text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let Node::Map(entries) = serde_saphyr::from_str(&text).map_err(|e| format!("{file}: {e}"))? else {
        return Err(format!("{file}: it is no mapping of groups, such as `property:` with its keys below"));
    };
    let mut groups: Vec<Group> = Vec::new();
    for (name, node) in entries {
        let line = line_of(&node);
        let mut group = Group::new(file, &name, line);
        match node.value {
            Node::Map(_) => fill(&mut group, "", node.value, line),
            // A key without a group: a group of its own, so that it is told.
            other => fill(&mut group, &name, other, line),
        }
        groups.push(group);
    }
    Ok(groups)
}

fn line_of(node: &Spanned<Node>) -> usize {
    usize::try_from(node.referenced.line()).unwrap_or_default()
}

fn fill(group: &mut Group, key: &str, node: Node, line: usize) {
    match node {
        Node::Scalar(value) => group.push(key, &value, line),
        Node::List(items) => group.push(key, &items.into_iter().map(text).collect::<Vec<_>>().join(";"), line),
        Node::Map(entries) => {
            for (name, node) in entries {
                let path = if key.is_empty() { name } else { format!("{key}.{name}") };
                let line = line_of(&node);
                fill(group, &path, node.value, line);
            }
        }
    }
}

fn text(node: Node) -> String {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => items.into_iter().map(text).collect::<Vec<_>>().join(","),
        Node::Map(entries) => {
            entries.into_iter().map(|(k, v)| format!("{k}: {}", text(v.value))).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_has_the_same_groups_with_lines() {
        let text = "%YAML:1.0\n---\n# remark\nproperty:\n  gpu-id: 0\n  infer-dims: 3;640;640\n  x: 0.25 # remark\n\
                    \x20 on: true\nclass-attrs-all:\n  classes: [0, 2]\n  deep:\n    a: b\nalone: 1\nempty:\n";
        let mut groups = groups(text, "f.yml").unwrap();
        let names: Vec<&str> = groups.iter().map(|g| &*g.name).collect();
        assert_eq!(names, ["property", "class-attrs-all", "alone", "empty"]);
        let entry = groups[0].take("infer-dims").unwrap();
        assert_eq!((entry.value.as_str(), entry.line), ("3;640;640", 6));
        assert_eq!(groups[0].take("x").unwrap().number::<f32>(), Some(0.25));
        assert_eq!(groups[0].flag("on"), Some(true));
        assert_eq!(groups[1].take("classes").unwrap().items(), ["0", "2"]);
        let deep = groups[1].take("deep.a").unwrap();
        assert_eq!((deep.value.as_str(), deep.line), ("b", 12));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n\t]{0,80}", lines in "([a-c%]?[:=\\[\\]{};,# -]{1,3}\n?){0,12}") {
            let _ = groups(&text, "f");
            let _ = groups(&lines, "f");
        }
    }

    #[test]
    fn what_is_no_mapping_is_told() {
        assert!(groups("- 1\n- a: 2\nb", "f").is_err());
        assert!(groups("a: [", "f.yml").unwrap_err().starts_with("f.yml: "));
        assert_eq!(groups("# nothing\n---\n", "f").unwrap(), []);
    }
}
