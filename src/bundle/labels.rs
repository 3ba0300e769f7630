//! `labels.txt`: one label per line, by class id.

use super::contract::Labels;

/// Longest label file, bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Most labels.
pub const MAX_LABELS: usize = 65_536;
/// Longest label, characters.
pub const MAX_CHARS: usize = 200;

/// A mistake in a label file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct LabelsError {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Reads labels from the bytes of `file` (a name for errors): UTF-8, one per line, first line = class 0. Line ends may be
/// LF or CRLF; a byte order mark, white space around a label and blank lines at the end are ignored.
///
/// # Errors
/// [`LabelsError`] for a file that is empty, not UTF-8 or too long, for blank lines between labels, and for labels that
/// are too long or hold control characters.
pub fn parse(bytes: &[u8], file: &str) -> Result<Labels, LabelsError> {
    let fail = |line: usize, message: String| LabelsError { file: file.into(), line, message };
    if bytes.len() > MAX_BYTES {
        return Err(fail(1, format!("{} bytes are too many for a label file, {MAX_BYTES} are allowed", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        fail(line, "not UTF-8; save the file in that encoding".into())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    if text.is_empty() {
        return Err(fail(1, "there is no label; write one per line".into()));
    }
    let mut labels = Labels::new();
    for (i, line) in text.split('\n').enumerate() {
        let label = line.trim();
        let line = i + 1;
        if label.is_empty() {
            let example = format!("class {i}");
            return Err(fail(line, format!("blank line between labels; give the class a name such as \"{example}\"")));
        }
        if let Some(c) = label.chars().find(|c| c.is_control()) {
            return Err(fail(line, format!("the label contains the control character {c:?}")));
        }
        let length = label.chars().count();
        if length > MAX_CHARS {
            return Err(fail(line, format!("the label is {length} characters long, {MAX_CHARS} are allowed")));
        }
        if labels.len() == MAX_LABELS {
            return Err(fail(line, format!("more than {MAX_LABELS} labels")));
        }
        labels.push(label.into());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        match parse(bytes, "labels.txt") {
            Ok(labels) => labels.join("|"),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn lines_become_labels() {
        assert_eq!(text("person\nCar seat\nÄpfel".as_bytes()), "person|Car seat|Äpfel");
        assert_eq!(text(b"\xef\xbb\xbfa\r\nb\r\n\r\n \n"), "a|b");
    }

    #[test]
    fn mistakes_name_the_line() {
        assert_eq!(text(b""), "labels.txt:1: there is no label; write one per line");
        assert_eq!(
            text(b"a\n\nb\n"),
            "labels.txt:2: blank line between labels; give the class a name such as \"class 1\""
        );
        assert_eq!(text(b"a\nb\xff\n"), "labels.txt:2: not UTF-8; save the file in that encoding");
        assert_eq!(text(b"a\nb\x1b[2J\n"), "labels.txt:2: the label contains the control character '\\u{1b}'");
        let long = format!("a\n{}\n", "x".repeat(201));
        assert_eq!(text(long.as_bytes()), "labels.txt:2: the label is 201 characters long, 200 are allowed");
        assert_eq!(text("a\n".repeat(MAX_LABELS + 1).as_bytes()), "labels.txt:65537: more than 65536 labels");
        assert!(text(&vec![b'a'; MAX_BYTES + 1]).starts_with("labels.txt:1: 1048577 bytes are too many"));
    }

    proptest! {
        #[test]
        fn written_labels_are_read_back(labels in prop::collection::vec("[a-zäß][a-z0-9 .]{0,20}[a-z]", 1..50)) {
            let read = parse(labels.join("\r\n").as_bytes(), "l").unwrap();
            prop_assert_eq!(read.iter().map(|l| l.to_string()).collect::<Vec<_>>(), labels);
        }
    }
}
