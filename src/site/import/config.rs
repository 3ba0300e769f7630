//! A configuration file of DeepStream: groups of keys with text values, and their lines; as a key file or as YAML.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::findings::{Findings, Level};
use super::{known, yaml};

/// Longest file, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file, as it was named.
    pub file: String,
    /// The group that it is in.
    pub group: String,
    /// The key.
    pub key: String,
    /// The value; items of a list with `;` between them.
    pub value: String,
    /// Line, from 1.
    pub line: usize,
}

impl Entry {
    /// The value as a number: what stands before the first white space, as GLib reads it, so that remarks may follow.
    pub fn number<T: FromStr>(&self) -> Option<T> {
        self.value.split_whitespace().next()?.parse().ok()
    }

    /// The items of a list.
    pub fn items(&self) -> Vec<String> {
        self.value.split(';').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// A group of keys. Whoever reads a key takes it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The file, as it was named.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    entries: Vec<Entry>,
    taken: BTreeSet<String>,
}

impl Group {
    pub(super) fn new(file: &str, name: &str, line: usize) -> Self {
        Self { file: file.into(), name: name.into(), line, entries: Vec::new(), taken: BTreeSet::new() }
    }

    pub(super) fn push(&mut self, key: &str, value: &str, line: usize) {
        let (file, group) = (self.file.clone(), self.name.clone());
        self.entries.push(Entry { file, group, key: key.into(), value: value.into(), line });
    }

    /// Takes a key out; of several of the same name the last one, which counts.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let place = self.entries.iter().rposition(|entry| entry.key == key)?;
        self.taken.insert(key.into());
        Some(self.entries.remove(place))
    }

    /// The value of a key that is not empty; it stays where it is.
    pub fn peek(&self, key: &str) -> Option<&str> {
        let entry = self.entries.iter().rfind(|entry| entry.key == key)?;
        Some(entry.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Takes out a key that is not empty.
    pub fn text(&mut self, key: &str) -> Option<Entry> {
        self.take(key).filter(|entry| !entry.value.is_empty())
    }

    /// Takes a number out; what is none is told.
    pub fn number<T: FromStr>(&mut self, key: &str, findings: &mut Findings) -> Option<(T, Entry)> {
        let entry = self.take(key)?;
        match entry.number() {
            Some(number) => Some((number, entry)),
            None => {
                findings.add(Level::Lost, &entry, "this is not a number that the key could have; it is left out");
                None
            }
        }
    }

    /// Takes a switch out: a number that is not 0, or `true`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let entry = self.take(key)?;
        Some(entry.number::<i64>().map_or(entry.value.eq_ignore_ascii_case("true"), |number| number != 0))
    }

    /// Whether a switch is on; it stays where it is.
    pub fn is_on(&self, key: &str) -> bool {
        let entry = self.entries.iter().rfind(|entry| entry.key == key);
        entry.and_then(Entry::number::<i64>).is_some_and(|number| number != 0)
    }

    /// Whether `enable` is on; `without` is what no such key means.
    pub fn enabled(&mut self, without: bool) -> bool {
        self.flag("enable").unwrap_or(without)
    }

    /// The keys that nobody has taken yet.
    pub fn keys(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.key.clone()).collect()
    }

    /// Takes out the keys that say nothing about what the group describes; `text` tells why.
    pub fn set_aside(&mut self, says_nothing: impl Fn(&str) -> bool, text: &str, findings: &mut Findings) {
        for key in self.keys().iter().filter(|key| says_nothing(key)) {
            while let Some(entry) = self.take(key) {
                findings.add(Level::Unneeded, &entry, text);
            }
        }
    }

    /// Tells what is left over: keys that need no counterpart, that have none, and that are not known at all.
    pub fn rest(self, findings: &mut Findings) {
        for entry in &self.entries {
            if self.taken.contains(&entry.key) {
                findings.add(Level::Unneeded, entry, "the key comes again further down, and the last one counts");
                continue;
            }
            match known::about(&self.name, &entry.key) {
                Some((Level::Lost, _)) if entry.number::<f64>() == Some(0.0) => {
                    findings.add(Level::Unneeded, entry, "0 is off: nothing is lost");
                }
                Some((level, text)) => findings.add(level, entry, text),
                None => {
                    let text = "Vigil does not know this key of DeepStream's: see whether the site needs something in \
                                its place";
                    findings.add(Level::Lost, entry, text);
                }
            }
        }
    }
}

/// A file of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it is.
    pub path: PathBuf,
    groups: Vec<Group>,
}

impl Config {
    /// Reads a file: YAML if its name ends in `.yml` or `.yaml`, else a key file (`[group]`, `key=value`).
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let fail = |e: std::io::Error| format!("{name}: {e}");
        let length = std::fs::metadata(path).map_err(fail)?.len();
        if length > MAX_BYTES {
            return Err(format!("{name}: {length} bytes are too many for a configuration"));
        }
        let bytes = std::fs::read(path).map_err(fail)?;
        let text =
            String::from_utf8(bytes).map_err(|_| format!("{name}: not UTF-8; save the file in that encoding"))?;
        let is_yaml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yml") || e.eq_ignore_ascii_case("yaml"));
        let groups = if is_yaml { yaml::groups(&text, &name)? } else { key_file(&text, &name)? };
        Ok(Self { path: path.into(), groups })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// A path in the file, which is relative to its folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
        let mut plain = PathBuf::new();
        for part in folder.join(path).components() {
            match part {
                std::path::Component::ParentDir => drop(plain.pop()),
                std::path::Component::CurDir => {}
                part => plain.push(part),
            }
        }
        plain
    }

    /// Takes a group out.
    pub fn take(&mut self, name: &str) -> Option<Group> {
        let place = self.groups.iter().position(|group| group.name == name)?;
        Some(self.groups.remove(place))
    }

    /// Takes out all groups that are called `prefix` and a number, in the order of their numbers.
    pub fn take_numbered(&mut self, prefix: &str) -> Vec<(u32, Group)> {
        let number = |group: &Group| group.name.strip_prefix(prefix)?.parse::<u32>().ok();
        let (numbered, rest) = std::mem::take(&mut self.groups).into_iter().partition(|g| number(g).is_some());
        self.groups = rest;
        let mut numbered: Vec<_> = Vec::into_iter(numbered).filter_map(|g: Group| Some((number(&g)?, g))).collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered
    }

    /// The groups that nobody has taken.
    pub fn rest(self) -> Vec<Group> {
        self.groups
    }
}

/// The groups of a key file, as GLib reads it: `#` begins a comment at the start of a line only.
fn key_file(text: &str, file: &str) -> Result<Vec<Group>, String> {
    let mut groups: Vec<Group> = Vec::new();
    let mut current = None;
    for (line, content) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            let Some((name, _)) = rest.split_once(']') else {
                return Err(format!("{file}:{line}: the group's `]` is missing"));
            };
            let place = groups.iter().position(|group| group.name == name).unwrap_or(groups.len());
            if place == groups.len() {
                groups.push(Group::new(file, name, line));
            }
            current = Some(place);
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            return Err(format!("{file}:{line}: neither a [group], nor key=value, nor a comment with #"));
        };
        let Some(group) = current.and_then(|place| groups.get_mut(place)) else {
            return Err(format!("{file}:{line}: `{}` stands before the first [group]", key.trim()));
        };
        group.push(key.trim(), value.trim(), line);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_as_glib_does() {
        let text = "# remark\n[a]\nx = 1 # remark\nlist=1;2; 3;\nx=2\n\n[b]\nuri=rtsp://h/?a=b\n[a]\ny=true\n";
        let mut groups = key_file(text, "f").unwrap();
        assert_eq!(groups.len(), 2, "[a] comes twice and is one");
        let mut findings = Findings::default();
        let group = &mut groups[0];
        assert_eq!(group.number::<i64>("x", &mut findings).unwrap().0, 2, "the last one counts");
        assert_eq!(group.take("list").unwrap().items(), ["1", "2", "3"]);
        assert_eq!(group.flag("y"), Some(true));
        assert_eq!(groups[1].text("uri").unwrap().value, "rtsp://h/?a=b");
        groups.remove(0).rest(&mut findings);
        assert_eq!(findings.0.len(), 1);
        assert_eq!(
            findings.0[0].to_string(),
            "f:3: [a] x = 1 # remark: the key comes again further down, and the last one counts"
        );
    }

    #[test]
    fn what_is_no_key_file_is_told_with_its_line() {
        for (text, expected) in [
            ("[a", "f:1: the group's `]` is missing"),
            ("[a]\nnonsense", "f:2: neither a [group], nor key=value, nor a comment with #"),
            ("x=1", "f:1: `x` stands before the first [group]"),
        ] {
            assert_eq!(key_file(text, "f").unwrap_err(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\[?[a-c]{0,2}[\\]=;#. 0-9]{0,3}\n?){0,12}") {
            for group in key_file(&text, "f").unwrap_or_default() {
                group.rest(&mut Findings::default());
            }
        }
    }

    #[test]
    fn numbered_groups_come_in_order() {
        let groups = key_file("[s10]\n[s2]\n[s-list]\n[s0]\n", "f").unwrap();
        let mut config = Config { path: "/d/f".into(), groups };
        let numbers: Vec<u32> = config.take_numbered("s").into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [0, 2, 10]);
        assert_eq!(config.resolve("../x/./y"), Path::new("/x/y"));
        let beside = Config { path: "f".into(), groups: Vec::new() };
        assert_eq!(beside.resolve("x"), std::env::current_dir().unwrap().join("x"));
        assert_eq!(config.rest().len(), 1);
    }
}
