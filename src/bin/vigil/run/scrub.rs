//! Takes out of texts what no line of the log may have: secrets, and the end of the line.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use gstvigil::secret;
use gstvigil::secret::Secret;
use gstvigil::site::description::Api;
use gstvigil::site::plan::{Node, Plan, Step, Value};
use gstvigil::site::resolve::without_secrets;
use gstvigil::site::units::TextOrSecret;

/// What stands in a secret's place.
const HIDDEN: &str = "<secret>";
/// Shorter ones would take half of each text with them.
const SHORTEST: usize = 4;

static KNOWN: Mutex<Option<Arc<Vec<String>>>> = Mutex::new(None);

/// Has the secrets of `plan` be taken out of texts from now on, beside those that were known before: what is on its way may
/// still hold one of them.
pub fn learn(plan: &Plan) {
    let values = secrets(plan).into_iter().filter_map(|secret| secret::read(&secret).ok());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = known.as_deref().cloned().unwrap_or_default();
    *known = Some(Arc::new(in_order(before.into_iter().chain(values))));
}

/// Secrets in the order in which they are taken out: of one that begins with another nothing is to be left.
fn in_order(values: impl Iterator<Item = String>) -> Vec<String> {
    let all: BTreeSet<String> = values.filter(|value| value.len() >= SHORTEST).collect();
    let mut all = Vec::from_iter(all);
    all.sort_by_key(|value| Reverse(value.len()));
    all
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

/// `text` as one line, without secrets that are known and those that stand in addresses.
pub fn scrub(text: &str) -> String {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    without(text, known.as_deref().into_iter().flatten())
}

fn without<'a>(text: &str, secrets: impl Iterator<Item = &'a String>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if text.contains(secret) {
            text = text.replace(secret, HIDDEN);
        }
    }
    // What others say would begin a line of its own, or colour the terminal.
    without_secrets(&text).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        let known = ["p/w4", "hunter2!", "hunter2!-again", "no"].map(str::to_owned);
        without(text, in_order(known.into_iter()).iter())
    }

    #[test]
    fn secrets_and_logins_are_taken_out() {
        assert_eq!(clean("login with hunter2! and p/w4 failed"), "login with <secret> and <secret> failed");
        assert_eq!(clean("hunter2!-again is another one"), "<secret> is another one");
        assert_eq!(clean("no short ones"), "no short ones");
        assert_eq!(
            clean("open rtsp://joe:s3c@ret@10.0.0.1:554/a?b=c@d, then http://host/x@y"),
            "open rtsp://10.0.0.1:554/a?b=c@d, then http://host/x@y"
        );
        assert_eq!(
            clean("Not Found (404), URL: http://cam/v.cgi?user=admin&pwd=geheim"),
            "Not Found (404), URL: http://cam/v.cgi?user=…&pwd=…"
        );
        assert_eq!(clean("nothing :// here"), "nothing :// here");
        assert_eq!(clean(""), "");
    }

    #[test]
    fn a_text_is_one_line() {
        assert_eq!(clean("camera \"a\nERROR all is lost\r\n\u{1b}[31m"), "camera \"a ERROR all is lost   [31m");
    }
}
