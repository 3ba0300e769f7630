//! What `vigil bundle new` can tell about a model by loading it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use gstvigil::bundle::ModelSource;
use gstvigil::bundle::contract::Labels;
use gstvigil::bundle::create::{Draft, Given, Known, Reason};
use gstvigil::engine::Engine;
use gstvigil::engine::onnx::OnnxEngine;
use gstvigil::engine::options::Options;
use gstvigil::model;
use gstvigil::post::{self, Hint, Hints, Origin};
use serde::de::DeserializeOwned;

/// A draft from what the model and a `.modelinfo` file beside it say, what follows from names and shapes, and what the user
/// gives: `labels`, and keys of the bundle, so far as they help to recognise the model.
///
/// # Errors
/// If the model cannot be loaded or recognised, its labels are neither given nor embedded, or a given value is wrong.
pub fn draft(
    path: &Path,
    labels: Option<Labels>,
    given: &[Given],
    library: Option<&Path>,
) -> Result<Draft, Box<dyn Error>> {
    let name = path.to_str().ok_or_else(|| format!("the path {} is not UTF-8", path.display()))?;
    let ModelSource::Bare { bytes, info, operators, .. } = ModelSource::open(name)? else {
        return Err(format!("{name} is a bundle already; vigil bundle show {name} tells about it").into());
    };
    let hints = Hints { operators, ..hints(given, labels.is_some())? };
    let engine = OnnxEngine::load(&bytes, &Options::least("cpu"), library)?;
    let known = post::recognise_with(engine.spec(), info.as_ref(), hints).map_err(|e| advice(&e.to_string(), name))?;
    let mut reasons: BTreeMap<String, Reason> = known
        .facts
        .iter()
        .map(|fact| {
            let known = match fact.origin {
                Origin::Given => Known::Given,
                Origin::Read => Known::Read,
                Origin::Recognised => Known::Recognised,
                Origin::Assumed => Known::Assumed,
            };
            (fact.key.to_owned(), Reason::new(known, fact.because.as_str()))
        })
        .collect();
    let labels = match labels {
        Some(given) => {
            reasons.insert("labels".into(), Reason::given());
            given
        }
        None => model::labels(&known).ok_or("the model does not say which classes it finds: give --labels FILE")?,
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Draft {
        name: stem,
        release: "1".into(),
        license: None,
        task: known.task,
        labels,
        input: known.input,
        output: known.output,
        precision: None,
        known: reasons,
    })
}

/// The error with what can be done on this command line.
fn advice(error: &str, model: &str) -> String {
    let key = error.rsplit('`').nth(1).unwrap_or("output.decoder");
    match key {
        "input" => error.to_owned(),
        "labels" => format!("{error}, or give --labels FILE"),
        _ => format!("{error}, or: vigil bundle new --set {key}=VALUE {model}"),
    }
}

/// What of the given keys helps to recognise the model.
fn hints(given: &[Given], labels: bool) -> Result<Hints, String> {
    let numbers = |key: &str| -> Result<Option<[f32; 3]>, String> {
        let list: Option<Hint<Vec<f32>>> = hint(given, key)?;
        Ok(list.map(|l| std::array::from_fn(|i| l.value.get(i).or(l.value.first()).copied().unwrap_or_default())))
    };
    let scale = numbers("input.mean")?.zip(numbers("input.std")?);
    let size = hint::<[u32; 2]>(given, "input.size")?.map(|h| Hint::given((h.value[0], h.value[1])));
    let mut keys: std::collections::BTreeSet<String> = given.iter().map(|g| g.key.clone()).collect();
    if labels {
        keys.insert("labels".into());
    }
    Ok(Hints {
        keys,
        layout: hint(given, "input.layout")?,
        size,
        color: hint(given, "input.color")?,
        scale: scale.map(Hint::given),
        decoder: hint(given, "output.decoder")?,
        task: hint(given, "task")?,
        box_unit: hint(given, "output.box-unit")?,
        activation: hint(given, "output.activation")?,
        keypoint_shape: hint(given, "output.keypoint-shape")?,
        ..Hints::default()
    })
}

/// The value that was given for `key`.
fn hint<T: DeserializeOwned>(given: &[Given], key: &str) -> Result<Option<Hint<T>>, String> {
    let Some(given) = given.iter().rev().find(|g| g.key == key) else { return Ok(None) };
    let value = given.value.clone().try_into().map_err(|e: toml::de::Error| format!("--set {key}: {}", e.message()))?;
    Ok(Some(Hint::given(value)))
}
