//! A sink's address in parts: `scheme://user:password@host:port/path?option=value&…`.

use std::fmt;
use std::path::PathBuf;

use super::uri::UriError;
use crate::secret::{self, Secret};

/// An address in parts. Its `Debug` and its [`bare`](Self::bare) text hold no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// What stands before the colon.
    pub scheme: String,
    /// The user's name, if there is one.
    pub user: Option<String>,
    /// The password, wherever it is to be found.
    pub password: Option<Password>,
    /// `host`, `host:port` or several of them; at least one.
    pub hosts: Vec<Host>,
    /// The path without its first slash, escapes resolved.
    pub path: String,
    /// As [`path`](Self::path), as it is written: `%2B` and `+` are not the same everywhere.
    pub written_path: String,
    options: Vec<(String, String)>,
}

/// A password, or the place where it is to be found.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// As the address has it.
    Given(String),
    /// To be read when it is needed.
    Kept(Secret),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("<given>"),
            Self::Kept(place) => write!(f, "{place}"),
        }
    }
}

impl Password {
    /// The password itself.
    ///
    /// # Errors
    /// A text that says where it was looked for.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::Given(text) => Ok(text.clone()),
            Self::Kept(place) => secret::read(place),
        }
    }
}

/// A machine to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Name or address; an IPv6 address without its brackets.
    pub name: String,
    /// The port, if it is given.
    pub port: Option<u16>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.contains(':') { format!("[{}]", self.name) } else { self.name.clone() };
        match self.port {
            Some(port) => write!(f, "{name}:{port}"),
            None => f.write_str(&name),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare())
    }
}

impl Address {
    /// The parts of `uri`. The options `password-file=PATH` and `password-env=NAME` become the password.
    ///
    /// # Errors
    /// Any [`UriError`]; its text holds no secret.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        let shown = || UriError::Host { scheme: uri.split(':').next().unwrap_or_default().to_string() };
        let (scheme, rest) = uri.split_once("://").ok_or_else(shown)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let options = super::uri::options(query)?;
        // It would be taken for a host and a path or an option, and shown as such.
        if path.contains('@') || options.iter().any(|(name, _)| name.contains('@')) {
            return Err(UriError::At);
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let unescape = |text: &str, part: &str| super::uri::unescape(text, || part.to_string());
        let (user, given) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (Some(unescape(user, "the user")?), Some(unescape(password, "the password")?)),
            None => (None, None),
        };
        let mut address = Self {
            scheme: scheme.to_string(),
            user: user.filter(|user| !user.is_empty()),
            password: given.filter(|password| !password.is_empty()).map(Password::Given),
            hosts: hosts.split(',').map(|host| parse_host(host).ok_or_else(shown)).collect::<Result<_, _>>()?,
            path: unescape(path, "the path")?,
            written_path: path.to_string(),
            options,
        };
        let kept = [
            ("password-env", Secret::Env as fn(String) -> Secret),
            ("password-file", |path| Secret::File(PathBuf::from(path))),
        ];
        for (name, place) in kept {
            if let Some(value) = address.take(name) {
                if address.password.is_some() {
                    return Err(UriError::TwoPasswords);
                }
                address.password = Some(Password::Kept(place(value)));
            }
        }
        Ok(address)
    }

    /// The only host.
    ///
    /// # Errors
    /// [`UriError::Host`] if there are several.
    pub fn host(&self) -> Result<&Host, UriError> {
        match self.hosts.as_slice() {
            [host] => Ok(host),
            _ => Err(UriError::Host { scheme: self.scheme.clone() }),
        }
    }

    /// The value of an option, which is then no longer there.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let place = self.options.iter().position(|(option, _)| option == name)?;
        Some(self.options.remove(place).1)
    }

    /// An error for the first option that nobody took. `known` are the names of those that there are.
    ///
    /// # Errors
    /// [`UriError::Option`] with what was probably meant.
    pub fn finish(&self, known: &[&str]) -> Result<(), UriError> {
        match self.options.first() {
            Some((option, _)) => Err(super::uri::unknown_option(&self.scheme, option, known)),
            None => Ok(()),
        }
    }

    /// Where records go, for messages and names of files: without user, password and options, and without the query on the web, which
    /// may hold a key.
    pub fn bare(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        let path = match self.scheme.as_str() {
            "http" | "https" => self.path.split('?').next().unwrap_or_default(),
            _ => &self.path,
        };
        format!("{}://{}/{path}", self.scheme, hosts.join(","))
    }
}

fn parse_host(text: &str) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            (name, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|&port: &u16| port > 0)?),
        None => None,
    };
    (!name.is_empty()).then(|| Host { name: name.to_string(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        let mut address =
            Address::parse("kafka://us%40er:p%3Aw@a:9092,[::1]:9093,c/topic/x%20y?tls=yes&acks=all").unwrap();
        assert_eq!((address.scheme.as_str(), address.path.as_str()), ("kafka", "topic/x y"));
        assert_eq!(address.user.as_deref(), Some("us@er"));
        assert_eq!(address.password.as_ref().unwrap().read().as_deref(), Ok("p:w"));
        let hosts: Vec<String> = address.hosts.iter().map(Host::to_string).collect();
        assert_eq!(hosts, ["a:9092", "[::1]:9093", "c"]);
        assert!(address.host().is_err());
        assert_eq!(address.written_path, "topic/x%20y");
        assert_eq!(address.bare(), "kafka://a:9092,[::1]:9093,c/topic/x y");
        assert!(!format!("{address:?}{:?}", address.password).contains("p:w"));
        assert_eq!(address.take("tls").as_deref(), Some("yes"));
        assert_eq!(address.take("tls"), None);
        let error = address.finish(&["tls", "ack"]).unwrap_err().to_string();
        assert_eq!(error, "`acks` is not an option of a kafka sink (did you mean ack?)");
    }

    #[test]
    fn a_password_may_be_kept_elsewhere() {
        let address = Address::parse("mqtt://me@broker/?password-env=CARGO_PKG_VERSION").unwrap();
        assert!(address.password.as_ref().unwrap().read().is_ok());
        assert!(Address::parse("mqtt://me:x@broker/?password-env=PATH").is_err());
        assert!(Address::parse("mqtt://me@broker/?password-env=A&password-file=b").is_err());
    }

    #[test]
    fn what_names_no_host_is_an_error_without_the_secret() {
        for uri in [
            "mqtt:",
            "mqtt://",
            "mqtt:///x",
            "mqtt://a:0",
            "mqtt://a:99999",
            "mqtt://u:geheim@",
            "mqtt://u:geheim%@b",
            "mqtt://[::1",
        ] {
            let error = Address::parse(uri).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn a_password_that_looks_like_a_host_and_a_path_is_not_taken_for_them() {
        for uri in [
            "mqtts://gw:2024/geheim@broker/x",
            "mqtts://gw@plant:2024/geheim@broker/x",
            "mqtts://gw:20?geheim@broker/x",
            "https://gw:20/24?geheim@broker/x=1",
        ] {
            let error = Address::parse(uri).unwrap_err().to_string();
            assert!(error.contains("write / as %2F and @ as %40") && !error.contains("geheim"), "{uri}: {error}");
        }
        let good = Address::parse("https://gw:2024%2Fabc%40@broker/%40x?token-header=a@b").unwrap();
        assert_eq!(good.password.unwrap().read().as_deref(), Ok("2024/abc@"));
        assert_eq!((good.hosts[0].name.as_str(), good.path.as_str()), ("broker", "@x"));
    }

    #[test]
    fn a_broken_escape_is_named_and_not_shown() {
        for (uri, part) in [
            ("mqtt://geheim%@b", "the user has"),
            ("mqtt://u:geheim%zz@b", "the password has"),
            ("mqtt://u@b/geheim%", "the path has"),
            ("kafka://u@b/?rdkafka.sasl.password=50%geheim", "the option rdkafka.sasl.password has"),
        ] {
            let error = Address::parse(uri).unwrap_err().to_string();
            assert!(error.starts_with(part) && error.contains("broken escape"), "{uri}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn the_query_of_a_web_address_is_not_shown() {
        let address = Address::parse("https://c/in%3Fkey=geheim%3F?gzip=no").unwrap();
        assert_eq!((address.bare().as_str(), address.path.as_str()), ("https://c/in", "in?key=geheim?"));
        assert!(!format!("{address:?}").contains("geheim"));
        // Elsewhere it is a part of a topic like any other.
        assert_eq!(Address::parse("mqtt://b/what%3F").unwrap().bare(), "mqtt://b/what?");
    }
}
