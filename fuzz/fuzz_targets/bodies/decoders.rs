//! Bytes → a contract, a model's promise and tensors that keep it or do not → objects that must be sound.
//!
//! Shared by the fuzz target `decoders` and `tests/fuzz_decoders.rs`. The first bytes choose the shapes; the values
//! follow as bfloat16 (so that every exponent, NaN and infinity is two bytes away), and when the bytes run out a
//! generator seeded by them goes on, so that short inputs fill large tensors too.

use gstvigil::bundle::contract::{
    Activation, Align, AnchorConfig, BoxFormat, BoxUnit, Color, Column, DecoderKind, InputContract, Labels, Layout,
    OutputContract, Resize, Task,
};
use gstvigil::engine::{DataType, Spec, Tensor, TensorData, TensorSpec};
use gstvigil::post::{PostError, PostProcessor, Scratch, recognise};
use gstvigil::pre::geometry::Geometry;
use gstvigil::result::{BBox, FrameResult, Freshness};

/// What an input came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The contract does not fit the model.
    Refused,
    /// The tensors are not those that the model promised.
    Failed,
    /// This many objects or classes.
    Found(usize),
}

/// Reads choices and values.
struct Source<'a> {
    bytes: &'a [u8],
    state: u64,
}

impl<'a> Source<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let fnv = |state: u64, b: &u8| (state ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        Self { bytes, state: bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv) | 1 }
    }

    fn byte(&mut self) -> u8 {
        if let Some((first, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            return *first;
        }
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 32) as u8
    }

    /// 0..n.
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// Once in `n`.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Any number while there are bytes, then mostly what a model would say.
    fn value(&mut self) -> f32 {
        if !self.bytes.is_empty() {
            let high = u16::from_be_bytes([self.byte(), self.byte()]);
            return f32::from_bits(u32::from(high) << 16);
        }
        let unit = f32::from(self.byte()) / 255.0;
        match self.byte() {
            0..=1 => f32::NAN,
            2 => f32::INFINITY,
            3 => f32::NEG_INFINITY,
            4..=9 => unit * 1e30,
            10..=60 => unit * 100.0,
            61..=90 => -unit,
            _ => unit,
        }
    }
}

/// Small and odd sizes: contracts are refused far more often than they fit if the choice is wider.
fn contracts(s: &mut Source) -> (OutputContract, InputContract, Labels) {
    let kind = DecoderKind::ALL[s.below(DecoderKind::ALL.len())];
    let side = |s: &mut Source| [32, 64, 96, 1, 33][s.below(5)];
    let input = InputContract {
        layout: Layout::Nchw,
        width: side(s),
        height: side(s),
        color: Color::Rgb,
        resize: [Resize::Letterbox, Resize::Stretch, Resize::Crop][s.below(3)],
        antialias: false,
        crop_fraction: 1.0,
        align: [Align::Center, Align::TopLeft][s.below(2)],
        pad: 114,
        mean: [0.0; 3],
        std: [1.0; 3],
        quantization: None,
    };
    // A family of one class is refused for any other number of labels.
    let single = matches!(kind, DecoderKind::Yunet | DecoderKind::Movenet | DecoderKind::Ultraface);
    let count = s.below(12);
    let count = if single && count > 2 { 1 } else { count };
    let labels: Labels = (0..count).map(|i| i.to_string().into()).collect();
    let mut output = OutputContract::new(kind);
    output.confidence = s.value();
    output.iou = s.value();
    output.max_objects = s.below(40);
    output.class_agnostic = s.once_in(2);
    output.nms = s.once_in(4);
    output.class_offset = s.below(3) as u32 / if single { 2 } else { 1 };
    output.top_k = s.below(8);
    output.activation = match s.below(12) {
        0 => Some(Activation::None),
        1 => Some(Activation::Sigmoid),
        2 => Some(Activation::Softmax),
        _ => None,
    };
    output.task = kind.tasks()[s.below(kind.tasks().len())];
    boxes(s, &mut output);
    if s.once_in(4) {
        output.per_class.push((s.below(12) as u32, s.value()));
    }
    if !s.once_in(12) {
        output.anchors = Some(AnchorConfig {
            feature_maps: (0..s.below(4)).map(|_| s.below(6) as u32).collect(),
            min_scale: if s.once_in(8) { s.value() } else { 0.2 },
            max_scale: if s.once_in(8) { s.value() } else { 0.9 },
            aspect_ratios: (0..s.below(3)).map(|i| 1.0 + i as f32).collect(),
            reduce_lowest: s.once_in(2),
            interpolated_scale: s.once_in(2),
            box_scales: [10.0, 10.0, 5.0, 5.0],
        });
    }
    (output, input, labels)
}

/// Keys of the families whose boxes differ; mostly the defaults.
fn boxes(s: &mut Source, output: &mut OutputContract) {
    if s.once_in(4) {
        output.box_unit = Some([BoxUnit::Pixels, BoxUnit::Normalized][s.below(2)]);
        output.box_format = Some([BoxFormat::Xyxy, BoxFormat::Yxyx, BoxFormat::Cxcywh][s.below(3)]);
    }
    if output.task == Task::Pose && s.once_in(2) {
        output.keypoint_shape = Some([1 + s.below(4), 2 + s.below(2)]);
    }
    if output.decoder == DecoderKind::Detections && s.once_in(4) {
        let all = [
            Column::X1,
            Column::Y1,
            Column::X2,
            Column::Y2,
            Column::Score,
            Column::Class,
            Column::Angle,
            Column::Ignore,
        ];
        let mut columns: Vec<Column> = all[..5 + s.below(4)].into();
        columns.rotate_left(s.below(5));
        output.columns = Some(columns);
    }
    if output.decoder == DecoderKind::Yolov5 && s.once_in(2) {
        output.yolo_anchors = Some(vec![vec![[4.0, 8.0]; 1 + s.below(3)]; 1 + s.below(3)]);
    }
}

/// What a row holds after its classes.
fn extra(output: &OutputContract) -> usize {
    match output.task {
        Task::Pose => output.keypoint_shape.map_or(6, |[count, values]| count * values),
        Task::Segment => 3,
        Task::Obb => 1,
        _ => 0,
    }
}

/// The rows of a model that also segments have prototypes beside them.
fn with_prototypes(s: &mut Source, output: &OutputContract, rows: Vec<usize>) -> Vec<Vec<usize>> {
    let mut shapes = vec![rows];
    if output.task == Task::Segment {
        let (h, w) = (1 + s.below(9), 1 + s.below(9));
        shapes.push(if s.once_in(3) { vec![1, h, w, 3] } else { vec![1, 3, h, w] });
    }
    shapes
}

/// Raw heads in one of their three orders.
fn heads(s: &mut Source, output: &OutputContract, input: &InputContract, values: usize) -> Vec<Vec<usize>> {
    let (heads, each) = output.yolo_anchors.as_ref().map_or((3, 3), |a| (a.len(), a[0].len()));
    let order = s.below(3);
    let shape = |i: usize| {
        let (h, w) = (input.height as usize >> (3 + i), input.width as usize >> (3 + i));
        match order {
            0 => vec![1, each, h, w, values],
            1 => vec![1, each * values, h, w],
            _ => vec![1, h, w, each * values],
        }
    };
    (0..heads).map(shape).collect()
}

/// Rows that the anchors or the grid of a contract have.
fn rows(output: &OutputContract, input: &InputContract) -> usize {
    match (output.decoder, &output.anchors) {
        (DecoderKind::Yolox, _) => {
            [8, 16, 32].iter().map(|s| (input.width / s) as usize * (input.height / s) as usize).sum()
        }
        (_, Some(a)) => {
            let full = a.aspect_ratios.len() + usize::from(a.interpolated_scale);
            let per_cell = |layer| if layer == 0 && a.reduce_lowest { 3 } else { full };
            a.feature_maps.iter().enumerate().map(|(i, m)| (*m as usize).pow(2) * per_cell(i)).sum()
        }
        _ => 0,
    }
}

/// Cells of a level whose last ones stick out of the input.
fn cells(input: &InputContract, stride: u32) -> usize {
    input.width.div_ceil(stride) as usize * input.height.div_ceil(stride) as usize
}

/// NanoDet's forms: all levels in one output, or two outputs for each, as rows or as planes.
fn nanodet(s: &mut Source, input: &InputContract, classes: usize) -> Vec<Vec<usize>> {
    let strides = &[8, 16, 32, 64][..3 + s.below(2)];
    match s.below(4) {
        0 => strides.iter().flat_map(|n| [classes, 32].map(|c| vec![1, cells(input, *n), c])).collect(),
        1 => {
            let map = |n: u32, c| vec![1, c, input.height.div_ceil(n) as usize, input.width.div_ceil(n) as usize];
            strides.iter().flat_map(|n| [64, classes].map(|c| map(*n, c))).collect()
        }
        _ => vec![vec![1, strides.iter().map(|n| cells(input, *n)).sum(), classes + 32]],
    }
}

/// The shapes that a model of this contract would have; one in eight is something else.
fn shapes(s: &mut Source, output: &OutputContract, input: &InputContract, labels: usize) -> Vec<Vec<usize>> {
    let classes = labels + output.class_offset as usize;
    let free = s.below(60);
    let mut shapes = match output.decoder {
        DecoderKind::SsdAnchors => {
            let n = rows(output, input);
            vec![vec![1, n, 4], vec![1, n, classes]]
        }
        DecoderKind::SsdPostprocessed => vec![vec![1, free, 4], vec![1, free], vec![1, free], vec![1]],
        DecoderKind::Yolox => vec![vec![1, rows(output, input), 5 + classes]],
        DecoderKind::Yolov8 if s.once_in(2) => with_prototypes(s, output, vec![1, free, 4 + classes + extra(output)]),
        DecoderKind::Yolov8 => with_prototypes(s, output, vec![1, 4 + classes + extra(output), free]),
        DecoderKind::Detections => {
            let columns = output.columns.as_ref().map_or(6, Vec::len);
            let turn = usize::from(output.columns.is_none() && output.task == Task::Obb);
            let more = if output.task == Task::Obb { turn } else { extra(output) };
            let picture = usize::from(output.columns.is_none() && output.task == Task::Detect && s.once_in(3));
            with_prototypes(s, output, vec![1, free, columns + more + picture])
        }
        DecoderKind::Yolov5 if output.task == Task::Detect && s.once_in(2) => heads(s, output, input, 5 + classes),
        DecoderKind::Yolov5 => with_prototypes(s, output, vec![1, free, 5 + classes + extra(output)]),
        DecoderKind::YoloNas if s.once_in(2) => vec![vec![1, free, classes], vec![1, free, 4]],
        DecoderKind::YoloNas => vec![vec![1, free, 4], vec![1, free, classes]],
        DecoderKind::Nanodet => nanodet(s, input, classes),
        DecoderKind::Centernet => {
            let map = [input.height as usize / 4, input.width as usize / 4];
            [classes, 2, 2].map(|channels| vec![1, channels, map[0], map[1]]).into()
        }
        DecoderKind::Detr => match s.below(4) {
            0 => vec![vec![1, free], vec![1, free, 4], vec![1, free]],
            1 => vec![vec![1, free, 4 + classes]],
            more => vec![vec![1, free, classes + more - 2], vec![1, free, 4]],
        },
        DecoderKind::Yunet => {
            let cells = |stride| cells(input, stride);
            [1, 1, 4, 10].iter().flat_map(|columns| [8, 16, 32].map(|s| vec![1, cells(s), *columns])).collect()
        }
        DecoderKind::Ultraface if s.once_in(2) => vec![vec![1, free, 2], vec![1, free, 4], vec![1, free, 10]],
        DecoderKind::Ultraface => vec![vec![1, free, classes], vec![1, free, 4]],
        DecoderKind::Movenet if s.once_in(2) => vec![vec![1, free, 56]],
        DecoderKind::Movenet => vec![vec![1, 1, 17, 3]],
        DecoderKind::Segmentation => match s.below(4) {
            0 => vec![vec![1, 9, 7, classes]],
            1 => vec![vec![1, 9, 7]],
            _ => vec![vec![1, classes, 9, 7]],
        },
        DecoderKind::Classify => vec![vec![1, classes]],
        DecoderKind::Embed => vec![vec![1, free]],
    };
    // Of many outputs one is wrong about as often as of few.
    let many = shapes.len().div_ceil(4);
    for shape in &mut shapes {
        if s.once_in(4) && shape.len() > 2 {
            shape.remove(0);
        }
        if s.once_in(8 * many) {
            let i = s.below(shape.len());
            shape[i] = s.below(20);
        }
        if s.once_in(32 * many) {
            shape.clear();
        }
    }
    if s.once_in(16) {
        shapes.pop();
    }
    shapes
}

/// A tensor's values; one in sixteen has not as many as its shape says.
fn tensor(s: &mut Source, name: String, shape: Vec<usize>, dtype: DataType) -> Tensor {
    let mut len = shape.iter().product::<usize>().min(20_000);
    if s.once_in(16) {
        len = s.below(200);
    }
    let mut data = TensorData::zeros(dtype, len);
    match &mut data {
        TensorData::F32(v) => v.fill_with(|| s.value()),
        TensorData::F16(v) => v.fill_with(|| half::f16::from_f32(s.value())),
        TensorData::U8(v) => v.fill_with(|| s.byte()),
        TensorData::I8(v) => v.fill_with(|| s.byte() as i8),
        TensorData::I32(v) => v.fill_with(|| s.value() as i32),
        TensorData::I64(v) => v.fill_with(|| s.value() as i64),
    }
    Tensor { name, shape, data }
}

const NAMES: [&str; 4] = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"];

/// The model's promise and what a run then gives.
fn model(s: &mut Source, output: &OutputContract, input: &InputContract, labels: usize) -> (Spec, Vec<Tensor>) {
    let dtypes = [DataType::F32, DataType::F16, DataType::U8, DataType::I8, DataType::I32, DataType::I64];
    let named = s.once_in(2);
    let (mut outputs, mut tensors) = (Vec::new(), Vec::new());
    let shapes = shapes(s, output, input, labels);
    let many = shapes.len().div_ceil(4);
    for (i, shape) in shapes.into_iter().enumerate() {
        let name = if named { NAMES.get(i).map_or("more", |n| n).to_owned() } else { format!("output{i}") };
        let dtype = match s.below(16 * many) {
            i @ 0..6 => dtypes[i],
            _ => DataType::F32,
        };
        let promise = shape.iter().map(|d| if s.once_in(4) { None } else { Some(*d) }).collect();
        outputs.push(TensorSpec { name: name.clone(), dtype, shape: promise });
        let mut given = shape;
        if s.once_in(16) && !given.is_empty() {
            let i = s.below(given.len());
            given[i] = s.below(30);
        }
        tensors.push(tensor(s, name, given, dtype));
    }
    let shape = [1, 3, input.height as usize, input.width as usize];
    let inputs = vec![TensorSpec { name: "images".into(), dtype: DataType::F32, shape: shape.map(Some).into() }];
    (Spec { inputs, outputs, ..Spec::default() }, tensors)
}

fn empty_result() -> FrameResult {
    FrameResult {
        frame: 0,
        pts_ns: None,
        running_time_ns: None,
        utc_ns: 0,
        width: 1,
        height: 1,
        model: None,
        freshness: Freshness::Fresh,
        objects: Vec::new(),
        classes: Vec::new(),
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    }
}

/// Runs one input and checks everything that must hold whatever the tensors say.
///
/// # Panics
/// If a result is not sound: that is what the fuzzer looks for.
pub fn check(bytes: &[u8]) -> Outcome {
    let mut s = Source::new(bytes);
    let (output, input, labels) = contracts(&mut s);
    let (spec, tensors) = model(&mut s, &output, &input, labels.len());
    if let Err(error) = recognise(&spec) {
        assert!(matches!(error, PostError::Unrecognised { .. }) && !error.to_string().is_empty());
    }
    let post = match PostProcessor::new(&output, &input, &labels, &spec) {
        Ok(post) => post,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Outcome::Refused;
        }
    };
    let region = s.once_in(3).then_some(BBox { x: 0.25, y: 0.5, w: 0.5, h: 0.25 });
    let geometry = Geometry::new(&input, 1 + s.below(250) as u32, 1 + s.below(250) as u32, region);
    let thresholds = post.thresholds();
    let (mut scratch, mut result) = (Scratch::default(), empty_result());
    let first = post.run(&tensors, &thresholds, &geometry, &mut scratch, &mut result).map_err(|e| e.to_string());
    check_sound(&result, &output, labels.len());
    // Buffers that are not fresh must change nothing.
    let before = result.clone();
    let second = post.run(&tensors, &thresholds, &geometry, &mut scratch, &mut result).map_err(|e| e.to_string());
    assert_eq!((&first, &before), (&second, &result));
    match first {
        Ok(_) => Outcome::Found(result.objects.len() + result.classes.len()),
        Err(_) => {
            assert!(result.objects.is_empty() && result.classes.is_empty());
            Outcome::Failed
        }
    }
}

fn check_sound(result: &FrameResult, output: &OutputContract, labels: usize) {
    assert!(result.objects.len() <= output.max_objects);
    for (i, o) in result.objects.iter().enumerate() {
        let b = o.bbox;
        assert!([b.x, b.y, b.w, b.h].iter().all(|v| v.is_finite()), "{b:?}");
        assert!(b.x >= 0.0 && b.y >= 0.0 && b.w > 0.0 && b.h > 0.0 && b.x2() <= 1.0 && b.y2() <= 1.0, "{b:?}");
        assert!((0.0..=1.0).contains(&o.confidence));
        assert!((o.class_id as usize) < labels);
        assert_eq!(o.id as usize, i);
        for p in &o.keypoints {
            assert!(p.x.is_finite() && p.y.is_finite() && (0.0..=1.0).contains(&p.confidence), "{p:?}");
        }
        if let Some(mask) = &o.mask {
            assert!(mask.width > 0 && mask.height > 0);
            assert_eq!(mask.data.len(), mask.width as usize * mask.height as usize);
        }
    }
    assert!(result.objects.windows(2).all(|w| w[0].confidence >= w[1].confidence));
    assert!(result.classes.len() <= output.top_k);
    for c in &result.classes {
        assert!((0.0..=1.0).contains(&c.confidence));
        assert!((c.class_id as usize) < labels);
    }
    assert!(result.classes.windows(2).all(|w| w[0].confidence >= w[1].confidence));
}
