//! What is told of a spool: each kind of trouble once, and that all is well again. No I/O; time is an argument.

use std::time::Duration;

use super::Notice;
use super::state::Counters;

/// For how long nothing must be lost until all is said to be well.
const CALM: Duration = Duration::from_secs(60);
/// So many kinds of trouble are told at most before all is well again.
const MOST: usize = 12;

/// What was told.
#[derive(Debug)]
pub(super) struct News {
    degraded: bool,
    /// Kinds of trouble that were told since all was well.
    told: Vec<String>,
    /// Records lost when it was last looked at, for want of space, for their age and to damage; and when that last changed.
    lost: [u64; 3],
    lost_at: Duration,
}

impl News {
    /// At the start; something was told already if it is `degraded`.
    pub fn new(degraded: bool, counters: &Counters, now: Duration) -> Self {
        Self { degraded, told: Vec::new(), lost: lost(counters), lost_at: now }
    }

    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// There is trouble: what to tell, unless trouble of this `kind` was told since all was well.
    pub fn trouble(&mut self, kind: &str, text: String) -> Option<Notice> {
        self.degraded = true;
        if self.told.len() >= MOST || self.told.iter().any(|told| told == kind) {
            return None;
        }
        self.told.push(kind.to_owned());
        Some(Notice::degraded(text))
    }

    /// It was told in another way what is lost up to now.
    pub fn told_of_loss(&mut self, counters: &Counters) {
        (self.degraded, self.lost) = (true, lost(counters));
    }

    /// What to tell of records that were lost since the last call, or of being well again; something may still be `failing`. `spool` is
    /// its name for the user.
    pub fn look(&mut self, counters: &Counters, failing: bool, now: Duration, spool: &str) -> Option<Notice> {
        let lost = lost(counters);
        let before = std::mem::replace(&mut self.lost, lost);
        if lost != before {
            self.lost_at = now;
            let [space, age, damage] = lost;
            let text = format!(
                "the spool {spool} lost records: {space} for want of space, {age} too old, {damage} damaged; the oldest of \
                 the least important kind go first"
            );
            let kinds = ["lost for want of space", "lost for their age", "lost to damage"];
            let new = kinds.into_iter().zip(lost.iter().zip(before)).filter(|(_, (now, before))| *now != before);
            // All of them are in the text.
            return new.filter_map(|(kind, _)| self.trouble(kind, text.clone())).last();
        }
        if self.degraded && !failing && now.saturating_sub(self.lost_at) >= CALM {
            self.degraded = false;
            self.told.clear();
            return Some(Notice { degraded: false, text: format!("the spool {spool} works again") });
        }
        None
    }
}

fn lost(counters: &Counters) -> [u64; 3] {
    [counters.dropped.iter().sum(), counters.expired, counters.corrupt]
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn another_kind_of_trouble_is_told_and_the_same_is_not() {
        let mut counters = Counters::default();
        let mut news = News::new(false, &counters, s(0));
        assert!(news.trouble("full", "no space; records wait in memory".into()).is_some());
        assert_eq!(news.trouble("full", "no space; records wait in memory".into()), None);
        assert_eq!(news.look(&counters, true, s(1), "x"), None);
        // Now they are dropped, which is worse.
        counters.dropped[2] = 5;
        let notice = news.look(&counters, true, s(2), "x").unwrap();
        assert!(notice.degraded && notice.text.contains("x lost records: 5 for want of space"), "{notice:?}");
        counters.dropped[2] = 500;
        assert_eq!(news.look(&counters, true, s(3), "x"), None, "more of the same");
        counters.corrupt = 1;
        assert!(
            news.look(&counters, true, s(4), "x").unwrap().text.contains("500 for want of space, 0 too old, 1 damaged")
        );
        assert_eq!(news.trouble("full", "no space; records wait in memory".into()), None);
        // All is well only once nothing was lost for a while.
        assert_eq!(news.look(&counters, false, s(63), "x"), None);
        assert_eq!(news.look(&counters, true, s(65), "x"), None);
        let notice = news.look(&counters, false, s(65), "x").unwrap();
        assert_eq!((notice.degraded, notice.text.as_str()), (false, "the spool x works again"));
        assert_eq!(news.look(&counters, false, s(66), "x"), None);
        assert!(news.trouble("full", "no space; records wait in memory".into()).is_some(), "it is new again");
    }

    #[test]
    fn what_never_stops_changing_is_told_a_few_times() {
        let mut news = News::new(false, &Counters::default(), s(0));
        let told = (0..1000).filter(|n| news.trouble(&n.to_string(), n.to_string()).is_some()).count();
        assert_eq!(told, MOST);
    }
}
