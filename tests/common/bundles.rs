//! Bundles around the small models, good ones and such as must never go live.
//!
//! All are called `reds` and find what is red on a picture. The bad ones are well until it gets bright (see
//! tests/models/make.py), unless it says otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gstvigil::bundle::sign::{self, SecretKey};
use gstvigil::bundle::{Bundle, digest, pack};

/// Name of all these bundles.
pub const NAME: &str = "reds";

/// A picture with a red rectangle on grey.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Width and height, pixels.
    pub size: (u32, u32),
    /// Left, top, width, height of what is red, pixels.
    pub red: (u32, u32, u32, u32),
    /// Grey value of the rest.
    pub grey: u8,
}

/// Dark: all models are well.
pub const DARK: Scene = Scene { size: (160, 120), red: (30, 20, 60, 50), grey: 40 };
/// Bright: the moody ones show what they are.
pub const BRIGHT: Scene = Scene { size: (160, 120), red: (70, 40, 50, 60), grey: 255 };

impl Scene {
    /// Its pixels, RGB in rows without padding.
    pub fn rgb(&self) -> Vec<u8> {
        let ((width, height), (left, top, w, h)) = (self.size, self.red);
        let red = |x: u32, y: u32| (left..left + w).contains(&x) && (top..top + h).contains(&y);
        let pixel = |x, y| if red(x, y) { [255, 0, 0] } else { [self.grey; 3] };
        (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
    }

    fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.size.0, self.size.1);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&self.rgb()).unwrap();
        writer.finish().unwrap();
        bytes
    }
}

/// A bundle in the making.
#[derive(Debug, Clone)]
pub struct Draft {
    release: String,
    model: &'static str,
    labels: Vec<&'static str>,
    size: u32,
    tables: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl Draft {
    /// A bundle around one of the models `blob…` beside the tests.
    pub fn new(model: &'static str, release: &str) -> Self {
        let (labels, size) = match model {
            "blob96" => (vec!["blue", "red", "green"], 96),
            "blob_three" => (vec!["red", "two", "three"], 160),
            _ => (vec!["red"], 160),
        };
        Self { release: release.into(), model, labels, size, tables: String::new(), files: BTreeMap::new() }
    }

    /// With these labels.
    pub fn labels(self, labels: &[&'static str]) -> Self {
        Self { labels: labels.to_vec(), ..self }
    }

    /// With this side of the square input, pixels.
    pub fn size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// With these tables at the end of its `bundle.toml`.
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables += toml;
        self.tables += "\n";
        self
    }

    /// With these reference pictures, on which what is red is expected `off` pixels to the right of where it is; `more`
    /// are further lines of `[reference]`.
    pub fn reference(mut self, scenes: &[Scene], off: u32, more: &str) -> Self {
        let class = self.labels.iter().position(|label| *label == "red").unwrap();
        let mut entries = Vec::new();
        for (number, scene) in scenes.iter().enumerate() {
            let file = format!("reference/{number}.png");
            let (x, y, w, h) = scene.red;
            let place = [x + off, y, x + off + w, y + h];
            entries.push(format!(
                r#"{{"file": "{file}", "objects": [{{"class": {class}, "label": "red", "score": 1.0, "box": {place:?}}}]}}"#
            ));
            self.files.insert(file, scene.png());
        }
        let expected = format!("{{\"format\": 1, \"pictures\": [{}]}}\n", entries.join(", "));
        self.files.insert("reference/expected.json".into(), expected.into_bytes());
        self.tables(&format!(
            "[reference]\nimages = [\"reference/*.png\"]\nexpected = \"reference/expected.json\"\n{more}"
        ))
    }

    /// Signed with `key`; nothing may be added any more.
    pub fn signed(mut self, key: &SecretKey) -> Self {
        let bundle = Bundle::from_files(Path::new(NAME), self.files()).unwrap();
        self.files.insert(sign::SIGNATURE.into(), sign::sign(&bundle.digest, key).into_bytes());
        self
    }

    /// Signed with `key` as if it were release `other`.
    pub fn signed_for_another(mut self, key: &SecretKey, other: &str) -> Self {
        let of_other = Self { release: other.into(), ..self.clone() }.signed(key);
        let signature = of_other.files.into_iter().find(|(name, _)| name == sign::SIGNATURE);
        self.files.extend(signature);
        self
    }

    /// All files of the bundle.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let weights = std::fs::read(super::model(self.model)).unwrap();
        let manifest = format!(
            r#"format = 1
name = "{NAME}"
release = "{}"
task = "detect"
labels = "labels.txt"

[input]
layout = "{3}"
size = [{1}, {1}]
color = "rgb"
resize = "letterbox"
mean = [0, 0, 0]
std = [255, 255, 255]

[output]
decoder = "yolov8"

[[variant]]
file = "model.onnx"
sha256 = "{2}"

{4}"#,
            self.release,
            self.size,
            digest::of_bytes(&weights),
            if self.model == "blob_last" { "nhwc" } else { "nchw" },
            self.tables,
        );
        let mut files = self.files.clone();
        files.insert("bundle.toml".into(), manifest.into_bytes());
        files.insert("labels.txt".into(), (self.labels.join("\n") + "\n").into_bytes());
        files.insert("model.onnx".into(), weights);
        files
    }

    /// Writes it as the folder `NAME-RELEASE`.
    pub fn folder(&self, under: &Path) -> PathBuf {
        let folder = under.join(format!("{NAME}-{}", self.release));
        for (path, content) in self.files() {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    /// Writes it as the archive `NAME-RELEASE.vigil`.
    pub fn archive(&self, under: &Path) -> PathBuf {
        let path = under.join(format!("{NAME}-{}.vigil", self.release));
        let bundle = Bundle::from_files(under, self.files()).unwrap();
        let bytes = pack::write(&bundle, Vec::new()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A good bundle: 160 x 160 pixels, class red, proven on a dark and a bright picture.
pub fn good(release: &str) -> Draft {
    Draft::new("blob", release).reference(&[DARK, BRIGHT], 0, "")
}

/// Another good one, of 96 x 96 pixels; red is the second of three classes.
pub fn good_other(release: &str) -> Draft {
    Draft::new("blob96", release).reference(&[DARK, BRIGHT], 0, "")
}

/// What can be wrong with a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An archive that ends in the middle.
    Truncated,
    /// One bit of the weights is another one.
    BitFlipped,
    /// The input is not of the size that the bundle says.
    WrongShape,
    /// There are more labels than classes.
    WrongClassCount,
    /// Answers are NaN when it is bright, as on one of its reference pictures.
    NonFinite,
    /// Nothing is found when it is bright, as on one of its reference pictures.
    Blind,
    /// A run takes longer than the bundle allows when it is bright, as on its reference picture.
    Slow,
    /// The runtime takes minutes to load it, whatever the pictures.
    HangingAtLoad,
    /// Its runs have no end, whatever the pictures.
    HangingAtRun,
    /// The runtime's process dies while it loads it, whatever the pictures.
    CrashingAtLoad,
    /// The runtime's process dies when it is bright, as on one of its reference pictures.
    CrashingAtRun,
    /// The runtime needs 1 GiB of memory to load and run it, whatever the pictures.
    Hungry,
    /// What is expected on the reference pictures is not there.
    OutdatedReference,
}

impl Fault {
    /// Every one that there is.
    pub const ALL: [Self; 13] = [
        Self::Truncated,
        Self::BitFlipped,
        Self::WrongShape,
        Self::WrongClassCount,
        Self::NonFinite,
        Self::Blind,
        Self::Slow,
        Self::HangingAtLoad,
        Self::HangingAtRun,
        Self::CrashingAtLoad,
        Self::CrashingAtRun,
        Self::Hungry,
        Self::OutdatedReference,
    ];

    /// Writes a bundle with this fault; its path.
    pub fn write(self, release: &str, under: &Path) -> PathBuf {
        let of = |model| Draft::new(model, release).reference(&[DARK, BRIGHT], 0, "");
        match self {
            Self::Truncated => {
                let path = good(release).archive(under);
                let whole = std::fs::read(&path).unwrap();
                std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
                path
            }
            Self::BitFlipped => {
                let folder = good(release).folder(under);
                let weights = folder.join("model.onnx");
                let mut bytes = std::fs::read(&weights).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
                std::fs::write(weights, bytes).unwrap();
                folder
            }
            Self::WrongShape => good(release).size(64).folder(under),
            Self::WrongClassCount => good(release).labels(&["red", "blue"]).folder(under),
            Self::NonFinite => of("blob_nan").folder(under),
            Self::Blind => of("blob_blind").folder(under),
            Self::Slow => {
                let slow = Draft::new("blob_slow", release);
                slow.reference(&[BRIGHT], 0, "max-latency-ms = 5").folder(under)
            }
            Self::HangingAtLoad => of("blob_hang_load").folder(under),
            Self::HangingAtRun => of("blob_hang_run").folder(under),
            Self::CrashingAtLoad => of("blob_crash_load").folder(under),
            Self::CrashingAtRun => of("blob_crash").folder(under),
            Self::Hungry => of("blob_hungry_load").folder(under),
            Self::OutdatedReference => Draft::new("blob", release).reference(&[DARK, BRIGHT], 40, "").folder(under),
        }
    }
}
