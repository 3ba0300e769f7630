//! Authorities and certificates of a test's own, as PEM files.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority; its certificate is `NAME.pem`.
pub fn authority(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

/// A certificate for these hosts, `NAME.pem`, and its key, `NAME.key`.
pub fn signed(folder: &Path, name: &str, by: &Issuer<'static, KeyPair>, hosts: &[&str]) {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let params = CertificateParams::new(hosts).unwrap();
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, by).unwrap().pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}
