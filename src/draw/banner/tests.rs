use super::super::canvas::Scratch;
use super::*;
use crate::draw::Style;
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, FrameMut, PixelFormat};
use crate::result::Freshness;

/// 2026-11-25 12:03:45 UTC (date -u -d @1795608225).
const SINCE: u64 = 1_795_608_225_000_000_000;

fn result(reason: AbsentReason, absent_since_ns: Option<u64>, utc_ns: u64) -> FrameResult {
    FrameResult { absent_since_ns, utc_ns, ..FrameResult::absent(reason, (0, 0)) }
}

/// A black grey frame with what `banner` draws on it, and the banner's place.
fn shown(banner: &mut Banner, text: &mut Text, result: &FrameResult, (width, height): (u32, u32)) -> (Vec<u8>, Rect) {
    let Freshness::Absent(reason) = result.freshness else { unreachable!() };
    let (format, range, matrix) = (PixelFormat::Gray8, ColorRange::Full, ColorMatrix::Bt601);
    let info = FrameInfo { format, width, height, range, matrix };
    let mut data = vec![0; (width * height) as usize];
    let planes: [(&mut [u8], usize); 3] = [(&mut data, width as usize), (&mut [], 0), (&mut [], 0)];
    let (mut frame, mut scratch) = (FrameMut::new(info, planes).unwrap(), Scratch::default());
    let mut canvas = Canvas::new(&mut frame, &mut scratch);
    let notice = Notice::new(reason, result, canvas.bounds(), Metrics::new(&info, &Style::default()));
    let place = banner.draw(&mut canvas, text, notice);
    (data, place)
}

fn alone(result: &FrameResult, size: (u32, u32)) -> (Vec<u8>, Rect) {
    shown(&mut Banner::default(), &mut Text::new(None).unwrap(), result, size)
}

#[test]
fn the_time_is_utc_and_dated_on_another_day() {
    let since = |since, utc| {
        let r = result(AbsentReason::Deadline, since, utc);
        let info = FrameInfo {
            format: PixelFormat::Gray8,
            width: 64,
            height: 64,
            range: ColorRange::Full,
            matrix: ColorMatrix::Bt601,
        };
        let frame = Rect::new(0, 0, 64, 64);
        Notice::new(AbsentReason::Deadline, &r, frame, Metrics::new(&info, &Style::default())).since()
    };
    assert_eq!(since(Some(SINCE), SINCE + 999).as_deref(), Some("since 12:03:45 UTC"));
    assert_eq!(since(Some(SINCE + 999_999_999), SINCE).as_deref(), Some("since 12:03:45 UTC"), "not rounded up");
    assert_eq!(since(Some(SINCE), SINCE + DAY_NS).as_deref(), Some("since 2026-11-25 12:03:45 UTC"));
    // Ten seconds before midnight, seen eleven seconds later.
    let midnight = SINCE / DAY_NS * DAY_NS + DAY_NS;
    let late = midnight - 10_000_000_000;
    assert_eq!(since(Some(late), midnight - 1).as_deref(), Some("since 23:59:50 UTC"));
    assert_eq!(since(Some(late), midnight + 1_000_000_000).as_deref(), Some("since 2026-11-25 23:59:50 UTC"));
    assert_eq!(since(None, SINCE), None);
    assert_eq!(since(Some(u64::MAX), 0).as_deref(), Some("since 2554-07-21 23:34:33 UTC"));
}

#[test]
fn every_reason_fits_into_a_small_frame_whole() {
    let mut texts = std::collections::HashSet::new();
    for &reason in AbsentReason::ALL {
        assert!(texts.insert(reason.describe()), "{reason:?}");
        let r = result(reason, Some(SINCE), SINCE + DAY_NS);
        for size in [(320, 240), (240, 320), (1920, 1080), (1080, 1920)] {
            let (mut banner, mut text, mut whole) = (Banner::default(), Text::new(None).unwrap(), Line::default());
            let (_, place) = shown(&mut banner, &mut text, &r, size);
            assert!(place.x0 > 0 && place.y0 > 0 && place.x1 < size.0 as i32, "{reason:?} {place:?}");
            assert_eq!(banner.rows == 1, size.0 > size.1 && size.0 > 320 || size.0 == 1080, "{reason:?} {size:?}");
            let px = banner.shown.unwrap().metrics.text;
            let since = "since 2026-11-25 12:03:45 UTC";
            let words = format!("analysis off: {}", reason.describe());
            let lines = if banner.rows == 1 { vec![format!("{words}, {since}")] } else { vec![words, since.into()] };
            for (words, line) in lines.iter().zip(&banner.lines) {
                text.measure(words, px, i32::MAX, &mut whole);
                assert_eq!(line.width, whole.width, "{words} is cut at {size:?}");
            }
        }
    }
}

#[test]
fn a_banner_is_laid_out_anew_only_when_it_changes() {
    let (mut banner, mut text) = (Banner::default(), Text::new(None).unwrap());
    let (size, restarting) = ((640, 480), AbsentReason::EngineRestarting);
    let first = shown(&mut banner, &mut text, &result(restarting, Some(SINCE), SINCE), size);
    // Later frames of the same day draw the lines that are there: blank ones would stay blank.
    banner.lines = Default::default();
    let mut later = result(restarting, Some(SINCE), SINCE + 3_600_000_000_000);
    later.frame = 9;
    assert_ne!(shown(&mut banner, &mut text, &later, size), first);
    // What differs in any respect is laid out, and then all is there again.
    let other = [
        (result(restarting, Some(SINCE + 1_000_000_000), SINCE), size),
        (result(restarting, None, SINCE), size),
        (result(restarting, Some(SINCE), SINCE + DAY_NS), size),
        (result(AbsentReason::Deadline, Some(SINCE), SINCE), size),
        (result(restarting, Some(SINCE), SINCE), (320, 240)),
    ];
    for (r, other_size) in other {
        let fresh = alone(&r, other_size);
        assert_eq!(shown(&mut banner, &mut text, &r, other_size), fresh, "{r:?}");
        assert_ne!(fresh, first, "{r:?}");
        assert_eq!(shown(&mut banner, &mut text, &later, size), first);
    }
}

#[test]
fn trouble_is_red_and_what_was_wanted_is_amber() {
    // Luma (BT.601) of the middle of the dot, in front of the text.
    let luma = |Rgb(r, g, b): Rgb| (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)).round() as u8;
    for &reason in AbsentReason::ALL {
        let (data, place) = alone(&result(reason, None, 0), (1920, 1080));
        let wanted = matches!(reason, AbsentReason::Starting | AbsentReason::Maintenance);
        let middle = (place.y0 + place.y1) / 2 * 1920 + place.x0 + 3 + 11;
        assert_eq!(data[middle as usize], luma(if wanted { AMBER } else { RED }), "{reason:?}");
    }
}
