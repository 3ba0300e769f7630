//! The streaming thread does no more on the first frame after a model has taken over than on any other: it allocates nothing.
//!
//! Counted are the allocations of the streaming thread alone, by Rust's allocator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use common::bundles::Fault;
use common::site::{Site, fresh, path};
use common::swap_rig::{LONG, QUICK};
use gstvigil::analysis::{Analysis, Input, Settings, Times};
use gstvigil::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, Orientation, PixelFormat, View};
use gstvigil::model::{Model, Request};
use gstvigil::result::Freshness;

/// The system's allocator, counting what each thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate after its counter is gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to `System` unchanged; the counter is a plain cell without a destructor and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc::alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc::realloc`'s contract.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Frames under way at once.
const IN_FLIGHT: usize = 3;

fn model(name: &str) -> Arc<Model> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(format!("{name}.onnx"));
    let request = Request {
        model: file.display().to_string(),
        provider: "cpu".into(),
        threads: 2,
        lanes: 2,
        ..Request::default()
    };
    Arc::new(Model::load(&request).unwrap())
}

fn settings() -> Settings {
    Settings { max_in_flight: IN_FLIGHT, ..Settings::default() }
}

/// Brings as many frames in as may be under way, and out again; gives what the streaming thread allocated on each.
fn frames(analysis: &Analysis<usize>, frame: &FrameView<'_>, view: View, name: &str) -> Vec<usize> {
    let info = *frame.info();
    let input =
        Input { frame: Some(frame), view, size: (info.width, info.height), times: Times::default(), earlier: None };
    let mut allocations = vec![0; IN_FLIGHT];
    let counted = |count: &mut usize, before: usize| *count += ALLOCATIONS.get() - before;
    // All are read before one is entered: each needs a job of its own.
    let mut tickets = Vec::with_capacity(IN_FLIGHT);
    for count in &mut allocations {
        let before = ALLOCATIONS.get();
        tickets.push(analysis.read(&input).unwrap());
        counted(count, before);
    }
    for ((n, ticket), count) in tickets.into_iter().enumerate().zip(&mut allocations) {
        let before = ALLOCATIONS.get();
        analysis.enter(ticket, n).unwrap();
        counted(count, before);
    }
    for n in 0..IN_FLIGHT {
        let outcome = analysis.next().unwrap();
        analysis.delivered();
        assert_eq!((outcome.payload, outcome.result.freshness), (n, Freshness::Fresh));
        assert_eq!(outcome.result.model.unwrap().name, name);
    }
    allocations
}

#[test]
fn the_first_frame_after_a_swap_allocates_nothing_in_the_streaming_thread() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(ALLOCATIONS.get() > before, "the counter counts");
    let models = ["red", "dynamic", "half", "colors"].map(|name| (name, model(name)));
    for (format, turn) in [(PixelFormat::Rgb, Orientation::UPRIGHT), (PixelFormat::Nv12, Orientation::CLOCKWISE)] {
        let info = FrameInfo { format, width: 641, height: 359, range: ColorRange::Full, matrix: ColorMatrix::Bt601 };
        let plane = |i| vec![80u8; format.row_bytes(i, info.width) * format.rows(i, info.height)];
        let bytes: Vec<_> = (0..format.planes()).map(plane).collect();
        let planes = bytes.iter().enumerate().map(|(i, b)| (b.as_slice(), format.row_bytes(i, info.width)));
        let frame = FrameView::new(info, &planes.collect::<Vec<_>>()).unwrap();
        let view = View { orientation: turn, ..View::default() };
        let analysis = Analysis::<usize>::new();
        analysis.slot().replace(Some(Arc::clone(&models[0].1)));
        analysis.set_settings(settings());
        let cold = frames(&analysis, &frame, view, "red");
        assert!(cold.iter().all(|n| *n > 0), "jobs that nobody has prepared are made here: {cold:?}");
        assert_eq!(frames(&analysis, &frame, view, "red"), [0; IN_FLIGHT], "a usual frame");
        for (name, model) in models.iter().cycle().skip(1).take(9) {
            analysis.activate(Arc::clone(model), settings());
            assert_eq!(frames(&analysis, &frame, view, name), [0; IN_FLIGHT], "{format:?}: {name} has taken over");
        }
    }
}

#[test]
fn a_model_that_is_rejected_costs_the_streaming_thread_nothing() {
    let mut site = Site::start(QUICK);
    let look = |site: &mut Site| {
        let camera = &mut site.camera;
        let frame = common::frame(&camera.caps, camera.color, camera.frames);
        let before = ALLOCATIONS.get();
        camera.harness.push(frame).unwrap();
        let cost = ALLOCATIONS.get() - before;
        camera.frames += 1;
        fresh(&common::result(&camera.harness.pull().unwrap()), "1");
        cost
    };
    let usual = (0..64).map(|_| look(&mut site)).max().unwrap();
    for (number, fault) in (1..).zip([Fault::BitFlipped, Fault::CrashingAtLoad, Fault::Blind]) {
        let bad = fault.write("2", &site.place(&format!("{fault:?}")));
        site.camera.swap(&path(&bad));
        let end = std::time::Instant::now() + LONG;
        while site.count("swaps-rejected") < number {
            assert!(std::time::Instant::now() < end, "{fault:?} is not rejected");
            let cost = look(&mut site);
            assert!(cost <= usual, "{fault:?}: {cost} allocations for a frame that costs {usual} at most");
        }
    }
}
