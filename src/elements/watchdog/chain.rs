//! Making a chain: from a launch description, or again and again from the elements that were put into the bin.

use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;

use super::CAT;
use super::shell;
use crate::gstutil::lock;

/// What chains are made from.
#[derive(Debug, Clone)]
pub enum Recipe {
    /// A launch description.
    Description(String),
    /// The elements of the bin, as they were made.
    Elements(Arc<Blueprint>),
}

impl Recipe {
    /// A chain with a sink pad `sink` and a source pad `src`.
    ///
    /// # Errors
    /// A text that says what is wrong with the description or the elements.
    pub fn make(&self, name: &str) -> Result<gst::Bin, String> {
        let bin = match self {
            Self::Description(text) => {
                let flags = gst::ParseFlags::FATAL_ERRORS | gst::ParseFlags::PLACE_IN_BIN;
                let made = gst::parse::bin_from_description_with_name_full(text, false, "elements", None, flags);
                let elements = made
                    .map_err(|error| format!("The chain \"{text}\" cannot be made: {error}"))?
                    .downcast::<gst::Bin>()
                    .map_err(|_| format!("The chain \"{text}\" is no bin"))?;
                add_ends(&elements)?;
                let bin = shell::new(name);
                bin.add(&elements).map_err(|error| format!("The chain \"{text}\" cannot be made: {error}"))?;
                bin
            }
            Self::Elements(blueprint) => blueprint.make(name)?,
        };
        add_ends(&bin)?;
        Ok(bin)
    }
}

/// Gives a chain the pads `sink` and `src`, for the one of each that is not linked inside it.
///
/// # Errors
/// If there is not exactly one of each.
pub fn add_ends(bin: &gst::Bin) -> Result<(), String> {
    for (direction, name) in [(gst::PadDirection::Sink, "sink"), (gst::PadDirection::Src, "src")] {
        if bin.static_pad(name).is_some() {
            continue;
        }
        let pads: Vec<_> = bin
            .iterate_elements()
            .into_iter()
            .flatten()
            .flat_map(|element| element.pads())
            .filter(|pad| pad.direction() == direction && !pad.is_linked())
            .collect();
        let [pad] = pads.as_slice() else {
            let open: Vec<_> = pads.iter().map(|p| p.path_string().to_string()).collect();
            return Err(format!(
                "The chain must have exactly one open {name} pad, and has {}{}{}: it takes one stream and gives it out again",
                pads.len(),
                if open.is_empty() { "" } else { ": " },
                open.join(", ")
            ));
        };
        let ghost = gst::GhostPad::builder_with_target(pad)
            .map(|builder| builder.name(name).build())
            .map_err(|error| format!("The chain's {name} pad cannot be used: {error}"))?;
        bin.add_pad(&ghost).map_err(|error| format!("The chain's {name} pad cannot be used: {error}"))?;
    }
    Ok(())
}

/// Takes the chain's own pads away.
pub fn remove_ends(bin: &gst::Bin) {
    for pad in bin.pads() {
        let _ = bin.remove_pad(&pad);
    }
}

/// Properties and their values, as launch descriptions write them.
type Values = Vec<(String, String)>;

#[derive(Debug)]
struct Part {
    factory: gst::ElementFactory,
    name: String,
    /// Properties that are not as the factory makes them, and what was set on the elements since.
    values: Mutex<Values>,
}

#[derive(Debug)]
struct Link {
    from: (usize, String),
    to: (usize, String),
}

/// Elements and links, from which a chain like the first one can be made.
#[derive(Debug)]
pub struct Blueprint {
    parts: Vec<Arc<Part>>,
    links: Vec<Link>,
}

/// The property's value in words, if it can be written, read back, and is not the default.
fn value_of(element: &gst::Element, spec: &glib::ParamSpec) -> Option<String> {
    let both = glib::ParamFlags::READABLE | glib::ParamFlags::WRITABLE;
    if !spec.flags().contains(both) || matches!(spec.name(), "name" | "parent") {
        return None;
    }
    let value = element.property_value(spec.name());
    let Ok(text) = value.serialize() else {
        // Another object, for example, belongs to the element that has it.
        if !format!("{value:?}").ends_with("NULL") {
            gst::warning!(CAT, obj = element, "what replaces it will not have its {}: it has no words", spec.name());
        }
        return None;
    };
    let value = text.to_string();
    let default = spec.default_value().serialize().ok().map(|d| d.to_string());
    (default.as_deref() != Some(value.as_str())).then_some(value)
}

impl Part {
    /// Keeps the values up to date while the element lives.
    fn follow(self: &Arc<Self>, element: &gst::Element) {
        let weak = Arc::downgrade(self);
        element.connect_notify(None, move |element, spec| {
            let Some(part) = weak.upgrade() else { return };
            let value = value_of(element, spec);
            let mut values = lock(&part.values);
            values.retain(|(name, _)| name != spec.name());
            values.extend(value.map(|value| (spec.name().to_owned(), value)));
        });
    }
}

impl Blueprint {
    /// Notes the elements of `bin`, their properties and links, and follows the properties from then on.
    ///
    /// # Errors
    /// If the bin is empty, or an element has no factory to make another one of it.
    pub fn of(bin: &gst::Bin) -> Result<Self, String> {
        // The newest element comes first.
        let mut elements: Vec<_> = bin.iterate_elements().into_iter().flatten().collect();
        elements.reverse();
        if elements.is_empty() {
            return Err("There is nothing to supervise: put elements into the bin, or set the property chain".into());
        }
        let parts = elements.iter().map(Self::part).collect::<Result<Vec<_>, _>>()?;
        let mut links = Vec::new();
        for (i, element) in elements.iter().enumerate() {
            for pad in element.src_pads() {
                let Some(peer) = pad.peer() else { continue };
                let Some(to) = peer.parent_element().and_then(|e| elements.iter().position(|other| *other == e)) else {
                    continue;
                };
                links.push(Link { from: (i, pad.name().to_string()), to: (to, peer.name().to_string()) });
            }
        }
        Ok(Self { parts, links })
    }

    fn part(element: &gst::Element) -> Result<Arc<Part>, String> {
        let factory = element.factory().filter(|f| f.name() != "bin").ok_or_else(|| {
            format!(
                "{} could not be made again after a failure, being a plain bin or of no factory: describe the chain with the \
                 property chain, or put the elements into the watchdog without a bin around them",
                element.name()
            )
        })?;
        let specs = element.list_properties();
        let values = specs.iter().filter_map(|spec| Some((spec.name().to_owned(), value_of(element, spec)?))).collect();
        let part = Arc::new(Part { factory, name: element.name().to_string(), values: Mutex::new(values) });
        part.follow(element);
        Ok(part)
    }

    fn make(&self, name: &str) -> Result<gst::Bin, String> {
        let bin = shell::new(name);
        let fail = |what: &dyn std::fmt::Display| format!("The chain cannot be made again: {what}");
        let mut elements = Vec::new();
        for part in &self.parts {
            let values = lock(&part.values).clone();
            let mut builder = part.factory.create().name(&part.name);
            for (name, value) in &values {
                builder = builder.property_from_str(name, value);
            }
            let element = builder.build().map_err(|e| fail(&e))?;
            part.follow(&element);
            bin.add(&element).map_err(|e| fail(&e))?;
            elements.push(element);
        }
        for Link { from, to } in &self.links {
            if let (Some(a), Some(b)) = (elements.get(from.0), elements.get(to.0)) {
                a.link_pads(Some(&from.1), b, Some(&to.1)).map_err(|e| fail(&e))?;
            }
        }
        Ok(bin)
    }
}
