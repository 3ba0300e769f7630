//! What is not told again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The same is told once in this time.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told last, by its kind.
#[derive(Default)]
pub struct Repeats(BTreeMap<&'static str, (String, Instant)>);

impl Repeats {
    /// Whether `text` is to be told: it is another one than the last of its kind, or that was long ago.
    pub fn is_news(&mut self, kind: &'static str, text: &str, now: Instant) -> bool {
        let same = |(last, at): &(String, Instant)| last == text && now.saturating_duration_since(*at) < AGAIN;
        if self.0.get(kind).is_some_and(same) {
            return false;
        }
        self.0.insert(kind, (text.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let mut is_news = |kind, text, second| repeats.is_news(kind, text, start + Duration::from_secs(second));
        assert!(is_news("warning", "a", 0) && is_news("clock-jump", "", 1));
        assert!(!is_news("warning", "a", 59) && !is_news("clock-jump", "", 60));
        assert!(is_news("warning", "a", 60) && is_news("warning", "b", 61) && is_news("warning", "a", 62));
        assert!(!is_news("warning", "a", 63));
    }
}
