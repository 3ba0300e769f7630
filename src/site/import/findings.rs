//! What became of keys that have no counterpart, or not quite the same one.

use std::fmt;

use super::config::{Entry, Group};

/// What a finding means for whoever moves over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It has no counterpart: something that worked before does not.
    Lost,
    /// It is done in another way; the text says how.
    Changed,
    /// Nothing is to be done about it.
    Unneeded,
}

impl Level {
    /// All levels, the worst first.
    pub const ALL: [Level; 3] = [Self::Lost, Self::Changed, Self::Unneeded];

    /// The heading of a list of them.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Lost => "Without a counterpart",
            Self::Changed => "Done in another way",
            Self::Unneeded => "Not needed",
        }
    }
}

/// What became of a key or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub level: Level,
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The group and, unless the finding is about the whole group, the key with its value; without secrets.
    pub what: String,
    /// What became of it, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.what, self.text)
    }
}

/// All findings, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds one about a key.
    pub fn add(&mut self, level: Level, entry: &Entry, text: impl Into<String>) {
        let what = format!("[{}] {} = {}", entry.group, entry.key, masked(&entry.value));
        self.0.push(Finding { level, file: entry.file.clone(), line: entry.line, what, text: text.into() });
    }

    /// Adds one about a whole group.
    pub fn group(&mut self, level: Level, group: &Group, text: impl Into<String>) {
        let what = format!("[{}]", group.name);
        self.0.push(Finding { level, file: group.file.clone(), line: group.line, what, text: text.into() });
    }

    /// Puts them in the order of the lines of each file.
    pub fn sort(&mut self) {
        let mut files: Vec<String> = Vec::new();
        for finding in &self.0 {
            if !files.contains(&finding.file) {
                files.push(finding.file.clone());
            }
        }
        self.0.sort_by_key(|finding| (files.iter().position(|file| *file == finding.file), finding.line));
    }

    /// How many there are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|f| f.level == level).count()
    }
}

/// A value as it may be shown: passwords in URIs and keys of brokers are left out.
pub fn masked(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    if ["sharedaccesskey", "password", "secret"].iter().any(|word| lower.contains(word)) {
        return "(not shown)".into();
    }
    let mut shown = String::new();
    let mut rest = value;
    // Everything between `://` and the last `@` before the path is who logs in.
    while let Some((before, after)) = rest.split_once("://") {
        shown += before;
        shown += "://";
        let end = after.find(['/', '?', '#', ';']).unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                shown += &format!("{user}:…@{host}");
            }
            None => shown += authority,
        }
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(masked("rtsp://admin:se:c@ret@10.0.0.1:554/a?b=c"), "rtsp://admin:…@10.0.0.1:554/a?b=c");
        assert_eq!(masked("rtsp://a:b@h/1;rtsp://c:d@h/2"), "rtsp://a:…@h/1;rtsp://c:…@h/2");
        assert_eq!(masked("HostName=x;SharedAccessKey=y"), "(not shown)");
        assert_eq!(masked("rtsp://10.0.0.1/a@b"), "rtsp://10.0.0.1/a@b");
        assert_eq!(masked("0.5"), "0.5");
    }
}
