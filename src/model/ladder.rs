//! Which model is used where the one that was asked for cannot be.

use super::{Model, ModelError, Request};

/// Where a model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// It is the one that was asked for.
    Asked,
    /// It is the release that was in use before the one that was asked for.
    Previous,
    /// It is the one that is configured for when nothing else works.
    Fallback,
}

impl Rung {
    /// `asked`, `previous` or `fallback`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Previous => "previous",
            Self::Fallback => "fallback",
        }
    }
}

/// A rung, what was to be loaded there, and why it was not.
pub type Failed = (Rung, String, ModelError);

/// The model that was found, and where.
#[derive(Debug)]
pub struct Climb {
    /// The model.
    pub model: Model,
    /// Where it comes from.
    pub rung: Rung,
    /// What was loaded, as [`Request::model`] would name it.
    pub name: String,
    /// The rungs that were tried before.
    pub failed: Vec<Failed>,
}

/// The model asked for (its variants in order, each on its providers where `auto` allows), else the release of it that
/// `previous` names for the model string, else `fallback`. What was tried already is not tried again under another rung's
/// name.
///
/// # Errors
/// Each rung that was tried with its reason, `request.model` first. A cancelled load ends the climb.
pub fn climb(
    request: &Request,
    previous: &dyn Fn(&str) -> Option<String>,
    fallback: Option<&str>,
) -> Result<Climb, Vec<Failed>> {
    climb_with(request, previous, fallback, Model::load)
}

fn climb_with(
    request: &Request,
    previous: &dyn Fn(&str) -> Option<String>,
    fallback: Option<&str>,
    load: impl Fn(&Request) -> Result<Model, ModelError>,
) -> Result<Climb, Vec<Failed>> {
    let mut failed: Vec<Failed> = Vec::new();
    for rung in [Rung::Asked, Rung::Previous, Rung::Fallback] {
        let name = match rung {
            Rung::Asked => Some(request.model.clone()),
            Rung::Previous => previous(&request.model),
            Rung::Fallback => fallback.map(str::to_owned),
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        if failed.iter().any(|(_, tried, _)| *tried == name) {
            continue;
        }
        match load(&Request { model: name.clone(), ..request.clone() }) {
            Ok(model) => return Ok(Climb { model, rung, name, failed }),
            Err(error) => {
                let cancelled = matches!(error, ModelError::Cancelled);
                failed.push((rung, name, error));
                if cancelled {
                    break;
                }
            }
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::engine::EngineError;
    use crate::engine::fake::Fake;

    type Rungs = Vec<(Rung, String)>;

    /// What a climb from `people@2` comes to where only `good` can be loaded: rung and name, what failed, what was tried.
    fn outcome(
        good: &[&str],
        previous: Option<&str>,
        fallback: Option<&str>,
    ) -> (Option<(Rung, String)>, Rungs, Vec<String>) {
        let tried = RefCell::new(Vec::new());
        let load = |request: &Request| {
            assert_eq!((request.provider.as_str(), request.lanes), ("cpu", 3), "all but the model stays");
            tried.borrow_mut().push(request.model.clone());
            match request.model.as_str() {
                "cancelled" => Err(ModelError::Cancelled),
                name if good.contains(&name) => Ok(Model::fake(Fake::new(1))),
                name => Err(ModelError::Engine { model: name.into(), source: EngineError::Crashed("dead".into()) }),
            }
        };
        let request = Request { model: "people@2".into(), provider: "cpu".into(), lanes: 3, ..Request::default() };
        let before = |model: &str| {
            assert_eq!(model, "people@2");
            previous.map(str::to_owned)
        };
        let rungs = |failed: Vec<Failed>| failed.into_iter().map(|(rung, name, _)| (rung, name)).collect();
        let (found, failed) = match climb_with(&request, &before, fallback, load) {
            Ok(climb) => (Some((climb.rung, climb.name)), rungs(climb.failed)),
            Err(failed) => (None, rungs(failed)),
        };
        (found, failed, tried.into_inner())
    }

    #[test]
    fn the_first_rung_that_holds_is_taken() {
        let (two, one, last) = ("people@2".to_owned(), "people@1".to_owned(), "small".to_owned());
        let (asked, previous) = ((Rung::Asked, two.clone()), (Rung::Previous, one.clone()));
        let fallback = (Rung::Fallback, last.clone());
        let all = |good: &[&str]| outcome(good, Some("people@1"), Some("small"));
        assert_eq!(all(&["people@2", "people@1"]), (Some(asked.clone()), vec![], vec![two.clone()]));
        let tried = vec![two.clone(), one.clone()];
        assert_eq!(all(&["people@1", "small"]), (Some(previous.clone()), vec![asked.clone()], tried));
        let tried = vec![two.clone(), one, last.clone()];
        let failed = vec![asked.clone(), previous.clone()];
        assert_eq!(all(&["small"]), (Some(fallback.clone()), failed, tried.clone()));
        assert_eq!(all(&[]), (None, vec![asked.clone(), previous, fallback.clone()], tried));
        // Rungs that are not there.
        assert_eq!(
            outcome(&["small"], None, Some("small")),
            (Some(fallback), vec![asked.clone()], vec![two.clone(), last])
        );
        assert_eq!(outcome(&[], None, None), (None, vec![asked.clone()], vec![two.clone()]));
        assert_eq!(outcome(&[], None, Some("")), (None, vec![asked], vec![two]));
    }

    #[test]
    fn nothing_is_tried_twice_and_a_cancelled_climb_ends() {
        let asked = (Rung::Asked, "people@2".to_owned());
        let tried = vec!["people@2".to_owned()];
        assert_eq!(outcome(&[], Some("people@2"), Some("people@2")), (None, vec![asked.clone()], tried));
        let (found, failed, tried) = outcome(&["small"], Some("cancelled"), Some("small"));
        assert_eq!((found, failed), (None, vec![asked, (Rung::Previous, "cancelled".into())]));
        assert_eq!(tried, ["people@2", "cancelled"]);
        assert_eq!([Rung::Asked, Rung::Previous, Rung::Fallback].map(Rung::as_str), ["asked", "previous", "fallback"]);
    }
}
