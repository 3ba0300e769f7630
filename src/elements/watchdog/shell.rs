//! The outermost bin of a chain.
//!
//! When a bin takes a child out, it takes the child's clock away while it holds its own lock, and a plain bin inside hands that
//! on to each of its elements. One that hangs with its lock held would so hold the watchdog's for ever. This bin keeps its
//! clock to itself; the chain's keeper gives the elements theirs.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::element;

glib::wrapper! {
    /// See the module's description.
    pub struct Shell(ObjectSubclass<imp::Shell>) @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

/// An empty one.
pub fn new(name: &str) -> gst::Bin {
    glib::Object::builder::<Shell>().property("name", name).build().upcast()
}

/// Gives the chain and its elements a clock. Takes locks of its elements.
pub fn set_clock(chain: &gst::Bin, clock: Option<&gst::Clock>) {
    if let Some(shell) = chain.downcast_ref::<Shell>() {
        let _ = shell.imp().parent_set_clock(clock);
    }
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct Shell;

    #[glib::object_subclass]
    impl ObjectSubclass for Shell {
        const NAME: &'static str = "VigilWatchdogShell";
        type Type = super::Shell;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for Shell {}
    impl GstObjectImpl for Shell {}
    impl BinImpl for Shell {}

    impl ElementImpl for Shell {
        fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
            element::set_clock(self.obj().upcast_ref(), clock)
        }
    }
}
