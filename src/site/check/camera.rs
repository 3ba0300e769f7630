//! A camera: where its pictures come from, and its options.

use super::Checking;
use crate::site::convert::value_text;
use crate::site::description::{Camera, Scalar};
use crate::site::merge::{camera_options, profile_of};
use crate::site::resolve::Origin;
use crate::suggest::{did_you_mean, nearest};

/// The schemes of cameras' URIs.
const SCHEMES: [&str; 7] = ["rtsp", "rtsps", "http", "https", "file", "v4l2", "test"];

/// Words in the keys of a query that stand for a secret.
const SECRETS: [&str; 6] = ["pass", "pwd", "psw", "token", "auth", "secret"];

impl Checking<'_> {
    pub(super) fn camera(&mut self, id: &str) {
        let path = format!("camera.{id}");
        self.name(&path, id, "a camera");
        let options = camera_options(self.description, id);
        self.profile(id, &options);
        self.source(id, &options);
        self.login(id, &options);
        self.options(id, &options);
        let outputs = self.written(id, &options, "output");
        self.outputs(&outputs, id, options.output.as_deref().unwrap_or_default());
    }

    /// The key of an option of the camera, where it is written: in the camera itself, its profile, or the defaults.
    pub(super) fn written(&self, id: &str, options: &Camera, key: &str) -> String {
        let own = format!("camera.{id}.{key}");
        let profile = options.profile.as_ref().map(|name| format!("profile.{name}.camera.{key}"));
        let others = profile.into_iter().chain([format!("defaults.{key}")]);
        match self.is_written(&own) {
            true => own,
            false => others.into_iter().find(|path| self.is_written(path)).unwrap_or(own),
        }
    }

    fn profile(&mut self, id: &str, options: &Camera) {
        let Some(name) = &options.profile else { return };
        if profile_of(self.description, options).is_none() && !self.is_written(&format!("profile.{name}")) {
            let known = self.description.profile.keys().map(String::as_str);
            let help = match self.description.profile.is_empty() {
                true => "the site has no profiles".to_owned(),
                false => did_you_mean(name, known, "the site has"),
            };
            let path = self.written(id, options, "profile");
            self.error(&path, format!("there is no profile \"{name}\"; {help}"));
        }
    }

    fn source(&mut self, id: &str, options: &Camera) {
        let path = format!("camera.{id}");
        match (&options.uri, &options.launch) {
            (None, None) => {
                // One that is there and bad has been told.
                if !["uri", "launch"].iter().any(|key| self.is_written(&format!("{path}.{key}"))) {
                    self.error(&path, "it has neither `uri` nor `launch`: where do its pictures come from?");
                }
            }
            (Some(_), Some(_)) => {
                let path = self.written(id, options, "launch");
                self.error(&path, "it has `uri` and `launch`: its pictures can come from one only");
            }
            (Some(uri), None) => self.uri(id, options, uri),
            (None, Some(launch)) => {
                let path = self.written(id, options, "launch");
                self.launch(&path, &launch.replace("{camera}", id), false);
            }
        }
    }

    fn uri(&mut self, id: &str, options: &Camera, uri: &str) {
        let path = self.written(id, options, "uri");
        // Nothing is said of such a URI that would show what is in it.
        if has_user(uri) {
            self.error(
                &path,
                "it has a user or a password in it: write `user`, and `password` with where it is to be found",
            );
            return;
        }
        if let Some(key) = secret_in_query(uri) {
            let text = format!("`{key}` in it looks like a secret, which anybody who sees this file can read");
            self.warn(&path, text);
        }
        let origin = match Origin::of(uri) {
            Ok(origin) => origin,
            Err(why) => {
                let scheme = uri.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
                let near = nearest(scheme, SCHEMES).filter(|near| !near.eq_ignore_ascii_case(scheme));
                let hint = near.map(|near| format!("; did you mean \"{near}:\"?")).unwrap_or_default();
                self.error(&path, format!("{why}{hint}"));
                return;
            }
        };
        match &origin {
            Origin::File(file) => self.file(&path, file),
            Origin::Device(device) => {
                if !self.around.exists(std::path::Path::new(device)) {
                    self.may_lack(&path, format!("there is no device {device} now"));
                }
            }
            Origin::Test(pattern) => self.pattern(&path, pattern),
            Origin::Rtsp | Origin::Http => {}
        }
        self.without_effect(id, &origin);
    }

    fn pattern(&mut self, path: &str, pattern: &str) {
        let Some(source) = self.element(path, "videotestsrc") else { return };
        if let Some(property) = source.property("pattern")
            && let Err(why) = value_text(&Scalar::Text(pattern.into()), property)
        {
            self.error(path, why);
        }
    }

    /// Options of the camera itself that its source does not know; what its profile or the defaults say, other cameras need.
    fn without_effect(&mut self, id: &str, origin: &Origin) {
        let idle: &[&str] = match origin {
            Origin::Rtsp => &["loop", "caps"],
            Origin::Http => &["caps", "transport", "latency"],
            Origin::File(_) => &["caps", "transport", "latency", "user", "password", "tls-ca"],
            Origin::Device(_) => &["loop", "transport", "latency", "user", "password", "tls-ca", "decode"],
            Origin::Test(_) => &["loop", "transport", "latency", "user", "password", "tls-ca", "decode"],
        };
        for key in idle {
            let path = format!("camera.{id}.{key}");
            if self.is_written(&path) {
                self.warn(&path, "it has no effect on a source of this kind");
            }
        }
    }

    fn login(&mut self, id: &str, options: &Camera) {
        let (user, password) = (self.written(id, options, "user"), self.written(id, options, "password"));
        self.user(&user, &options.user);
        if let Some(secret) = &options.password {
            self.secret(&password, secret);
        }
        match (&options.user, &options.password) {
            (None, Some(_)) if !self.is_written(&user) => self.error(&password, "it needs a `user` too"),
            (Some(_), None) if !self.is_written(&password) => {
                self.warn(&user, "without a `password` no login is tried")
            }
            _ => {}
        }
        if let Some(file) = &options.tls_ca {
            let path = self.written(id, options, "tls-ca");
            self.file(&path, file);
        }
    }

    fn options(&mut self, id: &str, options: &Camera) {
        if let Some(caps) = &options.caps
            && let Err(why) = self.around.caps(caps)
        {
            let path = self.written(id, options, "caps");
            self.error(&path, why);
        }
        if let Some(factory) = options.decode.as_ref().and_then(|decode| decode.element.as_ref()) {
            let path = self.written(id, options, "decode.element");
            self.element(&path, factory);
        }
        if options.silent_after.is_some_and(|span| span.0.is_zero()) {
            let path = self.written(id, options, "silent-after");
            self.error(&path, "it must be longer than 0");
        }
        if let Some(reconnect) = &options.reconnect {
            let path = self.written(id, options, "reconnect");
            if reconnect.first.0.is_zero() {
                self.error(&format!("{path}.first"), "it must be longer than 0");
            }
            if reconnect.most < reconnect.first {
                self.error(
                    &format!("{path}.most"),
                    format!("it must not be shorter than `first`, {}", reconnect.first),
                );
            }
        }
    }
}

/// Whether a URI has a user or a password before its host.
fn has_user(uri: &str) -> bool {
    let authority = uri.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// The first key of a URI's query that sounds like a secret.
fn secret_in_query(uri: &str) -> Option<&str> {
    let (_, query) = uri.split_once('?').filter(|(before, _)| before.contains("://"))?;
    let mut keys = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, _)| key);
    keys.find(|key| SECRETS.iter().any(|word| key.to_ascii_lowercase().contains(word)))
}
