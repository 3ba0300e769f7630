/* Replaces the model of a running pipeline in a C application.
 *
 *   cc swap.c -o swap $(pkg-config --cflags --libs gstreamer-1.0)
 *   GST_PLUGIN_PATH=target/release ./swap OLD NEW
 *
 * OLD and NEW are bundles: folders, .vigil archives or names of installed ones. The pipeline plays with OLD; after a
 * second it is asked for NEW, by the element's signal. Once NEW is confirmed, a message on the bus asks for OLD again, as
 * another part of an application would. Each step of a swap is printed; the exit code is 0 if both swaps were confirmed.
 * No frame is lost meanwhile, and a model that is no good is never seen or goes by itself. */

#include <gst/gst.h>

#define LINE "videotestsrc is-live=true pattern=ball foreground-color=0xffff0000 background-color=0xff202020 " \
    "! video/x-raw,width=320,height=240,framerate=30/1 ! vigilinfer name=infer probation-time=1000000000 ! vigiltrack " \
    "! fakesink name=sink sync=true"

#define FRAMES 30

/* Asks for a model from any thread, without knowing the element: whoever watches the bus passes it on. */
static void
ask_by_message (GstElement * pipeline, const gchar * model)
{
  GstStructure *request = gst_structure_new ("vigil-swap-model", "model", G_TYPE_STRING, model, NULL);

  gst_element_post_message (pipeline, gst_message_new_application (GST_OBJECT (pipeline), request));
}

/* Asks for a model by the element's signal. Options may be left out (NULL). The call returns at once. */
static void
ask_by_signal (GstElement * infer, const gchar * model)
{
  GstStructure *options = gst_structure_new ("options", "probation-frames", G_TYPE_UINT64, (guint64) 30, NULL);
  guint64 id = 0;

  g_signal_emit_by_name (infer, "swap-model", model, options, &id);
  gst_structure_free (options);
}

/* Runs in the streaming thread. */
static GstPadProbeReturn
on_frame (GstPad * pad, GstPadProbeInfo * info, gpointer pipeline)
{
  static guint frames = 0;

  if (++frames == FRAMES)
    gst_element_post_message (pipeline, gst_message_new_application (GST_OBJECT (pipeline),
            gst_structure_new_empty ("enough-frames")));
  return GST_PAD_PROBE_OK;
}

/* One line for a step: what it is, from which model to which, and why if it went wrong. Gives the step's name. */
static const gchar *
print_step (const GstStructure * step)
{
  const gchar *phase = gst_structure_get_string (step, "phase");
  const gchar *reason = gst_structure_get_string (step, "reason");

  g_print ("%s: %s %s", phase, gst_structure_get_string (step, "old-name"), gst_structure_get_string (step, "old-release"));
  /* What the new one is called is known once it was read. */
  if (gst_structure_has_field (step, "new-name"))
    g_print (" -> %s %s", gst_structure_get_string (step, "new-name"), gst_structure_get_string (step, "new-release"));
  if (reason != NULL)
    g_print (" (%s: %s)", reason, gst_structure_get_string (step, "text"));
  g_print ("\n");
  return phase;
}

int
main (int argc, char *argv[])
{
  GstElement *pipeline, *infer, *sink;
  GstMessage *message;
  GstPad *pad;
  GstBus *bus;
  GError *error = NULL;
  guint confirmed = 0;
  gboolean playing = TRUE;

  gst_init (&argc, &argv);
  if (argc != 3) {
    g_printerr ("usage: swap OLD NEW\n");
    return 2;
  }
  pipeline = gst_parse_launch (LINE, &error);
  if (error != NULL) {
    g_printerr ("%s\n", error->message);
    g_clear_error (&error);
    gst_clear_object (&pipeline);
    return 1;
  }
  infer = gst_bin_get_by_name (GST_BIN (pipeline), "infer");
  g_object_set (infer, "model", argv[1], NULL);
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  pad = gst_element_get_static_pad (sink, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, pipeline, NULL);

  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (playing) {
    message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_APPLICATION | GST_MESSAGE_ELEMENT | GST_MESSAGE_ERROR);
    if (gst_message_has_name (message, "enough-frames")) {
      ask_by_signal (infer, argv[2]);
    } else if (gst_message_has_name (message, "vigil-swap-model")) {
      /* As an event it goes to the first vigilinfer on its way, or to the one that a field "element" names. */
      gst_element_send_event (pipeline, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
              gst_structure_copy (gst_message_get_structure (message))));
    } else if (gst_message_has_name (message, "vigil-model")) {
      const gchar *phase = print_step (gst_message_get_structure (message));

      if (g_str_equal (phase, "confirmed") && ++confirmed == 1)
        ask_by_message (pipeline, argv[1]);
      playing = confirmed < 2 && !g_str_equal (phase, "rejected") && !g_str_equal (phase, "rolled-back");
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("%s\n", error->message);
      g_clear_error (&error);
      playing = FALSE;
    }
    gst_message_unref (message);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);
  gst_object_unref (infer);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return confirmed == 2 ? 0 : 1;
}
