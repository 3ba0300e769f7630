//! What the files of a name say, and what is made of it where they are lost.

use std::fs;
use std::io;
use std::path::Path;

use super::{BROKEN_STATE, OLD_STATE, Release, STATE, Selection, Store, StoreError, checked};

/// Longest state file, bytes.
const MAX_STATE: u64 = 256 * 1024;

/// What is known about a name, with or without a usable state file.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub selection: Selection,
    /// The releases, oldest installation first; `confirmed` as their records and the state say it together.
    pub releases: Vec<Release>,
    pub warnings: Vec<String>,
    /// The state file's text, if it is whole.
    pub text: Option<String>,
    /// There is a state file, but it is not whole, and neither is the copy of the one before.
    pub lost: bool,
}

impl Store {
    /// What is known about a name; nothing if there is no such folder.
    pub(super) fn known(&self, name: &str) -> Result<Known, StoreError> {
        checked(name)?;
        let mut known = Known { releases: self.releases(name)?, ..Known::default() };
        self.read_state(name, &mut known);
        let selection = &mut known.selection;
        // Records did not always say it; the state of then does for these two.
        for r in &mut known.releases {
            r.confirmed |= [&selection.current, &selection.previous].into_iter().flatten().any(|c| *c == r.release);
        }
        let has = |release: &Option<String>| {
            release.as_ref().filter(|r| known.releases.iter().any(|i| i.release == **r)).cloned()
        };
        let (current, previous) = (has(&selection.current), has(&selection.previous));
        let candidate = has(&selection.candidate);
        if let Some(gone) = selection.current.as_ref().filter(|_| current.is_none()) {
            known.warnings.push(format!("{name}: the current release {gone} is not in the store any more"));
        }
        (selection.current, selection.previous, selection.candidate) = (current, previous, candidate);
        if selection.current.is_none() {
            selection.current = selection.previous.take();
        }
        if selection.current.is_none() {
            known.make_up(name);
        }
        Ok(known)
    }

    /// Reads the state file, else the one before it.
    fn read_state(&self, name: &str, known: &mut Known) {
        let path = self.folder(name).join(STATE);
        match read_selection(&path) {
            Ok(Some((text, selection))) => (known.text, known.selection) = (Some(text), selection),
            first => {
                let old = read_selection(&path.with_file_name(OLD_STATE));
                known.lost = first.is_err() && !matches!(old, Ok(Some(_)));
                if let Ok(Some((_, selection))) = old {
                    known.selection = selection;
                }
                if let Err(why) = first {
                    let instead =
                        if known.lost { "the newest release that was current" } else { "the state before it" };
                    known.warnings.push(format!(
                        "{}: not a state file of this store: {why}; {instead} counts, and the next change sets it aside \
                         as {BROKEN_STATE}",
                        path.display()
                    ));
                }
            }
        }
    }
}

impl Known {
    /// Chooses a current release where none is known: the newest that was one before, and else, because a bad model is
    /// better than none, the first that was installed.
    fn make_up(&mut self, name: &str) {
        let selection = &mut self.selection;
        let is_candidate = |r: &Release| selection.candidate.as_ref() == Some(&r.release);
        let good = |r: &&Release| r.confirmed && !selection.is_rejected(&r.release) && !is_candidate(r);
        let merit = |r: &&Release| (selection.is_rejected(&r.release), !r.confirmed, is_candidate(r));
        let best = self.releases.iter().rev().find(good).or_else(|| self.releases.iter().min_by_key(merit));
        let Some(best) = best else { return };
        if !best.confirmed {
            self.warnings.push(format!(
                "{name}: none of its releases is known to have been in use; {}, which was installed first, counts as \
                 current",
                best.release
            ));
        }
        selection.current = Some(best.release.clone());
        selection.candidate.take_if(|c| *c == best.release);
    }
}

/// The text and meaning of a state file; `None` if there is none.
fn read_selection(path: &Path) -> Result<Option<(String, Selection)>, String> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
        Ok(found) if !found.is_file() => return Err("it is no file".into()),
        Ok(found) if found.len() > MAX_STATE => return Err(format!("its {} bytes are too many", found.len())),
        Ok(_) => {}
    }
    match fs::read_to_string(path) {
        // Replaced in between: what replaced it is there.
        Err(e) => Err(e.to_string()),
        Ok(text) => Selection::parse(&text).map(|selection| Some((text, selection))),
    }
}
