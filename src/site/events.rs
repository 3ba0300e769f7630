//! What happens on a site, told to whoever wants to hear it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::status::Event;
use crate::telemetry::utc_now_ns;

/// Events that are kept for those who ask later.
const KEPT: usize = 1000;
/// Events that a listener may be behind; one that is further behind misses some, and sees it by their numbers.
const BEHIND: usize = 1000;

#[derive(Default)]
struct State {
    last: u64,
    kept: VecDeque<Arc<Event>>,
    listeners: Vec<SyncSender<Arc<Event>>>,
}

impl State {
    fn after(&self, after: u64) -> Vec<Arc<Event>> {
        self.kept.iter().filter(|event| event.number > after).cloned().collect()
    }
}

/// A site's events. Telling one waits for nobody.
#[derive(Default)]
pub struct Events(Mutex<State>);

impl Events {
    /// Tells what happened: `data` is an object.
    pub fn tell(&self, camera: Option<&str>, kind: &str, data: serde_json::Value) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let event = Arc::new(Event {
            number: state.last,
            time_ns: utc_now_ns(),
            camera: camera.map(str::to_owned),
            kind: kind.to_owned(),
            data,
        });
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(&event));
        state
            .listeners
            .retain(|listener| !matches!(listener.try_send(Arc::clone(&event)), Err(TrySendError::Disconnected(_))));
    }

    /// Events that are kept, from after number `after` on, and the ones that will come.
    pub fn listen(&self, after: u64) -> (Vec<Arc<Event>>, Receiver<Arc<Event>>) {
        let (sender, receiver) = sync_channel(BEHIND);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.push(sender);
        (state.after(after), receiver)
    }

    /// Events that are kept, from after number `after` on (none without one), and the number of the last event that was told. Where no event
    /// has the number `after` yet, it is one of a process before this one: then all.
    pub fn since(&self, after: Option<u64>) -> (Vec<Arc<Event>>, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = after.map(|after| state.after(if after > state.last { 0 } else { after }));
        (kept.unwrap_or_default(), state.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_kept_and_heard() {
        let events = Events::default();
        let (kept, early) = events.listen(0);
        assert!(kept.is_empty());
        for n in 0..KEPT as u64 + 5 {
            events.tell(Some("gate"), "camera", serde_json::json!({ "n": n }));
        }
        let heard: Vec<_> = early.try_iter().collect();
        assert_eq!((heard.len(), heard[0].number, heard[0].data["n"].as_u64()), (BEHIND, 1, Some(0)));
        drop(early);
        let (kept, late) = events.listen(1003);
        assert_eq!(kept.iter().map(|e| e.number).collect::<Vec<_>>(), [1004, 1005]);
        events.tell(None, "site", serde_json::json!({}));
        assert_eq!(late.recv().unwrap().number, 1006);
        assert_eq!(events.0.lock().unwrap().listeners.len(), 1, "who has gone is forgotten");
    }

    #[test]
    fn who_listened_to_the_process_before_misses_nothing_of_this_one() {
        let events = Events::default();
        for _ in 0..3 {
            events.tell(None, "site", serde_json::json!({}));
        }
        assert_eq!(events.since(None), (Vec::new(), 3));
        let since = |after| events.since(Some(after)).0.iter().map(|event| event.number).collect::<Vec<_>>();
        assert_eq!((since(0), since(2), since(3)), (vec![1, 2, 3], vec![3], vec![]));
        assert_eq!(since(5000), [1, 2, 3], "numbers begin anew with each process");
        assert!(events.0.lock().unwrap().listeners.is_empty(), "nobody is waited for");
    }
}
