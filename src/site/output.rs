//! Where pictures go.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Span;

/// Where a camera's or a tile's pictures go. Nothing is encoded that nobody asks for: an RTSP mount without clients and a
/// snapshot that is not due cost nothing. `{camera}` in a path stands for the camera's id, or the tile's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Output {
    /// An MP4 file, or one after the other. It is fragmented, so that one whose writer has died plays up to its last second or two.
    /// Pictures are scaled to the size of the file's first one. No file is written over.
    File {
        /// The file; with `segment` it has a number in it: `{camera}-%05d.mp4`. Numbers go on where they were; a file without one
        /// gets a number (`gate-2.mp4`) if it is there already. The last folder is made if it is missing.
        path: PathBuf,
        /// A new file begins after so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segment: Option<Span>,
        /// Most files that are kept; the oldest goes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        max_files: Option<u32>,
        /// How it is encoded.
        #[serde(default)]
        encode: Encode,
    },
    /// A mount of the site's RTSP server. It is encoded once for all clients, while there are any.
    Rtsp {
        /// Its path: `/gate`.
        mount: String,
        /// How it is encoded, while there are clients.
        #[serde(default)]
        encode: Encode,
    },
    /// An HLS playlist and its segments.
    Hls {
        /// The folder that they are written to, with `index.m3u8`.
        folder: PathBuf,
        /// A segment's length, in whole seconds [default: 4s].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segment: Option<Span>,
        /// Segments that are kept [default: 6].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        max_files: Option<u32>,
        /// How it is encoded.
        #[serde(default)]
        encode: Encode,
    },
    /// A JPEG picture now and then.
    Snapshot {
        /// The file, written anew each time; a number in it (`{camera}-%05d.jpg`) keeps them apart.
        path: PathBuf,
        /// How often.
        every: Span,
        /// Most files that are kept where there is a number in the path; the oldest goes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        max_files: Option<u32>,
    },
    /// A window on the machine's screen.
    Display {},
}

/// How pictures are encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Encode {
    /// The encoder and its properties as a launch fragment, such as `x264enc bitrate=1000`; without one, H.264 by what the
    /// machine has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// Kilobits a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub bitrate: u32,
}

impl Default for Encode {
    fn default() -> Self {
        Self { element: None, bitrate: 2000 }
    }
}
