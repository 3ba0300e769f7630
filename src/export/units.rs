//! Sizes and durations as people write them: a whole number and a unit.

use std::time::Duration;

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

/// A duration such as `300ms`, `1s`, `15min`, `1h` or `7d`; longer than 0.
///
/// # Errors
/// [`BadUnit`], also where the duration does not fit 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, BadUnit> {
    split(text)
        .and_then(|(number, unit)| {
            let milliseconds = match unit {
                "ms" => 1,
                "s" => 1000,
                "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number.checked_mul(milliseconds).filter(|&ms| ms > 0).map(Duration::from_millis)
        })
        .ok_or_else(|| BadUnit { text: text.to_string(), what: "duration", units: "ms, s, min, h, d", example: "1h" })
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
        for (text, ms) in [("300ms", 300), ("2s", 2000), ("15min", 900_000), ("1h", 3_600_000), ("7d", 604_800_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "1", "s", "0s", "1m", "1 h", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
