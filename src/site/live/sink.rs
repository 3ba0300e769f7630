//! Where a camera's pipeline ends: its pictures are counted and handed to the feed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst_video::VideoInfo;

use super::bus::Heard;
use super::even::Even;
use super::feed::Frame;
use super::run::Link;

/// Difference between what the camera's times say and what has passed over which its clock has jumped, nanoseconds.
const JUMP: i64 = 3_000_000_000;

/// How the times of the pictures fit to their arrival.
#[derive(Default)]
struct Pace(Option<(i64, i64)>);

impl Pace {
    /// A picture of running time `time` arrives at `now`: by how much its clock has jumped, if it has.
    fn jump(&mut self, time: u64, now: u64) -> Option<i64> {
        let (time, now) = (i64::try_from(time).ok()?, i64::try_from(now).ok()?);
        let (before, then) = self.0.replace((time, now))?;
        // A stream that stood still goes on where it was, or with a gap as long as the stillness: neither is a jump. One that leaps by more
        // time than has passed, or goes back, is.
        let (passed, gone) = (time - before, now - then);
        let jump = if passed < 0 { passed } else { (passed - gone).max(0) };
        (!(-JUMP..=JUMP).contains(&jump)).then_some(jump)
    }
}

/// Hands the pictures of `sink` to the feed that `link` leads to. `paced`: the source has no clock of its own, as a file.
pub fn connect(sink: &gst_app::AppSink, link: &Arc<Link>, paced: bool) {
    let link = Arc::downgrade(link);
    let (mut told, mut caps, mut pace, mut even) = (false, None::<gst::Caps>, Pace::default(), Even::default());
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let pulled = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        // The sink takes it for its own again, and changes it with the stream's next caps, also while somebody holds it.
        let sample = copy(&pulled);
        drop(pulled);
        let link = link.upgrade().filter(|link| link.current.load(Ordering::Relaxed));
        let link = link.ok_or(gst::FlowError::Flushing)?;
        let now = super::now();
        if sample.caps() != caps.as_deref() {
            caps = sample.caps_owned();
            if let Some(info) = caps.as_ref().and_then(|caps| VideoInfo::from_caps(caps).ok()) {
                link.counts.set_size(info.width(), info.height());
            }
        }
        let time = running_time(&sample);
        if !paced && let Some(jump) = time.and_then(|time| pace.jump(time, now)) {
            link.tell(Heard::Jumped(jump));
        }
        let own = time.zip(sink.base_time()).map(|(time, zero)| time.saturating_add(zero.nseconds()));
        let at = gst::ClockTime::from_nseconds(own.map_or(now, |own| even.time(own, now)));
        link.frame.store(now, Ordering::Relaxed);
        link.frames_of_run.fetch_add(1, Ordering::Relaxed);
        link.counts.frame(now);
        if !std::mem::replace(&mut told, true) {
            link.tell(Heard::Picture);
        }
        link.feed.publish(Frame { sample, at, live: true });
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
}

fn copy(sample: &gst::SampleRef) -> gst::Sample {
    let (buffer, caps) = (sample.buffer_owned(), sample.caps_owned());
    let copy = gst::Sample::builder().buffer_if_some(buffer.as_ref()).caps_if_some(caps.as_ref());
    copy.segment_if_some(sample.segment()).build()
}

fn running_time(sample: &gst::Sample) -> Option<u64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(sample.buffer()?.pts()?).map(gst::ClockTime::nseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_clock_that_leaps_or_goes_back_has_jumped() {
        let mut pace = Pace::default();
        assert_eq!(pace.jump(0, 100 * SECOND), None);
        assert_eq!(pace.jump(SECOND, 101 * SECOND), None);
        assert_eq!(pace.jump(3601 * SECOND, 102 * SECOND), Some(3599 * SECOND as i64), "an hour on");
        assert_eq!(pace.jump(3602 * SECOND, 103 * SECOND), None, "that was the jump");
        assert_eq!(pace.jump(2 * SECOND, 104 * SECOND), Some(-3600 * SECOND as i64), "and back");
        assert_eq!(pace.jump(2 * SECOND + 1, 104 * SECOND + 1), None, "pictures in a burst");
        assert_eq!(pace.jump(12 * SECOND, 114 * SECOND), None, "a gap of ten seconds, told by both clocks");
    }

    #[test]
    fn a_burst_after_a_stall_is_no_jump() {
        let mut pace = Pace::default();
        assert_eq!(pace.jump(0, 0), None);
        // Held up for five seconds, then all at once.
        assert_eq!(pace.jump(SECOND / 25, 5 * SECOND), None);
        for n in 2..125 {
            assert_eq!(pace.jump(n * SECOND / 25, 5 * SECOND + n), None);
        }
    }
}
