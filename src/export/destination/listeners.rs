//! Those who want to hear of a receiver's troubles, and what they are told, in one order.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::spool::Notice;
use super::super::writer::{Change, Report, Stats};

/// Who tells of changes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    Spool,
    Shipper,
}

/// Those who want to hear of changes.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    next: u64,
    all: BTreeMap<u64, Arc<Report>>,
    /// What is wrong, by who says so: the spool, the shipper.
    trouble: [Option<String>; 2],
    /// What is yet to be told, and to whom; and whether somebody is at it, who goes on until nothing is left.
    pending: VecDeque<(Vec<u64>, Change)>,
    telling: bool,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, and tells it what is wrong just now.
    pub fn add(&self, report: Report, stats: Stats) -> u64 {
        let mut heard = self.lock();
        heard.next += 1;
        let token = heard.next;
        heard.all.insert(token, Arc::new(report));
        let trouble = heard.trouble.clone().into_iter().flatten();
        heard.pending.extend(trouble.map(|text| (vec![token], Change { degraded: true, text, stats })));
        drop(heard);
        self.deliver();
        token
    }

    /// Nothing that comes from now on is told to this one.
    pub fn remove(&self, token: u64) {
        self.lock().all.remove(&token);
    }

    /// Tells all of a change. All is well again only once neither has any trouble.
    pub fn tell(&self, who: Who, notice: Notice, stats: Stats) {
        let mut heard = self.lock();
        let Notice { degraded, text } = notice;
        if let Some(trouble) = heard.trouble.get_mut(who as usize) {
            *trouble = degraded.then(|| text.clone());
        }
        if degraded || heard.trouble.iter().all(Option::is_none) {
            let all = heard.all.keys().copied().collect();
            heard.pending.push_back((all, Change { degraded, text, stats }));
        }
        drop(heard);
        self.deliver();
    }

    /// Tells what is pending, in its order, unless another thread does already. No lock is held over a report.
    fn deliver(&self) {
        if std::mem::replace(&mut self.lock().telling, true) {
            return;
        }
        while let Some((reports, change)) = self.next() {
            for report in reports {
                // What goes wrong there is no reason to keep it from the others.
                let _ = catch_unwind(AssertUnwindSafe(|| report(change.clone())));
            }
        }
    }

    fn next(&self) -> Option<(Vec<Arc<Report>>, Change)> {
        let mut heard = self.lock();
        let next = heard.pending.pop_front();
        heard.telling = next.is_some();
        let (tokens, change) = next?;
        Some((tokens.iter().filter_map(|token| heard.all.get(token).cloned()).collect(), change))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::mpsc::channel;

    use super::*;

    fn trouble(text: &str) -> Notice {
        Notice::degraded(text)
    }

    fn well() -> Notice {
        Notice { degraded: false, text: "well".into() }
    }

    type Told = Arc<Mutex<Vec<(bool, String, u64)>>>;

    fn listener() -> (Told, Report) {
        let told = Told::default();
        let own = Arc::clone(&told);
        let report =
            move |change: Change| own.lock().unwrap().push((change.degraded, change.text, change.stats.written));
        (told, Box::new(report))
    }

    fn written(written: u64) -> Stats {
        Stats { written, ..Stats::default() }
    }

    #[test]
    fn all_is_well_once_nobody_has_trouble_and_late_comers_are_told() {
        let listeners = Listeners::default();
        let (first, report) = listener();
        let token = listeners.add(report, written(0));
        listeners.tell(Who::Spool, trouble("disk"), written(1));
        listeners.tell(Who::Shipper, trouble("broker"), written(2));
        let (second, report) = listener();
        listeners.add(report, written(3));
        listeners.tell(Who::Spool, well(), written(4));
        listeners.remove(token);
        listeners.tell(Who::Shipper, well(), written(5));
        let told = |degraded, text: &str, n| (degraded, text.to_owned(), n);
        assert_eq!(*first.lock().unwrap(), [told(true, "disk", 1), told(true, "broker", 2)]);
        assert_eq!(*second.lock().unwrap(), [told(true, "disk", 3), told(true, "broker", 3), told(false, "well", 5)]);
    }

    /// While one is told, another comes and all is well again: each hears it in the order in which it was.
    #[test]
    fn who_comes_while_others_are_told_hears_bad_news_before_good_news() {
        let listeners = Arc::new(Listeners::default());
        let (begun, wait_begun) = channel();
        let (go_on, wait_go_on) = channel::<()>();
        let waits = Mutex::new(wait_go_on);
        let slow = move |change: Change| {
            if change.degraded {
                begun.send(()).unwrap();
                waits.lock().unwrap().recv().unwrap();
            }
        };
        listeners.add(Box::new(slow), written(0));
        let telling = std::thread::spawn({
            let listeners = Arc::clone(&listeners);
            move || listeners.tell(Who::Shipper, trouble("broker"), written(1))
        });
        wait_begun.recv().unwrap();
        let (told, report) = listener();
        listeners.add(report, written(2));
        listeners.tell(Who::Shipper, well(), written(3));
        go_on.send(()).unwrap();
        telling.join().unwrap();
        let (bad, good) = ((true, "broker".to_owned(), 2), (false, "well".to_owned(), 3));
        assert_eq!(*told.lock().unwrap(), [bad, good]);
    }

    #[test]
    fn a_listener_that_panics_or_leaves_meanwhile_is_no_trouble_to_the_others() {
        let listeners = Arc::new(Listeners::default());
        let (told, report) = listener();
        let own = Arc::clone(&listeners);
        let others = Arc::new(OnceLock::new());
        let other = Arc::clone(&others);
        listeners.add(
            Box::new(move |_| {
                own.remove(*other.get().unwrap());
                panic!("a bad listener");
            }),
            written(0),
        );
        others.set(listeners.add(listener().1, written(0))).unwrap();
        listeners.add(report, written(0));
        listeners.tell(Who::Spool, trouble("disk"), written(1));
        listeners.tell(Who::Spool, well(), written(2));
        assert_eq!(told.lock().unwrap().len(), 2);
    }
}
