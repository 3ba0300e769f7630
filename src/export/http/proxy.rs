//! The proxy between the gateway and the server, if there is one.

use ureq::Proxy;

use super::options::Url;
use crate::export::uri::UriError;

/// How the server is reached: `proxy=URL|env`. Its `Debug` holds no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Without a proxy.
    Direct,
    /// As the environment says, for the scheme of the address: `https_proxy` or `http_proxy`, else `all_proxy`, but for `no_proxy`; each
    /// in small or in large letters.
    Environment,
    /// By this proxy.
    Proxy(Proxy),
}

impl Way {
    /// The way that an option's value says.
    ///
    /// # Errors
    /// [`UriError::Value`]; a user and a password in the value are not told.
    pub(super) fn parse(value: Option<String>) -> Result<Self, UriError> {
        match value.as_deref() {
            None => Ok(Self::Direct),
            Some("env") => Ok(Self::Environment),
            Some(text) => {
                let value = text.rsplit('@').next().unwrap_or_default().to_string();
                proxy(text).map(Self::Proxy).map_err(|wanted| UriError::Value { option: "proxy", value, wanted })
            }
        }
    }

    /// The proxy to the server, if there is one. `get` has the variables of the environment.
    ///
    /// # Errors
    /// A text that names the variable that names no proxy.
    pub(super) fn proxy(&self, url: &Url, get: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, String> {
        match self {
            Self::Direct => Ok(None),
            Self::Proxy(proxy) => Ok(Some(proxy.clone())),
            Self::Environment => from_environment(url, get),
        }
    }
}

fn from_environment(url: &Url, get: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, String> {
    let of_scheme = if url.0.scheme_str() == Some("https") { "https_proxy" } else { "http_proxy" };
    let get = |name: &str| {
        [name.to_string(), name.to_ascii_uppercase()]
            .into_iter()
            .find_map(|name| get(&name).filter(|text| !text.is_empty()).map(|text| (name, text)))
    };
    let Some((name, text)) = get(of_scheme).or_else(|| get("all_proxy")) else { return Ok(None) };
    let host = url.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if is_on_this_machine(host) || get("no_proxy").is_some_and(|(_, list)| is_excepted(host, &list)) {
        return Ok(None);
    }
    proxy(&text).map(Some).map_err(|wanted| format!("the variable {name} of the environment is not {wanted}"))
}

/// The proxy with this address, or what it is not.
fn proxy(text: &str) -> Result<Proxy, &'static str> {
    let wanted = "the address of a proxy, such as http://proxy:3128";
    // Many write the host alone.
    let scheme = text.split_once("://").map_or("http", |(scheme, _)| scheme);
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => Proxy::new(text).map_err(|_| wanted),
        scheme if scheme.starts_with("socks") => Err("possible: SOCKS is not supported; name a proxy for HTTP"),
        _ => Err(wanted),
    }
}

/// Whether a proxy would be of no use.
fn is_on_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Whether a list such as `localhost,.plant.example,10.0.0.7` has a host, or the domain that it is in.
fn is_excepted(host: &str, list: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        entry == "*" || !domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url(text.parse().unwrap())
    }

    #[test]
    fn an_option_names_a_proxy() {
        let parse = |text: &str| Way::parse(Some(text.to_string())).map_err(|error| error.to_string());
        assert_eq!(Way::parse(None), Ok(Way::Direct));
        assert_eq!(parse("env"), Ok(Way::Environment));
        for text in ["http://p:3128", "p:3128", "https://p", "http://u:geheim@[::1]:80"] {
            let way = parse(text).unwrap();
            assert!(matches!(way, Way::Proxy(_)), "{text}");
            assert!(!format!("{way:?}").contains("geheim"), "{way:?}");
            assert!(way.proxy(&url("http://127.0.0.1/"), |_| None).unwrap().is_some(), "who names one wants it");
        }
        for (text, words) in [
            (
                "socks5://u:geheim@p:1080",
                "proxy: `p:1080` is not possible: SOCKS is not supported; name a proxy for HTTP",
            ),
            ("SOCKS4A://p", "SOCKS is not supported"),
            ("ftp://p", "is not the address of a proxy, such as http://proxy:3128"),
            ("", "is not the address of a proxy"),
            ("http://", "is not the address of a proxy"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("geheim"), "{text}: {error}");
        }
    }

    #[test]
    fn the_environment_names_a_proxy_for_a_scheme() {
        let found = |address: &str, variables: &[(&str, &str)]| {
            let get = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, text)| text.to_string());
            Way::Environment.proxy(&url(address), get).map(|proxy| proxy.map(|proxy| proxy.host().to_owned()))
        };
        let all = [("HTTP_PROXY", "http://plain"), ("https_proxy", "http://secure:1"), ("ALL_PROXY", "http://any")];
        assert_eq!(found("http://c/", &all), Ok(Some("plain".into())));
        assert_eq!(found("https://c/", &all), Ok(Some("secure".into())));
        assert_eq!(found("https://c/", &all[..1]), Ok(None), "one for the other scheme is none");
        assert_eq!(found("https://c/", &[("https_proxy", ""), all[2]]), Ok(Some("any".into())));
        assert_eq!(found("https://localhost/", &all), Ok(None));
        assert_eq!(found("https://[::1]:8/", &all), Ok(None));
        for (host, list, passed) in [
            ("c.plant.example", "plant.example", true),
            ("c.plant.example", "x, .Plant.example", true),
            ("c.plant.example", "*.plant.example", true),
            ("plant.example", "*", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("c.transplant.example", "plant.example", false),
            ("c.plant.example", ", .,", false),
        ] {
            let found = found(&format!("https://{host}:8443/"), &[all[1], ("no_proxy", list)]).unwrap();
            assert_eq!(found.is_none(), passed, "{host} {list}");
        }
        let error = found("https://c/", &[("ALL_PROXY", "socks5://u:geheim@p")]).unwrap_err();
        assert!(error.contains("ALL_PROXY") && error.contains("SOCKS") && !error.contains("geheim"), "{error}");
    }
}
