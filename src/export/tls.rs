//! TLS of the sinks that connect to a network: which authorities are trusted, and the client's own certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::address::Address;
use super::remote::RemoteError;
use super::uri::UriError;

/// The options of an address that [`TlsFiles::take`] knows.
pub const TLS_OPTIONS: [&str; 3] = ["ca", "cert", "key"];

/// Longest file that is read, bytes.
const LONGEST: u64 = 4 << 20;

/// The PEM files that TLS is set up from. They are read for each connection, so that a renewed certificate is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust; those of the system if there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate and those between it and its authority, and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why TLS cannot be set up. The texts name the file and hold nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("the file {} of the option {option} cannot be read: {source}", path.display())]
    Read {
        /// The option that names the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("the file {} of the option {option} holds no {wanted} in PEM", path.display())]
    Content {
        /// The option that names the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What it is to hold.
        wanted: &'static str,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("the certificate {} cannot be used with the key {}: {why}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: rustls::Error,
    },
    /// The system trusts nobody.
    #[error("this system has no certificates of authorities; install ca-certificates, or name a file with ca=PATH")]
    NoRoots,
    /// The library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

impl TlsFiles {
    /// Takes the options `ca`, `cert` and `key` out of an address.
    ///
    /// # Errors
    /// [`UriError::Value`] for a certificate without its key, a key without its certificate, and an empty path.
    pub fn take(address: &mut Address) -> Result<Self, UriError> {
        let mut file = |option| match address.take(option) {
            Some(value) if value.is_empty() => Err(UriError::Value { option, value, wanted: "the path of a PEM file" }),
            other => Ok(other),
        };
        let (ca, cert, key) = (file("ca")?, file("cert")?, file("key")?);
        let client = match (cert, key) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, None) => None,
            (Some(value), None) => {
                return Err(UriError::Value { option: "cert", value, wanted: "of use alone; add key=PATH" });
            }
            (None, Some(value)) => {
                return Err(UriError::Value { option: "key", value, wanted: "of use alone; add cert=PATH" });
            }
        };
        Ok(Self { ca: ca.map(PathBuf::from), client })
    }

    /// The certificates of the authorities that are trusted: those of `ca`, or the system's.
    ///
    /// # Errors
    /// Any [`TlsError`] about them.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        match &self.ca {
            Some(path) => certificates("ca", path),
            None => {
                // Single files of the system's that cannot be read are none of the user's concern.
                let found = rustls_native_certs::load_native_certs().certs;
                if found.is_empty() { Err(TlsError::NoRoots) } else { Ok(found) }
            }
        }
    }

    /// The client's certificate, the ones after it, and its key, if there are any.
    ///
    /// # Errors
    /// Any [`TlsError`] about them.
    #[allow(clippy::type_complexity, reason = "a chain and a key")]
    pub fn identity(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
        let Some((cert, key)) = &self.client else { return Ok(None) };
        let chain = certificates("cert", cert)?;
        let found = PrivateKeyDer::from_pem_slice(&read("key", key)?).map_err(|_| TlsError::Content {
            option: "key",
            path: key.clone(),
            wanted: "private key without a password",
        })?;
        Ok(Some((chain, found)))
    }

    /// Settings of a client: TLS 1.2 and 1.3 by the library's own cryptography, whatever the process has chosen besides.
    ///
    /// # Errors
    /// Any [`TlsError`].
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(self.authorities()?);
        if usable == 0 {
            return Err(match &self.ca {
                Some(path) => TlsError::Content { option: "ca", path: path.clone(), wanted: "usable certificate" },
                None => TlsError::NoRoots,
            });
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots);
        let config = match (self.identity()?, &self.client) {
            (Some((chain, found)), Some((cert, key))) => builder
                .with_client_auth_cert(chain, found)
                .map_err(|why| TlsError::Pair { cert: cert.clone(), key: key.clone(), why })?,
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

/// What a failure of TLS with `place` ("the broker at HOST:PORT") means. Certificates that one side does not accept are
/// [`RemoteError::Denied`], everything else is [`RemoteError::Unreachable`].
pub fn failure(error: &rustls::Error, place: &str) -> RemoteError {
    use rustls::{AlertDescription as Alert, CertificateError as Wrong, Error};
    match error {
        Error::InvalidCertificate(Wrong::UnknownIssuer) => RemoteError::Denied(format!(
            "the certificate of {place} is not from an authority that is trusted here; name the certificate of its authority with ca=PATH"
        )),
        Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            RemoteError::Denied(format!(
                "the certificate of {place} was issued for another name; write the name that it was issued for"
            ))
        }
        Error::InvalidCertificate(wrong) => {
            RemoteError::Denied(format!("the certificate of {place} is not accepted: {wrong}"))
        }
        Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::HandshakeFailure),
        ) => RemoteError::Denied(format!(
            "{place} wants a client certificate that it trusts ({alert:?}); give one with cert=PATH and key=PATH"
        )),
        other => RemoteError::Unreachable(format!("TLS with {place} failed: {other}; is its port one for TLS?")),
    }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |source| TlsError::Read { option, path: path.to_path_buf(), source };
    let meta = path.metadata().map_err(wrong)?;
    // A pipe would be waited for, and a device may have no end.
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(wrong(std::io::Error::other("it is not a file, or too long for one")));
    }
    std::fs::read(path).map_err(wrong)
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(option, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Content { option, path: path.to_path_buf(), wanted: "certificate" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(query: &str) -> Result<TlsFiles, UriError> {
        TlsFiles::take(&mut Address::parse(&format!("mqtts://broker/?{query}")).unwrap())
    }

    #[test]
    fn options_become_files() {
        assert_eq!(files("").unwrap(), TlsFiles::default());
        let all = files("ca=a.pem&cert=b.pem&key=c.pem").unwrap();
        assert_eq!(all.ca, Some("a.pem".into()));
        assert_eq!(all.client, Some(("b.pem".into(), "c.pem".into())));
        for (query, text) in [
            ("cert=b.pem", "cert: `b.pem` is not of use alone; add key=PATH"),
            ("key=c.pem", "key: `c.pem` is not of use alone; add cert=PATH"),
            ("ca=", "ca: `` is not the path of a PEM file"),
        ] {
            assert_eq!(files(query).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn certificate_and_key_are_read_and_must_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (one, two) = (
            rcgen::generate_simple_self_signed(["one".to_owned()]).unwrap(),
            rcgen::generate_simple_self_signed(["two".to_owned()]).unwrap(),
        );
        std::fs::write(path("one.pem"), one.cert.pem()).unwrap();
        std::fs::write(path("one.key"), one.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("two.key"), two.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("empty.pem"), "").unwrap();
        std::fs::write(path("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let config = |ca: &str, cert: &str, key: &str| {
            TlsFiles { ca: Some(path(ca)), client: Some((path(cert), path(key))) }.config().map_err(|e| e.to_string())
        };
        assert!(config("one.pem", "one.pem", "one.key").is_ok());
        for (ca, cert, key, texts) in [
            ("one.pem", "one.pem", "two.key", ["one.pem", "two.key", "cannot be used"]),
            ("none.pem", "one.pem", "one.key", ["none.pem", "option ca", "cannot be read"]),
            ("empty.pem", "one.pem", "one.key", ["empty.pem", "option ca", "no certificate in PEM"]),
            ("bad.pem", "one.pem", "one.key", ["bad.pem", "option ca", "no usable certificate"]),
            ("one.pem", "one.key", "one.key", ["one.key", "option cert", "no certificate in PEM"]),
            ("one.pem", "one.pem", "one.pem", ["one.pem", "option key", "no private key"]),
            (".", "one.pem", "one.key", ["option ca", "cannot be read", "it is not a file"]),
        ] {
            let error = config(ca, cert, key).unwrap_err();
            assert!(texts.iter().all(|text| error.contains(text)), "{error}");
            assert!(!error.contains("BEGIN"), "{error}");
        }
    }
}
