//! ONNX Runtime in this process: found, loaded once, kept for ever.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use once_cell::sync::OnceCell;
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::EngineError;
use crate::paths;

/// Severity of a message of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Everything else.
    Info,
}

/// Receives the runtime's own messages.
pub type LogSink = fn(Severity, &str);

static LOG_SINK: OnceLock<LogSink> = OnceLock::new();
static BESIDE: OnceLock<PathBuf> = OnceLock::new();
static RUNTIME: OnceCell<Runtime> = OnceCell::new();

/// The loaded library and its one environment.
pub struct Runtime {
    /// The library's file, as it was opened.
    pub path: PathBuf,
    /// The library's version, such as `1.31.1`.
    pub version: String,
    pub(super) env: Environment,
}

/// Sends the runtime's messages to `sink`; the first call counts. Without it they are dropped.
pub fn set_log_sink(sink: LogSink) {
    let _ = LOG_SINK.set(sink);
}

/// Passes a message of a runtime in another process on to the sink.
pub(super) fn log(severity: Severity, message: &str) {
    if let Some(sink) = LOG_SINK.get() {
        sink(severity, message);
    }
}

/// Names the plugin's folder to a process that is not the plugin's own; the first call counts.
pub(super) fn look_beside(folder: PathBuf) {
    let _ = BESIDE.set(folder);
}

/// The runtime, loaded by the first call: from `explicit` if given, else from the first place of
/// [`paths::runtime_candidates`] that has one.
///
/// # Errors
/// [`EngineError::Runtime`] if none is found or usable, or if another one than `explicit` is loaded already.
pub fn get(explicit: Option<&Path>) -> Result<&'static Runtime, EngineError> {
    let runtime = RUNTIME.get_or_try_init(|| load(explicit))?;
    match explicit {
        Some(path) if !same_file(path, &runtime.path) => Err(EngineError::Runtime(format!(
            "this process runs ONNX Runtime from {} already and cannot load {}: a process has one runtime, so give every \
             element the same one",
            runtime.path.display(),
            path.display()
        ))),
        _ => Ok(runtime),
    }
}

/// Whether `named` is the file `loaded`, or the folder that has it.
fn same_file(named: &Path, loaded: &Path) -> bool {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    named == loaded || same(named, loaded) || loaded.parent().is_some_and(|folder| same(named, folder))
}

/// The file that this code was loaded from: the plugin, the command, or the application that links the crate.
pub fn own_file() -> Option<PathBuf> {
    // SAFETY: an all-zero Dl_info (null pointers) is a valid value of that plain C struct.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is that of a function of this file, and `info` outlives the call.
    let found = unsafe { libc::dladdr(own_file as *const libc::c_void, &mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr answered, so the name is a NUL-terminated string that lives as long as the file is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).canonicalize().ok()
}

fn load(explicit: Option<&Path>) -> Result<Runtime, EngineError> {
    let beside = BESIDE.get().cloned().or_else(|| own_file().and_then(|f| f.parent().map(Path::to_path_buf)));
    let candidates = paths::runtime_candidates(explicit, beside.as_deref());
    let mut tried = Vec::new();
    for path in &candidates {
        match probe(path) {
            Ok(version) => return open(path, version),
            // The linker's reason begins with the file's name in most cases.
            Err(reason) if reason.starts_with(&*path.to_string_lossy()) => tried.push(reason),
            Err(reason) => tried.push(format!("{}: {reason}", path.display())),
        }
    }
    if explicit.is_some() || std::env::var_os("VIGIL_ORT_LIBRARY").is_some_and(|v| !v.is_empty()) {
        return Err(EngineError::Runtime(format!(
            "the ONNX Runtime that was named cannot be used: {}. Give the file libonnxruntime.so of version 1.{} or later, \
             or name none (the property ort-library, the flag --ort-library, the variable VIGIL_ORT_LIBRARY) to have it \
             looked for",
            tried.join("; "),
            ort::MINOR_VERSION
        )));
    }
    Err(EngineError::Runtime(format!(
        "ONNX Runtime was not found. Run scripts/setup, or name the library with the property ort-library or the \
         environment variable VIGIL_ORT_LIBRARY. Tried: {}",
        tried.join("; ")
    )))
}

/// Opens the library and reads its version. Done before `ort` sees it, since `ort` hides the linker's reason.
fn probe(path: &Path) -> Result<String, String> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path has a NUL byte".to_owned())?;
    // SAFETY: `name` is NUL-terminated; running the library's initialisers is what loading it means.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        // SAFETY: dlerror's answer is null or a NUL-terminated string, valid until this thread's next dl call.
        let reason = unsafe {
            let text = libc::dlerror();
            if text.is_null() { "unknown error".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        };
        return Err(reason);
    }
    // SAFETY: `handle` is open and the name is NUL-terminated.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        // SAFETY: opened above, nothing of it is in use.
        unsafe { libc::dlclose(handle) };
        return Err("this is not ONNX Runtime (it has no OrtGetApiBase)".into());
    }
    // SAFETY: the symbol of that name has this signature in every ONNX Runtime, and its answer is a static struct. The
    // library stays open: `ort` opens it again and keeps it.
    let (version, has_api) = unsafe {
        let get_base: unsafe extern "C" fn() -> *const ort::sys::OrtApiBase = std::mem::transmute(symbol);
        let base = get_base();
        if base.is_null() {
            return Err("it offers no API".into());
        }
        let version = CStr::from_ptr(((*base).GetVersionString)()).to_string_lossy().into_owned();
        (version, !((*base).GetApi)(ort::sys::ORT_API_VERSION).is_null())
    };
    let minor = version.split('.').nth(1).and_then(|m| m.parse::<u32>().ok()).unwrap_or(0);
    if !version.starts_with("1.") || minor < ort::MINOR_VERSION {
        return Err(format!("it is version {version}, 1.{} or later is needed", ort::MINOR_VERSION));
    }
    if !has_api {
        // `ort` would panic.
        return Err(format!("it says it is version {version}, but does not offer that version's API"));
    }
    Ok(version)
}

fn open(path: &Path, version: String) -> Result<Runtime, EngineError> {
    if std::env::var_os("ORT_DISABLE_TELEMETRY").is_none() {
        // The runtime's own switch comes too late: it writes a device id to disk while it starts.
        // SAFETY: unsound only if another thread reads or changes the environment at this moment without std's lock.
        // It runs once in a process, before the first model, and the runtime offers no other switch in time.
        unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    }
    let fail = |what: &dyn std::fmt::Display| {
        EngineError::Runtime(format!("ONNX Runtime at {} cannot be used: {what}", path.display()))
    };
    let builder = ort::init_from(path).map_err(|e| fail(&e))?;
    let env = builder
        .with_name("vigil")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(|level: LogLevel, _: &str, _: &str, _: &str, message: &str| {
            if let Some(sink) = LOG_SINK.get() {
                let severity = match level {
                    LogLevel::Fatal | LogLevel::Error => Severity::Error,
                    LogLevel::Warning => Severity::Warning,
                    _ => Severity::Info,
                };
                sink(severity, message);
            }
        }))
        .build()
        .map_err(|e| fail(&e))?;
    env.set_log_level(LogLevel::Warning);
    Ok(Runtime { path: path.to_path_buf(), version, env })
}

/// Names of the execution providers that the loaded runtime was built with, such as `CPUExecutionProvider`.
///
/// # Errors
/// As [`get`].
pub fn available_providers() -> Result<Vec<String>, EngineError> {
    get(None)?;
    let api = ort::api();
    let (mut names, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: both pointers are valid for writing.
    let status = unsafe { (api.GetAvailableProviders)(&mut names, &mut count) };
    super::onnx::check(status).map_err(EngineError::Runtime)?;
    // SAFETY: the call succeeded: `names` has `count` NUL-terminated strings.
    let list = unsafe { std::slice::from_raw_parts(names, usize::try_from(count).unwrap_or(0)) }
        .iter()
        // SAFETY: as above.
        .map(|name| unsafe { CStr::from_ptr(*name) }.to_string_lossy().into_owned())
        .collect();
    // SAFETY: given back once, with the count that came with it.
    let status = unsafe { (api.ReleaseAvailableProviders)(names, count) };
    super::onnx::check(status).map_err(EngineError::Runtime)?;
    Ok(list)
}
