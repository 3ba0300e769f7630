//! All that can be known of a description before anything runs.

mod camera;
mod chain;
mod outputs;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use super::catalog::Catalog;
use super::description::Description;
use super::problem::{About, Problems, Severity};
use super::read::Document;
use super::surroundings::{BadFragment, Port, Surroundings};
use super::units::TextOrSecret;
use crate::export::uri::SinkUri;
use crate::secret::Secret;
use crate::suggest::did_you_mean;

/// Longest id or name, characters: they become parts of file names.
const LONGEST_NAME: usize = 100;

/// Checks a description that was read: ids, sources, profiles and their elements, models and their classes, outputs, tiles,
/// ports, folders, files and secrets. All problems come at once, errors and warnings.
///
/// What the machine lacks is told apart from what is wrong in the text. What may well be right where the site runs is only a warning: a port
/// that is taken (by this very site, if it runs), a secret that is not there now (another user or a service may have it), a device
/// that is not plugged in.
pub fn check(document: &Document, catalog: &dyn Catalog, surroundings: &dyn Surroundings) -> Problems {
    let mut checking = Checking {
        document,
        description: &document.description,
        catalog,
        around: surroundings,
        problems: Problems::default(),
        told: BTreeSet::new(),
        targets: BTreeMap::new(),
    };
    checking.site();
    checking.profiles();
    for id in document.description.camera.keys() {
        checking.camera(id);
    }
    checking.sources();
    checking.tiles();
    checking.problems
}

struct Checking<'a> {
    document: &'a Document,
    description: &'a Description,
    catalog: &'a dyn Catalog,
    around: &'a dyn Surroundings,
    problems: Problems,
    /// Keys and texts that were told: what many cameras have from one place is told once.
    told: BTreeSet<(String, String)>,
    /// What outputs write to, by whom.
    targets: BTreeMap<String, String>,
}

impl<'a> Checking<'a> {
    /// The description is wrong.
    fn error(&mut self, path: &str, text: impl Into<String>) {
        self.tell((Severity::Error, About::Description), path, text.into());
    }

    /// The description is odd.
    fn warn(&mut self, path: &str, text: impl Into<String>) {
        self.tell((Severity::Warning, About::Description), path, text.into());
    }

    /// The machine lacks something.
    fn lack(&mut self, path: &str, text: impl Into<String>) {
        self.tell((Severity::Error, About::Machine), path, text.into());
    }

    /// The machine lacks something now, which the site may have where and when it runs.
    fn may_lack(&mut self, path: &str, text: impl Into<String>) {
        self.tell((Severity::Warning, About::Machine), path, text.into());
    }

    fn tell(&mut self, what: (Severity, About), path: &str, text: String) {
        if self.told.insert((path.into(), text.clone())) {
            self.problems.add(what, &self.document.places, path, text);
        }
    }

    /// A launch fragment that GStreamer must understand.
    fn launch(&mut self, path: &str, fragment: &str, filter: bool) {
        match self.around.launch(fragment, filter) {
            Ok(()) => {}
            Err(BadFragment::Absent(why)) => self.lack(path, why),
            Err(BadFragment::Wrong(why)) => self.error(path, why),
        }
    }

    /// Whether something stands at this very key.
    fn is_written(&self, path: &str) -> bool {
        self.document.places.0.contains_key(path)
    }

    fn site(&mut self) {
        let (description, rtsp) = (self.description, &self.description.rtsp);
        self.name("name", &description.name, "a site");
        let api = self.listen("api.listen", &description.api.listen, "off");
        if let Some(address) = api
            && !address.ip().is_loopback()
            && description.api.token.is_none()
            && !self.is_written("api.token")
        {
            let text =
                "beyond the machine itself (127.0.0.1) it needs a `token`, or anybody on the network could do anything";
            self.error("api.listen", text);
        }
        if let Some(token) = &description.api.token {
            self.secret("api.token", token);
        }
        if let Some(uri) = &description.telemetry.uri
            && let Err(why) = uri.parse::<SinkUri>()
        {
            self.error("telemetry.uri", why.to_string());
        }
        self.user("rtsp.user", &rtsp.user);
        if let Some(password) = &rtsp.password {
            self.secret("rtsp.password", password);
        }
        match (&rtsp.user, &rtsp.password) {
            (Some(_), None) if !self.is_written("rtsp.password") => {
                self.error("rtsp.user", "it needs a `password` too")
            }
            (None, Some(_)) if !self.is_written("rtsp.user") => self.error("rtsp.password", "it needs a `user` too"),
            _ => {}
        }
        if !self.serves_rtsp() {
            return;
        }
        if !self.around.rtsp_server() {
            self.lack(
                "rtsp",
                "this build of vigil has no RTSP server (feature rtsp-server), and an output has kind = \"rtsp\"",
            );
        }
        let server = self.listen("rtsp.listen", &rtsp.listen, "");
        if let (Some(api), Some(server)) = (api, server)
            && api == server
            && api.port() != 0
        {
            self.error("rtsp.listen", format!("{server} is the address of `api.listen` too"));
        }
        if let Some(server) = server
            && !server.ip().is_loopback()
            && rtsp.password.is_none()
            && !self.is_written("rtsp.password")
        {
            self.warn("rtsp.listen", "without `user` and `password` anybody on the network can watch");
        }
    }

    /// A name that becomes part of file names, log lines and mounts.
    fn name(&mut self, path: &str, name: &str, what: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(good) || name.starts_with('.') || name.len() > LONGEST_NAME {
            let text = format!(
                "\"{}\" cannot be the name of {what}: it has letters, digits, \"-\", \"_\" and \".\" only, does not begin \
                 with \".\", and has 1 to {LONGEST_NAME} of them",
                name.escape_default()
            );
            self.error(path, text);
        }
    }

    /// An address that is listened on; `None` for the word `off` and for what is wrong.
    fn listen(&mut self, path: &str, listen: &str, off: &str) -> Option<SocketAddr> {
        if !off.is_empty() && listen == off {
            return None;
        }
        let Ok(address) = listen.parse::<SocketAddr>() else {
            let or_off = if off.is_empty() { String::new() } else { format!(", or \"{off}\"") };
            let text =
                format!("\"{listen}\" is no address with a port, such as \"127.0.0.1:8686\" or \"[::1]:8686\"{or_off}");
            self.error(path, text);
            return None;
        };
        match self.around.port(address) {
            Port::Free => {}
            Port::Taken => {
                self.may_lack(path, format!("{address} is taken now: by this site, if it runs, or by another program"))
            }
            Port::Unusable(why) => self.lack(path, why),
        }
        Some(address)
    }

    fn user(&mut self, path: &str, user: &Option<TextOrSecret>) {
        match user {
            Some(TextOrSecret::Secret(secret)) => self.secret(path, secret),
            Some(TextOrSecret::Text(user)) if user.is_empty() => self.error(path, "the user's name is empty"),
            _ => {}
        }
    }

    /// Whether a secret is to be found; what it is, nobody looks at.
    fn secret(&mut self, path: &str, secret: &Secret) {
        match secret {
            Secret::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                self.error(path, format!("\"{}\" cannot be a variable of the environment", name.escape_default()));
            }
            Secret::Env(name) if !self.around.variable(name) => {
                self.may_lack(
                    path,
                    format!("the environment has no variable {name} here; the site needs it where it runs"),
                );
            }
            Secret::Env(_) => {}
            Secret::File(file) => {
                if let Err(why) = self.around.file(&self.absolute(file)) {
                    self.may_lack(path, format!("{why}; the site needs it where it runs"));
                }
            }
        }
    }

    fn absolute(&self, path: &Path) -> std::path::PathBuf {
        self.document.folder.join(path)
    }

    /// A file that must be there.
    fn file(&mut self, path: &str, file: &Path) {
        if let Err(why) = self.around.file(&self.absolute(file)) {
            self.lack(path, why);
        }
    }

    /// A factory that must be there.
    fn element(&mut self, path: &str, factory: &str) -> Option<std::sync::Arc<super::catalog::ElementInfo>> {
        let found = self.catalog.element(factory);
        if found.is_none() {
            let factories = self.catalog.factories();
            let hint = crate::suggest::nearest(factory, factories.iter().map(String::as_str))
                .map_or("is its GStreamer plugin installed?".to_owned(), |near| format!("did you mean `{near}`?"));
            self.lack(path, format!("there is no element \"{factory}\"; {hint}"));
        }
        found
    }

    /// Two cameras with one source are most often a slip of the pen.
    fn sources(&mut self) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut twice = Vec::new();
        for (id, camera) in &self.description.camera {
            let Some(uri) = camera.uri.as_deref().filter(|uri| !uri.starts_with("test:")) else { continue };
            match seen.get(uri) {
                Some(first) => {
                    twice.push((format!("camera.{id}.uri"), format!("the camera \"{first}\" has this source too")))
                }
                None => _ = seen.insert(uri, id),
            }
        }
        for (path, text) in twice {
            self.warn(&path, text);
        }
    }

    fn tiles(&mut self) {
        let description = self.description;
        for (name, tile) in &description.tile {
            let path = format!("tile.{name}");
            self.name(&path, name, "a tile");
            if description.camera.contains_key(name) {
                self.error(&path, "there is a camera of this name: their outputs could not be told apart");
            }
            let known = || description.camera.keys().map(String::as_str);
            for (number, id) in tile.cameras.iter().enumerate() {
                if !description.camera.contains_key(id) {
                    let help = did_you_mean(id, known(), "the site has");
                    self.error(&format!("{path}.cameras.{number}"), format!("there is no camera \"{id}\"; {help}"));
                }
            }
            if tile.output.is_empty() && !self.is_written(&format!("{path}.output")) {
                self.warn(&path, "it has no `output`: nobody will see it");
            }
            self.outputs(&format!("{path}.output"), name, &tile.output);
        }
    }
}
