//! `vigil bundle keygen` and `sign`: who may hand out bundles.

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::sign::{self, PublicKey, SecretKey};
use gstvigil::paths;

/// A new pair of keys.
#[derive(Debug, clap::Args)]
pub struct KeygenArgs {
    /// Files to write, without their ends: NAME.key is the secret one, NAME.pub the public one
    name: PathBuf,
}

/// A bundle to sign.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// Folder or .vigil archive; it gets the file bundle.sig
    path: PathBuf,
    /// The secret key: an Ed25519 key in PEM, from vigil bundle keygen or openssl genpkey -algorithm ed25519
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Keep the signatures of other keys, so that machines with either key take the bundle
    #[arg(long)]
    add: bool,
}

/// The public keys that a command uses.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// Public keys of which one must have signed the bundle, separated by commas [default: VIGIL_PUBLIC_KEYS, else *.pub in
    /// the folder keys of Vigil's home and in /etc/vigil/keys]
    #[arg(long, value_name = "FILES")]
    public_keys: Option<String>,
}

impl KeyArgs {
    /// The keys themselves.
    pub fn read(&self) -> Result<Vec<PublicKey>, Box<dyn Error>> {
        Ok(sign::configured_keys(self.public_keys.as_deref())?)
    }
}

/// Writes a new pair of keys.
pub fn keygen(args: &KeygenArgs) -> Result<ExitCode, Box<dyn Error>> {
    let with_end = |end: &str| {
        let mut path = args.name.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    let (secret, public) = (with_end(".key"), with_end(".pub"));
    let key = SecretKey::generate()?;
    // The public one first: were it to fail, no secret lies about.
    write_new(&public, &key.public().to_pem()?, 0o644)?;
    if let Err(error) = write_new(&secret, &key.to_pem()?, 0o600) {
        let _ = std::fs::remove_file(&public);
        return Err(error);
    }
    println!("{}  secret: keep it where bundles are made, and a copy in a safe place", secret.display());
    println!(
        "{}  public, fingerprint {key}: copy it to each machine that is to take your bundles only",
        public.display()
    );
    let places: Vec<_> = paths::key_dirs().iter().map(|dir| dir.display().to_string()).collect();
    println!(
        "\nA machine with a *.pub in {} takes bundles only if one of these keys has signed them.",
        places.join(" or ")
    );
    println!("Sign a bundle: vigil bundle sign --key {} BUNDLE", secret.display());
    Ok(ExitCode::SUCCESS)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Box<dyn Error>> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{} exists already, and a key is never overwritten: choose another name", path.display())
        }
        _ => format!("{}: {e}", path.display()),
    };
    let mut file = file.map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(())
}

/// Signs a bundle.
pub fn sign(args: &SignArgs) -> Result<ExitCode, Box<dyn Error>> {
    let key = SecretKey::read(&args.key)?;
    let digest = sign::sign_at(&args.path, &key, args.add)?;
    println!("{}  signed by {key}, digest {digest}", args.path.display());
    Ok(ExitCode::SUCCESS)
}
