//! `vigil spool`: what waits on disk for a broker or a server, and what to do with it.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use gstvigil::export::kind::Kind;
use gstvigil::export::spool::{Filter, Found, SpoolInfo, is_part, list, purge, records};
use gstvigil::export::units::parse_duration;
use gstvigil::paths;

/// What is to be done.
#[derive(Debug, clap::Subcommand)]
pub enum SpoolCommand {
    /// Show the spools of a folder, and what waits in them
    Show(ShowArgs),
    /// Write the records of a spool as JSON lines; they stay where they are
    Export(ExportArgs),
    /// Remove records from a spool that no gateway has open
    Purge(PurgeArgs),
}

/// Where the spools are.
#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder of the spools [default: VIGIL_SPOOL, else the service's or the user's state folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Folder {
    fn path(&self) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.folder.clone().or_else(paths::spool_dir);
        path.ok_or_else(|| "there is no folder of spools: name one with --folder, or in VIGIL_SPOOL".into())
    }

    /// Where else spools may be, for who has found none: unless a folder was named, the service's are in another one.
    fn elsewhere(&self) -> &'static str {
        if self.folder.is_some() {
            return "";
        }
        "; those of the service are in its own folder: sudo -u vigil vigil spool show --folder /var/lib/vigil/spool"
    }
}

/// Spools to show.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    folder: Folder,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which records.
#[derive(Debug, clap::Args)]
struct Which {
    /// The spool's name, as `vigil spool show` tells it, or its file
    spool: String,
    #[command(flatten)]
    folder: Folder,
    /// Only those of this camera
    #[arg(long)]
    camera: Option<String>,
    /// Only those of this kind
    #[arg(long, value_parser = kind, value_name = "alarm|event|frame|telemetry")]
    kind: Option<Kind>,
    /// Only those that came within this time before now, such as 2h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    within: Option<Duration>,
}

/// Records to write.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// Write them into this file instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Records to remove.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    which: Which,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| "not one of alarm, event, frame, telemetry".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl Which {
    /// The spool's file.
    fn path(&self) -> Result<PathBuf, Box<dyn Error>> {
        if self.spool.contains('/') || Path::new(&self.spool).extension().is_some_and(|ending| ending == "spool") {
            return Ok(PathBuf::from(&self.spool));
        }
        let folder = self.folder.path()?;
        let path = folder.join(format!("{}.spool", self.spool));
        if path.exists() {
            return Ok(path);
        }
        let spools = if folder.exists() { list(&folder)? } else { Vec::new() };
        let names: Vec<String> = spools.into_iter().map(|info| info.name).collect();
        let there = if names.is_empty() { format!("none{}", self.folder.elsewhere()) } else { names.join(", ") };
        Err(format!("{} has no spool \"{}\"; there are: {there}", folder.display(), self.spool).into())
    }

    fn filter(&self) -> Filter {
        let now = gstvigil::telemetry::utc_now_ns() / 1_000_000;
        let since = |time: Duration| now.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Filter { camera: self.camera.clone(), kind: self.kind, since_utc_ms: self.within.map(since) }
    }
}

/// Does what the command says.
///
/// # Errors
/// If a folder or a spool cannot be read or changed.
pub fn run(command: &SpoolCommand) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        SpoolCommand::Show(arguments) => show(arguments),
        SpoolCommand::Export(arguments) => export(arguments),
        SpoolCommand::Purge(arguments) => remove(arguments),
    }
}

fn show(arguments: &ShowArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = arguments.folder.path()?;
    // No gateway has ever needed it.
    let spools = if folder.exists() { list(&folder)? } else { Vec::new() };
    let text = if arguments.json {
        format!("{:#}\n", serde_json::Value::from(spools.iter().map(as_json).collect::<Vec<_>>()))
    } else if spools.is_empty() {
        format!("{}: no spools{}\n", folder.display(), arguments.folder.elsewhere())
    } else {
        spools.iter().map(as_text).collect()
    };
    read_on(io::stdout().write_all(text.as_bytes())).map_err(|error| format!("standard output: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever reads standard output may have seen enough, as `head` has: that is no error. Whether it is read on.
fn read_on(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

fn as_json(spool: &SpoolInfo) -> serde_json::Value {
    let waiting: serde_json::Map<String, serde_json::Value> =
        Kind::ALL.iter().zip(spool.records).map(|(kind, count)| (kind.as_str().to_owned(), count.into())).collect();
    serde_json::json!({
        "name": spool.name,
        "file": spool.path,
        "bytes": spool.bytes,
        "waiting": waiting,
        "oldest_utc_ms": spool.oldest_utc_ms,
        "in_use": spool.in_use,
        "set_aside": spool.set_aside,
        "problem": spool.problem,
    })
}

fn as_text(spool: &SpoolInfo) -> String {
    let state = if spool.in_use { "in use" } else { "not in use" };
    let mut text = format!("{} ({state})\n", spool.name);
    match &spool.problem {
        Some(problem) => text += &format!("  cannot be read: {problem}\n"),
        None => {
            let waiting = Kind::ALL.iter().zip(spool.records).filter(|(_, count)| *count > 0);
            let kinds: Vec<String> =
                waiting.map(|(kind, count)| format!("{count} of kind {}", kind.as_str())).collect();
            let kinds = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
            text += &format!("  waiting   {kinds}\n");
        }
    }
    text += &format!("  on disk   {:.1} MiB, {}\n", spool.bytes as f64 / f64::from(1 << 20), spool.path.display());
    if let Some(oldest) = spool.oldest_utc_ms {
        let age = (gstvigil::telemetry::utc_now_ns() / 1_000_000).saturating_sub(oldest) / 1000;
        text += &format!("  oldest    {age} s ago\n");
    }
    for aside in &spool.set_aside {
        text += &format!("  set aside {}: it was damaged; what could be read of it was taken over\n", aside.display());
    }
    text
}

fn export(arguments: &ExportArgs) -> Result<ExitCode, Box<dyn Error>> {
    let path = arguments.which.path()?;
    if let Some(output) = arguments.output.as_ref().filter(|output| is_part(&path, output)) {
        return Err(format!("{} belongs to the spool itself; name another file", output.display()).into());
    }
    let found = records(&path, arguments.which.filter())?;
    let shown = arguments.output.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
    let mut out: Box<dyn Write> = match &arguments.output {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(|error| format!("{shown}: {error}"))?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let (mut written, mut damaged) = (0_u64, 0);
    for entry in found {
        match entry? {
            Found::Record(stored) => {
                let line = out.write_all(&stored.record.body).and_then(|()| out.write_all(b"\n"));
                if !read_on(line).map_err(|error| format!("{shown}: {error}"))? {
                    return Ok(ExitCode::SUCCESS);
                }
                written += 1;
            }
            Found::Damaged(records) => damaged += records,
        }
    }
    read_on(out.flush()).map_err(|error| format!("{shown}: {error}"))?;
    eprintln!("{written} records written to {shown}");
    if damaged > 0 {
        eprintln!("{damaged} records are damaged and cannot be read");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(arguments: &PurgeArgs) -> Result<ExitCode, Box<dyn Error>> {
    let path = arguments.which.path()?;
    if !arguments.yes {
        if !std::io::stdin().is_terminal() {
            return Err(format!("{}: records are removed for good; say --yes", path.display()).into());
        }
        eprint!("Remove records from {} for good? [y/N] ", path.display());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Ok(ExitCode::FAILURE);
        }
    }
    let removed = purge(&path, &arguments.which.filter())?;
    println!("{removed} records removed");
    Ok(ExitCode::SUCCESS)
}
