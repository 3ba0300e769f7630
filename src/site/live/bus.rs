//! What a camera's pipeline says on its bus, and why a stream fails, as GStreamer's elements put it.

use gst::glib;
use gst::prelude::*;

use super::json;
use crate::gstutil::error_text;
use crate::site::status::Reason;

/// Something that a camera's pipeline has said.
#[derive(Debug)]
pub enum Heard {
    /// It is made and runs.
    Started,
    /// Its first picture has come.
    Picture,
    /// The times of its pictures have jumped by so many nanoseconds.
    Jumped(i64),
    /// It has failed.
    Failed(Reason, String),
    /// The stream has come to its end.
    Ended,
    /// It cannot begin at its beginning again.
    CannotRewind,
    /// It is gone.
    Gone,
    /// An element has said something.
    Told(String, serde_json::Value),
    /// An element asks for the pipeline's latency to be found anew.
    Latency,
    /// The application, or an element, asks for another model in the pipeline.
    Relay(gst::Structure),
}

/// What a message means for the camera. `stage` tells whether an element is one of its stages.
pub fn heard(message: &gst::Message, stage: impl Fn(&gst::Object) -> bool) -> Option<Heard> {
    match message.view() {
        gst::MessageView::Error(error) => {
            let debug = error.debug();
            let staged = message.src().is_some_and(stage);
            let reason =
                if staged { Reason::CannotBuild } else { reason(&error.error(), debug.as_deref().unwrap_or_default()) };
            let source = message.src().map(|src| src.name()).unwrap_or_default();
            Some(Heard::Failed(reason, format!("{source}: {}", error_text(&error.error(), debug.as_deref()))))
        }
        gst::MessageView::Eos(_) => Some(Heard::Ended),
        gst::MessageView::Latency(_) => Some(Heard::Latency),
        gst::MessageView::Element(_) => {
            let structure = message.structure().filter(|structure| structure.name().starts_with("vigil-"))?;
            let mut data = json::from_structure(structure);
            if let (Some(fields), Some(source)) = (data.as_object_mut(), message.src()) {
                fields.entry("element").or_insert_with(|| source.name().as_str().into());
                // As `Site::swap_model` has named the request.
                if let Some(number) = fields.get("request-id").and_then(serde_json::Value::as_u64) {
                    fields.insert("request".into(), format!("{}/{number}", source.name()).into());
                }
            }
            Some(Heard::Told(structure.name().to_string(), data))
        }
        gst::MessageView::Application(_) => {
            let structure = message.structure().filter(|structure| structure.name() == "vigil-swap-model")?;
            Some(Heard::Relay(structure.to_owned()))
        }
        gst::MessageView::Warning(warning) => {
            let source = message.src().map(|src| src.name()).unwrap_or_default();
            let text = format!("{source}: {}", error_text(&warning.error(), warning.debug().as_deref()));
            let data = serde_json::json!({ "element": source.as_str(), "text": text });
            Some(Heard::Told("warning".into(), data))
        }
        _ => None,
    }
}

/// Why it failed, by what the error is and by the words that sources use where its code does not tell.
pub fn reason(error: &glib::Error, debug: &str) -> Reason {
    use gst::{CoreError, ResourceError, StreamError};
    let words = format!("{} {debug}", error.message()).to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if let Some(resource) = error.kind::<ResourceError>() {
        return match resource {
            ResourceError::NotAuthorized => Reason::Unauthorized,
            _ if says(&["unauthorized", "(401)", "(403)", "forbidden"]) => Reason::Unauthorized,
            ResourceError::NotFound => Reason::NotFound,
            _ if says(&["not found", "(404)", "no such file", "no such device"]) => Reason::NotFound,
            _ if says(&["timeout", "timed out", "time out", "could not receive any udp"]) => Reason::TimedOut,
            // GIO's words for a machine or a port where nobody is.
            _ if says(&["connection refused", "could not connect", "failed to connect", "unreachable", "resolv"]) => {
                Reason::Refused
            }
            _ if says(&["eof", "end of file", "closed"]) => Reason::EndOfStream,
            _ => Reason::Error,
        };
    }
    if let Some(stream) = error.kind::<StreamError>() {
        return match stream {
            StreamError::Decode | StreamError::Demux | StreamError::TypeNotFound | StreamError::WrongType => {
                Reason::Corrupt
            }
            StreamError::Format => Reason::Corrupt,
            StreamError::CodecNotFound => Reason::CannotBuild,
            _ if says(&["not-negotiated", "not negotiated"]) => Reason::Changed,
            _ => Reason::Error,
        };
    }
    match error.kind::<CoreError>() {
        Some(CoreError::MissingPlugin) => Reason::CannotBuild,
        Some(CoreError::Negotiation | CoreError::Caps) => Reason::Changed,
        _ => Reason::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_code_and_by_their_words() {
        use gst::{CoreError, ResourceError, StreamError};
        let resource = |code: ResourceError, text: &str, debug: &str| reason(&glib::Error::new(code, text), debug);
        let open = "Could not open resource for reading and writing.";
        assert_eq!(resource(ResourceError::NotAuthorized, "Unauthorized", ""), Reason::Unauthorized);
        assert_eq!(resource(ResourceError::Read, "x", "souphttpsrc: Unauthorized (401), URL"), Reason::Unauthorized);
        assert_eq!(resource(ResourceError::NotFound, "Not found", ""), Reason::NotFound);
        assert_eq!(resource(ResourceError::OpenReadWrite, open, "Failed to connect. (Generic error)"), Reason::Refused);
        assert_eq!(resource(ResourceError::OpenReadWrite, open, "Connection refused"), Reason::Refused);
        assert_eq!(
            resource(ResourceError::Read, open, "Could not receive message. (Timeout while waiting)"),
            Reason::TimedOut
        );
        assert_eq!(resource(ResourceError::Settings, "what", ""), Reason::Error);
        let stream =
            |code: StreamError, debug: &str| reason(&glib::Error::new(code, "Internal data stream error."), debug);
        assert_eq!(stream(StreamError::Decode, ""), Reason::Corrupt);
        assert_eq!(stream(StreamError::Failed, "streaming stopped, reason not-negotiated (-4)"), Reason::Changed);
        assert_eq!(stream(StreamError::Failed, "streaming stopped, reason error (-5)"), Reason::Error);
        assert_eq!(reason(&glib::Error::new(CoreError::MissingPlugin, "no decoder"), ""), Reason::CannotBuild);
    }
}
