//! `meson.build` installs a plugin that GStreamer finds and a command that starts.

use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Runs a command and returns its standard output.
fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into()) } else { Err(format!("{command:?}\n{out}\n{err}").into()) }
}

#[test]
fn installed_plugin_is_found_by_gstreamer() -> Result<(), Box<dyn Error>> {
    if Command::new("meson").arg("--version").output().is_err() {
        eprintln!("skipped: meson is not installed");
        return Ok(());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The folder that cargo built this test in, so that next to nothing is left to build.
    let target = Path::new(env!("CARGO_BIN_EXE_vigil")).ancestors().nth(2).ok_or("the command has no target folder")?;
    let temp = tempfile::tempdir()?;
    let (build, dest) = (temp.path().join("build"), temp.path().join("dest"));
    run(Command::new("meson")
        .args(["setup", "--prefix=/usr", "-Dprofile=dev", "-Dcargo-args=--offline,--test,meson"])
        .arg(format!("-Dtarget-dir={}", target.display()))
        .args([&build, source]))?;
    run(Command::new("meson").arg("compile").arg("-C").arg(&build))?;
    run(Command::new("meson").args(["install", "--no-rebuild"]).arg("-C").arg(&build).arg("--destdir").arg(&dest))?;

    let plugins = run(Command::new("pkg-config").args(["--variable=pluginsdir", "gstreamer-1.0"]))?;
    let plugins = dest.join(plugins.trim().trim_start_matches('/'));
    let shown = run(Command::new("gst-inspect-1.0")
        .arg("vigil")
        .env("GST_PLUGIN_PATH", &plugins)
        .env("GST_REGISTRY", temp.path().join("registry.bin")))?;
    let file = plugins.join("libgstvigil.so");
    assert!(shown.contains(&file.display().to_string()), "{shown}");

    let version = run(Command::new(dest.join("usr/bin/vigil")).arg("--version"))?;
    assert_eq!(version.trim(), concat!("vigil ", env!("CARGO_PKG_VERSION")));
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(dest.join("usr/share/licenses/gst-plugin-vigil").join(license).is_file(), "{license}");
    }
    Ok(())
}
