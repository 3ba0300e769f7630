use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn wanted(digest: &str) -> Wanted {
    let identity = Identity { name: "people".into(), release: "2".into(), digest: digest.into() };
    Wanted { identity, request: Request::default(), load_limit: Duration::ZERO }
}

fn good() -> Outcome {
    Ok(Tried { loaded: "loaded".into(), proven: "12 objects".into() })
}

fn bad(reason: Reason) -> Outcome {
    Err(Refusal::Bad(reason, "no good".into()))
}

/// Requests for the same proof, whose work waits for the test.
struct Bench {
    together: Together,
    begun: AtomicUsize,
    /// Says how many have begun, each time.
    tells: Sender<usize>,
}

impl Bench {
    fn new() -> (Self, Receiver<usize>) {
        let (tells, told) = channel();
        (Self { together: Together(Mutex::default()), begun: AtomicUsize::new(0), tells }, told)
    }

    /// One more request; its work ends with what `ends` gives.
    fn request<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        cancel: &'s Cancel,
        ends: &'s Mutex<Receiver<Outcome>>,
    ) -> ScopedJoinHandle<'s, Outcome> {
        let work = || {
            self.tells.send(self.begun.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
            ends.lock().unwrap().recv_timeout(LONG).unwrap()
        };
        scope.spawn(move || self.together.share(&wanted("a"), cancel, work))
    }

    /// Waits until the proof under way has so many who wait for it.
    fn waiting(&self, count: usize) {
        let end = std::time::Instant::now() + LONG;
        // The list and who does the work have it too.
        while self.together.lock().iter().map(|(_, flight)| Arc::strong_count(flight)).sum::<usize>() != count + 2 {
            assert!(std::time::Instant::now() < end, "they do not come");
            std::thread::yield_now();
        }
    }
}

#[test]
fn those_who_come_meanwhile_get_the_verdict_good_or_bad() {
    for verdict in [good(), bad(Reason::ReferenceMismatch)] {
        let (bench, told) = Bench::new();
        let (cancel, (end, ends)) = (Cancel::default(), channel());
        let ends = Mutex::new(ends);
        std::thread::scope(|scope| {
            let first = bench.request(scope, &cancel, &ends);
            assert_eq!(told.recv_timeout(LONG), Ok(1));
            let others = [(); 3].map(|()| bench.request(scope, &cancel, &ends));
            bench.waiting(3);
            end.send(verdict.clone()).unwrap();
            assert_eq!(first.join().unwrap(), verdict);
            for other in others {
                match (other.join().unwrap(), &verdict) {
                    (Ok(tried), Ok(_)) => assert_eq!(tried.proven, format!("12 objects{SHARED}")),
                    (Err(refusal), Err(_)) => {
                        assert_eq!(refusal, Refusal::Bad(Reason::ReferenceMismatch, format!("no good{SHARED}")));
                    }
                    (other, _) => panic!("{other:?}"),
                }
            }
        });
        assert_eq!(bench.begun.load(Ordering::SeqCst), 1);
        assert!(bench.together.lock().is_empty(), "nothing is remembered");
    }
}

#[test]
fn what_says_nothing_of_the_model_is_not_shared() {
    let own = [Err(Refusal::Cancelled), bad(Reason::Memory), bad(Reason::LoadTimeout), bad(Reason::LoadCrashed)];
    for failure in own {
        let (bench, told) = Bench::new();
        let (cancel, (end, ends)) = (Cancel::default(), channel());
        let ends = Mutex::new(ends);
        std::thread::scope(|scope| {
            let first = bench.request(scope, &cancel, &ends);
            assert_eq!(told.recv_timeout(LONG), Ok(1));
            let others = [(); 2].map(|()| bench.request(scope, &cancel, &ends));
            bench.waiting(2);
            end.send(failure.clone()).unwrap();
            assert_eq!(first.join().unwrap(), failure);
            assert_eq!(told.recv_timeout(LONG), Ok(2), "another one does the work");
            bench.waiting(1);
            end.send(good()).unwrap();
            let mut said = others.map(|other| other.join().unwrap().unwrap().proven);
            said.sort();
            assert_eq!(said, ["12 objects".to_owned(), format!("12 objects{SHARED}")]);
        });
    }
}

#[test]
fn who_is_cancelled_leaves_and_the_others_go_on_waiting() {
    let (bench, told) = Bench::new();
    let (cancel, leaves, (end, ends)) = (Cancel::default(), Cancel::default(), channel());
    let ends = Mutex::new(ends);
    std::thread::scope(|scope| {
        let first = bench.request(scope, &cancel, &ends);
        assert_eq!(told.recv_timeout(LONG), Ok(1));
        let (gone, stays) = (bench.request(scope, &leaves, &ends), bench.request(scope, &cancel, &ends));
        bench.waiting(2);
        leaves.cancel();
        assert_eq!(gone.join().unwrap(), Err(Refusal::Cancelled));
        end.send(good()).unwrap();
        assert!(first.join().unwrap().is_ok() && stays.join().unwrap().is_ok());
    });
    assert_eq!(bench.begun.load(Ordering::SeqCst), 1);
}

#[test]
fn work_that_panics_leaves_nobody_waiting() {
    let (bench, told) = Bench::new();
    let (cancel, (end, ends)) = (Cancel::default(), channel());
    let ends = Mutex::new(ends);
    let (go, goes) = channel::<()>();
    std::thread::scope(|scope| {
        let (together, tells) = (&bench.together, bench.tells.clone());
        let first = scope.spawn({
            let cancel = &cancel;
            move || {
                together.share(&wanted("a"), cancel, || {
                    tells.send(0).unwrap();
                    goes.recv_timeout(LONG).unwrap();
                    panic!("on purpose");
                })
            }
        });
        assert_eq!(told.recv_timeout(LONG), Ok(0));
        let other = bench.request(scope, &cancel, &ends);
        bench.waiting(1);
        go.send(()).unwrap();
        assert!(first.join().is_err());
        end.send(good()).unwrap();
        assert_eq!(other.join().unwrap(), good());
    });
}

#[test]
fn another_model_or_another_way_to_load_it_is_another_proof() {
    let (together, cancel) = (Together(Mutex::default()), Cancel::default());
    let threads = Wanted { request: Request { threads: 3, ..Request::default() }, ..wanted("a") };
    let later = Wanted { load_limit: LONG, ..wanted("a") };
    for other in [wanted("b"), threads, later] {
        let outcome = together.share(&wanted("a"), &cancel, || {
            // It would wait for ever for the one around it.
            together.share(&other, &cancel, good)
        });
        assert_eq!(outcome, good());
    }
}
