//! A camera's pipeline and the thread that alone changes its state.
//!
//! A source may hang in a state change, for ever. So the camera's keeper never calls into a pipeline: it gives orders to the
//! pipeline's thread, and hears of it by messages. One that does not end in time is left to its thread, which goes on trying.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use gst::prelude::*;

use super::SiteError;
use super::build::{self, Built, Ended, Stages};
use super::bus::Heard;
use super::camera::Counts;
use super::feed::Feed;
use super::json;
use super::keeper::Command;
use crate::site::plan::CameraPlan;
use crate::site::resolve::{shown, without_secrets};
use crate::site::status::Reason;
use crate::site::watch::Seen;

/// Statistics of stages, by name.
pub type Statistics = BTreeMap<String, serde_json::Value>;

/// What a pipeline's thread is told to do.
pub enum Order {
    /// End the pipeline, with an end of stream first that may take so long.
    Stop(Duration),
    /// Begin at the beginning again.
    Rewind,
    /// Set a property of a node.
    Set(String, String, String),
    /// Find out the latency anew.
    Latency,
    /// Give the statistics of the stages.
    Ask(Sender<Statistics>),
    /// Swap the model of this stage, or of all that have one.
    Swap(String, String, gst::Structure, Sender<Result<Vec<String>, SiteError>>),
    /// Have the watchdog of this name bypass the analysis, or not.
    Bypass(String, bool, Sender<Result<(), SiteError>>),
    /// Have all stages that compare predictions with what is usual learn that anew.
    Relearn(Sender<Result<(), SiteError>>),
    /// Send an event of this content through the pipeline.
    Relay(gst::Structure),
}

/// What the streaming threads of a pipeline tell, and count.
pub struct Link {
    /// Which of the camera's pipelines this is.
    pub generation: u64,
    /// Its pictures are the camera's; not after it was let go of.
    pub current: AtomicBool,
    /// When it last gave a picture.
    pub frame: AtomicU64,
    /// When its source last gave anything.
    pub data: AtomicU64,
    /// When a picture last went into its stages.
    pub staged: AtomicU64,
    /// Pictures of this pipeline.
    pub frames_of_run: AtomicU64,
    /// Whether it has come to its end.
    pub ended: Ended,
    /// The camera's counters.
    pub counts: Arc<Counts>,
    /// Where the pictures go.
    pub feed: Arc<Feed>,
    /// The source's address as elements may tell it, and as it may be shown, if that is another.
    address: Option<(String, String)>,
    keeper: Sender<Command>,
}

impl Link {
    /// For a pipeline that has done nothing yet.
    fn new(
        generation: u64,
        address: Option<(String, String)>,
        (feed, counts): (&Arc<Feed>, &Arc<Counts>),
        keeper: &Sender<Command>,
    ) -> Self {
        Self {
            generation,
            current: AtomicBool::new(true),
            frame: AtomicU64::new(0),
            data: AtomicU64::new(0),
            staged: AtomicU64::new(0),
            frames_of_run: AtomicU64::new(0),
            ended: Ended::default(),
            counts: Arc::clone(counts),
            feed: Arc::clone(feed),
            address,
            keeper: keeper.clone(),
        }
    }

    /// Tells the camera's keeper, without what the source's address has of secrets: elements put it into their errors.
    pub fn tell(&self, mut heard: Heard) {
        match &mut heard {
            Heard::Failed(_, text) => *text = self.clean(text),
            Heard::Told(_, data) => {
                if let Some(serde_json::Value::String(text)) = data.get_mut("text") {
                    *text = self.clean(text);
                }
            }
            _ => {}
        }
        // A keeper that is gone has no use for it.
        let _ = self.keeper.send(Command::Heard(self.generation, heard));
    }

    fn clean(&self, text: &str) -> String {
        match &self.address {
            Some((address, shown)) => without_secrets(&text.replace(address, shown)),
            None => without_secrets(text),
        }
    }

    /// What has been seen of the stream.
    pub fn seen(&self) -> Seen {
        let [frame, data, staged] = [&self.frame, &self.data, &self.staged].map(|time| time.load(Ordering::Relaxed));
        Seen { frame, data, staged }
    }
}

/// A pipeline, as its camera's keeper has it.
pub struct Run {
    /// What it tells.
    pub link: Arc<Link>,
    orders: Sender<Order>,
}

impl Run {
    /// Makes and starts a pipeline, on a thread of its own.
    pub fn start(
        id: &str,
        plan: &CameraPlan,
        generation: u64,
        feed: &Arc<Feed>,
        counts: &Arc<Counts>,
        keeper: &Sender<Command>,
    ) -> Self {
        let address = plan.location().map(|at| (at.to_owned(), shown(at))).filter(|(at, shown)| at != shown);
        let link = Arc::new(Link::new(generation, address, (feed, counts), keeper));
        let (orders, receiver) = channel();
        let (plan, id, of_thread) = (plan.clone(), id.to_owned(), Arc::clone(&link));
        let name = format!("camera-{id}");
        let spawned = std::thread::Builder::new().name(name).spawn(move || work(&plan, &id, &of_thread, &receiver));
        if let Err(error) = spawned {
            link.tell(Heard::Failed(Reason::Error, format!("the system gives no thread: {error}")));
            link.tell(Heard::Gone);
        }
        Self { link, orders }
    }

    /// Tells the pipeline's thread what to do.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// For those who give orders themselves.
    pub fn orders(&self) -> Sender<Order> {
        self.orders.clone()
    }

    /// Has it end. Unless it is to be drained, no picture of it is handed on any more.
    pub fn stop(&self, drain: Duration) {
        if drain.is_zero() {
            self.link.current.store(false, Ordering::SeqCst);
        }
        self.order(Order::Stop(drain));
    }
}

/// Tells that a pipeline is gone when its thread ends, also by a panic: nobody would hear of that otherwise.
struct Leaving<'a>(&'a Link);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.tell(Heard::Failed(
                Reason::Error,
                "a part of its pipeline has panicked; see the process's log".into(),
            ));
        }
        self.0.current.store(false, Ordering::SeqCst);
        self.0.tell(Heard::Gone);
    }
}

/// The thread of a pipeline.
fn work(plan: &CameraPlan, id: &str, link: &Arc<Link>, orders: &Receiver<Order>) {
    let _leaving = Leaving(link);
    match build::build(plan, id, link) {
        Ok(built) => {
            let drain = play(&built, link, orders);
            end(&built.pipeline, link, drain);
        }
        Err(text) => {
            link.tell(Heard::Failed(Reason::CannotBuild, text));
            while !matches!(orders.recv(), Ok(Order::Stop(_)) | Err(_)) {}
        }
    }
}

/// Starts the pipeline and does what it is told to; how long its end may take.
fn play(built: &Built, link: &Link, orders: &Receiver<Order>) -> Duration {
    match built.pipeline.set_state(gst::State::Playing) {
        Ok(_) => link.tell(Heard::Started),
        // What an element has said about it came first, and counts.
        Err(_) => link.tell(Heard::Failed(Reason::Error, "the pipeline does not start".into())),
    }
    // An order from nobody: the camera is gone.
    while let Ok(order) = orders.recv() {
        match order {
            Order::Stop(drain) => return drain,
            Order::Rewind => rewind(&built.pipeline, link),
            Order::Set(node, property, value) => {
                let set = built.stages.get(&node).ok_or(format!("there is no stage {node} just now"));
                if let Err(text) = set.and_then(|element| build::set(&element, &property, &value)) {
                    let data = serde_json::json!({ "element": node, "text": text });
                    link.tell(Heard::Told("warning".into(), data));
                }
            }
            Order::Latency => drop(built.pipeline.recalculate_latency()),
            Order::Ask(answer) => drop(answer.send(statistics(&built.stages))),
            Order::Swap(stage, model, options, answer) => {
                let (answered, refused) = swap(&built.stages, &stage, &model, &options);
                for text in refused {
                    link.tell(Heard::Told("warning".into(), serde_json::json!({ "text": text })));
                }
                drop(answer.send(answered));
            }
            Order::Bypass(watchdog, bypass, answer) => {
                drop(answer.send(force_bypass(&built.stages, &watchdog, bypass)));
            }
            Order::Relearn(answer) => drop(answer.send(relearn(&built.stages))),
            Order::Relay(structure) => {
                built.pipeline.send_event(gst::event::CustomDownstream::new(structure));
            }
        }
    }
    Duration::ZERO
}

fn end(pipeline: &gst::Pipeline, link: &Link, drain: Duration) {
    if !drain.is_zero() && pipeline.current_state() == gst::State::Playing {
        pipeline.send_event(gst::event::Eos::new());
        link.ended.wait(drain);
    }
    link.current.store(false, Ordering::SeqCst);
    // It cannot fail on the way down, but it can hang: then this thread does.
    let _ = pipeline.set_state(gst::State::Null);
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
    }
}

fn rewind(pipeline: &gst::Pipeline, link: &Link) {
    link.ended.forget();
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
    if pipeline.seek_simple(flags, gst::ClockTime::ZERO).is_err() {
        link.tell(Heard::CannotRewind);
    }
}

/// `stats` of all stages that have them.
fn statistics(stages: &Stages) -> Statistics {
    let all = stages.all().into_iter().filter_map(|(name, element)| {
        let stats = element.find_property("stats").filter(|spec| spec.value_type() == gst::Structure::static_type())?;
        let stats = element.property_value(stats.name()).get::<Option<gst::Structure>>().ok().flatten()?;
        Some((name, json::from_structure(&stats)))
    });
    all.collect()
}

fn has_signal(element: &gst::Element, name: &str) -> bool {
    gst::glib::subclass::SignalId::lookup(name, element.type_()).is_some()
}

/// Asks stages for another model: the requests' ids, if one takes it, and the refusals of those that do not.
fn swap(
    stages: &Stages,
    stage: &str,
    model: &str,
    options: &gst::Structure,
) -> (Result<Vec<String>, SiteError>, Vec<String>) {
    let all: Vec<_> = stages.all().into_iter().filter(|(name, _)| stage.is_empty() || name == stage).collect();
    let with_model: Vec<_> = all.iter().filter(|(_, element)| has_signal(element, "swap-model")).collect();
    if with_model.is_empty() {
        let why = match (stage, all.is_empty()) {
            ("", _) => "the camera has no stage with a model just now".into(),
            (stage, true) => format!("the camera has no stage \"{stage}\" just now"),
            (stage, false) => format!("the stage \"{stage}\" has no model"),
        };
        return (Err(SiteError::Refused(why)), Vec::new());
    }
    let (mut ids, mut refused) = (Vec::new(), Vec::new());
    for (name, element) in with_model {
        match element.emit_by_name::<u64>("swap-model", &[&model, &Some(options.clone())]) {
            0 => refused.push(format!("the stage \"{name}\" does not run, and takes no model")),
            number => ids.push(format!("{name}/{number}")),
        }
    }
    match ids.is_empty() {
        true => (Err(SiteError::Refused(refused.join("; "))), Vec::new()),
        false => (Ok(ids), refused),
    }
}

fn force_bypass(stages: &Stages, watchdog: &str, bypass: bool) -> Result<(), SiteError> {
    let missing = || SiteError::Refused("the watchdog does not run just now".into());
    let element = stages.get(watchdog).ok_or_else(missing)?;
    build::set(&element, "force-bypass", if bypass { "true" } else { "false" }).map_err(SiteError::Refused)
}

fn relearn(stages: &Stages) -> Result<(), SiteError> {
    let all = stages.all().into_iter().map(|(_, element)| element);
    let able: Vec<_> = all.filter(|element| has_signal(element, "relearn")).collect();
    if able.is_empty() {
        let why = "the camera has no stage vigildrift just now: there is nothing to learn anew";
        return Err(SiteError::Refused(why.into()));
    }
    able.iter().for_each(|element| element.emit_by_name("relearn", &[]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_whose_thread_panics_has_failed_and_is_gone() {
        let (keeper, commands) = channel();
        let link = Link::new(7, None, (&Arc::default(), &Arc::default()), &keeper);
        let of_thread = Arc::new(link);
        let link = Arc::clone(&of_thread);
        let work = move || {
            let _leaving = Leaving(&of_thread);
            panic!("as a property's setter may");
        };
        assert!(std::thread::spawn(work).join().is_err());
        assert!(matches!(commands.try_recv(), Ok(Command::Heard(7, Heard::Failed(Reason::Error, _)))));
        assert!(matches!(commands.try_recv(), Ok(Command::Heard(7, Heard::Gone))));
        assert!(!link.current.load(Ordering::SeqCst), "it gives no picture any more");
    }
}
