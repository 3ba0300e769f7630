//! What a camera's `uri` names.

use std::path::PathBuf;

/// Where a camera's pictures come from, by its `uri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `rtsp://` or `rtsps://`.
    Rtsp,
    /// `http://` or `https://`.
    Http,
    /// A file: `file:` or a path without a scheme; as it is written, without percent signs' codes.
    File(PathBuf),
    /// A device of Video4Linux: `v4l2:/dev/video0`.
    Device(String),
    /// A pattern of `videotestsrc`: `test:ball`.
    Test(String),
}

impl Origin {
    /// What `uri` names.
    ///
    /// # Errors
    /// A text for the user if cameras cannot have it.
    pub fn of(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = scheme(uri).unwrap_or(("", uri));
        match scheme.to_ascii_lowercase().as_str() {
            "rtsp" | "rtsps" if host(rest).is_some() => Ok(Self::Rtsp),
            "http" | "https" if host(rest).is_some() => Ok(Self::Http),
            known @ ("rtsp" | "rtsps" | "http" | "https") => {
                Err(format!("\"{uri}\" names no host: {known}://HOST/PATH is expected"))
            }
            "file" => match rest.strip_prefix("//") {
                Some(path) => file(&decoded(path.strip_prefix("localhost").unwrap_or(path))),
                None => file(rest),
            },
            "" => file(rest),
            "v4l2" if rest.is_empty() => Err("v4l2: names no device: v4l2:/dev/video0 is expected".into()),
            "v4l2" => Ok(Self::Device(rest.strip_prefix("//").unwrap_or(rest).to_owned())),
            "test" => Ok(Self::Test(if rest.is_empty() { "smpte" } else { rest }.to_owned())),
            other => Err(format!(
                "cameras cannot have \"{other}:\": it is rtsp, rtsps, http, https, file, v4l2 or test; anything else that \
                 GStreamer can, `launch` can"
            )),
        }
    }
}

fn file(path: &str) -> Result<Origin, String> {
    if path.is_empty() { Err("the file's name is empty".into()) } else { Ok(Origin::File(path.into())) }
}

/// A URI's scheme and what is behind its colon; `None` for a path.
fn scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    fits.then_some((scheme, rest))
}

/// The host of what is behind a URI's scheme.
fn host(rest: &str) -> Option<&str> {
    let authority = rest.strip_prefix("//")?.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    Some(host).filter(|host| !host.is_empty() && !host.starts_with(':'))
}

/// The password in a URI, if there is one.
pub fn password(uri: &str) -> Option<&str> {
    let (_, rest) = scheme(uri)?;
    let authority = rest.strip_prefix("//")?.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@')?.0.split_once(':')?.1)
}

/// A URI as it may be shown: without user and password, and without the values of a query's keys that sound like secrets.
pub fn shown(uri: &str) -> String {
    let Some((scheme, rest)) = scheme(uri) else { return uri.into() };
    let Some(rest) = rest.strip_prefix("//") else { return uri.into() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: Vec<_> = query.split('&').map(hidden).collect();
    let mark = if query.iter().all(String::is_empty) { "" } else { "?" };
    format!("{scheme}://{host}{path}{mark}{}", query.join("&"))
}

/// A text of somebody else's (an element's error, say) in which each URI is as it may be shown, and each query of a path too: what stands up
/// to the next white space or double quote belongs to it.
pub fn without_secrets(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || c == '"';
    text.split_inclusive(ends)
        .map(|word| {
            let (word, end) = word.split_at(word.trim_end_matches(ends).len());
            shown_word(word) + end
        })
        .collect()
}

fn shown_word(word: &str) -> String {
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let start = word.find("://").map(|at| {
        let before = word.get(..at).unwrap_or_default();
        let start = before.trim_end_matches(of_scheme).len();
        start + before.get(start..).and_then(|scheme| scheme.find(|c: char| c.is_ascii_alphabetic())).unwrap_or(0)
    });
    match (start.and_then(|start| word.split_at_checked(start)), word.split_once('?')) {
        (Some((before, uri)), _) if uri.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            format!("{before}{}", shown(uri))
        }
        (_, Some((path, query))) => format!("{path}?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&")),
        _ => word.to_owned(),
    }
}

fn hidden(pair: &str) -> String {
    const SECRET: [&str; 8] = ["pass", "pwd", "psw", "token", "key", "auth", "secret", "user"];
    match pair.split_once('=') {
        Some((key, _)) if SECRET.iter().any(|word| key.to_ascii_lowercase().contains(word)) => format!("{key}=…"),
        _ => pair.into(),
    }
}

/// A URI's path without percent signs' codes; a code that is none stays.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_known_by_its_scheme() {
        let file = |path: &str| Ok(Origin::File(path.into()));
        assert_eq!(Origin::of("rtsp://cam/1"), Ok(Origin::Rtsp));
        assert_eq!(Origin::of("RTSPS://user@cam:322/1"), Ok(Origin::Rtsp));
        assert_eq!(Origin::of("https://cam"), Ok(Origin::Http));
        assert_eq!(Origin::of("file:clips/a%20b.mp4"), file("clips/a%20b.mp4"));
        assert_eq!(Origin::of("file:///clips/a%20b%zz.mp4"), file("/clips/a b%zz.mp4"));
        assert_eq!(Origin::of("file://localhost/a.mp4"), file("/a.mp4"));
        assert_eq!(Origin::of("clips/12:30.mp4"), file("clips/12:30.mp4"));
        assert_eq!(Origin::of("v4l2:/dev/video0"), Ok(Origin::Device("/dev/video0".into())));
        assert_eq!(Origin::of("v4l2:///dev/video0"), Ok(Origin::Device("/dev/video0".into())));
        assert_eq!(Origin::of("test:"), Ok(Origin::Test("smpte".into())));
        assert_eq!(Origin::of("test:ball"), Ok(Origin::Test("ball".into())));
        for wrong in ["rtsp:", "rtsp:///x", "http://:80/", "ftp://host/x", "", "file:", "v4l2:"] {
            assert!(Origin::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_of_others_have_no_secret_in_them() {
        let url = "File not found (404), URL: http://joe:pw@cam:80/cgi?user=adm&pwd=geheim,99, Redirect to: (NULL)";
        assert_eq!(
            without_secrets(url),
            "File not found (404), URL: http://cam:80/cgi?user=…&pwd=… Redirect to: (NULL)"
        );
        assert_eq!(without_secrets("GET \"/v.cgi?size=2&PASS=x\"\nfailed"), "GET \"/v.cgi?size=2&PASS=…\"\nfailed");
        assert_eq!(without_secrets("at (rtsp://a:b@cam/1?key=c)"), "at (rtsp://cam/1?key=…");
        for plain in ["", "why? it is so", "a://", "://x?", " two  spaces ", "rtsp://cam/1?channel=1"] {
            assert_eq!(without_secrets(plain), plain);
        }
    }

    #[test]
    fn what_is_shown_has_no_secret_in_it() {
        assert_eq!(
            shown("rtsp://admin:pa/ss@cam/1"),
            "rtsp://admin:pa/ss@cam/1",
            "a slash ends the host: there is no password"
        );
        assert_eq!(shown("rtsp://admin:p@ss@cam:554/1?channel=1&subtype=0"), "rtsp://cam:554/1?channel=1&subtype=0");
        assert_eq!(shown("http://cam/v.cgi?user=admin&PWD=x&size=2"), "http://cam/v.cgi?user=…&PWD=…&size=2");
        assert_eq!(shown("clips/a.mp4"), "clips/a.mp4");
        assert_eq!(shown("test:ball"), "test:ball");
        assert_eq!(password("rtsp://admin:p@ss@cam/1"), Some("p@ss"));
        assert_eq!(password("rtsp://admin@cam/1?x=a:b@c"), None);
    }
}
