//! Pictures of many cameras in one.
//!
//! A thread takes the cameras' last pictures at the tile's own rate and pastes them into one picture, which a feed of the tile's
//! own hands to its outputs. It waits for no camera: one that is slow or silent leaves its place as it was, and after a while
//! with a picture that says so. Nothing is composed while nobody wants it.

mod canvas;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::feed::{Feed, Frame};
use super::intake::now;
use crate::gstutil::lock;
use crate::site::plan::TilePlan;
use canvas::Canvas;

/// A camera's place on a tile.
#[derive(Clone)]
struct Place {
    camera: String,
    feed: Arc<Feed>,
}

/// How a tile is laid out.
#[derive(Clone)]
struct Layout {
    places: Vec<Place>,
    columns: u32,
    size: [u32; 2],
    fps: u32,
}

impl Layout {
    fn new(plan: &TilePlan, feeds: Vec<(String, Arc<Feed>)>) -> Self {
        let places: Vec<_> = feeds.into_iter().map(|(camera, feed)| Place { camera, feed }).collect();
        // Halved chroma needs even sides.
        let size = plan.size.map(|side| (side & !1).max(16));
        Self { places, columns: plan.columns.max(1), size, fps: plan.fps.clamp(1, 120) }
    }

    /// Left, top, width and height of the place `n`, all even.
    fn place(&self, n: usize) -> [u32; 4] {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let rows = u32::try_from(self.places.len()).unwrap_or(u32::MAX).div_ceil(self.columns).max(1);
        let edge = |side: u32, i: u32, of: u32| (u64::from(side) * u64::from(i) / u64::from(of)) as u32 & !1;
        let across = |i| edge(self.size[0], i, self.columns);
        let down = |i| edge(self.size[1], i, rows);
        let (column, row) = (n % self.columns, n / self.columns);
        let (x, y) = (across(column), down(row));
        [x, y, across(column + 1) - x, down(row + 1) - y]
    }
}

enum Note {
    /// Somebody wants pictures, or they are laid out in another way.
    Look,
    Stop,
}

/// A tile at work; it ends when this is dropped.
pub struct Tile {
    feed: Arc<Feed>,
    layout: Arc<Mutex<Arc<Layout>>>,
    notes: Sender<Note>,
}

impl Tile {
    /// Composes the pictures of `feeds` (by their cameras' ids, from the upper left) as `plan` says, while somebody wants them.
    pub fn start(name: &str, plan: &TilePlan, feeds: Vec<(String, Arc<Feed>)>) -> Self {
        let (notes, inbox) = channel();
        let feed = Arc::new(Feed::default());
        let layout = Arc::new(Mutex::new(Arc::new(Layout::new(plan, feeds))));
        let looker = Mutex::new(notes.clone());
        feed.when_wanted(move || {
            let _ = lock(&looker).send(Note::Look);
        });
        let composer = Composer { layout: Arc::clone(&layout), feed: Arc::clone(&feed), inbox };
        let spawned = std::thread::Builder::new().name("vigil-tile".into()).spawn(move || composer.run());
        if let Err(err) = spawned {
            gst::error!(gst::CAT_RUST, "the tile {name} shows nothing, since no thread can be started: {err}");
        }
        Self { feed, layout, notes }
    }

    /// Its pictures.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Lays it out anew, without a break for its outputs; they keep the size that they have.
    pub fn set(&self, plan: &TilePlan, feeds: Vec<(String, Arc<Feed>)>) {
        *lock(&self.layout) = Arc::new(Layout::new(plan, feeds));
        let _ = self.notes.send(Note::Look);
    }
}

impl Drop for Tile {
    fn drop(&mut self) {
        let _ = self.notes.send(Note::Stop);
    }
}

struct Composer {
    layout: Arc<Mutex<Arc<Layout>>>,
    feed: Arc<Feed>,
    inbox: Receiver<Note>,
}

impl Composer {
    fn run(self) {
        let mut canvas: Option<(Arc<Layout>, Canvas)> = None;
        let mut due = Instant::now();
        loop {
            if !self.feed.is_wanted() {
                // Converters and pictures are not kept for later.
                canvas = None;
                match self.inbox.recv() {
                    Ok(Note::Look) => due = Instant::now(),
                    Ok(Note::Stop) | Err(_) => break,
                }
                continue;
            }
            match self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Note::Look) => continue,
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let layout = Arc::clone(&lock(&self.layout));
            // Where it is too much work, pictures are left out.
            due = (due + Duration::from_secs(1) / layout.fps).max(Instant::now());
            let fitting = canvas.take().filter(|(of, _)| Arc::ptr_eq(of, &layout)).map(|(_, canvas)| canvas);
            let made = fitting.map_or_else(|| Canvas::new(layout.size), Ok).and_then(|mut canvas| {
                let sample = compose(&layout, &mut canvas)?;
                Ok((canvas, sample))
            });
            match made {
                Ok((made, sample)) => {
                    canvas = Some((layout, made));
                    self.feed.publish(Frame { sample, at: now(), live: true });
                }
                Err(err) => gst::warning!(gst::CAT_RUST, "a tile cannot be composed: {err}"),
            }
        }
        self.feed.end();
    }
}

/// The tile at this moment.
fn compose(layout: &Layout, canvas: &mut Canvas) -> Result<gst::Sample, String> {
    canvas.clear()?;
    for (n, place) in layout.places.iter().enumerate() {
        let latest = place.feed.latest();
        canvas.paste(n, &place.camera, latest.as_ref(), layout.place(n));
    }
    Ok(canvas.sample())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(cameras: usize, columns: u32, size: [u32; 2]) -> Layout {
        let plan = TilePlan { cameras: Vec::new(), columns, size, fps: 15, outputs: Vec::new() };
        Layout::new(&plan, (0..cameras).map(|n| (n.to_string(), Arc::default())).collect())
    }

    #[test]
    fn places_cover_the_tile_without_overlap() {
        for (cameras, columns, size) in
            [(1, 1, [640, 360]), (5, 3, [1280, 721]), (16, 4, [1000, 333]), (2, 7, [64, 64])]
        {
            let layout = layout(cameras, columns, size);
            let mut seen = vec![0u8; (layout.size[0] * layout.size[1]) as usize];
            for [x, y, w, h] in (0..cameras).map(|n| layout.place(n)) {
                assert!([x, y, w, h].iter().all(|v| v % 2 == 0) && w > 0 && h > 0, "{cameras} {columns} {size:?}");
                for row in y..y + h {
                    (x..x + w).for_each(|column| seen[(row * layout.size[0] + column) as usize] += 1);
                }
            }
            assert!(seen.iter().all(|n| *n <= 1));
            if (cameras as u32).is_multiple_of(columns) {
                assert!(seen.iter().all(|n| *n == 1), "{cameras} {columns} {size:?}");
            }
        }
    }
}
