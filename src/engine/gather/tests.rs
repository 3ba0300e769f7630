use std::convert::Infallible;
use std::thread::{self, Scope, ScopedJoinHandle};

use super::*;
use crate::engine::TensorData;
use crate::engine::fake::{Fake, Gate};
use crate::engine::lanes::{Lane, Lanes, User};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(3600);
/// Longest that a test waits for another thread.
const GUARD: Duration = Duration::from_secs(60);

/// What runs cost on an engine that needs `fixed` for each run and `each` for each picture.
fn cost(fixed: u64, each: u64) -> impl Fn(usize) -> Duration {
    move |count| Duration::from_micros(fixed + each * count as u64)
}

/// Measured on an engine of that cost.
fn measured(limit: usize, cost: impl Fn(usize) -> Duration) -> Measured {
    let Ok(measured) = measure::<Infallible>(limit, |size| Ok(Step::Took(cost(size / 2), cost(size))));
    measured
}

#[test]
fn as_many_pictures_share_a_run_as_pay() {
    assert_eq!(measured(16, cost(5000, 100)).most(), 16);
    assert_eq!(measured(8, cost(5000, 100)).most(), 8);
    // 2: 1.33 times as many a second as 1; 4: 1.2; 8: 1.11; 16: 1.06.
    assert_eq!(measured(16, cost(1000, 1000)).most(), 8);
    let processor = measured(16, cost(0, 20_000));
    assert_eq!(processor.most(), 1);
    assert_eq!(processor.to_string(), "1: 20.00 ms, 2: 40.00 ms; 2 do not pay");
    // What gains less than a tenth is noise.
    assert_eq!(measured(16, cost(1000, 10_000)).most(), 1);
    assert_eq!(Measured::default().most(), 1);
}

#[test]
fn sizes_that_do_not_work_are_not_used_and_larger_ones_not_tried() {
    let mut tried = Vec::new();
    let measured = measure::<Infallible>(16, |size| {
        tried.push(size);
        Ok(if size < 4 {
            Step::Took(Duration::from_millis(5), Duration::from_millis(6))
        } else {
            Step::No("no".into())
        })
    });
    assert_eq!(measured.map(|m| (m.most(), m.to_string())), Ok((2, "1: 5.00 ms, 2: 6.00 ms; no".into())));
    assert_eq!(tried, [2, 4]);
    assert_eq!(measure(16, |_| Err("cancelled")), Err("cancelled"));
}

/// Shares the runs of `fake`, at most `most` pictures in each.
fn share(fake: Fake, most: usize) -> (Arc<Fake>, Gather) {
    let fake = Arc::new(fake);
    let gather = Gather::new(Arc::clone(&fake) as Arc<dyn Engine>, measured(most, cost(5000, 0)), &fake.io(&[]));
    assert_eq!(gather.most(), most);
    (fake, gather)
}

/// Tensors with pictures, each of one value.
fn pictures_of(gather: &Gather, values: &[f32]) -> Io {
    let mut io = gather.io(&[]);
    write(&mut io, values);
    io
}

fn write(io: &mut Io, values: &[f32]) {
    io.resize_batch(0, values.len());
    let TensorData::F32(data) = &mut io.inputs[0].data else { unreachable!("the fake has floats") };
    let row = data.len() / values.len();
    for (picture, value) in data.chunks_mut(row).zip(values) {
        picture.fill(*value);
    }
}

/// The score of each picture.
fn scores(io: &Io) -> Vec<f32> {
    let TensorData::F32(data) = &io.outputs[0].data else { unreachable!("the fake has floats") };
    assert_eq!(io.outputs[0].shape, [data.len() / 5, 5, 1]);
    data.chunks(5).map(|row| row[4]).collect()
}

type Answer = Result<Vec<f32>, String>;

/// Has pictures looked at on a thread of its own.
fn spawn<'s, 'e: 's>(
    scope: &'s Scope<'s, 'e>,
    gather: &'e Gather,
    values: &'s [f32],
    until: Option<Instant>,
) -> ScopedJoinHandle<'s, Answer> {
    scope.spawn(move || {
        let mut io = pictures_of(gather, values);
        gather.run(&mut io, until).map(|()| scores(&io)).map_err(|e| e.to_string())
    })
}

/// Waits until `count` callers wait for the engine.
fn waits(gather: &Gather, count: usize) {
    let begun = Instant::now();
    while gather.lock().waiting() != count {
        assert!(begun.elapsed() < GUARD, "they do not come");
        thread::yield_now();
    }
}

fn is_late(answer: Answer) -> bool {
    answer.is_err_and(|text| text.contains("took longer"))
}

/// A gate that is shut.
fn shut() -> Arc<Gate> {
    let gate = Arc::<Gate>::default();
    gate.shut();
    gate
}

#[test]
fn those_that_come_while_the_engine_works_share_the_next_run() {
    let gate = shut();
    let (fake, gather) = share(Fake::free(1).hang_at(&gate, true), 4);
    thread::scope(|scope| {
        let first = spawn(scope, &gather, &[0.5], None);
        gate.hangs(1);
        let mut others = Vec::new();
        for (count, values) in [&[0.125][..], &[0.25, 0.375], &[0.625], &[0.75]].into_iter().enumerate() {
            others.push(spawn(scope, &gather, values, None));
            waits(&gather, count + 1);
        }
        gate.open();
        gate.release();
        assert_eq!(first.join().unwrap(), Ok(vec![0.5]));
        let answers: Vec<_> = others.into_iter().map(|other| other.join().unwrap().unwrap()).collect();
        assert_eq!(answers, [vec![0.125], vec![0.25, 0.375], vec![0.625], vec![0.75]]);
    });
    // 1, then 4 pictures of three callers, and the one for which there was no place any more.
    assert_eq!(fake.runs(), 3);
    let gathering = gather.gathering().unwrap();
    assert_eq!((gathering.most, gathering.mean), (4, 2.0));
}

#[test]
fn a_caller_whom_nobody_joins_runs_with_its_own_tensors() {
    let gate = shut();
    let (fake, gather) = share(Fake::free(1).hang_at(&gate, true), 4);
    thread::scope(|scope| {
        let first = spawn(scope, &gather, &[0.5], None);
        gate.hangs(1);
        let second = spawn(scope, &gather, &[0.25], None);
        waits(&gather, 1);
        gate.open();
        gate.release();
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (Ok(vec![0.5]), Ok(vec![0.25])));
    });
    assert_eq!(fake.runs(), 2);
    assert!(gather.lock().spare().iter().all(|place| place.lock().inputs.is_empty()), "nothing was copied");
}

#[test]
fn everybody_gets_its_own_answer_whoever_else_is_in_the_run() {
    for lanes in [1, 3] {
        let yields = |_: &mut Io| {
            thread::yield_now();
            Ok(())
        };
        let (fake, gather) = share(Fake::free(lanes).behave(yields), 8);
        thread::scope(|scope| {
            for caller in 0..8_u64 {
                let gather = &gather;
                scope.spawn(move || {
                    let (mut io, mut random) = (gather.io(&[]), caller + 1);
                    for _ in 0..400 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        // Sometimes more than may share a run.
                        let count = (random >> 33) as usize % 9 + 1;
                        let values: Vec<f32> =
                            (0..count).map(|i| ((random >> 20) as usize % 512 + i) as f32 / 1024.0).collect();
                        write(&mut io, &values);
                        gather.run(&mut io, Some(Instant::now() + LONG)).unwrap();
                        assert_eq!(scores(&io), values);
                    }
                });
            }
        });
        assert!(fake.runs() < 8 * 400, "{lanes} lanes: no run was shared");
        let groups = gather.lock();
        let (places, left) = (groups.spare().len(), groups.members());
        assert!(places <= 8 && left == 0, "{places} places for eight callers, {left} of whom are left");
    }
}

#[test]
fn a_picture_on_which_the_engine_fails_or_panics_costs_nobody_else_anything() {
    for panics in [false, true] {
        let gate = shut();
        let fails = move |io: &mut Io| {
            let TensorData::F32(data) = &io.inputs[0].data else { unreachable!() };
            let bad = data.iter().any(|value| *value > 0.9);
            assert!(!(bad && panics), "it panics");
            if bad { Err(EngineError::Run("a bad picture".into())) } else { Ok(()) }
        };
        let (fake, gather) = share(Fake::free(1).hang_at(&gate, true).behave(fails), 4);
        thread::scope(|scope| {
            let first = spawn(scope, &gather, &[0.5], None);
            gate.hangs(1);
            let values: [&[f32]; 3] = [&[0.125], &[1.0], &[0.25]];
            let others: Vec<_> = values
                .into_iter()
                .enumerate()
                .map(|(count, values)| {
                    let other = spawn(scope, &gather, values, None);
                    waits(&gather, count + 1);
                    other
                })
                .collect();
            gate.open();
            gate.release();
            assert_eq!(first.join().unwrap(), Ok(vec![0.5]));
            let answers: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
            let error = if panics { "the engine panicked" } else { "a bad picture" };
            assert_eq!(answers, [Ok(vec![0.125]), Err(error.into()), Ok(vec![0.25])]);
        });
        assert_eq!(fake.runs(), 1 + 1 + 3, "one for all, then one for each");
    }
}

#[test]
fn an_engine_that_is_dead_is_not_asked_again_for_each() {
    let gate = shut();
    let mut runs = 0;
    let dies = move |_: &mut Io| {
        runs += 1;
        if runs > 1 { Err(EngineError::Crashed("its process is dead".into())) } else { Ok(()) }
    };
    let (fake, gather) = share(Fake::free(1).hang_at(&gate, true).behave(dies), 4);
    thread::scope(|scope| {
        let first = spawn(scope, &gather, &[0.5], None);
        gate.hangs(1);
        let others = [(); 2].map(|()| spawn(scope, &gather, &[0.25], None));
        waits(&gather, 2);
        gate.open();
        gate.release();
        assert!(first.join().unwrap().is_ok());
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Err("its process is dead".into())));
    });
    assert_eq!(fake.runs(), 2);
}

#[test]
fn a_shared_run_that_is_cut_is_over_for_those_without_time_only() {
    let gate = shut();
    let (_, gather) = share(Fake::free(1).hang_at(&gate, true), 4);
    let (soon, later) = (Instant::now() + LONG, Instant::now() + LONG * 2);
    thread::scope(|scope| {
        let first = spawn(scope, &gather, &[0.5], None);
        gate.hangs(1);
        let short = spawn(scope, &gather, &[0.125], Some(soon));
        waits(&gather, 1);
        let long = spawn(scope, &gather, &[0.25], Some(later));
        waits(&gather, 2);
        gate.release();
        assert_eq!(first.join().unwrap(), Ok(vec![0.5]));
        // Both hang in one run.
        gate.hangs(1);
        gather.cut(soon);
        assert!(is_late(short.join().unwrap()));
        // The other one has begun anew, alone.
        gate.hangs(1);
        gate.release();
        assert_eq!(long.join().unwrap(), Ok(vec![0.25]));
    });
}

#[test]
fn whoever_has_no_time_left_leaves_the_others_to_go_on() {
    for first_leaves in [true, false] {
        let gate = shut();
        let (_, gather) = share(Fake::free(1).hang_at(&gate, true), 4);
        let soon = Instant::now() + LONG;
        thread::scope(|scope| {
            let runs = spawn(scope, &gather, &[0.5], None);
            gate.hangs(1);
            let untils = if first_leaves { [Some(soon), None] } else { [None, Some(soon)] };
            let first = spawn(scope, &gather, &[0.125], untils[0]);
            waits(&gather, 1);
            let second = spawn(scope, &gather, &[0.25], untils[1]);
            waits(&gather, 2);
            let third = spawn(scope, &gather, &[0.375], None);
            waits(&gather, 3);
            gather.cut(soon);
            let [leaves, stays] = if first_leaves { [first, second] } else { [second, first] };
            assert!(is_late(leaves.join().unwrap()));
            waits(&gather, 2);
            gate.open();
            gate.release();
            assert_eq!(runs.join().unwrap(), Ok(vec![0.5]));
            let value = if first_leaves { 0.25 } else { 0.125 };
            assert_eq!((stays.join().unwrap(), third.join().unwrap()), (Ok(vec![value]), Ok(vec![0.375])));
        });
        assert_eq!(gather.lock().members(), 0);
    }
}

#[test]
fn a_run_that_does_not_heed_the_cut_holds_one_caller_and_its_place_is_taken() {
    let gate = shut();
    let (_, gather) = share(Fake::free(1).hang_at(&gate, false), 4);
    let soon = Instant::now() + LONG;
    thread::scope(|scope| {
        let first = spawn(scope, &gather, &[0.5], None);
        gate.hangs(1);
        let leads = spawn(scope, &gather, &[0.125], Some(soon));
        waits(&gather, 1);
        let joins = spawn(scope, &gather, &[0.25], Some(soon));
        waits(&gather, 2);
        gate.release();
        assert!(first.join().unwrap().is_ok());
        gate.hangs(1);
        let waiting = spawn(scope, &gather, &[0.375], None);
        waits(&gather, 1);
        gate.open();
        gather.cut(soon);
        assert!(is_late(joins.join().unwrap()), "only the thread that runs it is held");
        assert_eq!(waiting.join().unwrap(), Ok(vec![0.375]));
        assert_eq!(gate.held(), 1);
        gate.release();
        // It came back in the end, and its own answer is right.
        assert_eq!(leads.join().unwrap(), Ok(vec![0.125]));
    });
}

#[test]
fn an_answer_of_another_shape_ends_the_sharing() {
    let gate = shut();
    let grows = |io: &mut Io| {
        if io.inputs[0].shape[0] > 1 {
            io.outputs[0].shape[2] = 2;
            let len = io.outputs[0].shape.iter().product();
            io.outputs[0].data.resize(len);
        }
        Ok(())
    };
    let (fake, gather) = share(Fake::free(1).hang_at(&gate, true).behave(grows), 4);
    thread::scope(|scope| {
        let first = spawn(scope, &gather, &[0.5], None);
        gate.hangs(1);
        let others = [&[0.25], &[0.125]].map(|value| spawn(scope, &gather, value, None));
        waits(&gather, 2);
        gate.open();
        gate.release();
        assert!(first.join().unwrap().is_ok());
        let answers = others.map(|other| other.join().unwrap());
        assert_eq!(answers, [Ok(vec![0.25]), Ok(vec![0.125])]);
    });
    assert_eq!((fake.runs(), gather.gathering().unwrap().most), (4, 1));
}

/// Runs its picture on a lane.
struct Camera {
    gather: Arc<Gather>,
    heard: std::sync::mpsc::Sender<Result<Vec<f32>, String>>,
}

impl User for Camera {
    fn work(&self, lane: &Lane<'_>) {
        let mut io = pictures_of(&self.gather, &[0.5]);
        let answer = lane.run(&mut io, 0, Some(Duration::from_millis(20)));
        let _ = self.heard.send(answer.map(|()| scores(&io)).map_err(|e| e.to_string()));
    }

    fn overdue(&self, _: u64, error: &EngineError) {
        let _ = self.heard.send(Err(format!("overdue: {error}")));
    }

    fn refused(&self, _: &dyn Engine, _: &EngineError) {
        unreachable!("lanes are free");
    }
}

#[test]
fn a_hang_costs_one_lane_however_many_share_the_run() {
    static ABANDONED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let gate = shut();
    let (_, gather) = share(Fake::free(1).hang_at(&gate, false), 4);
    let gather = Arc::new(gather);
    assert_eq!((gather.lanes(), gather.at_once()), (8, 1));
    let lanes = Lanes::counting(Arc::clone(&gather) as Arc<dyn Engine>, &ABANDONED).unwrap();
    let (heard, told) = std::sync::mpsc::channel();
    let user: Arc<dyn User> = Arc::new(Camera { gather: Arc::clone(&gather), heard });
    (0..4).for_each(|_| lanes.request(&user));
    // The one that runs is abandoned, and the others end by themselves, late.
    let answers: Vec<_> = (0..4).map(|_| told.recv_timeout(GUARD).unwrap()).collect();
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    let begun = Instant::now();
    while ABANDONED.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < GUARD, "nothing is abandoned");
        thread::yield_now();
    }
    gate.open();
    lanes.request(&user);
    while told.recv_timeout(GUARD).unwrap().is_err() {
        lanes.request(&user);
    }
    let lost = ABANDONED.load(Ordering::SeqCst);
    assert!((1..=gate.held()).contains(&lost), "{lost} lanes for {} runs that hang", gate.held());
    gate.release();
}
