//! What a web server's answer means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use ureq::http::{HeaderMap, HeaderName, StatusCode, Uri, header};

use super::options::Url;
use crate::export::record::timestamp;
use crate::export::remote::RemoteError;
use crate::export::sink::Now;
use crate::export::text::plain;
use crate::export::tls;

/// Longest time for which a server may ask to be left alone; one with a wrong clock would silence the gateway for years.
const ALONE: Duration = Duration::from_secs(3600);

/// What a status means for the records that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server has them.
    Taken,
    /// They are to be sent elsewhere.
    Moved,
    /// To be tried again later.
    Busy,
    /// Somebody must mend something; how.
    Denied(&'static str),
    /// These records will never be taken.
    Refused,
}

/// What a status means; `later` if the server said when to come again. Only those by which a server says that it has looked at the records
/// and dislikes them let records be lost.
pub(super) fn verdict(status: u16, later: bool) -> Verdict {
    match status {
        // Too large just now (RFC 9110, section 15.5.14).
        413 if later => Verdict::Busy,
        200..=299 => Verdict::Taken,
        307 | 308 => Verdict::Moved,
        300..=399 => Verdict::Denied("the address has moved; write the new one"),
        400 | 413 | 422 => Verdict::Refused,
        401 => Verdict::Denied("check the user and password, or the token"),
        403 => Verdict::Denied("check what the user or the token may do"),
        404 | 405 | 410 | 501 => Verdict::Denied("check the address's path: POST is not taken there"),
        // Somebody else is at work on the same, or it is too early, or too much.
        408 | 409 | 421 | 423 | 425 | 429 | 500..=599 => Verdict::Busy,
        407 => Verdict::Denied("check the proxy"),
        406 | 415 => Verdict::Denied("the server must take application/x-ndjson; if it cannot decompress, set gzip=no"),
        _ => Verdict::Denied("check the address and the server"),
    }
}

/// How long a server wants to be left alone, by `Retry-After`: seconds or a date (RFC 9110, section 10.2.3), an hour at most.
pub(super) fn retry_after(headers: &HeaderMap, now: Now) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        // What does not fit is long.
        return Some(wanted.parse().map_or(ALONE, Duration::from_secs).min(ALONE));
    }
    let until = date(wanted)?;
    // The server's own clock if it says what that is: those of gateways are wrong more often.
    let from = text(header::DATE).and_then(date).unwrap_or_else(|| timestamp(now.utc_ns));
    let left = until.duration_since(from);
    Some(if left.is_negative() { Duration::ZERO } else { left.unsigned_abs().min(ALONE) })
}

/// A date of HTTP, in the form that servers must write, or in one of the two that they wrote once (RFC 9110, section 5.6.7).
fn date(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let old = || {
        let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
        let found = forms.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
        found.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    PARSER.parse_timestamp(text).ok().or_else(old)
}

/// Where a server says that it is to be found now, if it is still the same server.
pub(super) fn moved(url: &Url, headers: &HeaderMap) -> Result<Url, RemoteError> {
    let place = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, authority) = (url.0.scheme_str().unwrap_or_default(), url.0.authority().map_or("", |a| a.as_str()));
    let text = if place.contains("://") {
        place.to_string()
    } else if place.starts_with("//") {
        format!("{scheme}:{place}")
    } else if place.starts_with('/') {
        format!("{scheme}://{authority}{place}")
    } else {
        let folder = url.0.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{place}")
    };
    let denied = |to: &str| RemoteError::Denied(format!("{url} has moved{to}; change the address"));
    if place.is_empty() {
        return Err(denied(""));
    }
    let next: Uri = text.parse().map_err(|_| denied(""))?;
    let same = next.scheme_str() == Some(scheme) && next.authority().map(|a| a.as_str()) == Some(authority);
    // Records and passwords go nowhere that the user did not name.
    if same { Ok(Url(next)) } else { Err(denied(&format!(" to {}", plain(&Url(next).to_string())))) }
}

/// What a server said, without what it may have repeated of the password.
pub(super) fn said(url: &Url, status: StatusCode, body: &[u8], secrets: &[String]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "<secret>");
    }
    let text = plain(&text);
    let status = format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or_default());
    let colon = if text.is_empty() { "" } else { ": " };
    format!("{url} answered {}{colon}{text}", status.trim_end())
}

/// What it means that there was no answer. `place` is where it was to come from.
pub(super) fn unreachable(place: &str, error: ureq::Error, limit: Duration) -> RemoteError {
    let secure = match &error {
        ureq::Error::Rustls(inner) => Some(inner),
        ureq::Error::Io(io) => io.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    if let Some(error) = secure {
        return tls::failure(error, place);
    }
    match error {
        // So it says 407.
        ureq::Error::ConnectProxyFailed(text) if text.contains("407") => RemoteError::Denied(format!(
            "{place}: it wants a user and a password, or others; write proxy=http://USER:PASSWORD@HOST"
        )),
        ureq::Error::ConnectProxyFailed(text) => RemoteError::Unreachable(format!("{place}: {}", plain(&text))),
        ureq::Error::Timeout(_) => RemoteError::Unreachable(format!("{place} did not answer within {limit:.1?}")),
        ureq::Error::HostNotFound => RemoteError::Unreachable(format!("{place}: the host's name is not known")),
        error => RemoteError::Unreachable(format!("{place}: {}", plain(&error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 10:15:00 UTC, a Monday.
    const NOW: Now = Now { monotonic: Duration::ZERO, utc_ns: 1_795_428_900_000_000_000 };

    fn after(pairs: &[(HeaderName, &str)]) -> Option<Duration> {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        retry_after(&headers, NOW)
    }

    #[test]
    fn only_the_records_own_faults_lose_records() {
        let all = |meant, later| (100..600).filter(|&status| verdict(status, later) == meant).collect::<Vec<u16>>();
        assert_eq!(all(Verdict::Refused, false), [400, 413, 422]);
        assert_eq!(all(Verdict::Refused, true), [400, 422]);
        assert_eq!(verdict(413, true), Verdict::Busy);
        assert_eq!(all(Verdict::Taken, false), (200..300).collect::<Vec<_>>());
        for status in [401, 403, 404, 405, 415, 301, 302, 303, 501] {
            assert!(matches!(verdict(status, false), Verdict::Denied(_)), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504, 507] {
            assert_eq!(verdict(status, false), Verdict::Busy, "{status}");
        }
    }

    #[test]
    fn a_server_says_when_to_come_back() {
        let seconds = |n| Some(Duration::from_secs(n));
        let wanted = header::RETRY_AFTER;
        assert_eq!(after(&[]), None);
        for (text, meant) in [
            ("0", seconds(0)),
            (" 120 ", seconds(120)),
            ("3600", seconds(3600)),
            ("86400", seconds(3600)),
            ("99999999999999999999999", seconds(3600)),
            ("Mon, 23 Nov 2026 10:16:30 GMT", seconds(90)),
            ("Mon, 23 Nov 2026 10:14:59 GMT", seconds(0)),
            ("Monday, 23-Nov-26 10:16:30 GMT", seconds(90)),
            ("Mon Nov 23 10:16:30 2026", seconds(90)),
            ("Tue Dec  1 10:16:30 2026", seconds(3600)),
            ("Mon Nov 99 10:16:30 2026", None),
            ("Wed, 23 Nov 2033 10:14:59 GMT", seconds(3600)),
            ("-1", None),
            ("", None),
            ("soon", None),
            ("1.5", None),
            ("Mon, 99 Nov 2026 10:16:30 GMT", None),
        ] {
            assert_eq!(after(&[(wanted.clone(), text)]), meant, "{text}");
        }
        // The server's clock is an hour fast, and it means half a minute.
        let date = (header::DATE, "Mon, 23 Nov 2026 11:15:00 GMT");
        assert_eq!(after(&[(wanted, "Mon, 23 Nov 2026 11:15:30 GMT"), date]), seconds(30));
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(text in "[ -~]{0,60}") {
            after(&[(header::RETRY_AFTER, text.as_str()), (header::DATE, text.as_str())]);
        }
    }
}
