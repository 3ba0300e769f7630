//! Outputs: files, mounts and folders, and that no two are one.

use std::path::{Path, PathBuf};

use super::Checking;
use crate::site::output::{Encode, Output};

impl Checking<'_> {
    /// Whether a camera or a tile is shown on the site's RTSP server.
    pub(super) fn serves_rtsp(&self) -> bool {
        let description = self.description;
        let of_cameras = description.camera.values().chain([&description.defaults]);
        let of_profiles = description.profile.values().map(|profile| &profile.camera);
        let cameras = of_cameras.chain(of_profiles).flat_map(|camera| camera.output.iter().flatten());
        let tiles = description.tile.values().flat_map(|tile| &tile.output);
        cameras.chain(tiles).any(|output| matches!(output, Output::Rtsp { .. }))
    }

    /// The outputs, written at `path`, of the camera or tile `owner`.
    pub(super) fn outputs(&mut self, path: &str, owner: &str, outputs: &[Output]) {
        for (number, output) in outputs.iter().enumerate() {
            self.output(&format!("{path}.{number}"), owner, output);
        }
    }

    fn output(&mut self, at: &str, owner: &str, output: &Output) {
        let place = |path: &Path| PathBuf::from(path.to_string_lossy().replace("{camera}", owner));
        match output {
            Output::File { path, segment, max_files, encode } => {
                let key = format!("{at}.path");
                self.target_file(&key, owner, &place(path));
                self.numbered(&key, path, "segment", segment.is_some());
                if segment.is_some_and(|span| span.0.is_zero()) {
                    self.error(&format!("{at}.segment"), "it must be longer than 0");
                }
                if max_files.is_some() && segment.is_none() {
                    self.warn(&format!("{at}.max-files"), "it has no effect without `segment`: there is one file");
                }
                self.encode(at, encode);
            }
            Output::Rtsp { mount, encode } => {
                let mount = mount.replace("{camera}", owner);
                let key = format!("{at}.mount");
                let odd = |c: char| c.is_whitespace() || c.is_control() || "?#%\"".contains(c);
                if !mount.starts_with('/') || mount.len() < 2 || mount.contains(odd) {
                    self.error(
                        &key,
                        format!("\"{mount}\" is no path of a mount: it begins with \"/\", such as \"/gate\""),
                    );
                }
                self.target(&key, owner, format!("the mount {mount}"));
                self.encode(at, encode);
            }
            Output::Hls { folder, segment, encode, .. } => {
                let key = format!("{at}.folder");
                let folder = self.absolute(&place(folder));
                self.target(&key, owner, format!("the folder {}", folder.display()));
                self.folder(&key, &folder);
                if segment.is_some_and(|span| span.0.is_zero()) {
                    self.error(&format!("{at}.segment"), "it must be longer than 0");
                }
                self.encode(at, encode);
            }
            Output::Snapshot { path, every, max_files } => {
                let key = format!("{at}.path");
                self.target_file(&key, owner, &place(path));
                let has_number = self.numbered(&key, path, "", false);
                if every.0.is_zero() {
                    self.error(&format!("{at}.every"), "it must be longer than 0");
                }
                if max_files.is_some() && !has_number {
                    self.warn(
                        &format!("{at}.max-files"),
                        "it has no effect without a number (%05d) in `path`: there is one file",
                    );
                }
            }
            Output::Display {} => {
                if !["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| self.around.variable(name)) {
                    self.may_lack(at, "there is no screen here: neither DISPLAY nor WAYLAND_DISPLAY is set");
                }
            }
        }
    }

    /// Whether a path has a place for a number (`%05d`): it must, `needed` by the key `by`, and it must be a good one.
    fn numbered(&mut self, key: &str, path: &Path, by: &str, needed: bool) -> bool {
        let text = path.to_string_lossy();
        let numbers: Vec<bool> = text.split('%').skip(1).map(is_number).collect();
        match numbers.as_slice() {
            [] if needed => {
                self.error(key, format!("with `{by}` it needs a number in it, such as {}", with_number(path)));
            }
            [] => {}
            [true] if !needed && !by.is_empty() => {
                self.warn(key, format!("the number in it has no effect without `{by}`"));
            }
            [true] => return true,
            _ => self.error(key, "a % in it is the place of a number: one, written as %05d"),
        }
        false
    }

    fn target_file(&mut self, key: &str, owner: &str, file: &Path) {
        let file = self.absolute(file);
        if file.file_name().is_none() {
            return self.error(key, format!("{} names no file", file.display()));
        }
        self.target(key, owner, format!("the file {}", file.display()));
        if let Some(folder) = file.parent() {
            self.folder(key, folder);
        }
    }

    /// Something that only one may write to.
    pub(super) fn target(&mut self, key: &str, owner: &str, target: String) {
        if let Some(first) = self.targets.get(&target) {
            let text = if first == owner {
                format!("two outputs of \"{owner}\" are {target}")
            } else {
                format!(
                    "the outputs of \"{first}\" and \"{owner}\" are both {target}; {{camera}} in it keeps them apart"
                )
            };
            self.error(key, text);
        } else {
            self.targets.insert(target, owner.into());
        }
    }

    pub(super) fn folder(&mut self, key: &str, folder: &Path) {
        if let Err(why) = self.around.folder(folder) {
            self.lack(key, why);
        }
    }

    fn encode(&mut self, at: &str, encode: &Encode) {
        if let Some(element) = &encode.element {
            self.launch(&format!("{at}.encode.element"), element, true);
        }
    }
}

/// Whether what is behind a `%` makes it the place of a number.
fn is_number(behind: &str) -> bool {
    let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    digits <= 2 && behind.get(digits..).is_some_and(|rest| rest.starts_with('d'))
}

/// A path with a number before its extension.
fn with_number(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match path.extension() {
        Some(extension) => format!("{stem}-%05d.{}", extension.to_string_lossy()),
        None => format!("{stem}-%05d"),
    }
}
