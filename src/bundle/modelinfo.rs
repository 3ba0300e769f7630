//! GStreamer's `.modelinfo` files: what the tensors of a bare model mean, in a file beside it.
//!
//! A key file (as `.desktop` files are) with the section `[modelinfo]`, which holds `version` and perhaps `group-id`, and
//! one section for each tensor, named as the tensor: `dir` (`input` or `output`), `type`, `dims` (-1: any), `id` (of the tensor
//! id registry), `ranges` (inputs: what 0..255 becomes, `min,max` for all channels or one pair for each, separated by
//! semicolons) and `dims-order`. Other keys are left aside.
//!
//! Source: GStreamer 1.28, `gst-libs/gst/analytics/modelinfo.c`; `subprojects/gst-devtools/modelinfo-helper` writes them.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::BundleError;
use super::place::ConfigError;

/// Longest file, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The section of the file's own keys.
const OWN: &str = "modelinfo";

/// The content of a `.modelinfo` file.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    file: String,
    /// Id of all outputs together in the tensor id registry, such as `yolo-v8-segmentation-out`.
    pub group_id: Option<String>,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
}

/// What the file says about a tensor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TensorInfo {
    /// The section's name: that of the tensor in the model.
    pub name: String,
    /// Whether it is an input; `None` where the file does not say.
    pub input: Option<bool>,
    /// Element type in GStreamer's words, such as `float32`.
    pub dtype: Option<String>,
    /// Length of each dimension; `None` stands for any.
    pub dims: Option<Vec<Option<usize>>>,
    /// Id in the tensor id registry, such as `yolo-v8-out`.
    pub id: Option<String>,
    /// What 0 and 255 become, for all channels or for each.
    pub ranges: Option<Vec<(f32, f32)>>,
    /// File and line of the section.
    at: String,
}

impl TensorInfo {
    /// `model.onnx.modelinfo:7: section [output0]`.
    pub fn place(&self) -> String {
        format!("{}: section [{}]", self.at, self.name)
    }
}

impl ModelInfo {
    /// Reads the file beside `model`, if there is one: `model.onnx.modelinfo`, else `model.modelinfo`.
    ///
    /// # Errors
    /// [`BundleError`] if it cannot be read, or for its first mistake.
    pub fn beside(model: &Path) -> Result<Option<Self>, BundleError> {
        let mut appended = model.as_os_str().to_owned();
        appended.push(".modelinfo");
        for path in [PathBuf::from(appended), model.with_extension("modelinfo")] {
            let length = match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => meta.len(),
                // A pipe would be waited for, and a device may have no end.
                Ok(_) => return Err(BundleError::unusable(path, "is not a file")),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(BundleError::io(path)(e)),
            };
            if length > MAX_BYTES {
                return Err(BundleError::unusable(path, format!("{length} bytes are too many for a .modelinfo file")));
            }
            let bytes = fs::read(&path).map_err(BundleError::io(&path))?;
            let text = String::from_utf8(bytes).map_err(|_| BundleError::unusable(&path, "not UTF-8"))?;
            return Ok(Some(Self::parse(&text, &path.display().to_string())?));
        }
        Ok(None)
    }

    /// Reads the text of `file` (a name for errors).
    ///
    /// # Errors
    /// [`ConfigError`] for the first mistake.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let mut info = Self { file: file.into(), group_id: None, tensors: Vec::new() };
        let (mut section, mut version) = (None::<String>, None);
        for (line, content) in (1..).zip(text.lines()) {
            let fail = |message: String| ConfigError { file: file.into(), line, column: 1, key: None, message };
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if let Some(name) = content.strip_prefix('[') {
                let name = name.strip_suffix(']').ok_or_else(|| fail("the section's `]` is missing".into()))?;
                if name != OWN && info.tensors.iter().all(|t| t.name != name) {
                    let at = format!("{file}:{line}");
                    info.tensors.push(TensorInfo { name: name.into(), at, ..TensorInfo::default() });
                }
                section = Some(name.into());
                continue;
            }
            let (key, value) = content
                .split_once('=')
                .ok_or_else(|| fail("neither a section, nor `key=value`, nor a comment with `#`".into()))?;
            let (key, value) = (key.trim(), value.trim());
            let Some(section) = &section else {
                return Err(fail(format!("`{key}` stands before the first section")));
            };
            let done = match info.tensors.iter_mut().find(|t| t.name == *section && section != OWN) {
                Some(tensor) => tensor.set(key, value),
                None if key == "version" => check_version(value).map(|()| version = Some(())),
                None if key == "group-id" => {
                    info.group_id = filled(value);
                    Ok(())
                }
                None => Ok(()),
            };
            done.map_err(|why| ConfigError { key: Some(key.into()), ..fail(why) })?;
        }
        match version {
            Some(()) => Ok(info),
            None => Err(ConfigError {
                file: file.into(),
                line: 1,
                column: 1,
                key: None,
                message: "there is no `version` in a section [modelinfo]: write the file anew with GStreamer's \
                          modelinfo-generator.py"
                    .into(),
            }),
        }
    }

    /// The file's name, for messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What the file says about a tensor of the model: by its name, else by its place among the inputs or outputs, else
    /// by its dimensions; element type and dimensions must fit each time.
    pub fn find(
        &self,
        input: bool,
        place: usize,
        name: &str,
        dtype: &str,
        shape: &[Option<usize>],
    ) -> Option<&TensorInfo> {
        let fits = |t: &&TensorInfo, dims: bool| {
            t.input.is_none_or(|i| i == input)
                && t.dtype.as_deref().is_none_or(|d| d == dtype)
                && t.dims.as_ref().map_or(!dims, |dims| {
                    dims.len() == shape.len() && dims.iter().zip(shape).all(|(a, b)| a.is_none() || a == b)
                })
        };
        let named = self.tensors.iter().find(|t| t.name == name && fits(t, false));
        let placed = || self.tensors.iter().filter(|t| t.input == Some(input)).nth(place).filter(|t| fits(t, false));
        named.or_else(placed).or_else(|| self.tensors.iter().find(|t| fits(t, true)))
    }
}

impl TensorInfo {
    /// Takes one key of the section.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "dir" => {
                self.input = match value {
                    "input" => Some(true),
                    "output" => Some(false),
                    _ => return Err(format!("\"{value}\" is not a direction: input or output")),
                }
            }
            "type" => self.dtype = Some(value.into()),
            "id" => self.id = filled(value),
            "dims" => self.dims = Some(dims(value).ok_or_else(|| format!("\"{value}\" is not a list like 1,3,-1,-1"))?),
            "ranges" if filled(value).is_none() => {
                return Err("a placeholder: write the range of each channel, such as 0.0,1.0".into());
            }
            "ranges" => {
                let wrong = || format!("\"{value}\" is not a list like 0.0,1.0;0.0,1.0;0.0,1.0 with min below max");
                self.ranges = Some(ranges(value).ok_or_else(wrong)?);
            }
            // GStreamer reads any other word as row-major; so do we. Column-major is how it calls YOLO's boxes-last rows,
            // whose order is in the tensor's dimensions anyway.
            _ => {}
        }
        Ok(())
    }
}

/// A text that is not one of the generator's placeholders.
fn filled(value: &str) -> Option<String> {
    (!value.starts_with("PLACEHOLDER") && !value.is_empty()).then(|| value.to_owned())
}

fn check_version(value: &str) -> Result<(), String> {
    match value.split_once('.').map(|(major, minor)| (major.parse::<u32>(), minor.parse::<u32>())) {
        // Newer minor versions only add keys.
        Some((Ok(1), Ok(_))) => Ok(()),
        Some((Ok(_), Ok(_))) => Err(format!("this Vigil reads version 1, the file has version {value}")),
        _ => Err(format!("\"{value}\" is not a version like 1.0")),
    }
}

fn dims(value: &str) -> Option<Vec<Option<usize>>> {
    let length = |d: &str| d.trim().parse::<i64>().ok().map(|d| usize::try_from(d).ok());
    value.trim_end_matches(',').split(',').map(length).collect()
}

fn ranges(value: &str) -> Option<Vec<(f32, f32)>> {
    let range = |pair: &str| {
        let (min, max) = pair.split_once(',')?;
        let (min, max) = (min.trim().parse::<f32>().ok()?, max.trim().parse::<f32>().ok()?);
        (min.is_finite() && max.is_finite() && min < max).then_some((min, max))
    };
    value.trim_end_matches(';').split(';').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOLO: &str = "# made by hand\n[modelinfo]\nversion=1.0\ngroup-id=yolo-v8-out\n\n[images]\nid=yolo-v8-in\n\
                        type=float32\ndims=1,3,640,640\ndir=input\nranges=0.0,1.0;0.0,1.0;0.0,1.0\n\n[output0]\n\
                        id = yolo-v8-out\ntype = float32\ndims = 1,-1,-1\ndir = output\ndims-order = col-major\n";

    fn error(text: &str) -> String {
        ModelInfo::parse(text, "m.modelinfo").unwrap_err().to_string()
    }

    #[test]
    fn nobody_waits_for_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join("m.onnx.modelinfo")).unwrap();
        let error = ModelInfo::beside(&folder.path().join("m.onnx")).unwrap_err().to_string();
        assert!(error.contains("m.onnx.modelinfo") && error.contains("is not a file"), "{error}");
    }

    #[test]
    fn sections_are_tensors() {
        let info = ModelInfo::parse(YOLO, "m").unwrap();
        assert_eq!(info.group_id.as_deref(), Some("yolo-v8-out"));
        let [input, output] = info.tensors.as_slice() else { panic!("{info:?}") };
        assert_eq!((input.name.as_str(), input.input, input.dtype.as_deref()), ("images", Some(true), Some("float32")));
        assert_eq!(input.dims, Some(vec![Some(1), Some(3), Some(640), Some(640)]));
        assert_eq!(input.ranges, Some(vec![(0.0, 1.0); 3]));
        assert_eq!((output.id.as_deref(), output.input), (Some("yolo-v8-out"), Some(false)));
        assert_eq!(output.dims, Some(vec![Some(1), None, None]));
        assert_eq!(output.place(), "m:13: section [output0]");
    }

    #[test]
    fn tensors_are_found_by_name_then_place_then_dimensions() {
        let info = ModelInfo::parse(YOLO, "m").unwrap();
        let shape = [Some(1), Some(84), Some(8400)];
        let name = |found: Option<&TensorInfo>| found.map(|t| t.name.clone());
        assert_eq!(name(info.find(false, 0, "output0", "float32", &shape)).as_deref(), Some("output0"));
        assert_eq!(name(info.find(false, 0, "renamed", "float32", &shape)).as_deref(), Some("output0"));
        assert_eq!(name(info.find(false, 1, "renamed", "float32", &shape)).as_deref(), Some("output0"));
        assert_eq!(info.find(false, 0, "output0", "uint8", &shape), None);
        assert_eq!(info.find(false, 1, "x", "float32", &[Some(2), None, None]), None);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        assert!(error("").contains("m.modelinfo:1:1: there is no `version`"), "{}", error(""));
        let head = "[modelinfo]\nversion=1.0\n";
        assert_eq!(
            error("[modelinfo]\nversion=2.0"),
            "m.modelinfo:2:1: `version`: this Vigil reads version 1, the file has version 2.0"
        );
        assert!(error("[modelinfo]\nversion=new").ends_with("\"new\" is not a version like 1.0"));
        assert!(error("version=1.0").contains(":1:1: `version` stands before the first section"));
        assert!(error(&format!("{head}[images\n")).contains(":3:1: the section's `]` is missing"));
        assert!(error(&format!("{head}hello\n")).contains(":3:1: neither a section"));
        for (key, value, why) in [
            ("dir", "both", "is not a direction"),
            ("dims", "1,three", "is not a list like"),
            ("ranges", "0,1;2", "is not a list like"),
            ("ranges", "1,0", "min below max"),
            ("ranges", "PLACEHOLDER_RANGES", "a placeholder"),
        ] {
            let text = error(&format!("{head}[images]\n{key}={value}\n"));
            assert!(text.contains(&format!("m.modelinfo:4:1: `{key}`: ")) && text.contains(why), "{text}");
        }
    }

    #[test]
    fn placeholders_of_ids_say_nothing_and_other_keys_are_left_aside() {
        let text = "[modelinfo]\nversion=1.3\ngroup-id=PLACEHOLDER\n[a]\nid=PLACEHOLDER_ID\nfuture=1\n[a]\ntype=int8\n";
        let info = ModelInfo::parse(text, "m").unwrap();
        assert_eq!((info.group_id, info.tensors.len()), (None, 1));
        assert_eq!((&info.tensors[0].id, info.tensors[0].dtype.as_deref()), (&None, Some("int8")));
    }

    #[test]
    fn both_names_are_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("m.onnx");
        assert_eq!(ModelInfo::beside(&model).unwrap(), None);
        fs::write(dir.path().join("m.modelinfo"), YOLO).unwrap();
        assert!(ModelInfo::beside(&model).unwrap().is_some());
        fs::write(dir.path().join("m.onnx.modelinfo"), "[modelinfo").unwrap();
        let text = ModelInfo::beside(&model).unwrap_err().to_string();
        assert!(text.contains("m.onnx.modelinfo:1:1: the section's `]` is missing"), "{text}");
    }
}
