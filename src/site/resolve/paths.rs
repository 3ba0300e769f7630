//! Paths in the values of properties: relative to the description, whatever folder the process is in.

use std::path::Path;

use crate::site::convert::model_text;

/// The text of an element's property with the paths in it made absolute, where it is known to be one: relative paths of a
/// description are relative to `folder`.
pub fn absolute_text(folder: &Path, factory: &str, property: &str, text: &str) -> String {
    let joined = |path: &str| folder.join(path).display().to_string();
    match (factory, property) {
        _ if text.is_empty() => String::new(),
        ("vigilinfer", "model" | "fallback-model" | "shadow-model") => model_text(folder, text),
        ("vigilinfer", "public-keys") => text.split(',').map(|file| joined(file.trim())).collect::<Vec<_>>().join(","),
        ("vigilinfer", "ort-library") | ("vigiloverlay", "font") => joined(text),
        ("vigilexport", "uri") => absolute_uri(folder, text),
        ("vigilexport", "spool") | ("vigildrift", "baseline" | "samples") => joined(text),
        (_, "location") if !text.contains("://") => joined(text),
        _ => text.into(),
    }
}

/// Options of a receiver's address that name files.
const FILES: [&str; 5] = ["ca", "cert", "key", "password-file", "token-file"];

/// The address of a sink with the paths in it made absolute.
pub fn absolute_uri(folder: &Path, text: &str) -> String {
    // The path is written with escapes already; the folder's name is not, and may hold what would end it in an address.
    let folder = folder.display().to_string().replace('%', "%25").replace('&', "%26").replace('?', "%3F");
    let joined = |path: &str| Path::new(&folder).join(path).display().to_string();
    if let Some(path) = text.strip_prefix("file:") {
        // `file:///srv/x` is absolute already.
        return if path.is_empty() || path.starts_with('/') { text.into() } else { format!("file:{}", joined(path)) };
    }
    let Some((address, query)) = text.split_once('?').filter(|(address, _)| address.contains("://")) else {
        return text.into();
    };
    let option = |pair: &str| match pair.split_once('=') {
        Some((name, path)) if FILES.contains(&name) && !path.is_empty() => format!("{name}={}", joined(path)),
        _ => pair.to_owned(),
    };
    format!("{address}?{}", query.split('&').map(option).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::SinkUri;
    use crate::export::address::Address;

    #[test]
    fn paths_in_addresses_become_absolute() {
        let absolute = |text| absolute_uri(Path::new("/site"), text);
        assert_eq!(absolute("file:a/b.jsonl?keep=5"), "file:/site/a/b.jsonl?keep=5");
        assert_eq!(absolute("file:///a"), "file:///a");
        assert_eq!(absolute("stdout:"), "stdout:");
        assert_eq!(absolute("mqtt://h/x"), "mqtt://h/x");
        assert_eq!(
            absolute("mqtts://u@h/x?ca=ca.pem&qos=2&password-file=/run/p"),
            "mqtts://u@h/x?ca=/site/ca.pem&qos=2&password-file=/run/p"
        );
    }

    #[test]
    fn a_folder_may_have_any_name() {
        let folder = Path::new("/a&b/100%?/x y=z");
        let uri = absolute_uri(folder, "file:o%26ut.jsonl?keep=5&rotate-size=1MiB");
        let Ok(SinkUri::File(file)) = uri.parse() else { panic!("{uri}") };
        assert_eq!((file.path, file.keep), (folder.join("o&ut.jsonl"), Some(5)));
        let uri = absolute_uri(folder, "https://h/in?ca=c%26.pem&token-file=t&gzip=no");
        let mut address = Address::parse(&uri).unwrap();
        let path = |name: &str| Some(folder.join(name).display().to_string());
        assert_eq!((address.take("ca"), address.take("token-file")), (path("c&.pem"), path("t")), "{uri}");
        assert_eq!(address.take("gzip").as_deref(), Some("no"));
    }
}
