//! Who may ask the API what.
//!
//! With a token everybody must show it, but for the two health checks from the machine itself. Without one only callers
//! on the machine are heard, and no page that a browser shows there: neither from another site (`Origin`, and `Sec-Fetch-Site` for
//! requests that have no `Origin`, such as those for pictures), nor under a name that was made to lead here (`Host`).

use std::net::IpAddr;

use sha2::{Digest, Sha256};

/// What is asked of callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Digest of the token; `None`: none is needed.
    token: Option<[u8; 32]>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no token in it, or another one.
    Token,
    /// It comes from another machine.
    Foreign,
    /// It was sent to a name that is not this machine's own.
    Host,
    /// It was sent by a page of another site.
    Origin,
}

/// What a request says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Its sender.
    pub address: IpAddr,
    /// The path that it asks for.
    pub path: &'a str,
    /// `Host`.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`: whose page a browser asks for.
    pub fetch_site: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
}

impl Access {
    /// Asks for `token`, if there is one.
    pub fn new(token: Option<&str>) -> Self {
        Self { token: token.map(digest) }
    }

    /// Whether a token is needed.
    pub fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the caller is heard.
    ///
    /// # Errors
    /// [`Refused`], if not.
    pub fn check(&self, caller: &Caller<'_>) -> Result<(), Refused> {
        let near = caller.address.to_canonical().is_loopback();
        if near && matches!(caller.path, "/livez" | "/readyz") {
            return Ok(());
        }
        let Some(token) = &self.token else {
            if !near {
                return Err(Refused::Foreign);
            }
            let host = caller.host.ok_or(Refused::Host)?;
            if !is_own(host) {
                return Err(Refused::Host);
            }
            let other = caller.origin.is_some_and(|origin| origin.strip_prefix("http://") != Some(host));
            let of_other = caller.fetch_site.is_some_and(|site| !["same-origin", "none"].contains(&site));
            return if other || of_other { Err(Refused::Origin) } else { Ok(()) };
        };
        let shown = caller.authorization.and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).ok_or(Refused::Token)?;
        if same(&digest(shown.1.trim()), token) { Ok(()) } else { Err(Refused::Token) }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether two digests are equal, in a time that says nothing of where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b))) == 0
}

/// Whether a host, with or without a port, is this machine by a name that nobody else can give it.
fn is_own(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    literal.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Caller<'_> = Caller {
        address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        path: "/api/v1/cameras",
        host: Some("127.0.0.1:8686"),
        origin: None,
        fetch_site: None,
        authorization: None,
    };

    #[test]
    fn without_a_token_only_this_machine_is_heard_and_no_page_of_another_site() {
        let access = Access::new(None);
        let far = Caller { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7)), ..NEAR };
        assert_eq!(access.check(&NEAR), Ok(()));
        assert_eq!(access.check(&far), Err(Refused::Foreign));
        assert_eq!(access.check(&Caller { path: "/livez", ..far }), Err(Refused::Foreign));
        for host in ["localhost", "LOCALHOST:8686", "127.0.0.1", "[::1]:8686", "[::1]", "127.1.2.3:1"] {
            assert_eq!(access.check(&Caller { host: Some(host), ..NEAR }), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8686", "localhost.evil.example", "10.0.0.1:8686", "", "127.0.0.1.nip"]
        {
            assert_eq!(access.check(&Caller { host: Some(host), ..NEAR }), Err(Refused::Host), "{host}");
        }
        assert_eq!(access.check(&Caller { host: None, ..NEAR }), Err(Refused::Host));
        let from = |origin| access.check(&Caller { origin: Some(origin), ..NEAR });
        assert_eq!(from("http://127.0.0.1:8686"), Ok(()));
        for origin in ["http://evil.example", "http://127.0.0.1:3000", "null", "https://127.0.0.1:8686"] {
            assert_eq!(from(origin), Err(Refused::Origin), "{origin}");
        }
        let asked_by = |site| access.check(&Caller { fetch_site: Some(site), ..NEAR });
        assert_eq!((asked_by("same-origin"), asked_by("none")), (Ok(()), Ok(())));
        for site in ["cross-site", "same-site", "what comes later"] {
            assert_eq!(asked_by(site), Err(Refused::Origin), "a picture or a script of a page: {site}");
        }
    }

    #[test]
    fn a_token_is_asked_of_everybody_but_health_checks_of_this_machine() {
        let access = Access::new(Some("s3cret"));
        let far =
            Caller { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7)), host: Some("gw.example"), ..NEAR };
        for caller in [NEAR, far] {
            assert_eq!(access.check(&caller), Err(Refused::Token));
            for shown in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "] {
                assert_eq!(access.check(&Caller { authorization: Some(shown), ..caller }), Ok(()), "{shown}");
            }
            for shown in
                ["Bearer", "Bearer ", "s3cret", "Basic s3cret", "Bearer s3cre", "Bearer s3crett", "Bearer S3cret"]
            {
                let caller = Caller { authorization: Some(shown), ..caller };
                assert_eq!(access.check(&caller), Err(Refused::Token), "{shown}");
            }
        }
        assert_eq!(access.check(&Caller { path: "/readyz", ..NEAR }), Ok(()));
        assert_eq!(access.check(&Caller { path: "/readyz", ..far }), Err(Refused::Token));
        assert_eq!(access.check(&Caller { path: "/metrics", ..NEAR }), Err(Refused::Token));
    }
}
