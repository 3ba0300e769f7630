//! Sizes and durations as people write them: a whole number and a unit, and sums of durations.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// A text is not a whole number with a known unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}; write a whole number and a unit ({units}), such as {example}")]
pub struct BadUnit {
    text: String,
    what: &'static str,
    units: &'static str,
    example: &'static str,
}

/// Bytes of a size such as `10MiB`, `500kB` or `4096B`; at least 1.
///
/// # Errors
/// [`BadUnit`], also where the size does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, BadUnit> {
    split(text)
        .and_then(|(number, unit)| {
            let factor = match unit {
                "B" => 1,
                "kB" => 1000,
                "MB" => 1000 * 1000,
                "GB" => 1000 * 1000 * 1000,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(factor).filter(|&bytes| bytes > 0)
        })
        .ok_or_else(|| BadUnit {
            text: text.to_string(),
            what: "size",
            units: "B, kB, MB, GB, KiB, MiB, GiB",
            example: "10MiB",
        })
}

/// The units of [`read_duration`], for messages.
pub const DURATIONS: &str = "ms, s, m or min, h, d";

/// A duration as people write it, also none at all: `0s`, `300ms`, `15min`, `7d`, or a sum such as `1h 30m`. A day has 24 hours. `None` for
/// any other text.
pub fn read_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let days = || text.parse::<Span>().ok()?.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    Duration::try_from(text.parse::<SignedDuration>().ok().or_else(days)?).ok()
}

/// As [`read_duration`], but longer than 0.
///
/// # Errors
/// [`BadUnit`], also where the duration does not fit 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, BadUnit> {
    read_duration(text)
        .filter(|time| !time.is_zero() && u64::try_from(time.as_millis()).is_ok())
        .ok_or_else(|| BadUnit { text: text.to_string(), what: "duration", units: DURATIONS, example: "1h" })
}

fn split(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("1B", 1), ("500kB", 500_000), ("10MiB", 10_485_760), ("2GiB", 2_147_483_648)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "MiB", "0B", "-1B", "1.5MiB", "10 MiB", "10mib", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_size("10").unwrap_err().to_string(),
            "`10` is not a size; write a whole number and a unit (B, kB, MB, GB, KiB, MiB, GiB), such as 10MiB"
        );
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("300ms", 300),
            ("2s", 2000),
            ("1m", 60_000),
            ("15min", 900_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("1h 30m", 5_400_000),
            ("1h30min", 5_400_000),
            ("1d 12h", 129_600_000),
            ("2m 500ms", 120_500),
            ("1 h", 3_600_000),
            (" 5s ", 5000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "1",
            "s",
            "0s",
            "-1s",
            "1mo",
            "1y",
            "5 s ago",
            "30m 1h",
            "1h 30",
            "18446744073709551615d",
            "9999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_duration("1").unwrap_err().to_string(),
            "`1` is not a duration; write a whole number and a unit (ms, s, m or min, h, d), such as 1h"
        );
        assert_eq!((read_duration("0s"), read_duration("1us")), (Some(Duration::ZERO), Some(Duration::from_micros(1))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,12}", numbers in "[0-9dhmins .-]{0,24}") {
            for text in [text, numbers] {
                let _ = (parse_duration(&text), parse_size(&text));
            }
        }
    }
}
