//! `vigil fleet watch`: the cameras of many gateways compared with each other, by what the gateways publish to a broker.
//!
//! One thread listens, compares and prints; another one publishes what is new, by the receiver that gateways have.

use std::collections::VecDeque;
use std::error::Error;
use std::future::pending;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstvigil::drift::{FleetConfig, PeerState};
use gstvigil::export::address::Address;
use gstvigil::export::mqtt::{Mqtt, MqttOptions, Received, Subscription};
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use gstvigil::export::sink::Clock;
use gstvigil::export::units::parse_duration;
use gstvigil::export::writer::SystemClock;
use gstvigil::fleet::{News, Telling, Watch, table};
use gstvigil::site::backoff::Backoff;
use gstvigil::site::standing;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep_until, timeout};

/// How long the broker may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The first pause before it is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often gateways are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Events that wait for the broker; of more the oldest are given up.
const WAITING: usize = 1000;
/// Exit code of `--once` if nothing can be said.
const NOTHING: u8 = 2;

/// What is to be done.
#[derive(Debug, clap::Subcommand)]
pub enum FleetCommand {
    /// Compare the cameras of all gateways that publish telemetry to a broker, and tell which are odd, and why
    Watch(WatchArgs),
}

/// What is watched.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// The broker, and the prefix of the topics, as in a site's `telemetry.uri`: mqtts://USER@BROKER/PREFIX?password-env=NAME
    uri: String,
    /// Topics of the telemetry; + stands for one level, # for any number at the end [default: PREFIX/+/telemetry]
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// How often the cameras are compared
    #[arg(long, value_name = "TIME", default_value = "1min", value_parser = duration)]
    every: Duration,
    /// Listen for a while, print how all cameras stand, and end: with exit code 1 if one is odd, 2 if there is nothing to compare
    #[arg(long)]
    once: bool,
    /// How long --once listens: longer than gateways take from one telemetry to the next
    #[arg(long = "for", value_name = "TIME", default_value = "60s", requires = "once", value_parser = duration)]
    listen: Duration,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
    /// Do not publish what is new to PREFIX/fleet/alarm and PREFIX/fleet/event
    #[arg(long)]
    no_publish: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Does what the command says.
///
/// # Errors
/// If the address is wrong, or the broker lets nobody in with it.
pub fn run(command: &FleetCommand) -> Result<ExitCode, Box<dyn Error>> {
    let FleetCommand::Watch(arguments) = command;
    let options = options(&arguments.uri)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("vigil-fleet-name")
        .max_blocking_threads(2)
        .build()?;
    let code = runtime.block_on(async { Watcher::new(arguments, options)?.run().await });
    // A look-up of a name may still be under way on a thread; nobody waits for it.
    runtime.shutdown_background();
    code
}

fn options(uri: &str) -> Result<MqttOptions, Box<dyn Error>> {
    let scheme = uri.split(':').next().unwrap_or_default();
    if !MqttOptions::SCHEMES.contains(&scheme) {
        return Err(
            "gateways are watched through an MQTT broker: name it as mqtt://BROKER/PREFIX or mqtts://BROKER/PREFIX"
                .into(),
        );
    }
    Ok(MqttOptions::parse(Address::parse(uri)?)?)
}

/// The patterns to subscribe to: that of the telemetry, and that of the clients' status beside it.
fn filters(pattern: Option<&str>, prefix: &str) -> Vec<String> {
    let telemetry = pattern.map_or_else(|| format!("{prefix}/+/telemetry"), str::to_owned);
    let status = telemetry.strip_suffix("/telemetry").map(|place| format!("{place}/status"));
    std::iter::once(telemetry).chain(status).collect()
}

/// What ends the command, or wants something done.
enum Step {
    Message(Result<Received, RemoteError>),
    Look,
    End,
}

/// The command at work.
struct Watcher<'a> {
    arguments: &'a WatchArgs,
    options: MqttOptions,
    client_id: String,
    filters: Vec<String>,
    clock: SystemClock,
    watch: Watch,
    telling: Telling,
    publisher: Option<Publisher>,
    signals: [Signal; 2],
    /// When --once ends.
    end: Option<Instant>,
    /// When the cameras are compared next.
    due: Instant,
}

impl<'a> Watcher<'a> {
    fn new(arguments: &'a WatchArgs, options: MqttOptions) -> Result<Self, Box<dyn Error>> {
        let clock = SystemClock::default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = options.client_id().map_or_else(|| format!("vigil-fleet-{host}"), str::to_owned);
        // One summary holds an hour, and nobody waits for a second one.
        let rounds = if arguments.once { 1 } else { FleetConfig::default().rounds };
        let publishes = !(arguments.once || arguments.no_publish);
        let publisher = publishes.then(|| Publisher::start(Mqtt::new(options.clone(), &name))).transpose()?;
        Ok(Self {
            filters: filters(arguments.topic.as_deref(), options.prefix()),
            // It must not push its own publisher out, and several may listen on one machine.
            client_id: format!("{name}-listens-{}", std::process::id()),
            telling: Telling::new(clock.now().utc_ns),
            watch: Watch::new(FleetConfig { rounds, ..FleetConfig::default() }),
            signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
            end: arguments.once.then(|| Instant::now() + arguments.listen),
            due: Instant::now() + arguments.every,
            arguments,
            options,
            clock,
            publisher,
        })
    }

    async fn run(mut self) -> Result<ExitCode, Box<dyn Error>> {
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1, u64::from(std::process::id()));
        let (mut first, mut told) = (true, false);
        loop {
            match self.open().await {
                None => break,
                Some(Ok(subscription)) => {
                    if first {
                        // The time until then was the broker's.
                        self.end = self.end.map(|_| Instant::now() + self.arguments.listen);
                    }
                    if first || told {
                        eprintln!("vigil: listening to {}", self.filters.join(" and "));
                    }
                    (first, told) = (false, false);
                    pauses.reset();
                    self.watch.connected(self.clock.now());
                    match self.listen(subscription).await? {
                        None => break,
                        Some(error) => told = tell(told, &error),
                    }
                }
                // Whoever starts it is there to put it right.
                Some(Err(RemoteError::Denied(text))) if first => return Err(text.into()),
                Some(Err(error)) => told = tell(told, &error),
            }
            if !self.pause(pauses.next_pause()).await {
                break;
            }
        }
        self.finish()
    }

    /// A connection; `None` if the command ends meanwhile.
    async fn open(&mut self) -> Option<Result<Subscription, RemoteError>> {
        let (options, filters, id) = (&self.options, &self.filters, &self.client_id);
        let open = timeout(ANSWER, Subscription::open(options, id, filters));
        tokio::select! {
            opened = open => Some(opened.unwrap_or_else(|_| {
                let seconds = ANSWER.as_secs();
                Err(RemoteError::Unreachable(format!("the broker did not answer within {seconds} s")))
            })),
            () = ends(&mut self.signals, self.end) => None,
        }
    }

    /// Whether the command goes on after the pause.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = ends(&mut self.signals, self.end) => false,
        }
    }

    /// Listens until the connection breaks, and says why it did; `None` if the command ends.
    async fn listen(&mut self, mut subscription: Subscription) -> Result<Option<RemoteError>, Box<dyn Error>> {
        let mut tick = tokio::time::interval(TICK.min(self.arguments.every));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                // Messages of a busy broker must not keep the others from their turn.
                biased;
                () = ends(&mut self.signals, self.end) => Step::End,
                _ = tick.tick() => Step::Look,
                message = subscription.next() => Step::Message(message),
            };
            match step {
                Step::Message(Ok(message)) => {
                    let news = self.watch.message(&message.topic, &message.body, self.clock.now());
                    self.tell(news)?;
                }
                Step::Message(Err(error)) => return Ok(Some(error)),
                Step::Look => self.look(subscription.quiet())?,
                Step::End => {
                    let _ = timeout(ANSWER, subscription.leave()).await;
                    return Ok(None);
                }
            }
        }
    }

    fn look(&mut self, quiet: Duration) -> Result<(), Box<dyn Error>> {
        if self.end.is_some() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut news = self.watch.tick(now, quiet);
        if Instant::now() >= self.due {
            self.due = Instant::now() + self.arguments.every;
            news.extend(self.watch.compare(now));
        }
        self.tell(news)
    }

    /// Prints news and has them published.
    fn tell(&mut self, news: Vec<News>) -> Result<(), Box<dyn Error>> {
        for news in news {
            let Some(event) = self.telling.event(&news) else {
                eprintln!("vigil: {}", news.line());
                continue;
            };
            let mut out = std::io::stdout().lock();
            match self.arguments.json {
                true => out.write_all(&event.body).and_then(|()| out.write_all(b"\n"))?,
                false => writeln!(out, "{}", news.line())?,
            }
            if let Some(publisher) = &self.publisher {
                publisher.publish(event);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ExitCode, Box<dyn Error>> {
        let code = if self.arguments.once { self.once()? } else { ExitCode::SUCCESS };
        let counts = self.watch.counts();
        if counts.broken > 0 || counts.left_out > 0 {
            eprintln!(
                "vigil: {} records were read; {} messages were no telemetry, {} records found no room",
                counts.records, counts.broken, counts.left_out
            );
        }
        if let Some(publisher) = self.publisher.take() {
            publisher.stop();
        }
        Ok(code)
    }

    /// Compares once and prints how all cameras stand.
    fn once(&mut self) -> Result<ExitCode, Box<dyn Error>> {
        let _ = self.watch.compare(self.clock.now());
        let standings = self.watch.standings();
        let mut out = std::io::stdout().lock();
        if self.arguments.json {
            standings.iter().try_for_each(|report| writeln!(out, "{}", Value::from(standing::named(report))))?;
        } else if !standings.is_empty() {
            write!(out, "{}", table(&standings))?;
        }
        let has = |state| standings.iter().any(|report| report.state == state);
        if has(PeerState::Odd) {
            return Ok(ExitCode::FAILURE);
        }
        if has(PeerState::Normal) {
            return Ok(ExitCode::SUCCESS);
        }
        let (cameras, gateways, topics) = (standings.len(), self.watch.gateways(), self.filters.join(" and "));
        eprintln!(
            "vigil: nothing can be compared: {cameras} cameras of {gateways} gateways were heard on {topics}; it takes five of one profile and \
             model, with a stage vigildrift; listen longer with --for, or to other topics with --topic"
        );
        Ok(ExitCode::from(NOTHING))
    }
}

/// Says once that the broker is away.
fn tell(told: bool, error: &RemoteError) -> bool {
    if !told {
        eprintln!("vigil: {error}; it is tried again until it works");
    }
    true
}

/// Returns when a signal or the end of the time ends the command.
async fn ends([interrupt, terminate]: &mut [Signal; 2], end: Option<Instant>) {
    let late = async {
        match end {
            Some(end) => sleep_until(end.into()).await,
            None => pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = late => {}
    }
}

/// What publishes events, on a thread of its own. They wait in memory while the broker is away.
struct Publisher {
    events: SyncSender<Outgoing>,
    thread: JoinHandle<()>,
}

impl Publisher {
    fn start(mqtt: Mqtt) -> std::io::Result<Self> {
        let (events, queue) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("vigil-fleet-pub".into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| publish(mqtt, &queue))).is_err() {
                eprintln!("vigil: what publishes has failed; events are only printed from now on");
            }
        })?;
        Ok(Self { events, thread })
    }

    fn publish(&self, event: Outgoing) {
        // It takes what comes within a moment; it is full or gone only if it has failed, and has said so.
        let _ = self.events.try_send(event);
    }

    /// Ends it, once what waits was tried once more.
    fn stop(self) {
        drop(self.events);
        let _ = self.thread.join();
    }
}

/// Publishes until nobody sends events any more.
fn publish(mut remote: impl Remote, events: &Receiver<Outgoing>) {
    let mut waiting: VecDeque<Outgoing> = VecDeque::new();
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1, u64::from(std::process::id()) + 1);
    let (mut due, mut told) = (Instant::now(), false);
    loop {
        let came = events.recv_timeout(TICK);
        let ended = matches!(came, Err(RecvTimeoutError::Disconnected));
        waiting.extend(came);
        if waiting.len() > WAITING {
            waiting.pop_front();
        }
        if !ended && Instant::now() < due {
            continue;
        }
        match send(&mut remote, &mut waiting) {
            Ok(()) => {
                pauses.reset();
                told = false;
            }
            Err(error) => {
                if !told {
                    eprintln!("vigil: events are not published for now (--no-publish leaves it at that): {error}");
                }
                told = true;
                due = Instant::now() + pauses.next_pause();
            }
        }
        if ended {
            if !waiting.is_empty() {
                eprintln!("vigil: {} events were not published", waiting.len());
            }
            remote.close(ANSWER);
            return;
        }
    }
}

/// Sends what waits, one after the other; without anything it has the connection kept.
fn send(remote: &mut impl Remote, waiting: &mut VecDeque<Outgoing>) -> Result<(), RemoteError> {
    if waiting.is_empty() {
        return remote.tick(ANSWER).map(|_| ());
    }
    while let Some(event) = waiting.front() {
        match remote.send(std::slice::from_ref(event), ANSWER) {
            Ok(()) => {}
            Err(RemoteError::Refused(text)) => eprintln!("vigil: an event is not published: {text}"),
            Err(error) => return Err(error),
        }
        waiting.pop_front();
    }
    Ok(())
}
