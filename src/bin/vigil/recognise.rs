//! What `vigil bundle new` can tell about a model by loading it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use gstvigil::bundle::ModelSource;
use gstvigil::bundle::contract::Labels;
use gstvigil::bundle::create::{Draft, Known};
use gstvigil::engine::Engine;
use gstvigil::engine::onnx::{OnnxEngine, Options};
use gstvigil::model;
use gstvigil::post::{self, Origin};

/// A draft from what the model says and what follows from its shapes; `labels` are those that the user gave.
///
/// # Errors
/// If the model cannot be loaded or recognised, or its labels are neither given nor embedded.
pub fn draft(path: &Path, labels: Option<Labels>, library: Option<&Path>) -> Result<Draft, Box<dyn Error>> {
    let name = path.to_str().ok_or_else(|| format!("the path {} is not UTF-8", path.display()))?;
    let ModelSource::Bare { bytes, .. } = ModelSource::open(name)? else {
        return Err(format!("{name} is a bundle already; vigil bundle show {name} tells about it").into());
    };
    let engine =
        OnnxEngine::load(&bytes, &Options { provider: "cpu".into(), threads: 1, lanes: 1, spin: false }, library)?;
    let known = post::recognise(engine.spec())?;
    let mut origins: BTreeMap<String, Known> = known
        .facts
        .iter()
        .map(|fact| {
            let known = match fact.origin {
                Origin::Read => Known::Read,
                Origin::Recognised => Known::Recognised,
                Origin::Assumed => Known::Assumed,
            };
            (fact.key.to_owned(), known)
        })
        .collect();
    let labels = match labels {
        Some(given) => {
            origins.insert("labels".into(), Known::Given);
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
        known: origins,
    })
}
