//! Keys of DeepStream that have no counterpart, and why, or what to do instead.

use super::findings::Level;
use Level::{Changed, Lost, Unneeded};

const MEMORY: &str = "frames stay in the processor's memory; GPU and kind of memory are not chosen";
const DECODER: &str = "decoders choose the number of their pictures themselves";
const ENGINE: &str = "the bundle holds the ONNX model, and no engine is built beforehand";
const COLOURS: &str = "vigiloverlay gives each label a colour of its own, everywhere the same";
const RECORD: &str =
    "there is no recording on demand: an output `kind = \"file\"` with `segment` and `max-files` keeps the last hours";
const CLOCK: &str = "no clock is drawn; records and logs have UTC times";
const BROKER: &str = "brokers of MQTT and Kafka are reached, and servers by HTTP (docs/export.md); for others let a tool of theirs read the file";
const CLUSTER: &str = "boxes are reduced by NMS only (`output.iou`)";
const TENSOR: &str = "raw tensors are not handed on; let a decoder of the bundle read them";
const CUSTOM: &str = "libraries of DeepStream are not loaded: what they do is the decoder's work (`output.decoder`)";
const MUX: &str = "each camera keeps its own size, rate and times; frames share a run of the engine where that pays";
const TRACKER: &str = "vigiltrack has no such setting: it goes by overlap, motion and, with embeddings, appearance";
const OSD: &str = "vigiloverlay draws on the processor and has no such setting";
const SINK: &str = "outputs are pipelines of their own and have no such setting";
const AUDIO: &str = "Vigil has no audio";

/// In any group.
const ANYWHERE: &[(&str, Level, &str)] = &[
    ("gpu-id", Unneeded, MEMORY),
    ("nvbuf-memory-type", Unneeded, MEMORY),
    ("nvbuf-mem-type", Unneeded, MEMORY),
    ("cudadec-memtype", Unneeded, MEMORY),
    ("compute-hw", Unneeded, MEMORY),
    ("num-decode-surfaces", Unneeded, DECODER),
    ("num-extra-surfaces", Unneeded, DECODER),
    ("num-buffers-in-batch", Unneeded, MUX),
];

const APPLICATION: &[(&str, Level, &str)] = &[
    ("enable-perf-measurement", Unneeded, "`/metrics` and `/api/v1/cameras` of `vigil run` always tell the rates"),
    (
        "perf-measurement-interval-sec",
        Unneeded,
        "`/metrics` and `/api/v1/cameras` of `vigil run` always tell the rates",
    ),
    ("gie-kitti-output-dir", Lost, "no KITTI files are written: add a stage `vigilexport`, which writes JSON lines"),
    ("kitti-track-output-dir", Lost, "no KITTI files are written: add a stage `vigilexport`, which writes JSON lines"),
    ("reid-track-output-dir", Lost, "embeddings are in the records of `vigilexport`"),
    ("terminated-track-output-dir", Lost, TRACKER),
    ("shadow-track-output-dir", Lost, TRACKER),
    ("global-gpu-id", Unneeded, MEMORY),
];

const SOURCE: &[(&str, Level, &str)] = &[
    ("intra-decode-enable", Lost, "all frames are decoded; `max-fps` limits how many go on"),
    (
        "rtsp-reconnect-attempts",
        Changed,
        "a camera that is away is tried again for ever, with growing pauses: `reconnect`",
    ),
    ("low-latency-mode", Unneeded, DECODER),
    ("udp-buffer-size", Lost, "the kernel's size is used: with losses over UDP take `transport = \"tcp\"`"),
    ("smart-record", Lost, RECORD),
    ("smart-rec-dir-path", Lost, RECORD),
    ("smart-rec-file-prefix", Lost, RECORD),
    ("smart-rec-video-cache", Lost, RECORD),
    ("smart-rec-cache", Lost, RECORD),
    ("smart-rec-container", Lost, RECORD),
    ("smart-rec-start-time", Lost, RECORD),
    ("smart-rec-default-duration", Lost, RECORD),
    ("smart-rec-duration", Lost, RECORD),
    ("smart-rec-interval", Lost, RECORD),
    ("alsa-device", Lost, AUDIO),
    ("nvvideoconvert-copy-hw", Unneeded, MEMORY),
    ("extract-sei-type5-data", Lost, "data in the stream beside the pictures is not read"),
    ("sei-uuid", Lost, "data in the stream beside the pictures is not read"),
    ("drop-on-latency", Unneeded, "frames that come later than `latency` are always dropped"),
    ("source-id", Unneeded, "a camera goes by its id"),
    ("camera-id", Unneeded, "a camera goes by its id"),
    ("use-nvmultiurisrcbin", Unneeded, "cameras can always be added and removed: see `/api/v1/cameras` of `vigil run`"),
    (
        "http-ip",
        Changed,
        "cameras are added and removed by `/api/v1/cameras` of `vigil run`: `api.listen` is its address",
    ),
    (
        "http-port",
        Changed,
        "cameras are added and removed by `/api/v1/cameras` of `vigil run`: `api.listen` is its address",
    ),
    ("max-batch-size", Unneeded, MUX),
    ("num-source-bins", Unneeded, "the list is as long as it is"),
    ("stream-name-display", Lost, "the camera's name is not drawn"),
    ("enable-error-propagation", Unneeded, "a camera's failure never ends the site; it is told as an event"),
    ("dummy-payload", Unneeded, "a camera's failure never ends the site; it is told as an event"),
    ("custom-ts-to-rfc", Unneeded, "records have UTC times"),
];

const GIE: &[(&str, Level, &str)] = &[
    ("batch-size", Unneeded, "the engine takes as many pictures into one run as pays off, which it measures"),
    ("model-engine-file", Unneeded, ENGINE),
    ("plugin-type", Unneeded, "there is one inference element"),
    ("infer-raw-output-dir", Lost, TENSOR),
    ("input-tensor-meta", Lost, "tensors that another element prepared are not read: vigilinfer prepares its own"),
    ("tensor-meta-gie-id", Lost, TENSOR),
];

const PROPERTY: &[(&str, Level, &str)] = &[
    ("batch-size", Unneeded, "the engine takes as many pictures into one run as pays off, which it measures"),
    ("model-engine-file", Unneeded, ENGINE),
    ("workspace-size", Unneeded, ENGINE),
    ("force-implicit-batch-dim", Unneeded, ENGINE),
    (
        "network-mode",
        Changed,
        "the weights are as precise as the ONNX file has them: quantize or convert the file itself for FP16 or INT8",
    ),
    ("int8-calib-file", Lost, "there is no calibration at the start: quantize the ONNX file itself"),
    ("enable-dla", Lost, "the DLA is not used; the stage's `provider` chooses cpu, cuda, tensorrt or openvino"),
    ("use-dla-core", Lost, "the DLA is not used; the stage's `provider` chooses cpu, cuda, tensorrt or openvino"),
    ("layer-device-precision", Lost, "the weights are as precise as the ONNX file has them"),
    ("output-blob-names", Unneeded, "outputs are found by their names and shapes"),
    ("output-io-formats", Unneeded, ENGINE),
    ("num-detected-classes", Unneeded, "the model and its labels say it; they are checked against each other"),
    ("custom-lib-path", Changed, CUSTOM),
    ("engine-create-func-name", Unneeded, ENGINE),
    ("custom-network-config", Unneeded, ENGINE),
    ("proto-file", Unneeded, "only Caffe's models have it"),
    ("uff-input-blob-name", Unneeded, "only UFF models have it"),
    ("uff-input-dims", Unneeded, "only UFF models have it"),
    ("uff-input-order", Unneeded, "only UFF models have it"),
    ("tlt-model-key", Unneeded, "only encrypted models have it"),
    ("mean-file", Lost, "a mean picture is not subtracted: `input.mean` has one value per channel"),
    ("output-tensor-meta", Lost, TENSOR),
    ("output-instance-mask", Unneeded, "a model that makes masks always gives them"),
    ("input-tensor-meta", Lost, "tensors that another element prepared are not read: vigilinfer prepares its own"),
    ("input-tensor-from-meta", Lost, "tensors that another element prepared are not read: vigilinfer prepares its own"),
    (
        "scaling-filter",
        Changed,
        "pictures are scaled as OpenCV's linear filter does, or with `input.antialias` as Pillow does",
    ),
    ("scaling-compute-hw", Unneeded, MEMORY),
    (
        "classifier-async-mode",
        Unneeded,
        "with `when-busy = \"hold\"`, which sites have, no frame waits for a second model",
    ),
    ("input-object-max-width", Lost, "large objects are looked at too"),
    ("input-object-max-height", Lost, "large objects are looked at too"),
    ("crop-objects-to-roi-boundary", Unneeded, "objects are cut at the frame's edges"),
    ("segmentation-output-order", Unneeded, "the decoder tells the order by the shape"),
    ("enable-output-landmark", Unneeded, "keypoints are always given"),
    ("disable-output-host-copy", Unneeded, MEMORY),
    ("auto-inc-mem", Unneeded, MEMORY),
    ("max-gpu-mem-per", Unneeded, MEMORY),
    ("dump-input-tensor", Lost, TENSOR),
    ("dump-output-tensor", Lost, TENSOR),
    ("overwrite-input-tensor", Lost, TENSOR),
    ("is-classifier", Unneeded, "the network type says it"),
    ("attr-label-names", Unneeded, "the bundle's name is the attribute's"),
];

const CLASS: &[(&str, Level, &str)] = &[
    ("eps", Lost, CLUSTER),
    ("group-threshold", Lost, CLUSTER),
    ("minBoxes", Lost, CLUSTER),
    ("dbscan-min-score", Lost, CLUSTER),
    ("roi-top-offset", Lost, "objects in all of the picture count"),
    ("roi-bottom-offset", Lost, "objects in all of the picture count"),
    ("detected-min-w", Lost, "small objects are not left out; raise the confidence, or filter records"),
    ("detected-min-h", Lost, "small objects are not left out; raise the confidence, or filter records"),
    ("detected-max-w", Lost, "large objects are not left out"),
    ("detected-max-h", Lost, "large objects are not left out"),
    ("nms-iou-threshold", Lost, "one `output.iou` holds for all classes"),
    ("topk", Lost, "`output.max-objects` counts all classes together"),
    ("border-color", Unneeded, COLOURS),
    ("bg-color", Unneeded, COLOURS),
];

const OVERLAY: &[(&str, Level, &str)] = &[
    ("process-mode", Unneeded, OSD),
    ("font", Changed, "vigiloverlay has a font of its own; its `font` takes a TrueType file, not a family"),
    ("text-color", Lost, COLOURS),
    ("text-bg-color", Lost, COLOURS),
    ("border-color", Lost, COLOURS),
    ("show-clock", Lost, CLOCK),
    ("clock-x-offset", Lost, CLOCK),
    ("clock-y-offset", Lost, CLOCK),
    ("clock-text-size", Lost, CLOCK),
    ("clock-color", Lost, CLOCK),
    ("hw-blend-color-attr", Unneeded, OSD),
    ("blur-bbox", Lost, "faces and other objects are not blurred"),
    ("blur-on-gie-class-ids", Lost, "faces and other objects are not blurred"),
];

const TRACK: &[(&str, Level, &str)] = &[
    ("tracker-width", Unneeded, "vigiltrack does not look at pixels"),
    ("tracker-height", Unneeded, "vigiltrack does not look at pixels"),
    ("tracker-surface-type", Unneeded, "vigiltrack does not look at pixels"),
    ("tracking-surface-type", Unneeded, "vigiltrack does not look at pixels"),
    ("ll-lib-file", Changed, "vigiltrack is the tracker"),
    ("tracker-algorithm", Changed, "vigiltrack is the tracker"),
    ("iou-threshold", Lost, TRACKER),
    ("enable-batch-process", Unneeded, MUX),
    ("enable-past-frame", Unneeded, "records have every frame"),
    ("past-frame-trigger", Unneeded, "records have every frame"),
    ("tracking-id-reset-mode", Changed, "identities begin anew when the camera comes back, and never repeat in a run"),
    ("user-meta-pool-size", Unneeded, MEMORY),
    ("sub-batches", Unneeded, MUX),
    ("sub-batch-err-recovery-trial-cnt", Unneeded, MUX),
    ("input-tensor-meta", Lost, TRACKER),
    ("tensor-meta-gie-id", Lost, TRACKER),
];

const OUTPUT: &[(&str, Level, &str)] = &[
    ("sync", Unneeded, "files and RTSP have the cameras' own times; pictures are shown as they come"),
    ("qos", Unneeded, SINK),
    ("enc-type", Unneeded, "the encoder is what the machine has, or `encode.element`"),
    ("profile", Unneeded, "the encoder is what the machine has, or `encode.element`"),
    ("iframeinterval", Lost, "write it as a property of the encoder: `encode.element = \"x264enc key-int-max=…\"`"),
    ("sw-preset", Lost, "write it as a property of the encoder: `encode.element = \"x264enc speed-preset=…\"`"),
    ("output-io-mode", Unneeded, SINK),
    ("copy-meta", Unneeded, SINK),
    ("udp-port", Unneeded, "the RTSP server needs no port of its own for the packets"),
    ("udp-buffer-size", Unneeded, "the RTSP server needs no port of its own for the packets"),
    ("width", Lost, "a file or a mount has the size of the camera, or of the tile (`tile.….size`)"),
    ("height", Lost, "a file or a mount has the size of the camera, or of the tile (`tile.….size`)"),
    ("display-id", Lost, "the window goes where the desktop puts it"),
    ("overlay-id", Lost, "the window goes where the desktop puts it"),
    ("offset-x", Lost, "the window goes where the desktop puts it"),
    ("offset-y", Lost, "the window goes where the desktop puts it"),
    ("conn-id", Lost, "the window goes where the desktop puts it"),
    ("plane-id", Lost, "the window goes where the desktop puts it"),
    ("set-mode", Lost, "the window goes where the desktop puts it"),
    ("color-range", Unneeded, SINK),
    ("msg-conv-config", Changed, "the camera's id is in each record; other facts about it are the receiver's matter"),
    (
        "msg-conv-payload-type",
        Changed,
        "records have the form `vigil/1`: docs/records.md; `format = \"deepstream\"` is the minimal schema",
    ),
    ("msg-conv-msg2p-lib", Lost, "libraries of DeepStream are not loaded; records have the form `vigil/1`"),
    ("msg-conv-comp-id", Unneeded, "all results of a camera are in one record"),
    (
        "msg-conv-frame-interval",
        Changed,
        "each frame is a record: set `max-rate` of `vigilexport`, or `records = \"events\"`",
    ),
    ("msg-conv-msg2p-new-api", Unneeded, "records have the form `vigil/1`"),
    ("multiple-payloads", Unneeded, "records have the form `vigil/1`"),
    ("debug-payload-dir", Unneeded, "the file has what is sent"),
    ("msg-broker-proto-lib", Lost, BROKER),
    ("msg-broker-conn-str", Lost, BROKER),
    ("topic", Lost, BROKER),
    ("msg-broker-config", Lost, BROKER),
    ("msg-broker-comp-id", Unneeded, "all results of a camera are in one record"),
    ("disable-msgconv", Unneeded, "records have the form `vigil/1`"),
    ("new-api", Unneeded, BROKER),
];

const TILES: &[(&str, Level, &str)] = &[
    ("square-seq-grid", Unneeded, "without `columns` the tile is nearly square"),
    ("buffer-pool-size", Unneeded, MEMORY),
    ("custom-tile-config", Lost, "all pictures of a tile have the same size"),
];

const TESTS: &[(&str, Level, &str)] = &[
    ("pipeline-recreate-sec", Lost, "a camera is only made anew when it was lost"),
    ("enable-warnings", Unneeded, "warnings are always told"),
];

/// What a key that nothing was made of means, in the group of this name; `None` if it is not known at all.
pub(super) fn about(group: &str, key: &str) -> Option<(Level, &'static str)> {
    let list: &[&[_]] = match group {
        "application" => &[APPLICATION],
        "streammux" => return Some((Unneeded, MUX)),
        "property" => &[PROPERTY],
        "osd" => &[OVERLAY],
        "tracker" => &[TRACK],
        "tiled-display" => &[TILES],
        "tests" => &[TESTS],
        "source-list" | "source-attr-all" => &[SOURCE],
        "primary-gie" => &[GIE],
        "BaseConfig"
        | "TargetManagement"
        | "TrajectoryManagement"
        | "DataAssociator"
        | "StateEstimator"
        | "ReID"
        | "VisualTracker"
        | "ObjectModelProjection"
        | "PoseEstimator"
        | "Segmenter" => return Some((Lost, TRACKER)),
        _ if group.starts_with("source") => &[SOURCE],
        _ if group.starts_with("sink") => &[OUTPUT],
        _ if group.starts_with("secondary-gie") => &[GIE],
        _ if group.starts_with("class-attrs-") => &[CLASS],
        _ => &[],
    };
    let mut known = list.iter().copied().chain([ANYWHERE]).flatten();
    let colours = key.starts_with("bbox-border-color") || key.starts_with("bbox-bg-color");
    let found = known.find(|(name, ..)| *name == key).map(|(_, level, text)| (*level, *text));
    found.or(colours.then_some((Unneeded, COLOURS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_by_their_group() {
        assert_eq!(about("source3", "smart-record"), Some((Lost, RECORD)));
        assert_eq!(about("sink12", "topic"), Some((Lost, BROKER)));
        assert_eq!(about("secondary-gie0", "batch-size").unwrap().0, Unneeded);
        assert_eq!(about("primary-gie", "bbox-border-color0"), Some((Unneeded, COLOURS)));
        assert_eq!(about("osd", "gpu-id"), Some((Unneeded, MEMORY)));
        assert_eq!(about("osd", "no-such-key"), None);
    }
}
