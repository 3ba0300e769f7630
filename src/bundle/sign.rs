//! Signatures of bundles: Ed25519 (RFC 8032) over a short text that names the bundle's digest.
//!
//! The digest covers every file of the bundle but the signature itself, so that a signature goes with its bundle and with
//! no other. Keys are PEM files as OpenSSL makes them (PKCS#8, RFC 8410), and OpenSSL can check a signature: docs/bundles.md
//! has the commands.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::{Bundle, BundleError, digest};
use crate::paths;

/// The file of a bundle that holds its signatures; it is no part of the bundle's digest.
pub const SIGNATURE: &str = "bundle.sig";

/// First line of what is signed and of the file that holds the signatures.
const VERSION: &str = "vigil-bundle-signature 1";
/// Longest file of signatures or of a key, bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Digits of a fingerprint.
const FINGERPRINT: usize = 16;
/// Most signatures of one bundle.
const MOST_SIGNATURES: usize = 16;

/// A key that checks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A key that makes signatures.
pub struct SecretKey(SigningKey);

impl PublicKey {
    /// Reads a PEM text with `-----BEGIN PUBLIC KEY-----`, as `openssl pkey -pubout` prints it.
    ///
    /// # Errors
    /// What is wrong with it, to be put after the file's name.
    pub fn parse(pem: &str) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY") {
            return Err(
                "is a secret key where a public one is needed; keep it away from the machines that only check \
                        signatures"
                    .into(),
            );
        }
        let key = VerifyingKey::from_public_key_pem(pem.trim()).map_err(|e| {
            format!("is no Ed25519 public key in PEM ({e}); vigil bundle keygen or openssl pkey -pubout writes one")
        })?;
        if key.is_weak() {
            return Err("is a weak key, with which anything can be signed; make a new pair".into());
        }
        Ok(Self(key))
    }

    /// Reads a file; see [`parse`](Self::parse).
    ///
    /// # Errors
    /// [`BundleError::Io`] if it cannot be read, [`BundleError::Key`] if it is no such key.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        Self::parse(&read_pem(path)?).map_err(|why| BundleError::Key { path: path.into(), why })
    }

    /// The PEM text.
    ///
    /// # Errors
    /// If the key cannot be encoded, which no valid key does.
    pub fn to_pem(&self) -> Result<String, String> {
        self.0.to_public_key_pem(Default::default()).map_err(|e| e.to_string())
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the key in DER:
    /// `openssl pkey -pubin -in KEY -outform DER | sha256sum`.
    pub fn fingerprint(&self) -> String {
        // The encoding of a valid key cannot fail; were it to, its own bytes tell keys apart as well.
        let der = self.0.to_public_key_der().map_or_else(|_| self.0.to_bytes().to_vec(), |d| d.as_bytes().to_vec());
        digest::of_bytes(&der).chars().take(FINGERPRINT).collect()
    }

    /// Whether `signature` is this key's under the bundle of the digest.
    fn has_signed(&self, bundle_digest: &str, signature: &Signature) -> bool {
        self.0.verify_strict(signed_text(bundle_digest).as_bytes(), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl SecretKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// If the system has none.
    pub fn generate() -> io::Result<Self> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a PEM text with `-----BEGIN PRIVATE KEY-----`, as `openssl genpkey -algorithm ed25519` prints it.
    ///
    /// # Errors
    /// What is wrong with it, to be put after the file's name.
    pub fn parse(pem: &str) -> Result<Self, String> {
        if pem.contains("ENCRYPTED") {
            return Err("is encrypted; decrypt it into a file of its own with openssl pkey -in KEY -out FILE".into());
        }
        SigningKey::from_pkcs8_pem(pem.trim()).map(Self).map_err(|e| {
            format!(
                "is no Ed25519 secret key in PEM ({e}); vigil bundle keygen or openssl genpkey -algorithm ed25519 makes \
                 one"
            )
        })
    }

    /// Reads a file; see [`parse`](Self::parse).
    ///
    /// # Errors
    /// [`BundleError::Io`] if it cannot be read, [`BundleError::Key`] if it is no such key.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        Self::parse(&read_pem(path)?).map_err(|why| BundleError::Key { path: path.into(), why })
    }

    /// The PEM text, a secret.
    ///
    /// # Errors
    /// If the key cannot be encoded, which no valid key does.
    pub fn to_pem(&self) -> Result<String, String> {
        // Without the public key in it (PKCS#8 version 1): OpenSSL does not read version 2.
        let pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        pair.to_pkcs8_pem(Default::default()).map(|text| text.to_string()).map_err(|e| e.to_string())
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SecretKey(of {self})")
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.public().fmt(f)
    }
}

fn read_pem(path: &Path) -> Result<String, BundleError> {
    let found = fs::metadata(path).map_err(BundleError::io(path))?;
    // A pipe would be waited for, and a device may have no end.
    if !found.is_file() {
        return Err(BundleError::Key { path: path.into(), why: "is not a file".into() });
    }
    let size = found.len();
    if size > MAX_BYTES as u64 {
        return Err(BundleError::Key { path: path.into(), why: format!("is no key: {size} bytes are too many") });
    }
    let bytes = fs::read(path).map_err(BundleError::io(path))?;
    String::from_utf8(bytes).map_err(|_| BundleError::Key { path: path.into(), why: "is no PEM text".into() })
}

/// What is signed for the bundle of the digest.
fn signed_text(bundle_digest: &str) -> String {
    format!("{VERSION}\n{bundle_digest}\n")
}

/// The content of [`SIGNATURE`] for the bundle of that digest, signed by one key.
pub fn sign(bundle_digest: &str, key: &SecretKey) -> String {
    let signature = key.0.sign(signed_text(bundle_digest).as_bytes());
    format!("{VERSION}\n{} {}\n", key.public().fingerprint(), STANDARD.encode(signature.to_bytes()))
}

/// The content of [`SIGNATURE`] with those signatures of `earlier` that other keys made for the same bundle kept, so that
/// machines with the old key and machines with the new one both take it.
///
/// # Errors
/// What is wrong with `earlier`.
pub fn sign_beside(earlier: &[u8], bundle_digest: &str, key: &SecretKey) -> Result<String, String> {
    let own = key.public().fingerprint();
    let mut text = sign(bundle_digest, key);
    for (fingerprint, signature) in parse(earlier)?.iter().filter(|(fingerprint, _)| *fingerprint != own) {
        text += &format!("{fingerprint} {}\n", STANDARD.encode(signature.to_bytes()));
    }
    Ok(text)
}

/// The signatures of a [`SIGNATURE`] file, with the fingerprints that they claim.
fn parse(bytes: &[u8]) -> Result<Vec<(String, Signature)>, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("{SIGNATURE} is too long: {} bytes", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{SIGNATURE} is no text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(VERSION) {
        return Err(format!("{SIGNATURE} does not begin with \"{VERSION}\"; it is damaged, or made by a newer Vigil"));
    }
    let one = |(number, line): (usize, &str)| -> Option<(String, Signature)> {
        let (fingerprint, code) = line.split_once(' ')?;
        let signature = Signature::from_slice(&STANDARD.decode(code).ok()?).ok()?;
        let plain = fingerprint.len() == FINGERPRINT && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        (plain && number < MOST_SIGNATURES).then(|| (fingerprint.to_owned(), signature))
    };
    let list: Option<Vec<_>> = lines.enumerate().map(one).collect();
    list.filter(|list| !list.is_empty()).ok_or_else(|| format!("{SIGNATURE} is damaged: it holds no signature"))
}

/// Signs the folder or archive at `path`: its [`SIGNATURE`] appears whole or stays as it was. With `beside` the signatures of
/// other keys are kept. Gives the bundle's digest.
///
/// # Errors
/// [`BundleError`] if the bundle is not valid, its signatures are damaged (with `beside`), or it cannot be written.
pub fn sign_at(path: &Path, key: &SecretKey, beside: bool) -> Result<String, BundleError> {
    let bundle = Bundle::open(path)?;
    let text = match beside && is_signed(&bundle) {
        true => sign_beside(&bundle.read(SIGNATURE)?, &bundle.digest, key)
            .map_err(|why| BundleError::Signature { origin: path.into(), why })?,
        false => sign(&bundle.digest, key),
    };
    if path.is_dir() {
        let (partial, file) = (path.join(".bundle.sig.partial"), path.join(SIGNATURE));
        fs::write(&partial, text).map_err(BundleError::io(&partial))?;
        fs::rename(&partial, &file).map_err(BundleError::io(&file))?;
    } else {
        let mut files = BTreeMap::new();
        for name in bundle.files() {
            files.insert(name.to_owned(), bundle.read(name)?.into_owned());
        }
        files.insert(SIGNATURE.into(), text.into_bytes());
        super::pack::write_file(&Bundle::from_files(path, files)?, path)?;
    }
    Ok(bundle.digest)
}

/// Checks that one of `keys` has signed the bundle, and gives that key's fingerprint. Without keys nothing is checked and
/// nobody named.
///
/// # Errors
/// [`BundleError::Signature`] if there are keys and the bundle has no signature, a damaged one, or none by any of them.
pub fn verify(bundle: &Bundle, keys: &[PublicKey]) -> Result<Option<String>, BundleError> {
    let signature = if is_signed(bundle) { Some(bundle.read(SIGNATURE)?) } else { None };
    verify_text(&bundle.digest, signature.as_deref(), keys)
        .map_err(|why| BundleError::Signature { origin: bundle.origin.clone(), why })
}

/// As [`verify`], from the bundle's digest and the content of its [`SIGNATURE`].
pub(super) fn verify_text(
    bundle_digest: &str,
    signature: Option<&[u8]>,
    keys: &[PublicKey],
) -> Result<Option<String>, String> {
    if keys.is_empty() {
        return Ok(None);
    }
    let wanted = keys.iter().map(PublicKey::fingerprint).collect::<Vec<_>>().join(", ");
    let Some(signature) = signature else {
        return Err(format!(
            "it is not signed, and only bundles signed by {wanted} are taken here; sign it with vigil bundle sign"
        ));
    };
    let signatures = parse(signature)?;
    let by = |key: &&PublicKey| signatures.iter().any(|(_, signature)| key.has_signed(bundle_digest, signature));
    if let Some(key) = keys.iter().find(by) {
        return Ok(Some(key.fingerprint()));
    }
    let ours = signatures.iter().any(|(claimed, _)| keys.iter().any(|key| key.fingerprint() == *claimed));
    let claimed = signatures.iter().map(|(claimed, _)| claimed.as_str()).collect::<Vec<_>>().join(", ");
    Err(if ours {
        "its signature is not one of its content: the bundle was changed after it was signed, or the signature belongs to \
         another bundle; get it anew, or sign it again with vigil bundle sign"
            .into()
    } else {
        format!("it is signed by {claimed}, and only bundles signed by {wanted} are taken here")
    })
}

/// Whether the bundle has a signature, by whomever.
pub fn is_signed(bundle: &Bundle) -> bool {
    bundle.files().any(|file| file == SIGNATURE)
}

/// The fingerprints of the keys that the bundle's signatures claim to be of; nothing is checked.
///
/// # Errors
/// [`BundleError::Signature`] if they are damaged.
pub fn claimed(bundle: &Bundle) -> Result<Vec<String>, BundleError> {
    if !is_signed(bundle) {
        return Ok(Vec::new());
    }
    let signatures =
        parse(&bundle.read(SIGNATURE)?).map_err(|why| BundleError::Signature { origin: bundle.origin.clone(), why })?;
    Ok(signatures.into_iter().map(|(fingerprint, _)| fingerprint).collect())
}

/// The keys of which one must have signed a bundle; none: unsigned bundles are taken too.
///
/// `explicit` names the files, separated by commas; without it those of `VIGIL_PUBLIC_KEYS` count, separated by colons, else
/// all `*.pub` in [`paths::key_dirs`].
///
/// # Errors
/// [`BundleError`] for the first file that cannot be read or is no key: a key that is meant to guard must not be passed
/// over.
pub fn configured_keys(explicit: Option<&str>) -> Result<Vec<PublicKey>, BundleError> {
    let listed = match explicit.filter(|list| !list.trim().is_empty()) {
        Some(list) => {
            list.split(',').map(str::trim).filter(|file| !file.is_empty()).map(PathBuf::from).collect::<Vec<_>>()
        }
        None => paths::public_keys(),
    };
    if !listed.is_empty() {
        return listed.iter().map(|path| PublicKey::read(path)).collect();
    }
    keys_in(&paths::key_dirs())
}

/// The keys `*.pub` of some folders, of which none need exist.
fn keys_in(dirs: &[PathBuf]) -> Result<Vec<PublicKey>, BundleError> {
    let mut keys = Vec::new();
    for dir in dirs {
        let items = match fs::read_dir(dir) {
            Ok(items) => items,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(e) => return Err(BundleError::io(dir)(e)),
        };
        let mut paths =
            items.map(|item| item.map(|i| i.path())).collect::<io::Result<Vec<_>>>().map_err(BundleError::io(dir))?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "pub"));
        paths.sort();
        for path in paths {
            keys.push(PublicKey::read(&path)?);
        }
    }
    Ok(keys)
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
