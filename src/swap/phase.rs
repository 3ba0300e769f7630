//! How far a swap is, who wanted it, and why it ended.

/// Makes an enumeration whose variants have a word each, from one list.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one that there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word that messages, statistics and logs use.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// How far a swap is. All but the last three come in this order.
    Phase {
        /// The request was taken.
        Requested = "requested",
        /// The bundle was found and read into memory: what happens to its files from now on changes nothing.
        Staged = "staged",
        /// Digests, signature and format are right.
        Verified = "verified",
        /// A process of its own has loaded the model and has run it, and it is what its bundle promises.
        Loaded = "loaded",
        /// It finds on the bundle's reference pictures what it should, in the time that it may take.
        Proven = "proven",
        /// It has looked at a sample of live frames beside the active model, and they agree.
        Shadowed = "shadowed",
        /// It looks at frames, from the next one on.
        Activated = "activated",
        /// It is watched, with the old model at hand.
        Probation = "probation",
        /// It has proved itself; the old model is let go.
        Confirmed = "confirmed",
        /// The request ended before the new model looked at a frame for anybody.
        Rejected = "rejected",
        /// The old model is back in its place.
        RolledBack = "rolled-back",
    }
}

words! {
    /// Who wanted a swap.
    Cause {
        /// The property `model` was set.
        Property = "property",
        /// The action signal `swap-model`.
        Signal = "signal",
        /// The event `vigil-swap-model`.
        Event = "event",
        /// The store has another release for the name that is played.
        Store = "store",
        /// The property `shadow-model`.
        Shadow = "shadow",
        /// The active model fails on every frame.
        Fallback = "fallback",
    }
}

words! {
    /// Why a swap ended as it did.
    Reason {
        /// There is no such file, folder or installed bundle.
        NotFound = "not-found",
        /// A file cannot be read, or was changed or taken away meanwhile.
        Unreadable = "unreadable",
        /// A file is not the one that the bundle promises.
        Digest = "digest",
        /// The bundle is not signed by one of the keys that are configured.
        Signature = "signature",
        /// The bundle, its manifest or its labels cannot be read as such.
        Format = "format",
        /// The model is not what its bundle promises, or cannot be recognised without one.
        Contract = "contract",
        /// The execution provider, or the runtime, is not to be had.
        Provider = "provider",
        /// The runtime refuses the model.
        LoadFailed = "load-failed",
        /// The process that loaded or ran it first died of it.
        LoadCrashed = "load-crashed",
        /// It was not loaded in time.
        LoadTimeout = "load-timeout",
        /// There is not enough memory.
        Memory = "memory",
        /// It does not find on the reference pictures what it should.
        ReferenceMismatch = "reference-mismatch",
        /// It takes longer on the reference pictures than it may.
        ReferenceLatency = "reference-latency",
        /// It computes values that are no numbers.
        NonFinite = "non-finite",
        /// It fails on too many frames.
        Errors = "errors",
        /// It takes too long on frames.
        Latency = "latency",
        /// It finds something else than the other model.
        Disagreement = "disagreement",
        /// A later request took its place.
        Superseded = "superseded",
        /// The element was stopped.
        Stopped = "stopped",
        /// The model is the one that is active already.
        Unchanged = "unchanged",
    }
}
