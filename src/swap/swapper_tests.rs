use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::fake_host::{Call, FakeHost, is_over};
use super::*;
use crate::swap::phase::{Cause, Phase};

fn order(model: &str) -> Order {
    Order::new(model, Cause::Signal)
}

fn shadow(model: &str) -> Order {
    Order::new(model, Cause::Shadow)
}

const NOT_FOUND: (Phase, Option<Reason>) = (Phase::Rejected, Some(Reason::NotFound));
const SUPERSEDED: (Phase, Option<Reason>) = (Phase::Rejected, Some(Reason::Superseded));
const STOPPED: (Phase, Option<Reason>) = (Phase::Rejected, Some(Reason::Stopped));

/// Waits until no thread is there any more.
fn settle(swapper: &Swapper) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while Arc::strong_count(swapper.shared()) > 1 {
        assert!(std::time::Instant::now() < end, "the thread does not end");
        std::thread::yield_now();
    }
}

#[test]
fn every_request_ends_once_whoever_asks_at_the_same_time() {
    let (host, swapper) = FakeHost::open();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    swapper.request(order("none")).unwrap();
                }
            });
        }
    });
    assert_eq!(host.outcome(400), NOT_FOUND, "the last one counts");
    settle(&swapper);
    let mut of: BTreeMap<u64, Vec<Phase>> = BTreeMap::new();
    for record in &host.seen().records {
        of.entry(record.request).or_default().push(record.phase);
    }
    assert_eq!(of.keys().copied().collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    for (number, phases) in of {
        assert_eq!(phases, [Phase::Requested, Phase::Rejected], "{number}");
    }
    let history = swapper.history();
    assert_eq!((history.requests, history.rejected, history.confirmed), (400, 400, 0));
    let settled = host.seen().settled.iter().map(|r| r.request).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(settled.len(), 400, "the host is told of each");
    assert!(swapper.is_idle());
}

#[test]
fn what_waits_is_superseded_at_once_and_what_runs_when_it_looks() {
    let (host, swapper) = FakeHost::open();
    let first = swapper.request(order("hang")).unwrap();
    host.until("it runs", |seen| seen.inside == 1);
    assert!(!swapper.is_idle());
    let second = swapper.request(order("none")).unwrap();
    let third = swapper.request(order("none")).unwrap();
    assert_eq!(host.outcome(second), SUPERSEDED, "while the first one still hangs");
    host.let_go();
    host.outcome(first);
    assert_eq!(host.outcome(third), NOT_FOUND);
    let seen = host.seen();
    let ends: Vec<u64> = seen.records.iter().filter(|r| is_over(r.phase)).map(|r| r.request).collect();
    assert_eq!(ends, [second, first, third]);
}

#[test]
fn a_request_that_was_cancelled_says_why_whatever_went_wrong_since() {
    let (host, swapper) = FakeHost::open();
    let first = swapper.request(order(file!())).unwrap();
    // No model, and found out before anything is loaded.
    assert_eq!(host.outcome(first).0, Phase::Rejected);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/blob.onnx");
    host.hook(|host, call| {
        if let Call::Request(order) = call
            && order.model.ends_with("blob.onnx")
        {
            host.swapper().unwrap().request(self::order("none"));
        }
    });
    let second = swapper.request(order(model)).unwrap();
    assert_eq!(host.outcome(second), SUPERSEDED);
    assert_eq!(host.outcome(second + 1), NOT_FOUND);
}

#[test]
fn closed_it_takes_nothing_and_gives_up_what_it_has() {
    let (host, swapper) = FakeHost::open();
    swapper.request(order("hang")).unwrap();
    host.until("it runs", |seen| seen.inside == 1);
    let waits = swapper.request(order("none")).unwrap();
    swapper.close();
    assert_eq!(host.outcome(waits), STOPPED);
    assert_eq!(swapper.request(order("none")), None);
    assert!(swapper.is_idle());

    // Open again: what is new waits until the old thread has let go.
    swapper.open();
    let new = swapper.request(order("hang too")).unwrap();
    assert_eq!(new, 3, "numbers go on");
    swapper.close();
    swapper.open();
    let newer = swapper.request(order("hang three")).unwrap();
    assert_eq!(host.outcome(new), STOPPED);
    assert_eq!(host.seen().most_inside, 1);
    host.let_go();
    assert_eq!(host.outcome(newer), NOT_FOUND);
    assert_eq!(host.seen().most_inside, 1, "one thread at a time has dealings with the host");
    settle(&swapper);
}

#[test]
fn the_thread_ends_when_there_is_nothing_to_do() {
    let (host, swapper) = FakeHost::open();
    assert_eq!(Arc::strong_count(swapper.shared()), 1, "none is needed yet");
    for _ in 0..20 {
        let number = swapper.request(order("none")).unwrap();
        assert_eq!(host.outcome(number), NOT_FOUND);
        settle(&swapper);
    }
    swapper.look_again();
    settle(&swapper);
}

/// A host that wants a shadow run until it has been judged.
fn judge_once(host: &FakeHost) {
    host.hook(|host, call| {
        if let Call::Settled(record) = call
            && record.cause == Cause::Shadow
            && !matches!(record.reason, Some(Reason::Superseded | Reason::Stopped))
        {
            host.seen().standing = None;
        }
    });
}

#[test]
fn what_the_host_wants_is_done_when_nobody_asks_for_anything() {
    let (host, swapper) = FakeHost::open();
    judge_once(&host);
    host.seen().standing = Some(shadow("none"));
    swapper.look_again();
    assert_eq!(host.outcome(1), NOT_FOUND);
    settle(&swapper);
    assert_eq!(host.seen().records.len(), 2, "and once only");
    assert_eq!(host.seen().records[0].cause, Cause::Shadow);

    host.seen().standing = Some(shadow("hang"));
    swapper.look_again();
    host.until("it runs", |seen| seen.inside == 1);
    assert!(swapper.is_idle(), "it is no swap");
    let asked = swapper.request(order("none")).unwrap();
    host.let_go();
    assert_eq!(host.outcome(asked), NOT_FOUND);
    settle(&swapper);
}

#[test]
fn a_request_wins_over_a_standing_order_that_begins_while_it_is_announced() {
    let (host, swapper) = FakeHost::open();
    let once = AtomicBool::new(true);
    host.hook(move |host, call| match call {
        Call::Tell(record) if record.cause == Cause::Signal && once.swap(false, Ordering::SeqCst) => {
            host.seen().standing = Some(shadow(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/blob.onnx")));
            host.swapper().unwrap().look_again();
            host.until("the standing order begins", |seen| seen.records.iter().any(|r| r.cause == Cause::Shadow));
        }
        // It goes on only once the request waits.
        Call::Terms => {
            let swapper = host.swapper().unwrap();
            let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while swapper.is_idle() && std::time::Instant::now() < end {
                std::thread::yield_now();
            }
        }
        Call::Settled(_) => host.seen().standing = None,
        _ => {}
    });
    let number = swapper.request(order("none")).unwrap();
    assert_eq!(number, 1);
    assert_eq!(host.outcome(2), SUPERSEDED, "the standing order gives way");
    assert_eq!(host.outcome(1), NOT_FOUND);
}

#[test]
fn a_host_may_call_back_from_wherever_it_is_called() {
    let (host, swapper) = FakeHost::open();
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, asked) = (Arc::clone(&calls), AtomicBool::new(false));
    host.hook(move |host, call| {
        let swapper = host.swapper().unwrap();
        let _ = (swapper.history(), swapper.is_idle());
        // Each look calls the host, which must come to an end.
        if count.fetch_add(1, Ordering::SeqCst) < 50 {
            swapper.look_again();
        }
        if matches!(call, Call::Settled(_)) && !asked.swap(true, Ordering::SeqCst) {
            swapper.request(order("from within"));
        }
    });
    let number = swapper.request(order("none")).unwrap();
    assert_eq!(host.outcome(number), NOT_FOUND);
    assert_eq!(host.outcome(number + 1), NOT_FOUND);
    assert!(calls.load(Ordering::SeqCst) > 5);
    settle(&swapper);
}

#[test]
fn a_host_that_closes_from_wherever_it_is_called_does_not_wait_for_itself() {
    let places: [fn(&Call<'_>) -> bool; 4] = [
        |call| matches!(call, Call::Request(_)),
        |call| matches!(call, Call::Terms),
        |call| matches!(call, Call::Tell(_)),
        |call| matches!(call, Call::Settled(_)),
    ];
    for place in places {
        let (host, swapper) = FakeHost::open();
        host.hook(move |host, call| {
            if place(call) {
                host.swapper().unwrap().close();
            }
        });
        let number = swapper.request(order("none")).unwrap();
        assert_eq!(host.outcome(number).0, Phase::Rejected);
        settle(&swapper);
        assert_eq!(swapper.request(order("none")), None);
    }
}

#[test]
fn a_host_that_panics_costs_its_request_at_most() {
    let places: [fn(&Call<'_>) -> bool; 6] = [
        |call| matches!(call, Call::Request(_)),
        |call| matches!(call, Call::Terms),
        |call| matches!(call, Call::Tell(r) if r.phase == Phase::Requested),
        |call| matches!(call, Call::Tell(r) if r.phase == Phase::Rejected),
        |call| matches!(call, Call::Settled(_)),
        |call| matches!(call, Call::Standing),
    ];
    for (at, place) in places.into_iter().enumerate() {
        let (host, swapper) = FakeHost::open();
        host.hook(move |_, call| assert!(!place(call), "on purpose"));
        let number = swapper.request(order("none")).unwrap();
        let reason = if at < 2 { Reason::Errors } else { Reason::NotFound };
        assert_eq!(host.outcome(number), (Phase::Rejected, Some(reason)), "{at}");
        settle(&swapper);
        assert!(swapper.is_idle());
        host.hook(|_, _| {});
        let number = swapper.request(order("none")).unwrap();
        assert_eq!(host.outcome(number), NOT_FOUND, "{at}");
        assert_eq!(swapper.history().rejected, 2);
    }
}
