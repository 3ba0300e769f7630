//! Where records go on the web: the address and its options.

use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{HeaderName, Uri};

use super::proxy::Way;
use crate::export::address::{Address, Password};
use crate::export::tls::TlsFiles;
use crate::export::units::parse_duration;
use crate::export::uri::UriError;
use crate::secret::Secret;

const OPTIONS: [&str; 11] = [
    "gzip",
    "timeout",
    "proxy",
    "token-env",
    "token-file",
    "token-header",
    "password-env",
    "password-file",
    "ca",
    "cert",
    "key",
];
/// Longest time for one request, unless `timeout` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where and how to send: an address `http://…` or `https://…` in parts. Its `Debug` holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// The address without user and options.
    pub(super) url: Url,
    /// What the server knows the gateway by, if it wants to know.
    pub login: Option<Login>,
    /// Whether bodies are compressed: `gzip=yes|no`.
    pub gzip: bool,
    /// Longest time for one request, from looking up the name to the end of the answer.
    pub timeout: Duration,
    /// Certificates for `https`.
    pub tls: TlsFiles,
    /// Whether a proxy is between.
    pub way: Way,
}

/// What the server knows the gateway by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Basic`.
    Basic {
        /// The user's name.
        user: String,
        /// The password; empty if there is none.
        password: Option<Password>,
    },
    /// A token: `Authorization: Bearer`, or as it is in a header of its own.
    Token {
        /// Where it is.
        place: Secret,
        /// The header's name; `None` for `Authorization: Bearer`.
        header: Option<HeaderName>,
    },
}

/// An address whose query, which may hold a key, is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url(pub(super) Uri);

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let (scheme, authority) = (part(self.0.scheme_str()), part(self.0.authority().map(|a| a.as_str())));
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl HttpOptions {
    /// The options of an address. In its path `%3F` begins a query, since what follows a `?` are options.
    ///
    /// # Errors
    /// Any [`UriError`]; its text holds no secret.
    pub fn parse(mut address: Address) -> Result<Self, UriError> {
        let wrong_host = || UriError::Host { scheme: address.scheme.clone() };
        let url: Uri = format!("{}://{}/{}", address.scheme, address.host()?, target(&address.written_path))
            .parse()
            .map_err(|_| wrong_host())?;
        let secure = address.scheme == "https";
        if !secure && address.scheme != "http" {
            return Err(wrong_host());
        }
        let gzip = match address.take("gzip") {
            None => true,
            Some(value) if value == "yes" => true,
            Some(value) if value == "no" => false,
            Some(value) => return Err(UriError::Value { option: "gzip", value, wanted: "yes or no" }),
        };
        let timeout = match address.take("timeout") {
            Some(value) => parse_duration(&value).map_err(|source| UriError::Unit { option: "timeout", source })?,
            None => TIMEOUT,
        };
        let way = Way::parse(address.take("proxy"))?;
        let login = login(&mut address)?;
        let tls = TlsFiles::take(&mut address)?;
        let unused = [("ca", tls.ca.as_ref()), ("cert", tls.client.as_ref().map(|(cert, _)| cert))];
        if let Some((option, path)) = unused.into_iter().find_map(|(option, path)| Some((option, path?)))
            && !secure
        {
            let value = path.display().to_string();
            return Err(UriError::Value { option, value, wanted: "of use with http://; write https://" });
        }
        address.finish(&OPTIONS)?;
        Ok(Self { url: Url(url), login, gzip, timeout, tls, way })
    }
}

fn login(address: &mut Address) -> Result<Option<Login>, UriError> {
    let places =
        [("token-env", Secret::Env as fn(String) -> Secret), ("token-file", |path| Secret::File(PathBuf::from(path)))];
    let mut login = address.user.take().map(|user| Login::Basic { user, password: address.password.take() });
    if let Some(place) = &address.password {
        let value = format!("{place:?}");
        return Err(UriError::Value { option: "password", value, wanted: "of use without a user's name" });
    }
    for (option, place) in places {
        let Some(value) = address.take(option) else { continue };
        if login.is_some() {
            return Err(UriError::Value { option, value, wanted: "possible beside another login" });
        }
        login = Some(Login::Token { place: place(value), header: None });
    }
    if let Some(value) = address.take("token-header") {
        let name = HeaderName::from_bytes(value.as_bytes());
        match (&mut login, name) {
            (Some(Login::Token { header, .. }), Ok(name)) => *header = Some(name),
            (Some(Login::Token { .. }), Err(_)) => {
                return Err(UriError::Value { option: "token-header", value, wanted: "the name of a header" });
            }
            _ => {
                let wanted = "of use alone; add token-env=NAME or token-file=PATH";
                return Err(UriError::Value { option: "token-header", value, wanted });
            }
        }
    }
    Ok(login)
}

/// The path and its query as they are written, with escapes where a URI needs more (RFC 3986, section 3.3). The first `%3F` begins the
/// query. All other escapes stay: in a query `%2B` is a plus, and `+` a space.
fn target(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    for byte in written.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => text.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'~' | b'/' | b'%' => text.push(char::from(byte)),
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    if let Some(at) = text.to_ascii_uppercase().find("%3F") {
        text.replace_range(at..at + "%3F".len(), "?");
    }
    text
}
