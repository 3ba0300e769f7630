//! How nvinfer reads a model's output: decoder and thresholds.

use super::{Config, Entry, Findings, Group, Kind, Labels, Level, Reader, Why};

/// nvinfer's lowest confidence where the file does not say.
const USUAL_CONFIDENCE: f64 = 0.2;
/// nvinfer's overlap for NMS where the file does not say.
const USUAL_IOU: f64 = 0.3;
/// Most objects of a frame that a bundle may allow.
const MOST_OBJECTS: i64 = 10_000;

impl Reader<'_> {
    /// Which decoder the parsing function stands for. Whether it is nvinfer's own.
    pub(super) fn decoder(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::Classifier => {
                self.say("task", "classify", "network-type");
                self.say("output.decoder", "classify", "network-type");
            }
            Kind::Segmentation => {
                self.say("task", "segment", "network-type");
                self.say("output.decoder", "segmentation", "network-type");
            }
            _ => {}
        }
        let keys = [
            "parse-bbox-func-name",
            "parse-bbox-instance-mask-func-name",
            "parse-classifier-func-name",
            "custom-segmentation-func-name",
            "parse-segmentation-func-name",
        ];
        let parsers: Vec<Entry> = keys.iter().filter_map(|key| self.property.text(key)).collect();
        let own = parsers.is_empty() && kind == Kind::Detector;
        for entry in parsers {
            match decoder_of(&entry.value) {
                Some(decoder) => self.say("output.decoder", decoder, &entry),
                None => {
                    let text =
                        "the decoder is told by the model's tensors and names; check it with `vigil bundle show`";
                    self.findings.add(Level::Changed, &entry, text);
                }
            }
        }
        for (key, kinds) in [("classifier-threshold", Kind::Classifier), ("segmentation-threshold", Kind::Segmentation)]
        {
            if let Some((value, entry)) = self.number(key) {
                if kind == kinds {
                    self.say("output.confidence", value.clamp(0.0, 1.0), &entry);
                } else {
                    self.findings.add(Level::Unneeded, &entry, "this network has no use for it");
                }
            }
        }
        own
    }

    /// Thresholds, for all classes and for single ones.
    pub(super) fn classes(&mut self, config: &mut Config, kind: Kind, labels: Option<&Labels>) {
        let detects = matches!(kind, Kind::Detector | Kind::Instances);
        let mode = self.integer("cluster-mode");
        let clusters = mode.as_ref().map_or(0, |(mode, _)| *mode);
        if let Some((_, entry)) = mode.filter(|_| detects && !matches!(clusters, 2 | 4)) {
            let text = "groups of boxes are not averaged: NMS keeps the most confident one; check `output.iou`";
            self.findings.add(Level::Changed, &entry, text);
        }
        if let Some(mut all) = config.take("class-attrs-all") {
            self.all_classes(&mut all, detects, clusters, labels);
            all.rest(self.findings);
        } else if detects {
            self.say("output.confidence", USUAL_CONFIDENCE, "nvinfer's default (pre-cluster-threshold)");
            self.say("output.iou", USUAL_IOU, "nvinfer's default (nms-iou-threshold)");
        }
        let mut per_class = toml::Table::new();
        for (id, mut group) in config.take_numbered("class-attrs-") {
            let threshold = threshold(&mut group, self.findings);
            match (threshold, labels.and_then(|labels| labels.get(id as usize))) {
                (Some((value, _)), Some(label)) => drop(per_class.insert(label.to_string(), value.into())),
                (Some((_, entry)), None) => {
                    let text = format!("there is no label of class {id}: add it to `output.per-class` of the bundle");
                    self.findings.add(Level::Lost, &entry, text);
                }
                (None, _) => {}
            }
            group.rest(self.findings);
        }
        if let Some(entry) = self.property.text("filter-out-class-ids") {
            let ids: Vec<usize> = entry.items().iter().filter_map(|id| id.parse().ok()).collect();
            let names: Vec<_> = ids.iter().filter_map(|id| labels?.get(*id)).collect();
            let text = "they get the confidence 1 in `output.per-class`, which hardly any object reaches";
            let none = names.is_empty();
            per_class.extend(names.into_iter().map(|label| (label.to_string(), 1.0.into())));
            let lost = "there are no labels of them: give them the confidence 1 in `output.per-class` of the bundle";
            let (level, text) = if none { (Level::Lost, lost) } else { (Level::Changed, text) };
            self.findings.add(level, &entry, text);
        }
        if !per_class.is_empty() {
            self.say("output.per-class", per_class, "pre-cluster-threshold of single classes");
        }
    }

    fn all_classes(&mut self, all: &mut Group, detects: bool, clusters: i64, labels: Option<&Labels>) {
        let (confidence, why) = match threshold(all, self.findings) {
            Some((value, entry)) => (value, Why::from(&entry)),
            None => (USUAL_CONFIDENCE, "nvinfer's default (pre-cluster-threshold)".into()),
        };
        let iou = all.number::<f64>("nms-iou-threshold", self.findings);
        let top = all.number::<i64>("topk", self.findings);
        if !detects {
            return;
        }
        self.say("output.confidence", confidence, why);
        match (clusters, iou) {
            // Nothing is reduced; at 1 nothing overlaps too much.
            (4, _) => self.say("output.iou", 1.0, "cluster-mode = 4: nothing is reduced"),
            (_, Some((value, entry))) => self.say("output.iou", value.clamp(0.0, 1.0), &entry),
            (_, None) => self.say("output.iou", USUAL_IOU, "nvinfer's default (nms-iou-threshold)"),
        }
        if let Some((most, entry)) = top.filter(|(most, _)| *most > 0) {
            let classes = labels.map_or(1, |labels| labels.len().max(1)) as i64;
            let all = most.saturating_mul(classes).min(most.max(300)).clamp(1, MOST_OBJECTS);
            if all != most {
                let text = format!("it counts for each class, and `output.max-objects` for the frame: that is {all}");
                self.findings.add(Level::Changed, &entry, text);
            }
            self.say("output.max-objects", all, &entry);
        }
    }
}

/// The lowest confidence of a group of class attributes: the stricter one of those before and after clustering.
fn threshold(group: &mut Group, findings: &mut Findings) -> Option<(f64, Entry)> {
    let keys = ["pre-cluster-threshold", "threshold", "post-cluster-threshold"];
    let values = keys.into_iter().filter_map(|key| group.number::<f64>(key, findings));
    let (value, entry) = values.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some((value.clamp(0.0, 1.0), entry))
}

/// The decoder that reads what a parsing function of DeepStream reads; `None` where the model's shapes tell.
fn decoder_of(function: &str) -> Option<&'static str> {
    match function {
        "NvDsInferParseCustomTfSSD" | "NvDsInferParseCustomSSD" => Some("ssd-postprocessed"),
        "NvDsInferParseCustomDDETRTAO" | "NvDsInferParseCustomDETRTAO" => Some("detr"),
        _ => None,
    }
}
