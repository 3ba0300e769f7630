//! Takes secrets out of texts before they are logged.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use gstvigil::site::description::Api;
use gstvigil::site::live::secret;
use gstvigil::site::plan::{Node, Plan, Step, Value};
use gstvigil::site::units::{Secret, TextOrSecret};

/// What stands in a secret's place.
const HIDDEN: &str = "<secret>";
/// Shorter ones would take half of each text with them.
const SHORTEST: usize = 4;

static KNOWN: Mutex<Option<Arc<BTreeSet<String>>>> = Mutex::new(None);

/// Has the secrets of `plan` be taken out of texts from now on, beside those that were known before: what is on its way may
/// still hold one of them.
pub fn learn(plan: &Plan) {
    let values = secrets(plan).into_iter().filter_map(|secret| secret::read(&secret).ok());
    let values: Vec<String> = values.filter(|value| value.len() >= SHORTEST).collect();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = known.as_deref().cloned().unwrap_or_default();
    all.extend(values);
    *known = Some(Arc::new(all));
}

/// All secrets that a plan names.
fn secrets(plan: &Plan) -> BTreeSet<Secret> {
    fn of_node(node: &Node) -> impl Iterator<Item = Secret> {
        node.properties.values().filter_map(|value| match value {
            Value::Secret(secret) => Some(secret.clone()),
            _ => None,
        })
    }
    let Api { token, .. } = &plan.api;
    let mut found: BTreeSet<Secret> = token.iter().chain(&plan.rtsp.password).cloned().collect();
    if let Some(TextOrSecret::Secret(user)) = &plan.rtsp.user {
        found.insert(user.clone());
    }
    for camera in plan.cameras.values() {
        let source = camera.source.iter().filter_map(|step| match step {
            Step::Element(node) => Some(node),
            Step::Caps(_) | Step::Launch(_) => None,
        });
        let nodes = source.chain(&camera.watchdog).chain(&camera.guarded).chain(&camera.open);
        found.extend(nodes.flat_map(of_node));
    }
    found
}

/// `text` without secrets that are known, and without what stands before an `@` in an address.
pub fn scrub(text: &str) -> String {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    without(text, known.as_deref().into_iter().flatten().map(String::as_str))
}

fn without<'a>(text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if text.contains(secret) {
            text = text.replace(secret, HIDDEN);
        }
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                clean.push_str(HIDDEN);
                clean.push('@');
                clean.push_str(host);
            }
            None => clean.push_str(authority),
        }
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_logins_are_taken_out() {
        let known = ["hunter2!", "p/w"];
        let clean = |text: &str| without(text, known.into_iter());
        assert_eq!(clean("login with hunter2! and p/w failed"), "login with <secret> and <secret> failed");
        assert_eq!(
            clean("open rtsp://joe:s3c@ret@10.0.0.1:554/a?b=c@d, then http://host/x@y"),
            "open rtsp://<secret>@10.0.0.1:554/a?b=c@d, then http://host/x@y"
        );
        assert_eq!(clean("nothing :// here"), "nothing :// here");
        assert_eq!(clean(""), "");
    }
}
