use std::process::Command;

use super::super::tests::{edited, small_bundle, write_folder};
use super::*;

/// The small bundle, signed by `key`.
fn signed(key: &SecretKey) -> Bundle {
    let unsigned = Bundle::from_files(Path::new("people"), small_bundle()).unwrap();
    let mut files = small_bundle();
    files.insert(SIGNATURE.into(), sign(&unsigned.digest, key).into_bytes());
    let bundle = Bundle::from_files(Path::new("people"), files).unwrap();
    assert_eq!(bundle.digest, unsigned.digest, "the signature is no part of the digest");
    bundle
}

fn refusal(bundle: &Bundle, keys: &[PublicKey]) -> String {
    verify(bundle, keys).unwrap_err().to_string()
}

fn with_signature(text: &[u8]) -> Bundle {
    let mut files = small_bundle();
    files.insert(SIGNATURE.into(), text.to_vec());
    Bundle::from_files(Path::new("people"), files).unwrap()
}

#[test]
fn a_signature_is_checked_by_the_right_key_only() {
    let (ours, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let bundle = signed(&ours);
    let keys = [other.public(), ours.public()];
    assert_eq!(verify(&bundle, &keys).unwrap(), Some(ours.public().fingerprint()), "one of the keys is enough");
    assert_eq!(verify(&bundle, &[]).unwrap(), None);
    let text = refusal(&bundle, &keys[..1]);
    assert_eq!(
        text,
        format!(
            "people: the signature is refused: it is signed by {ours}, and only bundles signed by {other} are taken here"
        )
    );
}

#[test]
fn an_unsigned_bundle_is_refused_where_keys_are_configured() {
    let key = SecretKey::generate().unwrap().public();
    let bundle = Bundle::from_files(Path::new("people"), small_bundle()).unwrap();
    assert!(refusal(&bundle, &[key]).contains("it is not signed, and only bundles signed by"));
    assert_eq!(verify(&bundle, &[]).unwrap(), None);
}

#[test]
fn a_signature_from_another_bundle_is_refused() {
    let key = SecretKey::generate().unwrap();
    let signature = signed(&key).read(SIGNATURE).unwrap().into_owned();
    let mut files = edited("release = \"2026.11.1\"", "release = \"2026.11.2\"");
    files.insert(SIGNATURE.into(), signature);
    let moved = Bundle::from_files(Path::new("people"), files).unwrap();
    let text = refusal(&moved, &[key.public()]);
    assert!(text.contains("the signature belongs to another bundle"), "{text}");
}

#[test]
fn any_changed_bit_of_the_signature_file_is_noticed() {
    let key = SecretKey::generate().unwrap();
    let good = signed(&key).read(SIGNATURE).unwrap().into_owned();
    let fingerprint = good.iter().position(|b| *b == b'\n').unwrap() + 1..good.len() - 90;
    for at in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[at / 8] ^= 1 << (at % 8);
        // The fingerprint is a hint for messages; the last newline, and the bits that pad base64, carry nothing.
        let carries_nothing = fingerprint.contains(&(at / 8)) || at / 8 == good.len() - 1;
        if !carries_nothing {
            assert!(verify(&with_signature(&bad), &[key.public()]).is_err(), "bit {at}");
        }
    }
    for text in
        ["", "vigil-bundle-signature 1\n", "vigil-bundle-signature 2\n", "\0", "vigil-bundle-signature 1\nx y\n"]
    {
        assert!(verify(&with_signature(text.as_bytes()), &[key.public()]).is_err(), "{text:?}");
    }
}

#[test]
fn two_keys_may_sign_one_bundle() {
    let (old, new) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let bundle = signed(&old);
    let both = sign_beside(&bundle.read(SIGNATURE).unwrap(), &bundle.digest, &new).unwrap();
    let both = with_signature(both.as_bytes());
    for key in [&old, &new] {
        assert_eq!(verify(&both, &[key.public()]).unwrap(), Some(key.public().fingerprint()));
    }
    let again = sign_beside(&both.read(SIGNATURE).unwrap(), &bundle.digest, &new).unwrap();
    assert_eq!(again.lines().count(), 3, "one line per key");
    assert_eq!(claimed(&both).unwrap(), [new.to_string(), old.to_string()]);
    assert!(claimed(&with_signature(b"damaged")).is_err());
}

#[test]
fn nothing_that_counts_can_lie_in_the_signature_file() {
    let mut files = edited("labels = \"labels.txt\"", "labels = \"bundle.sig\"");
    files.insert(SIGNATURE.into(), b"person\n".to_vec());
    let text = Bundle::from_files(Path::new("people"), files).unwrap_err().to_string();
    assert!(text.contains("bundle.toml names \"bundle.sig\""), "{text}");
}

#[test]
fn a_signature_survives_packing() {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    let folder = dir.path().join("people");
    write_folder(&folder, &small_bundle());
    let digest = Bundle::open(&folder).unwrap().digest;
    fs::write(folder.join(SIGNATURE), sign(&digest, &key)).unwrap();
    let archive = dir.path().join("people.vigil");
    super::super::pack::write_file(&Bundle::open(&folder).unwrap(), &archive).unwrap();
    let unpacked = Bundle::open(&archive).unwrap();
    assert_eq!(verify(&unpacked, &[key.public()]).unwrap(), Some(key.to_string()));
}

#[test]
fn what_is_no_key_is_refused_with_advice() {
    let key = SecretKey::generate().unwrap();
    let (secret, public) = (key.to_pem().unwrap(), key.public().to_pem().unwrap());
    assert!(PublicKey::parse(&secret).unwrap_err().contains("is a secret key where a public one is needed"));
    assert!(SecretKey::parse(&public).unwrap_err().contains("is no Ed25519 secret key"));
    assert!(PublicKey::parse("").unwrap_err().contains("vigil bundle keygen"));
    assert!(SecretKey::parse("-----BEGIN ENCRYPTED PRIVATE KEY-----").unwrap_err().contains("is encrypted"));
    // The neutral point, with which a signature of anything can be made up.
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC \
                KEY-----\n";
    assert!(PublicKey::parse(weak).unwrap_err().contains("weak"), "{weak}");
    assert!(!format!("{key:?}").contains(&secret.lines().nth(1).unwrap()[..20]), "a secret is not printed");
}

#[test]
fn every_key_of_a_folder_counts_and_a_bad_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = [dir.path().join("absent"), dir.path().to_path_buf()];
    assert_eq!(keys_in(&dirs).unwrap(), []);
    let keys = [SecretKey::generate().unwrap().public(), SecretKey::generate().unwrap().public()];
    for (name, key) in ["b.pub", "a.pub"].iter().zip(&keys) {
        fs::write(dir.path().join(name), key.to_pem().unwrap()).unwrap();
    }
    fs::write(dir.path().join("notes.txt"), "no key").unwrap();
    assert_eq!(keys_in(&dirs).unwrap(), [keys[1].clone(), keys[0].clone()]);
    let listed = format!("{0}/a.pub, {0}/b.pub", dir.path().display());
    assert_eq!(configured_keys(Some(&listed)).unwrap().len(), 2);
    fs::write(dir.path().join("c.pub"), "broken").unwrap();
    let text = keys_in(&dirs).unwrap_err().to_string();
    assert!(text.contains("c.pub is no Ed25519 public key in PEM"), "{text}");
    assert!(configured_keys(Some("/no/such.pub")).is_err());
}

/// Runs openssl; `None` (said on standard error) where there is none.
fn openssl(dir: &Path, args: &[&str]) -> Option<std::process::Output> {
    match Command::new("openssl").args(args).current_dir(dir).output() {
        Ok(output) => Some(output),
        Err(e) => {
            eprintln!("skipped: openssl cannot be run: {e}");
            None
        }
    }
}

#[test]
fn openssl_reads_our_keys_and_checks_our_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    fs::write(dir.path().join("site.key"), key.to_pem().unwrap()).unwrap();
    fs::write(dir.path().join("site.pub"), key.public().to_pem().unwrap()).unwrap();
    let Some(public) = openssl(dir.path(), &["pkey", "-in", "site.key", "-pubout"]) else { return };
    assert_eq!(String::from_utf8(public.stdout).unwrap(), key.public().to_pem().unwrap());
    let der = openssl(dir.path(), &["pkey", "-pubin", "-in", "site.pub", "-outform", "DER"]).unwrap().stdout;
    assert!(digest::of_bytes(&der).starts_with(&key.to_string()));

    // As docs/bundles.md says it.
    let bundle = signed(&key);
    fs::write(dir.path().join("bundle.sig"), bundle.read(SIGNATURE).unwrap()).unwrap();
    let script = format!(
        "printf 'vigil-bundle-signature 1\\n%s\\n' {} > signed.txt\n\
         sed -n 2p bundle.sig | cut -d' ' -f2 | base64 -d > signed.sig\n\
         openssl pkeyutl -verify -pubin -inkey site.pub -rawin -in signed.txt -sigfile signed.sig",
        bundle.digest
    );
    let run = || Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    let checked = run();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let other = SecretKey::generate().unwrap().public().to_pem().unwrap();
    fs::write(dir.path().join("site.pub"), other).unwrap();
    assert!(!run().status.success());
}

#[test]
fn keys_and_signatures_of_openssl_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let Some(made) = openssl(dir.path(), &["genpkey", "-algorithm", "ed25519", "-out", "site.key"]) else { return };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    openssl(dir.path(), &["pkey", "-in", "site.key", "-pubout", "-out", "site.pub"]).unwrap();
    let (secret, public) = (dir.path().join("site.key"), dir.path().join("site.pub"));
    let (secret, public) = (SecretKey::read(&secret).unwrap(), PublicKey::read(&public).unwrap());
    assert_eq!(secret.public(), public);

    let bundle = Bundle::from_files(Path::new("people"), small_bundle()).unwrap();
    fs::write(dir.path().join("signed.txt"), signed_text(&bundle.digest)).unwrap();
    let args = ["pkeyutl", "-sign", "-inkey", "site.key", "-rawin", "-in", "signed.txt", "-out", "signed.sig"];
    assert!(openssl(dir.path(), &args).unwrap().status.success());
    let signature = STANDARD.encode(fs::read(dir.path().join("signed.sig")).unwrap());
    let by_hand = with_signature(format!("{VERSION}\n{} {signature}\n", public.fingerprint()).as_bytes());
    assert_eq!(verify(&by_hand, std::slice::from_ref(&public)).unwrap(), Some(public.to_string()));
    // Ed25519 has one signature per key and text.
    assert_eq!(sign(&bundle.digest, &secret).into_bytes(), *by_hand.read(SIGNATURE).unwrap());
}
