"""Reads results in a Python application.

    GST_PLUGIN_PATH=target/release /usr/bin/python3 examples/embed.py CLIP

Prints the people on each frame of a clip, with the number that they were given and how sure the model is of them.
Needs GStreamer's Python bindings, in Debian python3-gi and gir1.2-gst-plugins-base-1.0.
"""

import sys
from collections import Counter

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstVideo  # noqa: E402

LINE = (
    "filesrc name=clip ! decodebin ! vigilinfer name=infer model=people emit-signals=true"
    " ! vigiltrack ! fakesink name=sink"
)


def regions(buffer):
    """The objects on a buffer. Their ids count from 0, because Python cannot walk along a buffer's metadata."""
    number = 0
    while region := GstVideo.buffer_get_video_region_of_interest_meta_id(buffer, number):
        yield region
        number += 1


def on_frame(_pad, info):
    """Runs in the streaming thread: what takes long belongs elsewhere."""
    buffer = info.get_buffer()
    line = f"{buffer.pts // Gst.MSECOND} ms:"
    for region in regions(buffer):
        # Where it is, in pixels: region.x, region.y, region.w, region.h.
        if GLib.quark_to_string(region.roi_type) != "Person":
            continue
        detection = region.get_param("detection")
        _, confidence = detection.get_double("confidence")
        _, track = detection.get_uint64("object_id")
        line += f" #{track} {100 * confidence:.0f}%"
    print(line)
    return Gst.PadProbeReturn.OK


def main(clip):
    Gst.init(None)
    pipeline = Gst.parse_launch(LINE)
    pipeline.get_by_name("clip").set_property("location", clip)
    pipeline.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_frame)

    # No people on a frame that the model did not look at means nothing.
    frames = Counter()
    pipeline.get_by_name("infer").connect("result", lambda _, result: frames.update([result.get_string("freshness")]))

    pipeline.set_state(Gst.State.PLAYING)
    message = pipeline.get_bus().timed_pop_filtered(
        Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR
    )
    pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        sys.exit(message.parse_error()[0].message)
    print(f"{frames['fresh']} fresh, {frames['held']} held, {frames['absent']} absent")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: embed.py CLIP")
    main(sys.argv[1])
