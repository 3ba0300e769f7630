//! `vigil run`: a gateway's process.
//!
//! ```text
//! signals, files ──▶ Wish ──▶ Keeper ──▶ Site ──▶ events ──▶ log, API's listeners, Keeper
//! HTTP API ─────────▶                     │
//!                                          └──▶ status: API, metrics, service manager
//! ```
//!
//! One thread, the keeper, changes the site; whoever wants something changed sends it a wish.

mod access;
mod changes;
mod compose;
mod files;
mod http;
mod keeper;
mod log;
mod metrics;
mod scrub;
mod service;
mod shared;
mod swaps;
mod trust;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gstvigil::site::units::Span;

use self::changes::Shelf;
use self::files::Files;
use self::http::Http;
use self::keeper::Keeper;
use self::service::Pulse;
use self::shared::{Shared, Wish};

pub use self::http::openapi::document as openapi;

/// Arguments of `vigil run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The site's description, TOML or JSON
    site: PathBuf,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = log::Format::Human)]
    log_format: log::Format,
    /// From where on something is logged
    #[arg(long, value_enum, default_value_t = log::Threshold::Info)]
    log_level: log::Threshold,
    /// Longest time for files and exports to be made whole at the end
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    drain: Span,
    /// Do not read the description again when its files are written; SIGHUP still does it
    #[arg(long)]
    no_watch: bool,
    /// File for changes made through the API that persist [default: NAME.changes in STATE_DIRECTORY, else beside the site's
    /// description]
    #[arg(long, value_name = "FILE")]
    changes: Option<PathBuf>,
    /// End with exit code 3 when a camera's watchdog has been exhausted for so long, so that the service manager starts the
    /// gateway anew
    #[arg(long, value_name = "DURATION")]
    exit_when_exhausted: Option<Span>,
}

/// Exit code after `--exit-when-exhausted`.
const EXHAUSTED: u8 = 3;
/// How often the status is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Runs the site until a signal ends it.
///
/// # Errors
/// If the description itself is wrong or the gateway cannot start; what is wrong.
pub fn run(arguments: &Arguments, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    log::start(arguments.log_format, arguments.log_level);
    gst::init()?;
    log::bridge(arguments.log_level);
    gstvigil::plugin::plugin_register_static()?;
    let (wish, wishes) = channel();
    let shared = Arc::new(Shared::new(arguments.site.display().to_string(), wish));
    listen(&shared)?;
    let http = Http::start(&shared, arguments.drain.0)?;
    let files = if arguments.no_watch { None } else { watch(&shared) };
    let shelf = Shelf::new(arguments.changes.clone(), &arguments.site);
    let library = library.map(Path::to_path_buf);
    let keeper = Keeper::start(Arc::clone(&shared), arguments.site.clone(), shelf, http, files, library)?;
    let _pulse = Pulse::start(&shared)?;
    // It is read from the first time on that somebody asks: the first page is to have it.
    let _ = shared.site.machine();
    tracing::info!(site = shared.description, "{} cameras were started", shared.site.cameras().len());
    let (keeper, code) = serve(keeper, &shared, wishes, arguments.exit_when_exhausted);
    if !keeper.stop(arguments.drain.0) {
        tracing::warn!("not everything was made whole within {}", arguments.drain);
    }
    tracing::info!("ended");
    Ok(code)
}

fn watch(shared: &Arc<Shared>) -> Option<Files> {
    let files = Files::start(shared);
    files.inspect_err(|error| tracing::warn!("files are not watched, SIGHUP has them read again: {error}")).ok()
}

/// Does what is wished until the end. What is wished and not done by then is dropped, and whoever waits for it hears so.
fn serve(
    mut keeper: Keeper,
    shared: &Shared,
    wishes: Receiver<Wish>,
    exit_when_exhausted: Option<Span>,
) -> (Keeper, ExitCode) {
    let mut last = Instant::now();
    loop {
        let wish = wishes.recv_timeout(TICK.saturating_sub(last.elapsed()));
        if let Some(why) = shared.ending() {
            tracing::info!("{why}");
            return (keeper, ExitCode::SUCCESS);
        }
        shared.report().busy = Some(Instant::now());
        match wish {
            Ok(Wish::Reload(cause)) => {
                shared.reading(cause);
                // It has logged what is wrong.
                let _ = keeper.reload(cause);
            }
            Ok(Wish::Do(what)) => what(&mut keeper),
            Ok(Wish::Heard(event)) => keeper.heard(&event),
            Ok(Wish::End) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return (keeper, ExitCode::FAILURE),
        }
        if last.elapsed() >= TICK {
            keeper.tick();
            last = Instant::now();
        }
        shared.report().busy = None;
        if let Some(camera) = exit_when_exhausted.and_then(|limit| keeper.exhausted(limit.0)) {
            tracing::error!(camera, "the watchdog is exhausted: the gateway ends, to be started anew");
            return (keeper, ExitCode::from(EXHAUSTED));
        }
    }
}

/// Has events logged, and told to whoever listens.
fn listen(shared: &Arc<Shared>) -> std::io::Result<()> {
    let (_, events) = shared.site.events().listen(0);
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("vigil-events".into()).spawn(move || {
        let limiter = log::Limiter::default();
        for event in events {
            let source = format!("{}/{}", event.camera.as_deref().unwrap_or_default(), event.kind);
            if let Some(left_out) = limiter.admit(&source, Instant::now()) {
                log::tell_left_out(event.camera.as_deref(), &event.kind, left_out);
                log::event(&event);
            }
            // Without listeners there is nobody to tell.
            let _ = shared.heard.send(Arc::clone(&event));
            if keeper::HEARD.contains(&event.kind.as_str()) {
                // At the end there is no keeper any more, and events there are.
                shared.wish(Wish::Heard(event));
            }
        }
    })?;
    Ok(())
}
