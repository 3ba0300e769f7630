//! Records to a web server: one POST with JSON lines per batch.
//!
//! A batch counts as taken with a status of 2xx and never before. The server may see one twice, when its answer was lost on the
//! way; the header `Idempotency-Key` is then the same, and so are the records' ids.
//!
//! What a status means is decided in `answer`. The rule behind it: records are given up only where the server has understood
//! the request and finds fault with these very records. A wrong address, a wrong password or a broken server cost time, not data.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, header};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, ProxyProtocol};

use super::address::Password;
use super::remote::{Outgoing, Remote, RemoteError};
use super::sink::Clock;
use super::tls::TlsFiles;
use crate::secret;

mod answer;
mod options;
mod proxy;

use answer::{Verdict, moved, retry_after, said, unreachable, verdict};
use options::Url;
pub use options::{HttpOptions, Login};
pub use proxy::Way;

/// Redirects that are followed for one batch.
const REDIRECTS: usize = 3;
/// Most that is read of an answer's head and of its body, bytes.
const ANSWER: usize = 64 << 10;
/// Longest time for an answer's body, which nothing depends on.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Larger bodies are announced first, so that a server can refuse them before they are sent, bytes.
const ANNOUNCE: usize = 1 << 20;
/// Records in a row that may be refused alone before it is asked whether the server takes any at all.
const REFUSED_MOST: usize = 8;
/// Records by which that is asked.
const ASKED: usize = 16;
/// Longest record that is kept to ask by, bytes.
const KEPT: usize = 64 << 10;

/// What one batch becomes.
struct Post {
    body: Vec<u8>,
    records: usize,
    key: HeaderValue,
}

/// A header that says who is sending, and the texts that must not be shown.
struct Credentials {
    name: HeaderName,
    value: HeaderValue,
    secrets: Vec<String>,
}

/// A web server that takes records.
pub struct Http {
    options: HttpOptions,
    clock: Arc<dyn Clock>,
    /// The connection that is kept; made anew after a failure, so that certificates are read again.
    agent: Option<Agent>,
    /// Records in a row that were refused alone.
    refused: usize,
    /// One that the server has taken.
    taken: Option<Outgoing>,
}

impl Http {
    /// A receiver that connects when it is first used. The clock says what a date in `Retry-After` is measured from.
    pub fn new(options: HttpOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock, agent: None, refused: 0, taken: None }
    }

    fn agent(&mut self) -> Result<Agent, RemoteError> {
        if let Some(agent) = &self.agent {
            return Ok(agent.clone());
        }
        let wrong = |text: String| RemoteError::Denied(format!("{}: {text}", self.options.url));
        let proxy = self.options.way.proxy(&self.options.url, |name| std::env::var(name).ok()).map_err(wrong)?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(ANSWER)
            .user_agent(concat!("vigil/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy.clone());
        let secure = self.options.url.0.scheme_str() == Some("https");
        if secure || proxy.is_some_and(|proxy| proxy.protocol() == ProxyProtocol::Https) {
            config = config.tls_config(tls(&self.options.tls).map_err(wrong)?);
        }
        Ok(self.agent.insert(config.build().new_agent()).clone())
    }

    fn post(&mut self, post: &Post, limit: Duration) -> Result<(), RemoteError> {
        let until = Instant::now() + limit;
        let credentials = self
            .options
            .login
            .as_ref()
            .map(credentials)
            .transpose()
            .map_err(|text| RemoteError::Denied(format!("{}: {text}", self.options.url)))?;
        let agent = self.agent()?;
        let mut url = self.options.url.clone();
        for _ in 0..=REDIRECTS {
            let left = until.saturating_duration_since(Instant::now());
            let response = self
                .request(&agent, &url, post, credentials.as_ref(), left)
                .map_err(|error| unreachable(&place(&url, &agent), error, limit))?;
            let (head, mut body) = response.into_parts();
            let mut text = Vec::new();
            // The status has decided. To read the body keeps the connection, and an error's text is for the user; neither is worth
            // a failure.
            let _ = body.as_reader().take(ANSWER as u64).read_to_end(&mut text);
            match verdict(head.status.as_u16(), head.headers.contains_key(header::RETRY_AFTER)) {
                Verdict::Taken => return Ok(()),
                Verdict::Moved => url = moved(&url, &head.headers)?,
                verdict => {
                    let mut secrets = credentials.map(|c| c.secrets).unwrap_or_default();
                    secrets.extend(
                        [&url, &self.options.url].into_iter().filter_map(|url| url.0.query()).map(str::to_owned),
                    );
                    let said = said(&url, head.status, &text, &secrets);
                    return Err(self.refusal(verdict, said, &head.headers));
                }
            }
        }
        Err(RemoteError::Denied(format!("{} leads from one address to the next; check it", self.options.url)))
    }

    fn request(
        &self,
        agent: &Agent,
        url: &Url,
        post: &Post,
        credentials: Option<&Credentials>,
        limit: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = agent
            .post(&url.0)
            .config()
            .timeout_global(Some(limit))
            .timeout_recv_body(Some(ANSWER_TIME))
            .build()
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header("Idempotency-Key", &post.key)
            .header("Vigil-Records", post.records);
        if self.options.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        if post.body.len() > ANNOUNCE {
            request = request.header(header::EXPECT, "100-continue");
        }
        if let Some(credentials) = credentials {
            request = request.header(&credentials.name, &credentials.value);
        }
        request.send(&post.body[..])
    }

    fn refusal(&self, verdict: Verdict, said: String, headers: &HeaderMap) -> RemoteError {
        match verdict {
            Verdict::Denied(advice) => RemoteError::Denied(format!("{said}; {advice}")),
            Verdict::Refused => RemoteError::Refused(said),
            _ => RemoteError::Busy { after: retry_after(headers, self.clock.now()), text: said },
        }
    }

    /// What it means that a batch was refused. A server that has refused many records one by one is asked whether it takes any: those of
    /// the batch in their order, so that the first that it takes is the next that it will get, and one that it had taken before. If it takes
    /// none, the fault is not with the records.
    fn refused(&mut self, batch: &[Outgoing], text: String, until: Instant) -> RemoteError {
        if self.refused >= REFUSED_MOST {
            let alone = if batch.len() > 1 { batch } else { &[] };
            let known = self.taken.take();
            let mut taken = false;
            for record in alone.iter().take(ASKED).chain(&known) {
                let left = until.saturating_duration_since(Instant::now()).min(self.options.timeout);
                match self.post(&pack(std::slice::from_ref(record), self.options.gzip), left) {
                    Ok(()) => taken = true,
                    Err(RemoteError::Refused(_)) => continue,
                    Err(error) => {
                        self.taken = known;
                        return error;
                    }
                }
                break;
            }
            self.taken = known;
            if !taken {
                return RemoteError::Denied(format!(
                    "{text}; it has refused {REFUSED_MOST} records one by one and takes no other, so that no more are given up; check the address and what is sent to it"
                ));
            }
            self.refused = 0;
        }
        self.refused += usize::from(batch.len() == 1);
        RemoteError::Refused(text)
    }
}

impl Remote for Http {
    fn send(&mut self, batch: &[Outgoing], limit: Duration) -> Result<(), RemoteError> {
        if batch.is_empty() {
            return Ok(());
        }
        let post = pack(batch, self.options.gzip);
        let until = Instant::now() + limit;
        let result = self.post(&post, limit.min(self.options.timeout));
        let result = match result {
            Err(RemoteError::Refused(text)) => Err(self.refused(batch, text, until)),
            other => other,
        };
        match &result {
            Ok(()) => {
                self.refused = 0;
                let small = batch.iter().min_by_key(|record| record.body.len());
                self.taken = small.filter(|record| record.body.len() <= KEPT).cloned();
            }
            Err(RemoteError::Busy { .. } | RemoteError::Refused(_)) => {}
            Err(RemoteError::Unreachable(_) | RemoteError::Denied(_)) => self.agent = None,
        }
        result
    }

    fn send_limit(&self) -> Duration {
        self.options.timeout
    }

    /// Nothing is due: a connection that is gone is noticed, and replaced, when it is used.
    fn tick(&mut self, _limit: Duration) -> Result<bool, RemoteError> {
        Ok(false)
    }

    fn close(&mut self, _limit: Duration) {
        self.agent = None;
    }
}

fn pack(batch: &[Outgoing], gzip: bool) -> Post {
    let mut lines = Vec::with_capacity(batch.iter().map(|record| record.body.len() + 1).sum());
    for record in batch {
        lines.extend_from_slice(&record.body);
        lines.push(b'\n');
    }
    // A string in the sense of RFC 9651, as the draft of this header wants it. The same records have the same key.
    let key = format!("\"{}\"", hex::encode(Sha256::digest(&lines).get(..16).unwrap_or_default()));
    let key = HeaderValue::from_str(&key).unwrap_or(HeaderValue::from_static("\"\""));
    let body = if gzip { compressed(&lines) } else { lines };
    Post { body, records: batch.len(), key }
}

fn compressed(lines: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(lines);
    encoder.finish().unwrap_or_default()
}

fn credentials(login: &Login) -> Result<Credentials, String> {
    let (name, text, secret) = match login {
        Login::Basic { user, password } => {
            let password = password.as_ref().map(Password::read).transpose()?.unwrap_or_default();
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            (header::AUTHORIZATION, format!("Basic {pair}"), password)
        }
        Login::Token { place, header: Some(name) } => {
            let token = secret::read(place)?;
            (name.clone(), token.clone(), token)
        }
        Login::Token { place, header: None } => {
            let token = secret::read(place)?;
            (header::AUTHORIZATION, format!("Bearer {token}"), token)
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| format!("the secret for the header {name} holds characters that a header cannot have"))?;
    value.set_sensitive(true);
    let encoded = text.split(' ').next_back().unwrap_or_default().to_string();
    Ok(Credentials { name, value, secrets: vec![secret, encoded] })
}

fn tls(files: &TlsFiles) -> Result<TlsConfig, String> {
    // The client panics on a certificate that does not belong to its key, so that it gets none.
    files.config().map_err(|error| error.to_string())?;
    let authorities = files.authorities().map_err(|error| error.to_string())?;
    let roots: Vec<_> = authorities.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
    let client = match (&files.client, files.identity().map_err(|error| error.to_string())?) {
        (Some((_, path)), Some((chain, _))) => {
            let chain: Vec<_> = chain.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
            // The client takes keys in PEM only. That there is one has just been checked, so that an error is a rare thing.
            let wrong = |error: &dyn std::fmt::Display| format!("the key {} cannot be read: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
            let key = PrivateKey::from_pem(&pem).map_err(|error| wrong(&error))?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Who is meant in messages.
fn place(url: &Url, agent: &Agent) -> String {
    match agent.config().proxy() {
        Some(proxy) => format!("{url} by the proxy {}:{}", proxy.host(), proxy.port()),
        None => url.to_string(),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
