//! Network interfaces.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Roots;
use super::files::{Rereader, entries, name};

/// A network interface: a card, or in a container its end of the cable. Bridges, tunnels and loopback are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Bytes that went out.
    pub sent_bytes: u64,
    /// Packets that were damaged or dropped, in both directions.
    pub errors: u64,
}

#[derive(Debug)]
pub(super) struct Source {
    dev: Rereader,
    class: PathBuf,
    /// Interfaces that are cards; empty if there is none.
    cards: Vec<String>,
}

impl Source {
    pub(super) fn new(roots: &Roots) -> Self {
        // `/proc/net` leads to the same file by way of a link.
        let dev = Rereader::new(roots.proc.join("self/net/dev"));
        let mut source = Self { dev, class: roots.sys.join("class/net"), cards: Vec::new() };
        source.search(roots);
        source
    }

    pub(super) fn search(&mut self, _: &Roots) {
        let cards = entries(&self.class, "").into_iter().filter(|path| path.join("device").exists());
        self.cards = cards.map(|path| name(&path)).collect();
    }

    pub(super) fn read(&mut self) -> Vec<Interface> {
        let cards = &self.cards;
        let is_card = |name: &str| cards.iter().any(|card| card == name);
        // In a container there is no card, but an end of a cable with a name like one.
        let is_end = |name: &str| cards.is_empty() && name.starts_with('e');
        let lines = self.dev.text().unwrap_or_default().lines().filter_map(interface);
        lines.filter(|found| is_card(&found.name) || is_end(&found.name)).collect()
    }
}

/// `eth0: BYTES packets ERRORS DROPPED fifo frame compressed multicast BYTES packets ERRORS DROPPED …`
fn interface(line: &str) -> Option<Interface> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
    let at = |index: usize| numbers.get(index).copied();
    Some(Interface {
        name: name.trim().to_owned(),
        received_bytes: at(0)?,
        sent_bytes: at(8)?,
        errors: [2, 3, 10, 11].into_iter().filter_map(at).fold(0, u64::saturating_add),
    })
}
