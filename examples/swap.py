"""Replaces the model of a running pipeline in a Python application.

    GST_PLUGIN_PATH=target/release /usr/bin/python3 examples/swap.py OLD NEW

OLD and NEW are bundles: folders, .vigil archives or names of installed ones. The pipeline plays with OLD; after a second it
is asked for NEW, by the element's signal. Once NEW is confirmed, a message on the bus asks for OLD again, as another part
of an application would. Each step of a swap is printed; the exit code is 0 if both swaps were confirmed. No frame is lost
meanwhile, and a model that is no good is never seen or goes by itself.

Needs GStreamer's Python bindings, in Debian python3-gi and gir1.2-gst-plugins-base-1.0.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GObject, Gst  # noqa: E402

LINE = (
    "videotestsrc is-live=true pattern=ball foreground-color=0xffff0000 background-color=0xff202020"
    " ! video/x-raw,width=320,height=240,framerate=30/1"
    " ! vigilinfer name=infer probation-time=1000000000 ! vigiltrack ! fakesink name=sink sync=true"
)
FRAMES = 30


def ask_by_message(pipeline, model):
    """Asks for a model from any thread, without knowing the element: whoever watches the bus passes it on."""
    request = Gst.Structure.new_empty("vigil-swap-model")
    request.set_value("model", model)
    pipeline.post_message(Gst.Message.new_application(pipeline, request))


def ask_by_signal(infer, model):
    """Asks for a model by the element's signal. Options may be left out (None). The call returns at once."""
    options = Gst.Structure.new_empty("options")
    options.set_value("probation-frames", GObject.Value(GObject.TYPE_UINT64, 30))
    infer.emit("swap-model", model, options)


def print_step(step):
    """One line for a step: what it is, from which model to which, and why if it went wrong."""
    line = f"{step.get_string('phase')}: {step.get_string('old-name')} {step.get_string('old-release')}"
    # What the new one is called is known once it was read.
    if step.has_field("new-name"):
        line += f" -> {step.get_string('new-name')} {step.get_string('new-release')}"
    if step.has_field("reason"):
        line += f" ({step.get_string('reason')}: {step.get_string('text')})"
    print(line)


def main(old, new):
    Gst.init(None)
    pipeline = Gst.parse_launch(LINE)
    infer = pipeline.get_by_name("infer")
    infer.set_property("model", old)
    frames = 0

    def on_frame(_pad, _info):
        """Runs in the streaming thread."""
        nonlocal frames
        frames += 1
        if frames == FRAMES:
            enough = Gst.Structure.new_empty("enough-frames")
            pipeline.post_message(Gst.Message.new_application(pipeline, enough))
        return Gst.PadProbeReturn.OK

    pipeline.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_frame)
    pipeline.set_state(Gst.State.PLAYING)
    try:
        return play(pipeline, infer, old, new)
    finally:
        pipeline.set_state(Gst.State.NULL)


def play(pipeline, infer, old, new):
    """Plays until both swaps are over; the exit code."""
    kinds = Gst.MessageType.APPLICATION | Gst.MessageType.ELEMENT | Gst.MessageType.ERROR
    confirmed = 0
    while True:
        message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, kinds)
        if message.type == Gst.MessageType.ERROR:
            sys.exit(message.parse_error()[0].message)
        said = message.get_structure()
        if said.has_name("enough-frames"):
            ask_by_signal(infer, new)
        elif said.has_name("vigil-swap-model"):
            # As an event it goes to the first vigilinfer on its way, or to the one that a field "element" names.
            pipeline.send_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, said.copy()))
        elif said.has_name("vigil-model"):
            print_step(said)
            phase = said.get_string("phase")
            if phase in ("rejected", "rolled-back"):
                return 1
            if phase == "confirmed":
                confirmed += 1
                if confirmed == 2:
                    return 0
                ask_by_message(pipeline, old)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: swap.py OLD NEW")
    sys.exit(main(sys.argv[1], sys.argv[2]))
