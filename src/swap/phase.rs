//! Why a model was not taken, or was taken back.

/// Makes [`Reason`] from one list of variants and their words, so that `ALL` cannot lack one.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $word:literal;)+) => {
        /// Why a swap ended otherwise than with the new model confirmed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Reason {
            /// Every reason that there is.
            pub const ALL: &[Self] = &[$(Self::$reason),+];

            /// The word that messages and records use.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// There is no bundle or model of that name.
    NotFound = "not-found";
    /// A file cannot be read.
    Unreadable = "unreadable";
    /// A file's SHA-256 is not the one that the bundle names.
    Digest = "digest";
    /// The bundle is not signed, or not by a key that is trusted here.
    Signature = "signature";
    /// The bundle or the model's file is not written as its format says.
    Format = "format";
    /// The model's inputs, outputs or classes are not what its bundle promises.
    Contract = "contract";
    /// No execution provider that the model may run on is to be had.
    Provider = "provider";
    /// The runtime refuses the model.
    LoadFailed = "load-failed";
    /// The process that loaded the model died.
    LoadCrashed = "load-crashed";
    /// The model was not loaded when its time was over.
    LoadTimeout = "load-timeout";
    /// There is not enough memory for the model.
    Memory = "memory";
    /// The model does not find on the bundle's reference pictures what it should.
    ReferenceMismatch = "reference-mismatch";
    /// The model takes longer on the bundle's reference pictures than the bundle allows.
    ReferenceLatency = "reference-latency";
    /// The model answers with NaN or infinity.
    NonFinite = "non-finite";
    /// Too many of the model's runs fail.
    Errors = "errors";
    /// The model takes too long on live frames.
    Latency = "latency";
    /// The model finds other things on live frames than the old one.
    Disagreement = "disagreement";
    /// A later request took its place.
    Superseded = "superseded";
    /// The element was stopped.
    Stopped = "stopped";
    /// The model asked for is the one that runs.
    Unchanged = "unchanged";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_kebab_case_and_each_is_there_once() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for word in words {
            assert!(word.split('-').all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase())), "{word}");
        }
    }
}
