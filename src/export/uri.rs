//! Naming a sink: `file:PATH?option=value&…`, `stdout:` or `-`, or the address of a receiver over a network.

use std::path::PathBuf;
use std::str::FromStr;

use super::file::{FileOptions, Fsync};
use super::receiver::RemoteUri;
use super::units::{BadUnit, parse_duration, parse_size};
use crate::suggest::nearest;

/// Where records go.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkUri {
    /// Standard output.
    Stdout,
    /// A file of JSON lines.
    File(FileOptions),
    /// A receiver over a network.
    Remote(Box<RemoteUri>),
}

/// A text does not name a sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not a scheme that there is.
    #[error("`{uri}` names no sink; write file:PATH, stdout: or an address that begins with {}{hint}", schemes())]
    Scheme {
        /// The text, up to where secrets may begin.
        uri: String,
        /// What was probably meant.
        hint: String,
    },
    /// No path, or one on another machine.
    #[error("`{uri}` names no file on this machine; write file:PATH or file:///PATH")]
    Path {
        /// The text.
        uri: String,
    },
    /// No host, several where one is meant, or a port that there is not.
    #[error("the address names no host; write {scheme}://HOST:PORT/PATH")]
    Host {
        /// What stands before the colon.
        scheme: String,
    },
    /// The password is given in two ways.
    #[error(
        "the password is given in two ways; leave it out of the address, or leave out password-file and password-env"
    )]
    TwoPasswords,
    /// A value that an option cannot have.
    #[error("{option}: `{value}` is not {wanted}")]
    Value {
        /// The option's name.
        option: &'static str,
        /// The value.
        value: String,
        /// What it may be: a noun.
        wanted: &'static str,
    },
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("{part} has a broken escape; write % as %25, ? as %3F and & as %26")]
    Escape {
        /// The part of the address. Its text, which may be a secret, is not told.
        part: String,
    },
    /// A `@` where there may be none. What is before it may be a password.
    #[error("there is an @ behind the host; write / as %2F and @ as %40 in a password, and @ as %40 in a path")]
    At,
    /// An option that there is not.
    #[error("`{option}` is not an option of a {scheme} sink{hint}")]
    Option {
        /// The option's name.
        option: String,
        /// The sink's scheme.
        scheme: String,
        /// What was probably meant, or what there is.
        hint: String,
    },
    /// An option given twice.
    #[error("`{option}` is given twice")]
    Twice {
        /// The option's name.
        option: String,
    },
    /// A value that the option cannot have.
    #[error("{option}: {source}")]
    Unit {
        /// The option's name.
        option: &'static str,
        /// What is wrong.
        source: BadUnit,
    },
    /// Not a way to call fsync.
    #[error("fsync: `{value}` is not one of never, rotate, every-record, or a duration such as 1s")]
    Fsync {
        /// The value.
        value: String,
    },
    /// Not a count.
    #[error("keep: `{value}` is not a number of files from 1 upwards")]
    Keep {
        /// The value.
        value: String,
    },
    /// Old files are to be removed, but there will never be any.
    #[error("keep has no effect without rotate-size or rotate-time; add one of them")]
    KeepAlone,
}

const FILE_OPTIONS: [&str; 4] = ["rotate-size", "rotate-time", "fsync", "keep"];

impl FromStr for SinkUri {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        if uri == "-" {
            return Ok(Self::Stdout);
        }
        if let Some(remote) = RemoteUri::parse(uri) {
            return remote.map(|remote| Self::Remote(Box::new(remote)));
        }
        let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
        match scheme {
            "file" => Ok(Self::File(parse_file(uri, rest)?)),
            "stdout" => match rest.trim_start_matches("//").strip_prefix('?') {
                Some(query) => Err(UriError::Option {
                    option: query.split(['=', '&']).next().unwrap_or_default().to_string(),
                    scheme: scheme.to_string(),
                    hint: ", which has none".to_string(),
                }),
                None if rest.trim_start_matches("//").is_empty() => Ok(Self::Stdout),
                None => Err(UriError::Scheme { uri: uri.to_string(), hint: String::new() }),
            },
            "" if !rest.is_empty() => {
                Err(UriError::Scheme { uri: uri.to_string(), hint: format!(" (did you mean file:{rest}?)") })
            }
            _ => Err(UriError::Scheme { uri: format!("{scheme}:"), hint: built_without(scheme) }),
        }
    }
}

/// The beginnings of addresses of receivers over a network.
fn schemes() -> String {
    RemoteUri::schemes().iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
}

/// A word about a scheme that another build knows, or that looks like one that this build knows.
fn built_without(scheme: &str) -> String {
    if scheme.starts_with("kafka") && !RemoteUri::schemes().contains(&"kafka") {
        return "; this build of Vigil is without Kafka (cargo feature `kafka`)".to_string();
    }
    let mut known = RemoteUri::schemes();
    known.extend(["file", "stdout"]);
    match nearest(scheme, known) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => String::new(),
    }
}

fn parse_file(uri: &str, rest: &str) -> Result<FileOptions, UriError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix("//") {
        Some(after) => after.strip_prefix("localhost").unwrap_or(after),
        None => path,
    };
    let on_other_machine = rest.starts_with("//") && !path.starts_with('/');
    if path.is_empty() || path.ends_with('/') || on_other_machine {
        return Err(UriError::Path { uri: uri.to_string() });
    }
    let mut options = FileOptions::new(PathBuf::from(unescape(path, || "the path".to_string())?));
    for (name, value) in self::options(query)? {
        set_option(&mut options, &name, &value)?;
    }
    if options.keep.is_some() && options.rotate_size.is_none() && options.rotate_time.is_none() {
        return Err(UriError::KeepAlone);
    }
    Ok(options)
}

fn set_option(options: &mut FileOptions, name: &str, value: &str) -> Result<(), UriError> {
    let duration = |option| parse_duration(value).map_err(|source| UriError::Unit { option, source });
    match name {
        "rotate-size" => {
            let size = parse_size(value).map_err(|source| UriError::Unit { option: "rotate-size", source })?;
            options.rotate_size = Some(size);
        }
        "rotate-time" => options.rotate_time = Some(duration("rotate-time")?),
        "fsync" => {
            options.fsync = match value {
                "never" => Fsync::Never,
                "rotate" => Fsync::Rotate,
                "every-record" => Fsync::EveryRecord,
                _ => parse_duration(value)
                    .map(Fsync::Interval)
                    .map_err(|_| UriError::Fsync { value: value.to_string() })?,
            }
        }
        "keep" => {
            let keep = value.parse().ok().filter(|&n: &usize| n > 0);
            options.keep = Some(keep.ok_or_else(|| UriError::Keep { value: value.to_string() })?);
        }
        _ => return Err(unknown_option("file", name, &FILE_OPTIONS)),
    }
    Ok(())
}

/// The options after the question mark, escapes resolved.
pub(super) fn options(query: &str) -> Result<Vec<(String, String)>, UriError> {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if options.iter().any(|(option, _)| option == name) {
            return Err(UriError::Twice { option: name.to_string() });
        }
        options.push((name.to_string(), unescape(value, || format!("the option {name}"))?));
    }
    Ok(options)
}

/// The error for an option that there is not, with the one of `known` that was probably meant.
pub(super) fn unknown_option(scheme: &str, name: &str, known: &[&str]) -> UriError {
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!(" (did you mean {near}?)"),
        None => format!("; there are {}", known.join(", ")),
    };
    UriError::Option { option: name.to_string(), scheme: scheme.to_string(), hint }
}

/// Percent-escapes resolved (RFC 3986, section 2.1). `part` names the text in an error.
pub(super) fn unescape(text: &str, part: impl Fn() -> String) -> Result<String, UriError> {
    let broken = || UriError::Escape { part: part() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(broken)?;
        rest = tail;
        bytes.extend(hex::decode(digits).map_err(|_| broken())?);
    }
    // A path with a zero byte names nothing.
    if bytes.contains(&0) {
        return Err(broken());
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(uri: &str) -> FileOptions {
        match uri.parse() {
            Ok(SinkUri::File(options)) => options,
            other => panic!("{uri}: {other:?}"),
        }
    }

    fn error(uri: &str) -> String {
        uri.parse::<SinkUri>().unwrap_err().to_string()
    }

    #[test]
    fn paths() {
        for (uri, path) in [
            ("file:out.jsonl", "out.jsonl"),
            ("file:a/b.jsonl", "a/b.jsonl"),
            ("file:/a/b", "/a/b"),
            ("file:///a/b", "/a/b"),
            ("file://localhost/a/b", "/a/b"),
            ("file:what%3F%20100%25", "what? 100%"),
            ("file:gr%C3%BC%C3%9fe", "grüße"),
        ] {
            assert_eq!(file(uri).path, PathBuf::from(path), "{uri}");
        }
        for uri in ["file:", "file:?keep=1", "file://elsewhere/a", "file:folder/", "file:///"] {
            assert!(error(uri).contains("names no file on this machine"), "{uri}");
        }
        for uri in ["file:100%", "file:%2", "file:%zz", "file:%ff", "file:a%00b"] {
            assert!(error(uri).contains("broken escape"), "{uri}");
        }
    }

    #[test]
    fn options() {
        let plain = file("file:o");
        assert_eq!((plain.rotate_size, plain.rotate_time, plain.keep), (None, None, None));
        assert_eq!(plain.fsync, Fsync::Rotate);
        let all = file("file:o?rotate-size=10MiB&rotate-time=1h&fsync=500ms&keep=3");
        assert_eq!(all.rotate_size, Some(10 << 20));
        assert_eq!(all.rotate_time, Some(Duration::from_secs(3600)));
        assert_eq!(all.fsync, Fsync::Interval(Duration::from_millis(500)));
        assert_eq!(all.keep, Some(3));
        assert_eq!(file("file:o?fsync=never").fsync, Fsync::Never);
        assert_eq!(file("file:o?fsync=every-record").fsync, Fsync::EveryRecord);
    }

    #[test]
    fn wrong_texts_get_an_answer_that_helps() {
        let text = error("out.jsonl");
        assert!(
            text.starts_with(
                "`out.jsonl` names no sink; write file:PATH, stdout: or an address that begins with mqtt://"
            )
        );
        assert!(text.ends_with(" (did you mean file:out.jsonl?)"), "{text}");
        let text = error("mqt://me:secret@broker/x");
        assert!(text.contains("did you mean mqtt?") && !text.contains("secret"), "{text}");
        assert!(error("amqp://broker").contains("write file:PATH"), "{}", error("amqp://broker"));
        assert!(error("").contains("names no sink"));
        assert!(error("stdout:x").contains("names no sink"));
        assert_eq!(error("stdout:?keep=3"), "`keep` is not an option of a stdout sink, which has none");
        assert_eq!(
            error("file:o?rotatesize=1MiB"),
            "`rotatesize` is not an option of a file sink (did you mean rotate-size?)"
        );
        assert_eq!(
            error("file:o?zzz"),
            "`zzz` is not an option of a file sink; there are rotate-size, rotate-time, fsync, keep"
        );
        assert!(error("file:o?rotate-size=10").starts_with("rotate-size: `10` is not a size"));
        assert!(error("file:o?rotate-time=0s").starts_with("rotate-time: `0s` is not a duration"));
        assert!(error("file:o?fsync=often").starts_with("fsync: `often` is not one of"));
        assert!(error("file:o?rotate-size=1MiB&keep=0").starts_with("keep: `0`"));
        assert!(error("file:o?keep=3").starts_with("keep has no effect"));
        assert_eq!(error("file:o?fsync=1s&fsync=2s"), "`fsync` is given twice");
    }

    #[test]
    fn standard_output() {
        for uri in ["-", "stdout:", "stdout://"] {
            assert_eq!(uri.parse(), Ok(SinkUri::Stdout), "{uri}");
        }
    }

    #[test]
    fn receivers() {
        assert!(matches!("mqtt://broker/site".parse(), Ok(SinkUri::Remote(_))));
        assert_eq!(
            error("mqtt://broker/site?qoss=1").split(';').next(),
            Some("`qoss` is not an option of a mqtt sink (did you mean qos?)")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", query in "[a-z=&0-9%?-]{0,40}") {
            for uri in [text.clone(), format!("file:{text}"), format!("file:o?{query}")] {
                let _ = uri.parse::<SinkUri>();
            }
        }
    }
}
