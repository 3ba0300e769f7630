//! The reference set of a bundle's folder: its pictures, the expected answers and the table `[reference]`.

use std::fs;
use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::bundle::{Bundle, BundleError, Reference, manifest};

/// The folder inside the bundle.
const FOLDER: &str = "reference";
/// The expected answers inside the bundle.
const EXPECTED: &str = "reference/expected.json";
/// Longest part of a picture's name that is kept.
const MAX_NAME: usize = 60;

/// A reference set to write.
#[derive(Debug, Clone)]
pub struct Set {
    /// Path inside the bundle ([`path_of`]) and content of each picture, PNG.
    pub pictures: Vec<(String, Vec<u8>)>,
    /// The content of the expected answers' file.
    pub expected: String,
}

/// What `[reference]` is to say; `None`: as it does, else the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Lowest overlap of a box, 0..1.
    pub min_iou: Option<f32>,
    /// Largest difference of a confidence, 0..1.
    pub score_tolerance: Option<f32>,
    /// Longest run (median), milliseconds.
    pub max_latency_ms: Option<u64>,
}

/// The path inside the bundle of picture `number` (from 1) that was made from a file, or a frame, of this name.
pub fn path_of(number: usize, name: &str) -> String {
    let stem = name.rsplit_once('.').map_or_else(
        || name.to_owned(),
        // A frame's number stands behind the file's ending: clip.mp4#25.
        |(stem, end)| end.split_once('#').map_or_else(|| stem.to_owned(), |(_, frame)| format!("{stem}-{frame}")),
    );
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let stem: String = stem.chars().map(harmless).take(MAX_NAME).collect();
    format!("{FOLDER}/{number:03}-{stem}.png")
}

/// Writes a set into the folder of `bundle`, in the place of the one that it has. `bundle.toml` keeps all that it says
/// otherwise, comments too.
///
/// # Errors
/// [`BundleError`] if the bundle is no folder, its `reference/` holds files that are not its set's, or something cannot
/// be written. The old set is there until the new one lies beside it.
pub fn write(bundle: &Bundle, set: &Set, limits: Limits) -> Result<Bundle, BundleError> {
    let dir = &bundle.origin;
    if !dir.is_dir() {
        let why = "an archive: a reference set is written into a bundle's folder. Unpack it first (mkdir DIR; zstd -dc \
                   FILE | tar -xC DIR), and pack the folder afterwards";
        return Err(BundleError::unusable(dir, why));
    }
    foreign(bundle)?;
    let file = dir.join(manifest::FILE_NAME);
    let text = fs::read_to_string(&file).map_err(BundleError::io(&file))?;
    let text = with_table(&text, limits).map_err(|why| BundleError::unusable(&file, why))?;
    manifest::parse(text.as_bytes(), &file.display().to_string())?;
    // Names with a dot do not belong to the bundle.
    let [fresh, old] = ["new", "old"].map(|kind| dir.join(format!(".{FOLDER}-{kind}-{}", std::process::id())));
    let part = dir.join(format!(".{}-{}", manifest::FILE_NAME, std::process::id()));
    let written = write_files(&fresh, set)
        .and_then(|()| fs::write(&part, text).map_err(BundleError::io(&part)))
        .and_then(|()| put(&fresh, &dir.join(FOLDER), &old))
        .and_then(|()| fs::rename(&part, &file).map_err(BundleError::io(&file)));
    // Both are there after a failure only, which is told already.
    let _ = (fs::remove_dir_all(&fresh), fs::remove_file(&part));
    written?;
    let _ = fs::remove_dir_all(&old);
    Bundle::open(dir)
}

/// Refuses to remove what is not of the bundle's set.
fn foreign(bundle: &Bundle) -> Result<(), BundleError> {
    let mut known = bundle.reference_images();
    known.extend(bundle.reference.as_ref().map(|r| r.expected.as_str()));
    let inside = |file: &&str| file.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with('/'));
    match bundle.files().filter(inside).find(|file| !known.contains(file)) {
        None => Ok(()),
        Some(file) => {
            let why =
                format!("{file} is not a file of the bundle's reference set, whose folder will be replaced; move it");
            Err(BundleError::unusable(&bundle.origin, why))
        }
    }
}

fn write_files(fresh: &Path, set: &Set) -> Result<(), BundleError> {
    fs::create_dir(fresh).map_err(BundleError::io(fresh))?;
    let expected = (EXPECTED.to_owned(), set.expected.clone().into_bytes());
    for (path, content) in set.pictures.iter().chain([&expected]) {
        let path = fresh.join(path.strip_prefix("reference/").unwrap_or(path));
        fs::write(&path, content).map_err(BundleError::io(path))?;
    }
    Ok(())
}

/// Puts the new folder in its place.
fn put(fresh: &Path, place: &Path, old: &Path) -> Result<(), BundleError> {
    if place.exists() {
        fs::rename(place, old).map_err(BundleError::io(place))?;
    }
    fs::rename(fresh, place).map_err(|e| {
        // Back to what was there.
        let _ = fs::rename(old, place);
        BundleError::io(place)(e)
    })
}

/// The manifest with the table `[reference]`.
fn with_table(text: &str, limits: Limits) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.message().to_owned())?;
    if document.get("reference").is_none() {
        let mut table = Table::new();
        // Apart from what stands before it.
        table.decor_mut().set_prefix("\n");
        document.insert("reference", Item::Table(table));
    }
    let table = document.get_mut("reference").and_then(Item::as_table_like_mut).ok_or("`reference` is no table")?;
    let mut set = |key: &str, new: toml_edit::Value, always: bool| {
        let there = table.get_mut(key).filter(|item| !item.is_none());
        match there.and_then(Item::as_value_mut) {
            Some(old) if always => {
                let decor = old.decor().clone();
                *old = new;
                *old.decor_mut() = decor;
            }
            Some(_) => {}
            None => drop(table.insert(key, value(new))),
        }
    };
    set("images", Array::from_iter([format!("{FOLDER}/*.png")]).into(), true);
    set("expected", EXPECTED.into(), true);
    let usual = Reference::default();
    set("min-iou", short(limits.min_iou.unwrap_or(usual.min_iou)), limits.min_iou.is_some());
    let tolerance = limits.score_tolerance.unwrap_or(usual.score_tolerance);
    set("score-tolerance", short(tolerance), limits.score_tolerance.is_some());
    if let Some(ms) = limits.max_latency_ms.and_then(|ms| i64::try_from(ms).ok()) {
        set("max-latency-ms", ms.into(), true);
    }
    Ok(document.to_string())
}

/// The shortest number that reads back as the same `f32`.
fn short(value: f32) -> toml_edit::Value {
    format!("{value:?}").parse::<f64>().unwrap_or_else(|_| f64::from(value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::tests::{edited, small_bundle, write_folder};

    fn set(names: &[&str]) -> Set {
        let pictures = names.iter().enumerate().map(|(i, name)| (path_of(i + 1, name), vec![1, 2, 3])).collect();
        Set { pictures, expected: "{}".into() }
    }

    fn manifest_of(bundle: &Bundle) -> String {
        String::from_utf8(bundle.read("bundle.toml").unwrap().into_owned()).unwrap()
    }

    #[test]
    fn pictures_get_harmless_names_with_their_number() {
        assert_eq!(path_of(1, "street.jpg"), "reference/001-street.png");
        assert_eq!(path_of(12, "my clip.v2.mp4#250"), "reference/012-my-clip.v2-250.png");
        assert_eq!(path_of(1234, "no ending"), "reference/1234-no-ending.png");
        assert_eq!(path_of(1, &"ü".repeat(300)), format!("reference/001-{}.png", "-".repeat(60)));
    }

    #[test]
    fn a_set_is_written_and_its_table_behind_all_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path(), &edited("release = \"2026.11.1\"\n", "release = \"1\" # mine\n"));
        let bundle = Bundle::open(dir.path()).unwrap();
        let before = manifest_of(&bundle);
        let after = write(&bundle, &set(&["a.jpg", "b.jpg"]), Limits::default()).unwrap();
        assert_eq!(after.reference_images(), ["reference/001-a.png", "reference/002-b.png"]);
        let table = "\n[reference]\nimages = [\"reference/*.png\"]\nexpected = \"reference/expected.json\"\n\
                     min-iou = 0.9\nscore-tolerance = 0.05\n";
        assert_eq!(manifest_of(&after), before + table);
        assert!(fs::read_dir(dir.path()).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with('.')));
    }

    #[test]
    fn a_set_takes_the_place_of_another_and_keeps_what_the_user_wrote() {
        let dir = tempfile::tempdir().unwrap();
        write_folder(dir.path(), &small_bundle());
        let first = write(&Bundle::open(dir.path()).unwrap(), &set(&["a.jpg", "b.jpg"]), Limits::default()).unwrap();
        let text = manifest_of(&first).replace("min-iou = 0.9", "min-iou = 0.8 # wide");
        fs::write(dir.path().join("bundle.toml"), text + "max-latency-ms = 7\n\n# the end\n").unwrap();
        let limits = Limits { score_tolerance: Some(0.1), max_latency_ms: Some(90), ..Limits::default() };
        let second = write(&Bundle::open(dir.path()).unwrap(), &set(&["c.jpg"]), limits).unwrap();
        assert_eq!(second.reference_images(), ["reference/001-c.png"]);
        let text = manifest_of(&second);
        let end = "min-iou = 0.8 # wide\nscore-tolerance = 0.1\nmax-latency-ms = 90\n\n# the end\n";
        assert!(text.ends_with(end) && text.matches("[reference]").count() == 1, "{text}");
    }

    #[test]
    fn archives_and_foreign_files_are_refused_and_nothing_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("b");
        write_folder(&folder, &small_bundle());
        fs::create_dir(folder.join("reference")).unwrap();
        fs::write(folder.join("reference/notes.txt"), "mine").unwrap();
        let bundle = Bundle::open(&folder).unwrap();
        let text = write(&bundle, &set(&["a.jpg"]), Limits::default()).unwrap_err().to_string();
        assert!(text.contains("reference/notes.txt is not a file of the bundle's reference set"), "{text}");
        assert_eq!(Bundle::open(&folder).unwrap().digest, bundle.digest);

        let archive = dir.path().join("b.vigil");
        crate::bundle::pack::write_file(&bundle, &archive).unwrap();
        let text = write(&Bundle::open(&archive).unwrap(), &set(&["a.jpg"]), Limits::default()).unwrap_err();
        assert!(text.to_string().contains("b.vigil: an archive: "), "{text}");
    }
}
