//! `vigil bundle install`, `list`, `use`, `rollback` and `gc`: the store of installed bundles.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::sign;
use gstvigil::cancel::Cancel;
use gstvigil::export::units::parse_size;
use gstvigil::model::Model;
use gstvigil::store::{Entry, InstallOptions, Installed, Release, Removed, Selection, Store};
use gstvigil::swap::prove::prove;
use serde_json::{Value, json};

use super::keys::KeyArgs;
use super::prove::request;

type Failure = Box<dyn Error>;

/// Bundles to install.
#[derive(Debug, clap::Args)]
pub struct InstallArgs {
    /// Folders or .vigil archives
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Most that the store may hold, such as 4GiB: unused releases are removed for it, oldest first [default: max-size
    /// in the store's store.toml, else no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to list.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only this bundle
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A release to use.
#[derive(Debug, clap::Args)]
pub struct UseArgs {
    /// NAME@RELEASE, as vigil bundle list shows them
    #[arg(value_name = "NAME@RELEASE")]
    release: String,
    /// Make it current at once, instead of letting those who play the bundle try it first
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    keys: KeyArgs,
    /// Execution provider to prove it on, or auto
    #[arg(long, default_value = "auto")]
    provider: String,
}

/// A bundle to go back with.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// Name of the bundle
    name: String,
}

/// What to clear away.
#[derive(Debug, clap::Args)]
pub struct GcArgs {
    /// Remove only until the store holds at most this much, such as 4GiB [default: max-size in the store's store.toml,
    /// else every unused release goes]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn store() -> Result<Store, Failure> {
    Store::default_place().ok_or_else(|| {
        "there is no place for a store: set VIGIL_STORE to a folder, or VIGIL_HOME or HOME".to_owned().into()
    })
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("vigil: warning: {warning}");
    }
}

/// Installs bundles.
pub fn install(args: &InstallArgs) -> Result<ExitCode, Failure> {
    let store = store()?;
    let options = InstallOptions { keys: args.keys.read()?, max_bytes: args.max_size };
    let mut done = Vec::new();
    for path in &args.bundles {
        let installed = store.install(path, &options)?;
        if args.json {
            done.push(json!({
                "name": installed.name,
                "release": installed.release,
                "digest": installed.digest,
                "path": installed.path,
                "signed-by": installed.signed_by,
                "was-there": installed.was_there,
                "current": installed.current,
                "removed": installed.removed,
            }));
        } else {
            let selection = store.selection(&installed.name)?;
            print!("{}", installed_text(&installed, &selection));
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&done)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn installed_text(installed: &Installed, selection: &Selection) -> String {
    let Installed { name, release, .. } = installed;
    let how = if installed.was_there { "was installed already" } else { "installed" };
    let signed = installed.signed_by.as_ref().map(|key| format!(", signed by {key}")).unwrap_or_default();
    let mut text = format!("{name} {release} {how}{signed}\n");
    for removed in &installed.removed {
        text += &format!("removed {removed} to make room\n");
    }
    text += &match (&selection.current, &selection.candidate) {
        (Some(current), _) if current == release => format!("it is current: model={name} runs it\n"),
        (_, Some(candidate)) if candidate == release => format!("it is the candidate: {}\n", tried(name)),
        (current, _) => format!(
            "current is still {}; prove the new one here, and let those who play {name} try it: vigil bundle use \
             {name}@{release}\n",
            current.as_deref().unwrap_or("none"),
        ),
    };
    text
}

fn tried(name: &str) -> String {
    format!("those who play model={name} try it now, and make it current if it proves itself")
}

/// Lists what is installed.
pub fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let store = store()?;
    let mut entries = store.list()?;
    if let Some(name) = &args.name {
        // Gives the error that says what there is.
        store.selection(name)?;
        entries.retain(|entry| entry.name == *name);
    }
    let max_bytes = store.settings()?.max_bytes;
    if args.json {
        let bundles: Vec<Value> = entries.iter().map(|entry| entry_json(&store, entry)).collect();
        let all = json!({
            "store": store.root(),
            "bytes": store.size()?,
            "max-bytes": max_bytes,
            "bundles": bundles,
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    if entries.is_empty() {
        println!("the store {} is empty; vigil bundle install BUNDLE puts one there", store.root().display());
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &entries {
        warn(&entry.warnings);
        print!("{}", entry_text(&store, entry));
    }
    let limit = max_bytes.map(|most| format!(" of at most {}", bytes(most))).unwrap_or_default();
    println!("{}{limit} in {}", bytes(store.size()?), store.root().display());
    Ok(ExitCode::SUCCESS)
}

/// What a release is to its bundle.
fn role(selection: &Selection, release: &str) -> &'static str {
    let is = |place: &Option<String>| place.as_deref() == Some(release);
    if is(&selection.current) {
        "current"
    } else if is(&selection.candidate) {
        "candidate"
    } else if is(&selection.previous) {
        "previous"
    } else if selection.is_rejected(release) {
        "rejected"
    } else {
        "unused"
    }
}

fn signer(release: &Release) -> String {
    match &release.signed_by {
        Some(key) => format!("signed by {key}"),
        None if release.signed => "signed, not checked".into(),
        None => "not signed".into(),
    }
}

fn entry_text(store: &Store, entry: &Entry) -> String {
    let mut text = format!("{}\n", entry.name);
    let width = entry.releases.iter().map(|r| r.release.len()).max().unwrap_or(0);
    // The newest one is what one looks for.
    for release in entry.releases.iter().rev() {
        let role = role(&entry.selection, &release.release);
        let size = bytes(release.bytes);
        let signer = signer(release);
        let held = if store.in_use(&entry.name, &release.release) { "  in use" } else { "" };
        let Release { release, installed, .. } = release;
        text += &format!("  {release:<width$}  {role:<9}  {size:>9}  {installed}  {signer}{held}\n");
        if let Some(rejected) = entry.selection.rejected.iter().find(|r| r.release == *release) {
            text += &format!("  {:<width$}  {:<9}  {}: {}\n", "", "", rejected.utc, rejected.reason);
        }
    }
    text
}

fn entry_json(store: &Store, entry: &Entry) -> Value {
    let selection = &entry.selection;
    let releases: Vec<Value> = entry
        .releases
        .iter()
        .map(|release| {
            json!({
                "release": release.release,
                "role": role(selection, &release.release),
                "digest": release.digest,
                "bytes": release.bytes,
                "installed": release.installed,
                "signed": release.signed,
                "signed-by": release.signed_by,
                "in-use": store.in_use(&entry.name, &release.release),
            })
        })
        .collect();
    let rejected: Vec<Value> =
        selection.rejected.iter().map(|r| json!({ "release": r.release, "reason": r.reason, "utc": r.utc })).collect();
    json!({
        "name": entry.name,
        "current": selection.current,
        "previous": selection.previous,
        "candidate": selection.candidate,
        "rejected": rejected,
        "releases": releases,
        "warnings": entry.warnings,
    })
}

/// A size for people.
fn bytes(size: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| size >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", size as f64 / unit as f64),
        None => format!("{size} B"),
    }
}

/// Verifies, loads and proves a release, and then proposes it or makes it current.
pub fn use_release(args: &UseArgs, library: Option<&Path>) -> Result<ExitCode, Failure> {
    let store = store()?;
    let Some((name, release)) = args.release.split_once('@') else {
        return Err(
            format!("{0} names no release: write {0}@RELEASE; vigil bundle list {0} shows them", args.release).into()
        );
    };
    let before = store.selection(name)?;
    let Some(found) = store.resolve(name, Some(release))? else {
        return Err(format!("{} is not in the store", args.release).into());
    };
    warn(&found.bundle.warnings);
    let stays = before.current.as_deref().unwrap_or("none");
    let outcome = sign::verify(&found.bundle, &args.keys.read()?)
        .map_err(Failure::from)
        .and_then(|signed_by| Ok((signed_by, load_and_prove(&found.path, args, library)?)));
    let (signed_by, proof) =
        outcome.map_err(|why| format!("{name} {release} is not used, {stays} stays current: {why}"))?;
    let signed = signed_by.map(|key| format!("signed by {key}, ")).unwrap_or_default();
    println!("{name} {release} is whole, {signed}{proof}");
    let text = if args.now {
        match store.confirm(name, release)?.previous {
            Some(previous) => {
                format!("it is current now, {previous} is previous: vigil bundle rollback {name} goes back")
            }
            None => "it is current now".into(),
        }
    } else if store.propose(name, release)?.candidate.is_some() {
        format!("it is the candidate: {}; until then {stays} stays current. Where nobody plays it: --now", tried(name))
    } else {
        "it is current already".into()
    };
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// Loads the model in a process of its own and lets it look at its reference set; says in a few words what was proven.
fn load_and_prove(path: &Path, args: &UseArgs, library: Option<&Path>) -> Result<String, Failure> {
    let model = Model::load(&request(path, &args.provider, library))?;
    let proof = prove(&model, &Cancel::default())?;
    let proof = proof.map_or_else(|| "it has no reference set to be proven with".into(), |proof| proof.to_string());
    Ok(format!("loads, and runs in {:.1?} on {}; {proof}", model.run_time(), model.provider()))
}

/// Goes back to the previous release.
pub fn rollback(args: &RollbackArgs) -> Result<ExitCode, Failure> {
    let store = store()?;
    let name = &args.name;
    let before = store.selection(name)?;
    let after = store.rollback(name)?;
    let now = after.current.as_deref().unwrap_or("none");
    let then = before.current.as_deref().unwrap_or("none");
    println!("{name} {now} is current again; those who play model={name} change to it");
    println!("{then} counts as rejected: vigil bundle use {name}@{then} tries it again");
    Ok(ExitCode::SUCCESS)
}

/// Removes what is not used.
pub fn gc(args: &GcArgs) -> Result<ExitCode, Failure> {
    let store = store()?;
    let limit = match args.max_size {
        Some(limit) => Some(limit),
        None => store.settings()?.max_bytes,
    };
    let removed = store.gc(limit)?;
    let freed = removed.iter().map(|r| r.bytes).sum();
    let left = store.size()?;
    if args.json {
        let all = json!({ "removed": removed, "freed-bytes": freed, "bytes": left });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    for Removed { name, release, bytes: size } in &removed {
        println!("removed {name}@{release}, {}", bytes(*size));
    }
    println!("{} freed, {} left in {}", bytes(freed), bytes(left), store.root().display());
    if let Some(limit) = limit.filter(|limit| left > *limit) {
        println!("that is more than {}: the rest is current, previous, candidate or in use", bytes(limit));
    }
    Ok(ExitCode::SUCCESS)
}
