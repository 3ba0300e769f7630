//! Which release of a bundle is in use, as a plain value, and its file.

use serde::{Deserialize, Serialize};

use crate::bundle::names::check_name;

/// Version of the file's format.
const FORMAT: i64 = 1;
/// Rejections that are remembered.
const MOST_REJECTED: usize = 16;

/// A release that did not prove itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The release.
    pub release: String,
    /// Why, in words.
    pub reason: String,
    /// When, as UTC in RFC 3339.
    pub utc: String,
}

/// Which of a bundle's releases is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The release that `model=name` means.
    pub current: Option<String>,
    /// The confirmed release before it.
    pub previous: Option<String>,
    /// The release that is to be tried.
    pub candidate: Option<String>,
    /// Releases that were tried and taken back, oldest first, at most 16.
    #[serde(default)]
    pub rejected: Vec<Rejected>,
}

impl Selection {
    /// The content of the file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
        match table.get("format").and_then(toml::Value::as_integer) {
            Some(FORMAT) => {}
            Some(other) => return Err(format!("it has the format {other}, and this Vigil knows {FORMAT}")),
            None => return Err("it does not say its format".into()),
        }
        let selection: Self = table.try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
        // They become paths.
        for name in selection.names() {
            check_name(name).map_err(|why| format!("the release {name:?} {why}"))?;
        }
        Ok(selection)
    }

    /// The text of the file.
    pub(super) fn to_text(&self) -> Result<String, String> {
        let body = toml::to_string(self).map_err(|e| e.to_string())?;
        Ok(format!(
            "# Written by Vigil; change it with vigil bundle use and vigil bundle rollback.\nformat = {FORMAT}\n{body}"
        ))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let rejected = self.rejected.iter().map(|r| r.release.as_str());
        self.in_use().chain(rejected)
    }

    /// Current, previous and candidate, as far as there are any.
    pub fn in_use(&self) -> impl Iterator<Item = &str> {
        [&self.current, &self.previous, &self.candidate].into_iter().flatten().map(String::as_str)
    }

    /// Whether a release was tried and taken back.
    pub fn is_rejected(&self, release: &str) -> bool {
        self.rejected.iter().any(|r| r.release == release)
    }

    /// The release that whoever follows this bundle should try: the candidate, else the current one, but none that was
    /// rejected.
    pub fn wanted(&self) -> Option<&str> {
        let wanted = self.candidate.as_deref().or(self.current.as_deref());
        wanted.filter(|release| !self.is_rejected(release))
    }

    pub(super) fn propose(&mut self, release: &str) {
        self.forgive(release);
        self.candidate = (self.current.as_deref() != Some(release)).then(|| release.to_owned());
    }

    pub(super) fn confirm(&mut self, release: &str) {
        self.forgive(release);
        if self.candidate.as_deref() == Some(release) {
            self.candidate = None;
        }
        if self.current.as_deref() != Some(release) {
            self.previous = self.current.replace(release.to_owned());
        }
    }

    /// `otherwise` is the release to use if the rejected one is current and there is no previous one; without it the
    /// current one stays, because a bad model is better than none.
    pub(super) fn reject(&mut self, release: &str, otherwise: Option<String>, reason: &str, utc: String) {
        self.forgive(release);
        self.rejected.push(Rejected { release: release.into(), reason: reason.into(), utc });
        let many = self.rejected.len().saturating_sub(MOST_REJECTED);
        self.rejected.drain(..many);
        for place in [&mut self.candidate, &mut self.previous] {
            place.take_if(|r| r == release);
        }
        if self.current.as_deref() == Some(release)
            && let Some(good) = self.previous.take().or(otherwise)
        {
            self.current = Some(good);
        }
    }

    pub(super) fn forgive(&mut self, release: &str) {
        self.rejected.retain(|r| r.release != release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(current: &str, previous: &str, candidate: &str) -> Selection {
        let one = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Selection { current: one(current), previous: one(previous), candidate: one(candidate), rejected: Vec::new() }
    }

    #[test]
    fn a_candidate_is_confirmed_or_taken_back() {
        let mut s = of("1", "", "");
        s.propose("2");
        assert_eq!((s.clone(), s.wanted()), (of("1", "", "2"), Some("2")));
        let mut confirmed = s.clone();
        confirmed.confirm("2");
        assert_eq!(confirmed, of("2", "1", ""));
        confirmed.confirm("2");
        assert_eq!(confirmed, of("2", "1", ""), "once more changes nothing");

        s.reject("2", None, "worse", "now".into());
        assert_eq!((s.current.as_deref(), s.candidate.as_deref(), s.wanted()), (Some("1"), None, Some("1")));
        assert!(s.is_rejected("2"));
        s.propose("2");
        assert!(!s.is_rejected("2"), "the user asked for it again");
        s.propose("1");
        assert_eq!(s, of("1", "", ""), "the current one is no candidate");
    }

    #[test]
    fn a_rejected_current_release_gives_way_to_the_previous_one() {
        let mut s = of("2", "1", "");
        s.reject("2", Some("0".into()), "worse", "now".into());
        assert_eq!((s.current.as_deref(), s.previous.as_deref()), (Some("1"), None));
        s.reject("1", Some("0".into()), "worse", "now".into());
        assert_eq!(s.current.as_deref(), Some("0"));
        s.reject("0", None, "worse", "now".into());
        assert_eq!(
            (s.current.as_deref(), s.wanted()),
            (Some("0"), None),
            "the last one stays, but nobody is sent to it"
        );
    }

    #[test]
    fn rejections_are_bounded() {
        let mut s = of("1", "", "");
        for i in 0..100 {
            s.reject(&format!("r{i}"), None, "worse", "now".into());
            s.reject(&format!("r{i}"), None, "worse still", "now".into());
        }
        assert_eq!(s.rejected.len(), MOST_REJECTED);
        assert!(s.is_rejected("r99") && !s.is_rejected("r0"));
    }

    #[test]
    fn the_file_gives_back_what_was_written() {
        let mut s = of("2", "1", "3");
        s.reject("2.5", None, "said \"no\"\nand more", "2026-11-25T20:00:00Z".into());
        assert_eq!(Selection::parse(&s.to_text().unwrap()), Ok(s));
        assert_eq!(Selection::parse("format = 1\n"), Ok(Selection::default()));
    }

    #[test]
    fn foreign_files_are_refused() {
        for (text, why) in [
            ("", "does not say its format"),
            ("\0\0\0", "key with no value"),
            ("format = 2\ncurrent = \"1\"", "format 2"),
            ("format = 1\ncurrent = 1", "invalid type"),
            ("format = 1\ncurrent = \"../../etc\"", "contains '/'"),
            ("format = 1\ncandidate = \".staging\"", "must begin with a letter"),
        ] {
            let error = Selection::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
