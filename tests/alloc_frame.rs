//! From a frame to its result, nothing is allocated once all buffers have been used, apart from the result itself.
//!
//! Counted are the allocations of all threads, by Rust's allocator; ONNX Runtime has its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gstvigil::analysis::{Analysis, Input, Settings, Times};
use gstvigil::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat, View};
use gstvigil::model::{Model, Request};
use gstvigil::result::{FrameResult, Freshness, Object};

/// The system's allocator, counting what is asked for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` unchanged; the counters are plain atomics that allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps `GlobalAlloc::realloc`'s contract.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Frames whose allocations are counted, after as many whose are not.
const FRAMES: usize = 64;

/// What a frame with one finding may allocate: the list of its objects (or classes), and the copy of the result that
/// later frames may be held on, which is a list again and the shared value around it.
const RESULT: usize = 3;

/// Runs red frames through the analysis, two at a time; gives the allocations and bytes of all that are counted.
fn cost(model: &Arc<Model>, format: PixelFormat, (width, height): (u32, u32)) -> (usize, usize) {
    let info = FrameInfo { format, width, height, range: ColorRange::Full, matrix: ColorMatrix::Bt601 };
    let red: [&[u8]; 2] = if format == PixelFormat::Rgb { [&[255, 0, 0], &[]] } else { [&[76], &[85, 255]] };
    let filled = |plane: usize| {
        let len = format.row_bytes(plane, width) * format.rows(plane, height);
        red[plane].iter().copied().cycle().take(len).collect::<Vec<u8>>()
    };
    let bytes: Vec<_> = (0..format.planes()).map(filled).collect();
    let planes: Vec<_> = bytes.iter().enumerate().map(|(i, b)| (b.as_slice(), format.row_bytes(i, width))).collect();
    let view = FrameView::new(info, &planes).unwrap();
    let analysis = Analysis::<usize>::new();
    analysis.slot().replace(Some(Arc::clone(model)));
    let run_limit = Some(Duration::from_secs(3600));
    analysis.set_settings(Settings { max_in_flight: 2, run_limit, ..Settings::default() });
    let pair = |n: usize| {
        // Both are read before one is entered: each pair needs the buffers of two frames, from the first one on.
        let input = Input {
            frame: Some(&view),
            view: View::default(),
            size: (width, height),
            times: Times::default(),
            earlier: None,
        };
        let read = || analysis.read(&input).unwrap();
        let tickets = [read(), read()];
        for (ticket, n) in tickets.into_iter().zip(n..) {
            analysis.enter(ticket, n).unwrap();
        }
        for n in [n, n + 1] {
            let outcome = analysis.next().unwrap();
            analysis.delivered();
            assert_eq!((outcome.payload, outcome.result.freshness), (n, Freshness::Fresh));
            assert_eq!(outcome.result.objects.len() + outcome.result.classes.len().min(1), 1);
        }
    };
    (0..FRAMES).step_by(2).for_each(pair);
    let before = [&ALLOCATIONS, &BYTES].map(|c| c.load(Ordering::Relaxed));
    (FRAMES..2 * FRAMES).step_by(2).for_each(pair);
    let [allocations, bytes] = [&ALLOCATIONS, &BYTES].map(|c| c.load(Ordering::Relaxed));
    (allocations - before[0], bytes - before[1])
}

// One test, so that no other thread allocates while it counts.
#[test]
fn a_frame_costs_its_result_and_nothing_else() {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "the counter counts");
    for name in ["red", "dynamic", "half", "colors"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(format!("{name}.onnx"));
        let request = Request {
            model: file.display().to_string(),
            provider: "cpu".into(),
            threads: 2,
            lanes: 2,
            ..Request::default()
        };
        let model = Arc::new(Model::load(&request).unwrap());
        for format in [PixelFormat::Rgb, PixelFormat::Nv12] {
            let costs = [(32, 32), (641, 359), (1920, 1080)].map(|size| cost(&model, format, size));
            for (allocations, bytes) in costs {
                // A few more, once: queues and lists that grow to their final size when threads first meet that way.
                assert!(allocations <= FRAMES * RESULT + 8, "{name} {format:?}: {allocations} in {FRAMES} frames");
                // A tensor of these models has 12 KiB, the frames up to 6 MiB.
                let result = 4 * (size_of::<FrameResult>() + size_of::<Object>());
                assert!(bytes <= FRAMES * result, "{name} {format:?}: {bytes} bytes in {FRAMES} frames");
            }
        }
    }
}
