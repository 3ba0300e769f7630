#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "policy_random_tests.rs"]
mod random;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const START: u64 = 50 * SECOND;

/// A policy with a clock that the test moves, and all it asked for and reported.
struct Bench {
    policy: Policy,
    now: u64,
    actions: Vec<Action>,
    changes: Vec<Change>,
}

impl Bench {
    fn stopped(settings: Settings) -> Self {
        Self { policy: Policy::new(settings), now: START, actions: Vec::new(), changes: Vec::new() }
    }

    /// Started, the first chain not ready.
    fn started(settings: Settings) -> Self {
        let mut bench = Self::stopped(settings);
        bench.tell(Policy::start);
        bench
    }

    /// Started, and the first chain analyses; what was reported so far is cleared.
    fn analysing(settings: Settings) -> Self {
        let mut bench = Self::started(settings);
        bench.tell(Policy::ready);
        assert_eq!(bench.policy.mode(), Mode::Analysing);
        bench.forget();
        bench
    }

    fn forget(&mut self) {
        self.actions.clear();
        self.changes.clear();
    }

    /// One event, now.
    fn tell<R>(&mut self, event: impl FnOnce(&mut Policy, u64) -> R) -> R {
        let answer = event(&mut self.policy, self.now);
        self.actions.extend(self.policy.take_actions());
        self.changes.extend(self.policy.take_changes());
        answer
    }

    fn wait(&mut self, ns: u64) {
        self.now += ns;
        self.tell(Policy::poll);
    }

    /// Waits until the policy wants to be woken; how long that was.
    fn wake(&mut self) -> u64 {
        let wait = self.policy.next_wake().expect("something is waited for") - self.now;
        self.wait(wait);
        wait
    }

    fn frames(&mut self, good: usize) {
        (0..good).for_each(|_| self.tell(|p, now| p.delivered(now, true)));
    }

    fn miss(&mut self, times: usize) {
        (0..times).for_each(|_| self.tell(Policy::missed));
    }

    fn fail(&mut self) -> bool {
        self.tell(|p, now| p.failed(now, Cause::Error, "boom"))
    }

    /// Fails, waits, gets a new chain and lets it prove itself; how long the wait was.
    fn fail_and_recover(&mut self) -> u64 {
        assert!(self.fail());
        let wait = self.wake();
        self.tell(Policy::ready);
        self.frames(5);
        assert_eq!(self.policy.mode(), Mode::Analysing);
        wait
    }

    fn force(&mut self, forced: bool) {
        self.tell(|p, now| p.force(now, forced));
    }

    /// The modes that were gone to, with why.
    fn went(&self) -> Vec<(Mode, Cause)> {
        self.changes.iter().map(|c| (c.to, c.cause)).collect()
    }
}

fn settings() -> Settings {
    Settings::default()
}

#[test]
fn the_first_chain_is_trusted_as_soon_as_it_is_ready() {
    let mut bench = Bench::started(settings());
    assert_eq!((bench.policy.mode(), bench.policy.feeding()), (Mode::Bypassing, false));
    assert_eq!(bench.policy.off(), Some((Cause::Start, START)));
    bench.now += SECOND;
    bench.tell(Policy::ready);
    assert_eq!(bench.actions, [Action::Build]);
    assert!(bench.policy.feeding());
    assert_eq!(bench.policy.off(), None);
    let change = Change {
        from: Mode::Bypassing,
        to: Mode::Analysing,
        cause: Cause::Start,
        detail: String::new(),
        at_ns: START + SECOND,
        restarts: 0,
        back_off_ns: None,
        exhausted: false,
    };
    assert_eq!(bench.changes, [change]);
}

#[test]
fn a_stopped_policy_ignores_everything_but_settings() {
    let mut bench = Bench::stopped(settings());
    bench.tell(Policy::ready);
    bench.miss(5);
    bench.frames(5);
    assert!(!bench.fail());
    bench.tell(Policy::reset);
    bench.tell(Policy::stop);
    bench.tell(|p, now| p.hung_changed(now, 0));
    bench.wait(1000 * SECOND);
    assert_eq!((bench.actions, bench.changes), (vec![], vec![]));
    assert_eq!(bench.policy.next_wake(), None);
}

#[test]
fn misses_in_a_row_end_a_chain_and_name_the_wait() {
    let mut bench = Bench::analysing(settings());
    bench.miss(2);
    bench.frames(1);
    bench.miss(2);
    assert!(bench.changes.is_empty(), "a good frame between them");
    bench.now += SECOND;
    bench.miss(1);
    assert_eq!(bench.went(), [(Mode::Bypassing, Cause::Deadline)]);
    assert_eq!((bench.changes[0].back_off_ns, bench.changes[0].at_ns), (Some(SECOND), START + SECOND));
    assert!(bench.changes[0].detail.contains('3'), "{}", bench.changes[0].detail);
    assert_eq!(bench.actions, [Action::Abandon]);
    assert_eq!(bench.policy.next_wake(), Some(START + 2 * SECOND));
    assert_eq!(bench.policy.off(), Some((Cause::Deadline, START + SECOND)));
}

#[test]
fn a_frame_on_which_the_engine_failed_counts_as_a_miss() {
    let mut bench = Bench::analysing(settings());
    bench.miss(1);
    (0..2).for_each(|_| bench.tell(|p, now| p.delivered(now, false)));
    assert_eq!(bench.went(), [(Mode::Bypassing, Cause::Engine)]);
}

#[test]
fn a_failed_chain_is_replaced_after_the_wait_and_must_prove_itself() {
    let mut bench = Bench::analysing(settings());
    assert!(bench.fail());
    bench.wait(SECOND - 1);
    assert_eq!(bench.actions, [Action::Abandon]);
    bench.wait(1);
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
    bench.tell(Policy::ready);
    assert_eq!((bench.policy.mode(), bench.policy.feeding()), (Mode::Recovering, true));
    bench.frames(4);
    assert_eq!(bench.policy.mode(), Mode::Recovering);
    bench.frames(1);
    let went =
        [(Mode::Bypassing, Cause::Error), (Mode::Recovering, Cause::BackOff), (Mode::Analysing, Cause::Recovered)];
    assert_eq!(bench.went(), went);
    assert_eq!(bench.changes[0].detail, "boom");
    assert_eq!(bench.changes.iter().map(|c| c.restarts).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn nothing_is_analysed_since_the_failure_also_while_a_chain_recovers() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    bench.wake();
    bench.tell(Policy::ready);
    assert_eq!(bench.policy.off(), Some((Cause::Error, START)));
    bench.force(true);
    assert_eq!(bench.policy.off(), Some((Cause::Forced, START)));
}

#[test]
fn a_miss_ends_a_recovery_and_the_next_wait_is_twice_as_long() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    assert_eq!(bench.wake(), SECOND);
    bench.tell(Policy::ready);
    bench.frames(4);
    bench.miss(1);
    assert_eq!(bench.went().last(), Some(&(Mode::Bypassing, Cause::Deadline)));
    assert_eq!(bench.wake(), 2 * SECOND);
    bench.tell(Policy::ready);
    bench.frames(4);
    assert_eq!(bench.policy.mode(), Mode::Recovering, "the four from before do not count");
}

#[test]
fn a_recovery_with_a_failing_engine_starts_counting_again_and_ends_at_the_third() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    bench.wake();
    bench.tell(Policy::ready);
    bench.frames(4);
    bench.tell(|p, now| p.delivered(now, false));
    bench.frames(4);
    assert_eq!(bench.policy.mode(), Mode::Recovering);
    (0..3).for_each(|_| bench.tell(|p, now| p.delivered(now, false)));
    assert_eq!(bench.went().last(), Some(&(Mode::Bypassing, Cause::Engine)));
}

#[test]
fn a_chain_that_flaps_waits_longer_each_time_up_to_the_maximum() {
    let mut bench = Bench::analysing(settings());
    let waits: Vec<_> = (0..8).map(|_| bench.fail_and_recover() / SECOND).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_chain_that_analysed_long_enough_starts_the_waits_again() {
    let mut bench = Bench::analysing(settings());
    assert_eq!([(); 3].map(|()| bench.fail_and_recover()), [SECOND, 2 * SECOND, 4 * SECOND]);
    bench.wait(60 * SECOND - 1);
    assert_eq!(bench.fail_and_recover(), 8 * SECOND);
    bench.wait(60 * SECOND);
    assert_eq!([(); 2].map(|()| bench.fail_and_recover()), [SECOND, 2 * SECOND]);
}

#[test]
fn what_was_stable_before_it_was_forced_counts_as_stable() {
    let mut bench = Bench::analysing(settings());
    assert_eq!([(); 2].map(|()| bench.fail_and_recover()), [SECOND, 2 * SECOND]);
    bench.wait(60 * SECOND);
    bench.force(true);
    bench.force(false);
    assert!(bench.fail());
    assert_eq!(bench.wake(), SECOND);
}

#[test]
fn every_try_to_build_a_chain_that_fails_is_told_and_doubles_the_wait() {
    let mut bench = Bench::started(settings());
    assert!(bench.fail());
    assert_eq!(bench.wake(), SECOND);
    assert!(bench.fail());
    assert_eq!(bench.wake(), 2 * SECOND);
    let same = [(Mode::Bypassing, Cause::Error); 2];
    assert_eq!(bench.went(), same);
    let alternating = [Action::Build, Action::Abandon, Action::Build, Action::Abandon, Action::Build];
    assert_eq!(bench.actions, alternating);
    bench.tell(Policy::ready);
    assert_eq!(bench.went().last(), Some(&(Mode::Recovering, Cause::BackOff)), "only the first one is trusted");
    let snapshot = bench.tell(Policy::snapshot);
    assert_eq!(snapshot.history.count(Cause::Error), 2);
}

#[test]
fn a_chain_that_is_never_ready_is_given_up() {
    let mut bench = Bench::started(Settings { build_ns: 7 * SECOND, ..settings() });
    assert_eq!(bench.wake(), 7 * SECOND);
    assert_eq!(bench.actions, [Action::Build, Action::Abandon]);
    bench.tell(Policy::ready);
    assert_eq!((bench.policy.mode(), bench.tell(Policy::snapshot).cause), (Mode::Bypassing, Cause::Build));
    assert_eq!(bench.wake(), SECOND);
    bench.tell(Policy::ready);
    assert_eq!((bench.policy.mode(), bench.policy.next_wake()), (Mode::Recovering, None));
}

#[test]
fn a_chain_may_take_any_time_without_a_limit() {
    let mut bench = Bench::started(Settings { build_ns: 0, ..settings() });
    assert_eq!(bench.policy.next_wake(), None);
    bench.wait(1_000_000 * SECOND);
    bench.tell(Policy::ready);
    assert_eq!(bench.policy.mode(), Mode::Analysing);
}

#[test]
fn events_of_a_chain_that_was_let_go_of_are_ignored() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    bench.forget();
    assert!(!bench.fail());
    bench.miss(9);
    bench.frames(9);
    bench.tell(Policy::ready);
    assert_eq!((&bench.actions[..], &bench.changes[..]), (&[][..], &[][..]));
    assert_eq!(bench.policy.next_wake(), Some(START + SECOND), "and do not lengthen the wait");
}

#[test]
fn too_many_replacements_exhaust_until_a_reset() {
    let mut bench = Bench::analysing(Settings { max_restarts: 2, ..settings() });
    bench.fail_and_recover();
    bench.fail_and_recover();
    bench.fail();
    let told = bench.changes.last().unwrap();
    assert_eq!((told.from, told.to, told.cause), (Mode::Analysing, Mode::Bypassing, Cause::Error));
    assert_eq!((told.exhausted, told.back_off_ns, told.restarts), (true, None, 2));
    assert_eq!(bench.changes.iter().filter(|c| c.exhausted).count(), 1);
    assert_eq!(bench.policy.next_wake(), None);
    bench.forget();
    bench.wait(10_000 * SECOND);
    assert_eq!(bench.actions, []);
    bench.tell(Policy::reset);
    assert_eq!(bench.actions, [Action::Build]);
    bench.tell(Policy::ready);
    bench.frames(5);
    assert_eq!(bench.went(), [(Mode::Recovering, Cause::BackOff), (Mode::Analysing, Cause::Recovered)]);
    assert!(bench.changes.iter().all(|c| !c.exhausted));
    assert_eq!(bench.fail_and_recover(), SECOND, "the reset forgot the waits too");
}

#[test]
fn exhaustion_while_bypassing_is_told_once() {
    let mut bench = Bench::started(Settings { max_restarts: 1, ..settings() });
    bench.fail();
    bench.wake();
    bench.fail();
    bench.wait(1000 * SECOND);
    assert!(!bench.fail());
    let [_, told] = &bench.changes[..] else { panic!("{:?}", bench.changes) };
    assert_eq!((told.from, told.to, told.exhausted), (Mode::Bypassing, Mode::Bypassing, true));
}

#[test]
fn old_replacements_leave_the_window() {
    // Replaced 1 and 3 s after the start; after over a minute without failures the next wait is 1 s again.
    for (wait, exhausts) in [(97 * SECOND - 1, true), (97 * SECOND, false)] {
        let limits = Settings { max_restarts: 2, restart_window_ns: 100 * SECOND, ..settings() };
        let mut bench = Bench::analysing(limits);
        bench.fail_and_recover();
        bench.fail_and_recover();
        bench.wait(wait);
        bench.fail();
        assert_eq!(bench.changes.last().unwrap().exhausted, exhausts, "after {wait} ns");
    }
}

#[test]
fn force_keeps_the_chain_which_proves_itself_afterwards() {
    let mut bench = Bench::analysing(settings());
    bench.force(true);
    bench.force(true);
    assert!(!bench.policy.feeding());
    bench.miss(9);
    bench.frames(9);
    bench.wait(1000 * SECOND);
    bench.force(false);
    bench.force(false);
    assert!(bench.policy.feeding());
    bench.frames(5);
    let went =
        [(Mode::Bypassing, Cause::Forced), (Mode::Recovering, Cause::Released), (Mode::Analysing, Cause::Recovered)];
    assert_eq!((bench.went(), bench.actions), (went.to_vec(), vec![]));
}

#[test]
fn force_while_building_lets_the_build_end() {
    let mut bench = Bench::started(settings());
    bench.force(true);
    bench.tell(Policy::ready);
    assert_eq!((bench.policy.mode(), bench.policy.feeding()), (Mode::Bypassing, false));
    bench.force(false);
    assert_eq!(bench.went(), [(Mode::Recovering, Cause::Released)]);
    assert_eq!(bench.actions, [Action::Build]);
}

#[test]
fn force_while_recovering_starts_the_proof_again() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    bench.wake();
    bench.tell(Policy::ready);
    bench.frames(4);
    bench.force(true);
    bench.force(false);
    bench.frames(4);
    assert_eq!(bench.policy.mode(), Mode::Recovering);
    bench.frames(1);
    assert_eq!(bench.policy.mode(), Mode::Analysing);
}

#[test]
fn a_replacement_waits_for_the_end_of_force() {
    let mut bench = Bench::analysing(settings());
    bench.force(true);
    assert!(bench.fail());
    assert_eq!(bench.policy.next_wake(), None);
    bench.wait(100 * SECOND);
    assert_eq!(bench.actions, [Action::Abandon]);
    bench.force(false);
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
    bench.force(true);
    bench.force(false);
    bench.tell(Policy::ready);
    let forced = (Mode::Bypassing, Cause::Forced);
    assert_eq!(bench.went(), [forced, (Mode::Bypassing, Cause::Error), (Mode::Recovering, Cause::BackOff)]);
}

#[test]
fn force_from_the_start_builds_a_chain_but_feeds_it_nothing() {
    let mut bench = Bench::stopped(settings());
    bench.force(true);
    bench.tell(Policy::start);
    bench.tell(Policy::ready);
    assert_eq!((&bench.actions[..], bench.policy.feeding()), (&[Action::Build][..], false));
    assert_eq!(bench.policy.off(), Some((Cause::Forced, START)));
    assert_eq!(bench.changes, []);
}

#[test]
fn a_reset_replaces_a_running_chain_at_once() {
    let mut bench = Bench::analysing(settings());
    bench.tell(Policy::reset);
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
    bench.tell(Policy::ready);
    assert_eq!(bench.went(), [(Mode::Bypassing, Cause::Reset), (Mode::Recovering, Cause::BackOff)]);
    assert_eq!(bench.changes[0].back_off_ns, None);
}

#[test]
fn a_reset_while_building_or_waiting_builds_once() {
    let mut bench = Bench::started(settings());
    bench.tell(Policy::reset);
    assert_eq!(bench.actions, [Action::Build, Action::Abandon, Action::Build]);
    bench.fail();
    bench.forget();
    bench.tell(Policy::reset);
    bench.wait(1000 * SECOND);
    assert_eq!(bench.actions[..1], [Action::Build]);
    assert!(!bench.actions[1..].starts_with(&[Action::Build]), "{:?}", bench.actions);
}

#[test]
fn hung_chains_hold_back_the_next_one_until_one_is_gone() {
    let mut bench = Bench::analysing(Settings { max_abandoned: 2, ..settings() });
    bench.miss(3);
    bench.tell(|p, now| p.hung_changed(now, 2));
    bench.forget();
    bench.wait(10 * SECOND);
    bench.wait(10 * SECOND);
    assert_eq!(bench.went(), [(Mode::Bypassing, Cause::Abandoned)], "told once");
    assert_eq!((bench.changes[0].from, bench.changes[0].back_off_ns), (Mode::Bypassing, None));
    assert_eq!((&bench.actions[..], bench.policy.next_wake()), (&[][..], None));
    bench.tell(|p, now| p.hung_changed(now, 1));
    assert_eq!(bench.actions, [Action::Build]);
    assert_eq!(bench.tell(Policy::snapshot).abandoned_now, 1);
}

#[test]
fn hung_chains_that_go_before_the_wait_is_over_hold_back_nothing() {
    let mut bench = Bench::analysing(Settings { max_abandoned: 1, ..settings() });
    bench.miss(3);
    bench.tell(|p, now| p.hung_changed(now, 1));
    bench.tell(|p, now| p.hung_changed(now, 0));
    assert_eq!(bench.actions, [Action::Abandon]);
    assert_eq!(bench.wake(), SECOND);
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
    assert_eq!(bench.changes.len(), 1);
}

#[test]
fn a_reset_does_not_build_beside_too_many_hung_chains() {
    let mut bench = Bench::analysing(Settings { max_abandoned: 1, ..settings() });
    bench.tell(|p, now| p.hung_changed(now, 1));
    bench.tell(Policy::reset);
    assert_eq!(bench.actions, [Action::Abandon]);
    assert_eq!(bench.went(), [(Mode::Bypassing, Cause::Reset), (Mode::Bypassing, Cause::Abandoned)]);
    bench.tell(|p, now| p.hung_changed(now, 0));
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
}

#[test]
fn a_raised_limit_of_hung_chains_counts_at_once() {
    let mut bench = Bench::stopped(Settings { max_abandoned: 1, ..settings() });
    bench.tell(|p, now| p.hung_changed(now, 1));
    bench.tell(Policy::start);
    assert_eq!(bench.actions, []);
    bench.tell(|p, now| p.set_settings(now, settings()));
    assert_eq!(bench.actions, [Action::Build]);
    bench.tell(Policy::ready);
    assert_eq!(bench.policy.mode(), Mode::Analysing, "it is still the first one");
}

#[test]
fn a_stop_lets_go_of_the_chain_and_a_start_begins_afresh() {
    let mut bench = Bench::analysing(Settings { max_restarts: 1, ..settings() });
    bench.fail_and_recover();
    bench.tell(Policy::stop);
    assert_eq!(bench.went().last(), Some(&(Mode::Bypassing, Cause::Stop)));
    assert_eq!(bench.actions.last(), Some(&Action::Abandon));
    bench.forget();
    // Another clock, far behind.
    bench.now = 3;
    bench.tell(Policy::start);
    bench.tell(Policy::ready);
    assert_eq!((bench.went(), &bench.actions[..]), (vec![(Mode::Analysing, Cause::Start)], &[Action::Build][..]));
    assert_eq!(bench.fail_and_recover(), SECOND);
}

#[test]
fn a_stop_during_the_wait_ends_the_wait() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    bench.tell(Policy::stop);
    assert_eq!(bench.policy.next_wake(), None);
    bench.wait(1000 * SECOND);
    assert_eq!(bench.actions, [Action::Abandon]);
}

#[test]
fn a_clock_that_jumps_back_neither_shortens_nor_loses_the_wait() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    bench.wait(SECOND / 4);
    bench.now = 5;
    bench.tell(Policy::poll);
    assert_eq!(bench.actions, [Action::Abandon]);
    assert_eq!(bench.policy.next_wake(), Some(5 + 3 * SECOND / 4));
    assert_eq!(bench.policy.off(), Some((Cause::Error, 0)));
    bench.wake();
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
}

#[test]
fn a_clock_that_stands_still_only_delays() {
    let mut bench = Bench::analysing(settings());
    bench.fail();
    (0..100).for_each(|_| bench.wait(0));
    assert_eq!(bench.actions, [Action::Abandon]);
    assert_eq!(bench.wake(), SECOND);
    assert_eq!(bench.actions, [Action::Abandon, Action::Build]);
}

#[test]
fn settings_of_zero_neither_spin_nor_stop() {
    let zero = Settings {
        max_misses: 0,
        recover_frames: 0,
        backoff_ns: 0,
        build_ns: 0,
        backoff_max_ns: 0,
        stable_ns: 0,
        max_restarts: 0,
        restart_window_ns: 0,
        max_abandoned: 0,
    };
    let mut bench = Bench::analysing(zero);
    bench.miss(1);
    assert_eq!(bench.wake(), MS);
    bench.tell(Policy::ready);
    bench.frames(1);
    assert_eq!(bench.policy.mode(), Mode::Analysing);
}

#[test]
fn a_snapshot_tells_times_entries_and_causes() {
    let mut bench = Bench::started(settings());
    bench.wait(SECOND);
    bench.tell(Policy::ready);
    bench.wait(10 * SECOND);
    bench.fail();
    bench.wake();
    bench.tell(Policy::ready);
    bench.wait(3 * SECOND);
    let snapshot = bench.tell(Policy::snapshot);
    let history = &snapshot.history;
    assert_eq!(Mode::ALL.map(|mode| history.time_ns(mode) / SECOND), [10, 2, 3]);
    assert_eq!(Mode::ALL.map(|mode| history.entries(mode)), [1, 1, 1]);
    assert_eq!(history.causes().collect::<Vec<_>>(), [(Cause::Start, 1), (Cause::Error, 1), (Cause::BackOff, 1)]);
    assert_eq!((snapshot.mode, snapshot.since_ns), (Mode::Recovering, bench.now - 3 * SECOND));
    assert_eq!((snapshot.restarts, snapshot.abandoned_total, snapshot.back_off_ns), (1, 1, None));
}
