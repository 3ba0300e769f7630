//! Metrics of records on their way to receivers.

use std::fmt::Error;

use gstvigil::export::kind::Kind;
use gstvigil::export::route::Account;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;

use super::Figures;
use super::write::{Labels, family, flag, gauge};

/// Name without `_total`, help, value.
type Counted = (&'static str, &'static str, fn(&Account) -> u64);

/// What is counted of each receiver.
const COUNTED: [Counted; 4] = [
    ("vigil_spool_accepted_records", "Records that came", |account| account.spool.accepted),
    ("vigil_spool_acknowledged_records", "Records that the receiver took", |account| account.spool.acknowledged),
    ("vigil_spool_stored_bytes", "Bytes of compressed records that were written to the disk", |account| {
        account.spool.stored_bytes
    }),
    ("vigil_spool_errors", "Writes and reads of the disk that failed", |account| account.spool.errors),
];

fn of(account: &Account, label: Option<(&'static str, &str)>) -> Labels {
    let label = label.map(|(name, value)| (name, value.to_owned()));
    [("destination", account.destination.clone())].into_iter().chain(label).collect()
}

/// A count for each kind of record.
fn by_kind<'a>(account: &'a Account, counts: &'a [u64; 4]) -> impl Iterator<Item = (Labels, u64)> + 'a {
    Kind::ALL.iter().zip(counts).map(|(kind, count)| (of(account, Some(("kind", kind.as_str()))), *count))
}

/// Age of the oldest record that waits, seconds: 0 if none does; `None` if it is not known.
fn oldest(account: &Account, now_ns: u64) -> Option<f64> {
    match account.spool.oldest_utc_ms {
        Some(at) => Some((now_ns / 1_000_000).saturating_sub(at) as f64 / 1e3),
        None => (account.spool.waiting() == 0).then_some(0.0),
    }
}

impl Figures {
    pub(super) fn encode_exports(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let accounts = || self.exports.iter();
        let waiting = accounts().flat_map(|account| {
            let spool = &account.spool;
            let waiting = by_kind(account, &spool.waiting_in_memory).zip(spool.waiting_on_disk);
            waiting.map(|((labels, in_memory), on_disk)| (labels, gauge(in_memory.saturating_add(on_disk) as f64)))
        });
        family(encoder, "vigil_spool_waiting_records", "Records that wait to be sent", waiting)?;
        let bytes = accounts().map(|account| (of(account, None), gauge(account.spool.disk_bytes as f64)));
        family(encoder, "vigil_spool_bytes", "What the spool takes on the disk", bytes)?;
        let used = accounts().map(|account| (of(account, None), gauge(account.spool.used_bytes as f64)));
        family(
            encoder,
            "vigil_spool_used_bytes",
            "What of it holds records; the rest is room for the next ones",
            used,
        )?;
        let limits = accounts().map(|account| (of(account, None), gauge(account.limit_bytes as f64)));
        family(encoder, "vigil_spool_limit_bytes", "What the spool may take on the disk", limits)?;
        let ages = accounts().filter_map(|account| Some((of(account, None), gauge(oldest(account, self.now_ns)?))));
        family(encoder, "vigil_spool_oldest_record_age_seconds", "Age of the oldest record that waits", ages)?;
        for (name, help, value) in COUNTED {
            let counts = accounts().map(|account| (of(account, None), ConstCounter::new(value(account))));
            family(encoder, name, help, counts)?;
        }
        let dropped = accounts().flat_map(|account| {
            by_kind(account, &account.spool.dropped).map(|(labels, count)| (labels, ConstCounter::new(count)))
        });
        family(encoder, "vigil_spool_dropped_records", "Records given up for want of space", dropped)?;
        let lost = accounts().flat_map(|account| {
            let spool = &account.spool;
            let reasons = [("expired", spool.expired), ("refused", spool.refused), ("corrupt", spool.corrupt)];
            reasons.map(|(reason, count)| (of(account, Some(("reason", reason))), ConstCounter::new(count)))
        });
        family(encoder, "vigil_spool_lost_records", "Records given up for another reason", lost)?;
        let up = accounts().filter_map(|account| Some((of(account, None), flag(account.stats.waiting?.connected))));
        let help = "Whether the last try to send to the receiver succeeded (0 or 1)";
        family(encoder, "vigil_receiver_up", help, up)
    }
}
