//! Pre-processing allocates nothing once it has seen a frame of each kind, whatever regions follow.

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;

use gstvigil::bundle::contract::{Align, Color, InputContract, Layout, Resize};
use gstvigil::engine::{DataType, Tensor};
use gstvigil::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat};
use gstvigil::pre::{Border, Preprocessor};
use gstvigil::result::BBox;

/// The system's allocator, counting what the calling thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` unchanged; the counter is a plain thread-local that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Memory) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Memory) {
        // SAFETY: the caller keeps `GlobalAlloc::dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Memory, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `GlobalAlloc::realloc`'s contract.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}

#[test]
fn nothing_is_allocated_after_the_first_frame() {
    const SIZE: (u32, u32) = (641, 359);
    let bytes = vec![90u8; SIZE.0 as usize * SIZE.1 as usize * 4];
    let frames: Vec<FrameView<'_>> = PixelFormat::ALL
        .map(|format| {
            let info = FrameInfo {
                format,
                width: SIZE.0,
                height: SIZE.1,
                range: ColorRange::Limited,
                matrix: ColorMatrix::Bt709,
            };
            let planes = [0, 1, 2].map(|p| (bytes.as_slice(), format.row_bytes(p, SIZE.0)));
            FrameView::new(info, &planes).unwrap()
        })
        .into();
    for layout in [Layout::Nchw, Layout::Nhwc] {
        for dtype in [DataType::F32, DataType::F16, DataType::U8, DataType::I8] {
            let mut pre = Preprocessor::new(InputContract {
                layout,
                width: 320,
                height: 320,
                color: Color::Rgb,
                resize: Resize::Letterbox,
                antialias: false,
                crop_fraction: 1.0,
                align: Align::Center,
                pad: 114,
                mean: [0.0; 3],
                std: [255.0; 3],
                quantization: None,
            });
            let (mut out, mut border) = (Tensor::zeros("images", dtype, &pre.shape()), Border::default());
            // A region first: the whole frame that follows needs more room than it, and finds it.
            let small = BBox { x: 0.1, y: 0.1, w: 0.1, h: 0.1 };
            pre.run(&frames[0], Some(small), &mut out, &mut border).unwrap();
            let before = ALLOCATIONS.get();
            for frame in &frames {
                for region in [None, Some(small), Some(BBox { x: 0.3, y: 0.0, w: 0.2, h: 1.0 })] {
                    pre.run(frame, region, &mut out, &mut border).unwrap();
                }
            }
            assert_eq!(ALLOCATIONS.get(), before, "{layout:?} {dtype:?}");
        }
    }
}
