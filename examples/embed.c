/* Reads results in a C application.
 *
 *   cc embed.c -o embed $(pkg-config --cflags --libs gstreamer-1.0 gstreamer-video-1.0)
 *   GST_PLUGIN_PATH=target/release ./embed CLIP
 *
 * Prints the people on each frame of a clip, with the number that they were given and how sure the model is of them.
 * Nothing of Vigil is compiled or linked in: objects are read from GStreamer's own region-of-interest metadata, and
 * what the model did with each frame from element messages. */

#include <gst/gst.h>
#include <gst/video/video.h>

/* Runs in the streaming thread: what takes long belongs elsewhere. */
static GstPadProbeReturn
on_frame (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  GString *line = g_string_new (NULL);
  gpointer state = NULL;
  GstMeta *meta;

  g_string_printf (line, "%" G_GUINT64_FORMAT " ms:", GST_TIME_AS_MSECONDS (GST_BUFFER_PTS (buffer)));
  while ((meta = gst_buffer_iterate_meta_filtered (buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE))) {
    GstVideoRegionOfInterestMeta *roi = (GstVideoRegionOfInterestMeta *) meta;
    GstStructure *detection = gst_video_region_of_interest_meta_get_param (roi, "detection");
    gdouble confidence = 0;
    guint64 number = 0;

    /* Where it is, in pixels: roi->x, roi->y, roi->w, roi->h. */
    if (roi->roi_type != g_quark_from_static_string ("Person") || detection == NULL)
      continue;
    gst_structure_get_double (detection, "confidence", &confidence);
    gst_structure_get_uint64 (detection, "object_id", &number);
    g_string_append_printf (line, " #%" G_GUINT64_FORMAT " %.0f%%", number, 100 * confidence);
  }
  g_print ("%s\n", line->str);
  g_string_free (line, TRUE);
  return GST_PAD_PROBE_OK;
}

int
main (int argc, char *argv[])
{
  GstElement *pipeline, *element;
  GstMessage *message;
  GstPad *pad;
  GstBus *bus;
  GError *error = NULL;
  guint fresh = 0, held = 0, absent = 0;
  gboolean playing = TRUE, failed = FALSE;

  gst_init (&argc, &argv);
  if (argc != 2) {
    g_printerr ("usage: embed CLIP\n");
    return 2;
  }
  pipeline = gst_parse_launch ("filesrc name=clip ! decodebin ! vigilinfer model=people post-messages=true "
      "! vigiltrack ! fakesink name=sink", &error);
  if (error != NULL) {
    g_printerr ("%s\n", error->message);
    g_clear_error (&error);
    gst_clear_object (&pipeline);
    return 1;
  }
  element = gst_bin_get_by_name (GST_BIN (pipeline), "clip");
  g_object_set (element, "location", argv[1], NULL);
  gst_object_unref (element);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  pad = gst_element_get_static_pad (element, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, NULL, NULL);
  gst_object_unref (pad);
  gst_object_unref (element);

  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (playing) {
    message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_ELEMENT | GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    if (gst_message_has_name (message, "vigil-result")) {
      /* No people on a frame that the model did not look at means nothing. */
      const gchar *freshness = gst_structure_get_string (gst_message_get_structure (message), "freshness");
      if (g_strcmp0 (freshness, "fresh") == 0)
        fresh++;
      else if (g_strcmp0 (freshness, "held") == 0)
        held++;
      else
        absent++;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("%s\n", error->message);
      g_clear_error (&error);
      failed = TRUE;
      playing = FALSE;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS) {
      playing = FALSE;
    }
    gst_message_unref (message);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  if (!failed)
    g_print ("%u fresh, %u held, %u absent\n", fresh, held, absent);
  return failed;
}
