//! GObject skins, one folder per factory.
