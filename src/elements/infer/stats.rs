//! The statistics of `vigilinfer`.

use super::isolation;
use crate::analysis::{Passed, Snapshot};
use crate::engine::lanes;
use crate::engine::turns::Share;
use crate::gstutil::set_latencies;
use crate::model::Model;

/// The property `stats`.
pub fn stats(counts: &Snapshot, share: &Share, model: Option<&Model>) -> gst::Structure {
    let mut s = gst::Structure::builder("vigil-infer-stats")
        .field("frames", counts.frames)
        .field("fresh", counts.fresh)
        .field("held", counts.held)
        .field("absent", counts.absent)
        .field("errors", counts.errors)
        .field("objects", counts.objects)
        .field("in-flight", counts.in_flight as u64)
        .field("abandoned", lanes::abandoned_runs() as u64)
        .field("dropped-values", counts.dropped.total())
        .field("dropped-non-finite", counts.dropped.non_finite)
        .build();
    for ((_, why), count) in Passed::ALL.iter().zip(counts.passed) {
        s.set(format!("held-{why}"), count);
    }
    for (name, times) in &counts.times {
        set_latencies(&mut s, name, times);
    }
    if let Some(age) = counts.result_age_ns {
        s.set("result-age", age);
    }
    if let Some(model) = model {
        s.set("model", &model.id().name);
        s.set("release", &model.id().release);
        s.set("digest", &model.id().digest);
        s.set("provider", model.provider());
        s.set("lanes", model.lanes().engine().at_once() as u64);
        if let Some(placement) = model.lanes().engine().placement() {
            s.set("nodes", (placement.on_provider + placement.nodes_on_cpu()) as u64);
            s.set("nodes-on-cpu", placement.nodes_on_cpu() as u64);
        }
        s.set("engine-users", share.users as u64);
        s.set("share", share.part);
        s.set("batch", model.batch() as u64);
        let gathering = model.lanes().engine().gathering();
        s.set("engine-batch", gathering.as_ref().map_or(1, |gathering| gathering.most) as u64);
        if let Some(gathering) = gathering {
            s.set("pictures-per-run", gathering.mean);
            s.set("engine-batch-measured", gathering.measured);
        }
        isolation::add_stats(&mut s, model.lanes().engine());
    }
    s
}
