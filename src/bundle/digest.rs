//! SHA-256 (FIPS 180-4) of files and of bundles, as 64 lower-case hexadecimal digits.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::sign::SIGNATURE;

/// The SHA-256 of `bytes`.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The SHA-256 and length of what `reader` yields, read in pieces.
///
/// # Errors
/// Those of `reader`.
pub fn of_reader(mut reader: impl Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0u64;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hex::encode(hash.finalize()), length)),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(buffer.get(..n).unwrap_or_default());
        length += n as u64;
    }
}

/// The identity of a bundle from the names and digests of its files, in ascending byte order of the names.
///
/// It is the SHA-256 of the lines `<digest>  <name>\n`, so it can be had without Vigil:
/// `find * -type f ! -path bundle.sig | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum` in the bundle's folder.
/// The signatures are left out, because they are made of the digest.
pub fn of_files<'a>(sorted: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut hash = Sha256::new();
    for (name, digest) in sorted.filter(|(name, _)| *name != SIGNATURE) {
        hash.update(digest);
        hash.update("  ");
        hash.update(name);
        hash.update("\n");
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_examples() {
        // FIPS 180-2, appendix B.1, and the empty message.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        assert_eq!(of_reader(&b"abc"[..]).unwrap(), (abc.into(), 3));
        assert_eq!(of_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn streaming_equals_whole() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(of_reader(&bytes[..]).unwrap(), (of_bytes(&bytes), 200_000));
    }

    #[test]
    fn a_bundles_digest_is_what_coreutils_compute() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("reference")).unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let files = [
            ("a/bundle.sig", "deeper, so it counts"),
            ("bundle.sig", "not counted"),
            ("bundle.toml", "x"),
            ("model.onnx", "yy"),
            ("reference/a b.png", ""),
        ];
        let digests = files.map(|(name, content)| {
            std::fs::write(dir.path().join(name), content).unwrap();
            (name, of_bytes(content.as_bytes()))
        });
        let shell = std::process::Command::new("sh")
            .arg("-c")
            .arg("find * -type f ! -path bundle.sig | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let expected = String::from_utf8(shell.stdout).unwrap();
        let found = of_files(digests.iter().map(|(n, d)| (*n, d.as_str())));
        assert_eq!(expected.split_whitespace().next(), Some(found.as_str()));
    }
}
