use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::analysis::Companion;
use crate::model::{Model, Request};
use crate::swap::order::Terms;
use crate::swap::trial::{Trial, TrialReport};

/// A host whose first request panics, and whose others name a file that is not there.
#[derive(Default)]
struct Stub {
    asked: AtomicUsize,
    told: Mutex<Vec<Record>>,
    more: Condvar,
}

impl Stub {
    /// Waits for the end of a request.
    fn end(&self, request: u64) -> Record {
        let told = self.told.lock().unwrap();
        let over = |r: &&Record| r.request == request && r.phase == Phase::Rejected;
        let missing = |told: &mut Vec<Record>| !told.iter().any(|r| over(&r));
        let (told, late) = self.more.wait_timeout_while(told, Duration::from_secs(60), missing).unwrap();
        assert!(!late.timed_out(), "request {request} has no end: {told:?}");
        told.iter().find(over).unwrap().clone()
    }
}

impl Host for Stub {
    fn request(&self, order: &Order) -> Result<Request, (Reason, String)> {
        assert!(self.asked.fetch_add(1, Ordering::SeqCst) > 0, "a bug");
        Ok(Request { model: order.model.clone(), ..Request::default() })
    }

    fn terms(&self) -> Terms {
        Terms::default()
    }

    fn current(&self) -> Option<Arc<Model>> {
        None
    }

    fn activate(&self, _: Option<Arc<Model>>) -> bool {
        panic!("nothing is to be activated")
    }

    fn accompany(&self, _: Option<Companion>) {}

    fn watch(&self, _: Option<Arc<Trial>>) {}

    fn tell(&self, record: &Record) {
        self.told.lock().unwrap().push(record.clone());
        self.more.notify_all();
    }

    fn report(&self, _: u64, _: &TrialReport) {}

    fn settled(&self, _: &Order, _: &Record) {}

    fn standing(&self) -> Option<Order> {
        None
    }
}

#[test]
fn a_panic_ends_its_request_and_no_other() {
    let host = Arc::new(Stub::default());
    let swapper = Swapper::new(Arc::clone(&host) as Arc<dyn Host>);
    let order = || Order::new("/no/such/model", Cause::Signal);
    assert_eq!(swapper.request(order()), None, "it is not open yet");
    swapper.open();
    assert_eq!(swapper.request(order()), Some(1));
    assert_eq!(host.end(1).reason, Some(Reason::LoadFailed));
    assert_eq!(swapper.request(order()), Some(2));
    assert_eq!(host.end(2).reason, Some(Reason::NotFound));
    swapper.close();
    assert_eq!(swapper.request(order()), None);
    let history = swapper.history();
    assert_eq!((history.requests, history.rejected), (2, 2));
}
