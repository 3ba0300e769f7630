//! Names of files that follow one another.

use std::path::{Path, PathBuf};

/// Files that follow one another: their numbers go up, over restarts too, nothing that is there is written over, and the oldest
/// go when there are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    folder: PathBuf,
    /// The name before and after the number.
    around: (String, String),
    /// Digits of a number at least.
    digits: usize,
    /// The name of the first file, which has no number.
    bare: Option<String>,
    most: Option<u32>,
}

impl Series {
    /// The series of `path`: with a number in it (`gate-%05d.mp4`), or with one added from the second file on (`gate.mp4`,
    /// `gate-2.mp4`). Of its files `most` are kept.
    pub fn new(path: &Path, most: Option<u32>) -> Self {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (around, digits, bare) = match numbered(&name) {
            Some((before, digits, after)) => ((before.to_owned(), after.to_owned()), digits, None),
            None => {
                let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
                let dot = if name.contains('.') { "." } else { "" };
                ((format!("{stem}-"), format!("{dot}{extension}")), 1, Some(name.clone()))
            }
        };
        Self { folder, around, digits, bare, most }
    }

    /// Whether the files have numbers.
    pub fn is_numbered(&self) -> bool {
        self.bare.is_none()
    }

    /// Makes the folder if only the last part of it is missing: what a camera's id names. One that is missing as a whole may be a
    /// disk that is not there.
    ///
    /// # Errors
    /// A text that names the folder.
    pub fn prepare(&self) -> Result<(), String> {
        folder(&self.folder)
    }

    /// The next file, after the oldest were removed to make room for it.
    pub fn next(&self) -> PathBuf {
        let mut there = self.there();
        there.sort();
        if let Some(most) = self.most {
            let over = (there.len() + 1).saturating_sub(most.max(1) as usize);
            for (_, path) in there.drain(..over.min(there.len())) {
                // One that cannot be removed is in nobody's way but the disk's.
                let _ = std::fs::remove_file(path);
            }
        }
        let number = there.last().map(|(number, _)| number + 1);
        match (&self.bare, number) {
            (Some(bare), None) => self.folder.join(bare),
            (_, number) => {
                let (before, after) = &self.around;
                self.folder.join(format!("{before}{:0width$}{after}", number.unwrap_or(0), width = self.digits))
            }
        }
    }

    /// Files of the series that have something in them.
    fn there(&self) -> Vec<(u64, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let entries = entries.filter(|entry| entry.metadata().is_ok_and(|data| data.is_file() && data.len() > 0));
        entries.filter_map(|entry| Some((self.number(entry.file_name().to_str()?)?, entry.path()))).collect()
    }

    fn number(&self, name: &str) -> Option<u64> {
        if self.bare.as_deref() == Some(name) {
            return Some(1);
        }
        let number = name.strip_prefix(&*self.around.0)?.strip_suffix(&*self.around.1)?;
        // "007" is the series' own only where it writes as many digits.
        let own = number.len() == self.digits || (number.len() > self.digits && !number.starts_with('0'));
        let number = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten()?;
        // There must be one after it.
        (own && number < u64::MAX).then_some(number)
    }
}

/// Makes a folder, but not the one that it is in.
///
/// # Errors
/// A text that names it.
pub fn folder(folder: &Path) -> Result<(), String> {
    match std::fs::create_dir(folder) {
        Err(err) if !folder.is_dir() => Err(format!("the folder {} cannot be made: {err}", folder.display())),
        _ => Ok(()),
    }
}

/// The parts of a name around `%05d` or `%d`, and how many digits that asks for.
fn numbered(name: &str) -> Option<(&str, usize, &str)> {
    name.match_indices('%').find_map(|(at, _)| {
        let (before, rest) = name.split_at_checked(at)?;
        let rest = rest.get(1..)?;
        let (digits, after) = rest.split_once('d')?;
        if digits.is_empty() {
            return Some((before, 1, after));
        }
        let digits: usize = digits.parse().ok().filter(|digits| (1..=18).contains(digits))?;
        Some((before, digits, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path) {
        std::fs::write(path, "x").unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn numbers_go_on_where_they_were_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let series = Series::new(&folder.path().join("gate-%05d.mp4"), Some(3));
        assert_eq!(series.next(), folder.path().join("gate-00000.mp4"));
        write(&folder.path().join("gate-99999.mp4"));
        write(&folder.path().join("gate-7.mp4"));
        write(&folder.path().join("gate-18446744073709551615.mp4"));
        write(&folder.path().join("gate-late.mp4"));
        for n in ["gate-100000.mp4", "gate-100001.mp4", "gate-100002.mp4"] {
            let next = series.next();
            assert_eq!(next, folder.path().join(n));
            write(&next);
        }
        let foreign = ["gate-18446744073709551615.mp4", "gate-7.mp4", "gate-late.mp4"];
        let left: Vec<_> =
            ["gate-100000.mp4", "gate-100001.mp4", "gate-100002.mp4"].into_iter().chain(foreign).collect();
        assert_eq!(names(folder.path()), left, "what is not of the series stays");
    }

    #[test]
    fn a_file_without_a_number_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.mp4");
        let series = Series::new(&path, None);
        assert!(!series.is_numbered());
        assert_eq!(series.next(), path);
        std::fs::write(&path, "").unwrap();
        assert_eq!(series.next(), path, "an empty one is");
        write(&path);
        assert_eq!(series.next(), folder.path().join("gate-2.mp4"));
        write(&folder.path().join("gate-2.mp4"));
        assert_eq!(series.next(), folder.path().join("gate-3.mp4"));
    }

    #[test]
    fn patterns_are_found() {
        assert_eq!(numbered("a-%05d.mp4"), Some(("a-", 5, ".mp4")));
        assert_eq!(numbered("%d"), Some(("", 1, "")));
        assert_eq!(numbered("50%.mp4"), None);
        assert_eq!(numbered("50%-%3d"), Some(("50%-", 3, "")));
    }

    #[test]
    fn only_the_last_part_of_a_folder_is_made() {
        let root = tempfile::tempdir().unwrap();
        assert!(Series::new(&root.path().join("gate/a.mp4"), None).prepare().is_ok());
        assert!(Series::new(&root.path().join("gate/a.mp4"), None).prepare().is_ok());
        let text = Series::new(&root.path().join("disk/gate/a.mp4"), None).prepare().unwrap_err();
        assert!(text.contains("disk/gate"), "{text}");
    }
}
