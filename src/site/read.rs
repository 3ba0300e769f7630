//! A description's file, read: with all that is wrong with it, each with its place.

mod tree;
mod walk;

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::description::{Camera, Description, FORMAT, Profile, Tile};
use super::problem::{Place, Places, Problem, Problems};
use tree::{At, Lines, SyntaxError, Tree};
use walk::{Walk, join};

/// Longest file that is read, bytes.
const MAX_BYTES: u64 = 16 << 20;

/// A description that was read, its includes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says. If there were errors, it is what is good of it, fit for finding more errors and for nothing else.
    pub description: Description,
    /// Where each key is written.
    pub places: Places,
    /// The folder that its paths are relative to, those in included files too: that of the description itself. Absolute.
    pub folder: PathBuf,
    /// The description's file, if it was read from one, and those that it includes: what to watch for changes.
    pub files: Vec<PathBuf>,
}

/// The keys of an included file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Included {
    /// The format of this file: 1.
    #[allow(dead_code, reason = "checked before")]
    format: Option<u32>,
    /// Chains of stages, by name.
    profile: BTreeMap<String, Profile>,
    /// Cameras by id.
    camera: BTreeMap<String, Camera>,
    /// Pictures of many cameras in one, by name.
    tile: BTreeMap<String, Tile>,
}

/// Reads the description in the file `path`, JSON if its name ends in `.json` and TOML if not, with what it includes.
///
/// All problems of all files come at once. There is a document even if there are errors, as far as something could be
/// understood, so that [`check`](super::check::check) can tell what else is wrong: it is not to be run then.
pub fn read(path: &Path) -> (Option<Document>, Problems) {
    let shown = path.display().to_string();
    let absolute = match std::path::absolute(path) {
        Ok(absolute) => absolute,
        Err(e) => return (None, whole(&shown, format!("cannot be found: {e}"))),
    };
    let text = match load(&absolute) {
        Ok(text) => text,
        Err(why) => return (None, whole(&shown, why)),
    };
    let folder = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
    Reading::new(&folder, Some(absolute)).run(&text, &shown)
}

/// Reads the description `text` as [`read`] does. `file` names it in problems, and says by its end what it is; `folder` is
/// what paths, those of includes too, are relative to.
pub fn read_text(text: &str, file: &str, folder: &Path) -> (Option<Document>, Problems) {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    Reading::new(&folder, None).run(text, file)
}

/// Reads a camera that stands in no file, against what a description may say under `camera.ID`. It has not been checked.
///
/// # Errors
/// All that is wrong with how it is written; without places.
pub fn camera(id: &str, camera: &Value) -> Result<Camera, Problems> {
    let (text, path) = (camera.to_string(), join("camera", id));
    let wrong = |text: String| {
        let mut problems = Problems::default();
        problems.error(&Places::default(), &path, text);
        problems
    };
    let root = tree::from_json(&text).map_err(|error| wrong(error.message))?;
    let (lines, schema) = (Lines::new("", &text), &*DESCRIPTION);
    let mut walk = Walk { schema, lines: &lines, json: true, places: Places::default(), problems: Problems::default() };
    let good = walk.definition("Camera", &root, &path);
    let Walk { mut problems, .. } = walk;
    problems.0.iter_mut().for_each(|problem| problem.place = None);
    match good {
        Some(good) if problems.0.is_empty() => serde_json::from_value(good).map_err(|error| wrong(error.to_string())),
        _ => Err(problems),
    }
}

/// Something is wrong with a file as a whole.
fn whole(file: &str, text: String) -> Problems {
    Problems(vec![Problem::wrong(None, "", format!("{file}: {text}"))])
}

/// A file's text.
fn load(path: &Path) -> Result<String, String> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => format!("cannot be read: {e}"),
    };
    // A pipe or a device would be waited for.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".into());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file in that encoding")
    })
}

/// What a file's keys are checked against.
fn schema_of<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

static DESCRIPTION: LazyLock<Value> = LazyLock::new(schema_of::<Description>);
static INCLUDED: LazyLock<Value> = LazyLock::new(schema_of::<Included>);

/// A description that is being read.
struct Reading {
    folder: PathBuf,
    files: Vec<PathBuf>,
    places: Places,
    problems: Problems,
}

impl Reading {
    fn new(folder: &Path, file: Option<PathBuf>) -> Self {
        let files = file.into_iter().collect();
        Self { folder: folder.into(), files, places: Places::default(), problems: Problems::default() }
    }

    fn run(mut self, text: &str, file: &str) -> (Option<Document>, Problems) {
        let found = self.description(text, file);
        if let Some(description) = &found {
            let patterns = description.include.clone();
            let mut all = description.clone();
            for (number, pattern) in patterns.iter().enumerate() {
                self.include(&mut all, pattern, &format!("include.{number}"), file);
            }
            let Self { folder, files, places, problems } = self;
            return (Some(Document { description: all, places, folder, files }), problems);
        }
        (None, self.problems)
    }

    fn description(&mut self, text: &str, file: &str) -> Option<Description> {
        let mut good = self.file(text, file, &DESCRIPTION)?;
        for (key, stand_in) in [("format", Value::from(FORMAT)), ("name", Value::from("site"))] {
            if !good.contains_key(key) {
                if !self.places.0.contains_key(key) {
                    let text = match key {
                        "format" => format!("the key `format` is missing; write format = {FORMAT}"),
                        _ => "the key `name` is missing; give the site a name".into(),
                    };
                    let place = Some(Place { file: file.into(), line: 1, column: 1 });
                    self.problems.0.push(Problem::wrong(place, "", text));
                }
                good.insert(key.into(), stand_in);
            }
        }
        self.typed(good, file)
    }

    /// What is good of a file; `None` if its syntax or its format stand in the way.
    fn file(&mut self, text: &str, file: &str, schema: &Value) -> Option<Map<String, Value>> {
        let lines = Lines::new(file, text);
        let json = file.to_lowercase().ends_with(".json");
        let (root, errors) = match json {
            true => match tree::from_json(text) {
                Ok(root) => (root, Vec::new()),
                Err(error) => (At { value: Tree::Null, span: 0..0 }, vec![error]),
            },
            false => tree::from_toml(text),
        };
        self.syntax(&lines, &root, &errors);
        if errors.iter().any(|error| !error.twice) {
            return None;
        }
        let mut walk = Walk { schema, lines: &lines, json, places: Places::default(), problems: Problems::default() };
        // The keys of another format are not ours to judge.
        if let Some((at, format)) = format(&root)
            && format != i64::from(FORMAT)
        {
            let text = format!("this version of vigil reads format {FORMAT}, this is {format}");
            walk.error(&at, "format", text);
            self.problems.0.append(&mut walk.problems.0);
            return None;
        }
        let good = walk.file(&root);
        let Walk { mut places, mut problems, .. } = walk;
        self.problems.0.append(&mut problems.0);
        // What is written twice has been told with both places; the first one is kept.
        places.0.append(&mut self.places.0);
        self.places = places;
        Some(good)
    }

    fn syntax(&mut self, lines: &Lines, root: &At, errors: &[SyntaxError]) {
        let mut tables: Vec<String> = Vec::new();
        for error in errors {
            let place = Some(lines.place(error.at.start));
            let (key, text) = match error.twice {
                true => twice(lines, root, error),
                false => (String::new(), error.message.clone()),
            };
            // Of a table that is there twice, its keys are no news.
            if error.twice && tables.iter().any(|table| key.starts_with(&format!("{table}."))) {
                continue;
            }
            if error.twice && !key.is_empty() {
                tables.push(key.clone());
            }
            self.problems.0.push(Problem::wrong(place, key, text));
        }
    }

    /// What was found good, as a value of the types.
    fn typed<T: DeserializeOwned>(&mut self, good: Map<String, Value>, file: &str) -> Option<T> {
        match serde_json::from_value(Value::Object(good)) {
            Ok(typed) => Some(typed),
            // The walk knows all that serde does; if not, this is better than nothing.
            Err(e) => {
                self.problems.0.append(&mut whole(file, e.to_string()).0);
                None
            }
        }
    }

    /// Adds what the files of a pattern have.
    fn include(&mut self, all: &mut Description, pattern: &str, key: &str, main: &str) {
        let (places, problems) = (&self.places, &mut self.problems);
        let is_pattern = pattern.contains(['*', '?', '[']);
        let rooted = PathBuf::from(glob::Pattern::escape(&self.folder.display().to_string())).join(pattern);
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
        let found: Vec<PathBuf> = match glob::glob_with(&rooted.display().to_string(), options) {
            // What cannot be listed now may be there later: a file that is named is told when it is read.
            Ok(_) if !is_pattern => vec![self.folder.join(pattern)],
            Ok(found) => found.flatten().filter(|path| path.is_file()).collect(),
            Err(e) => return problems.error(places, key, format!("\"{pattern}\" is no pattern of files: {}", e.msg)),
        };
        for path in found {
            if self.files.contains(&path) {
                continue;
            }
            self.files.push(path.clone());
            let shown = shown(&path, &self.folder, main);
            match load(&path) {
                Ok(text) => self.included(all, &text, &shown),
                Err(why) => self.problems.error(&self.places, key, format!("{shown}: {why}")),
            }
        }
    }

    fn included(&mut self, all: &mut Description, text: &str, file: &str) {
        let before = self.places.clone();
        let Some(good) = self.file(text, file, &INCLUDED) else { return };
        let own = |places: &Places, path: &str| places.0.get(path).cloned();
        let Some(Included { profile, camera, tile, .. }) = self.typed(good, file) else { return };
        let lines = Lines::new(file, text);
        // Only where something is written twice the file is searched for its second place.
        let second = |table: &str, name: &str| second_place(&lines, text, file, &join(table, name));
        let problems = &mut self.problems;
        let mut twice = |table: &str, name: &str, what: &str| {
            let path = join(table, name);
            let first = own(&before, &path).map(|place| format!("; the first is at {place}")).unwrap_or_default();
            let text = format!("{what} of this name is there already{first}");
            problems.0.push(Problem::wrong(second(table, name), path, text));
        };
        merge(&mut all.profile, profile, |name| twice("profile", name, "a profile"));
        merge(&mut all.camera, camera, |name| twice("camera", name, "a camera"));
        merge(&mut all.tile, tile, |name| twice("tile", name, "a tile"));
    }
}

/// Adds `more` to `all`; of what is there already, `twice` is told.
fn merge<T>(all: &mut BTreeMap<String, T>, more: BTreeMap<String, T>, mut twice: impl FnMut(&str)) {
    for (name, item) in more {
        match all.entry(name) {
            std::collections::btree_map::Entry::Occupied(there) => twice(there.key()),
            std::collections::btree_map::Entry::Vacant(free) => _ = free.insert(item),
        }
    }
}

/// Where a table is written in an included file whose places gave way to those of another one.
fn second_place(lines: &Lines, text: &str, file: &str, path: &str) -> Option<Place> {
    let root = match file.to_lowercase().ends_with(".json") {
        true => tree::from_json(text).ok()?,
        false => tree::from_toml(text).0,
    };
    let mut at = &root;
    let mut place = None;
    for key in path.splitn(2, '.') {
        let Tree::Table(entries) = &at.value else { break };
        let Some(entry) = entries.iter().find(|entry| entry.key == key) else { break };
        place = Some(lines.place(entry.key_at.start));
        at = &entry.value;
    }
    place
}

/// A found file as the description's own file is named.
fn shown(path: &Path, folder: &Path, main: &str) -> String {
    let beside = Path::new(main).parent().unwrap_or(Path::new(""));
    path.strip_prefix(folder).map_or_else(|_| path.into(), |inside| beside.join(inside)).display().to_string()
}

/// The file's format, with its place.
fn format(root: &At) -> Option<(std::ops::Range<usize>, i64)> {
    let Tree::Table(entries) = &root.value else { return None };
    let entry = entries.iter().find(|entry| entry.key == "format")?;
    match entry.value.value {
        Tree::Integer(format) => Some((entry.value.span.clone(), format)),
        _ => None,
    }
}

/// What is said of a key that TOML found twice, and the key with its tables where only one can be meant.
fn twice(lines: &Lines, root: &At, error: &SyntaxError) -> (String, String) {
    let key = lines.slice(error.at.clone()).trim_matches(['"', '\'']);
    let mut found = Vec::new();
    find(root, "", key, error.at.start, &mut found);
    let [(path, at)] = found.as_slice() else { return (String::new(), format!("`{key}` is written twice")) };
    let what = match path.split_once('.') {
        Some(("camera", id)) if id == key => "two cameras cannot have one id",
        _ => "it is written twice",
    };
    // Of two headers the tree keeps the second; the first is the line that says the same.
    let first = if *at < error.at.start { Some(lines.place(*at)) } else { lines.header(path, *at) };
    let first = first.map(|place| format!("; the first is at {place}")).unwrap_or_default();
    (path.clone(), format!("{what}{first}"))
}

/// Finds the paths of all keys `key` up to the byte `last`.
fn find(at: &At, path: &str, key: &str, last: usize, found: &mut Vec<(String, usize)>) {
    match &at.value {
        Tree::Table(entries) => {
            for entry in entries {
                let path = join(path, &entry.key);
                if entry.key == key && entry.key_at.start <= last {
                    found.push((path.clone(), entry.key_at.start));
                }
                find(&entry.value, &path, key, last, found);
            }
        }
        Tree::List(items) => {
            for (number, item) in items.iter().enumerate() {
                find(item, &join(path, &number.to_string()), key, last, found);
            }
        }
        _ => {}
    }
}
