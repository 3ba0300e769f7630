//! What must hold whatever happens, at whatever times.

use proptest::prelude::*;

use super::*;

/// What a random run may do.
#[derive(Debug, Clone)]
enum Event {
    Start,
    Stop,
    Ready,
    Delivered(bool),
    Missed,
    Failed(Cause),
    Force(bool),
    Reset,
    Hung(u32),
    Poll,
    Wake,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Start),
        1 => Just(Event::Stop),
        8 => Just(Event::Ready),
        12 => proptest::bool::weighted(0.9).prop_map(Event::Delivered),
        4 => Just(Event::Missed),
        5 => proptest::sample::select(vec![Cause::Error, Cause::Flow, Cause::Panic, Cause::Eos, Cause::Caps])
            .prop_map(Event::Failed),
        1 => any::<bool>().prop_map(Event::Force),
        1 => Just(Event::Reset),
        3 => (0u32..4).prop_map(Event::Hung),
        2 => Just(Event::Poll),
        12 => Just(Event::Wake),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (
        (0u32..4, 0u32..4, 0..3 * SECOND, 0..20 * SECOND),
        (0..20 * SECOND, 0..30 * SECOND, 0u32..4, 0..100 * SECOND, 0u32..4),
    )
        .prop_map(|((max_misses, recover_frames, backoff_ns, build_ns), rest)| {
            let (backoff_max_ns, stable_ns, max_restarts, restart_window_ns, max_abandoned) = rest;
            Settings {
                max_misses,
                recover_frames,
                backoff_ns,
                build_ns,
                backoff_max_ns,
                stable_ns,
                max_restarts,
                restart_window_ns,
                max_abandoned,
            }
        })
}

/// Steps of the clock: mostly small, sometimes large.
fn step() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 5 => 0..100 * MS, 2 => 0..40 * SECOND]
}

fn apply(bench: &mut Bench, event: &Event) {
    match *event {
        Event::Start => bench.tell(Policy::start),
        Event::Stop => bench.tell(Policy::stop),
        Event::Ready => bench.tell(Policy::ready),
        Event::Delivered(good) => bench.tell(|p, now| p.delivered(now, good)),
        Event::Missed => bench.tell(Policy::missed),
        Event::Failed(cause) => drop(bench.tell(|p, now| p.failed(now, cause, "random"))),
        Event::Force(forced) => bench.force(forced),
        Event::Reset => bench.tell(Policy::reset),
        Event::Hung(hung) => bench.tell(|p, now| p.hung_changed(now, hung)),
        Event::Poll => bench.tell(Policy::poll),
        Event::Wake => {
            bench.now = bench.policy.next_wake().unwrap_or(bench.now).max(bench.now);
            bench.tell(Policy::poll);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_run_is_consistent(
        settings in any_settings(),
        events in proptest::collection::vec((event(), step()), 1..200),
    ) {
        let mut bench = Bench::stopped(settings);
        // Time while running, and when chains were built after a wait since the last start or reset.
        let (mut elapsed, mut builds) = (0, Vec::new());
        for (event, step) in events {
            let (before, running) = (bench.now, bench.policy.running);
            bench.now += step;
            let (told, asked) = (bench.changes.len(), bench.actions.len());
            let (was, starting) = (bench.policy.mode(), matches!(event, Event::Start if !running));
            apply(&mut bench, &event);
            if running {
                elapsed += bench.now - before;
            }
            let changes = &bench.changes[told..];
            if let [first, ..] = changes {
                prop_assert_eq!(first.from, was);
            }
            prop_assert_eq!(changes.last().map_or(was, |c| c.to), bench.policy.mode());
            prop_assert_eq!(bench.policy.feeding(), bench.policy.mode() != Mode::Bypassing);
            for change in changes.iter().filter(|c| c.from == c.to) {
                prop_assert_eq!(change.to, Mode::Bypassing, "{:?}", change);
            }
            // The wait that a failure begins.
            let let_go = bench.actions[asked..] == [Action::Abandon];
            let stopped_or_reset = matches!(event, Event::Stop | Event::Reset);
            if let_go && !stopped_or_reset && !bench.policy.forced && !bench.policy.exhausted {
                let wait = bench.policy.next_wake().expect("a replacement is due") - bench.now;
                let least = settings.backoff_ns.max(MS);
                prop_assert!(wait >= least && wait <= settings.backoff_max_ns.max(least), "waits {wait}");
            }
            if starting || matches!(event, Event::Reset) {
                builds.clear();
            } else if bench.actions[asked..].contains(&Action::Build) && bench.policy.built_for == Cause::BackOff {
                builds.push(bench.now);
                let within = |&&at: &&u64| bench.now - at < settings.restart_window_ns;
                let count = builds.iter().filter(within).count();
                prop_assert!(settings.max_restarts == 0 || count <= settings.max_restarts as usize, "{:?}", builds);
            }
        }
        prop_assert!(bench.changes.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].at_ns <= pair[1].at_ns));
        for (i, action) in bench.actions.iter().enumerate() {
            prop_assert_eq!(*action, if i % 2 == 0 { Action::Build } else { Action::Abandon });
        }
        let history = bench.tell(Policy::snapshot).history;
        prop_assert_eq!(Mode::ALL.iter().map(|&m| history.time_ns(m)).sum::<u64>(), elapsed);
        for mode in Mode::ALL {
            let entries = bench.changes.iter().filter(|c| c.to == mode && c.from != mode).count() as u64;
            prop_assert_eq!(history.entries(mode), entries);
        }
    }

    #[test]
    fn no_clock_stalls_or_breaks_the_policy(
        settings in any_settings(),
        events in proptest::collection::vec((event(), prop_oneof![any::<u64>(), 0..10 * SECOND]), 1..100),
        end in prop_oneof![any::<u64>(), 0..10 * SECOND],
    ) {
        let settings = Settings { max_restarts: 0, ..settings };
        let mut bench = Bench::stopped(settings);
        for (event, now) in events {
            bench.now = now;
            apply(&mut bench, &event);
        }
        // Wherever the clock is now, a fault is followed by a new chain once the wait has passed on that clock.
        bench.now = end / 2;
        bench.tell(|p, now| p.hung_changed(now, 0));
        bench.tell(Policy::start);
        bench.force(false);
        bench.tell(|p, now| p.failed(now, Cause::Panic, ""));
        for _ in 0..200 {
            if bench.actions.last() == Some(&Action::Build) {
                break;
            }
            bench.now += SECOND;
            bench.tell(Policy::poll);
        }
        prop_assert_eq!(bench.actions.last(), Some(&Action::Build));
        bench.tell(Policy::ready);
        bench.frames(5);
        prop_assert_eq!(bench.policy.mode(), Mode::Analysing);
    }
}
