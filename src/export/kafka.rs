//! Records to Kafka, through librdkafka's idempotent producer.
//!
//! A batch counts as taken once every record's delivery report is there, which the leader sends after all replicas in sync have the
//! record (`acks=all`). Records of one camera have the same key, and so the same partition.
//!
//! *Order and doubles.* While one producer lives the brokers drop what it sends twice and refuse what comes out of order, so that
//! broken connections and lost acknowledgements leave no trace. A batch that fails, or takes too long, ends the producer as a
//! whole: nothing of it is sent any more, and the next call makes a new one, whose copies of the same records the brokers cannot
//! know again. So a consumer may see records of that batch twice, also after later ones; the first copies of all records are in
//! their order, since no batch is begun before the one ahead is acknowledged, and a gap stops the producer
//! (`enable.gapless.guarantee`). Who drops an id that was seen before has each record once and in order.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};

use super::remote::{Outgoing, Remote, RemoteError};
use super::text::{plain, record_id};

mod options;

pub use options::{Compression, KafkaOptions, Sasl};

/// What librdkafka adds to key, headers and body of a message when it looks whether that is too large, bytes.
const OVERHEAD: usize = 36;
/// How long librdkafka is listened to before the clock is looked at again.
const LISTEN: Duration = Duration::from_millis(5);
/// Events that are heard at most in an idle producer's tick.
const IDLE_EVENTS: usize = 16;

/// What librdkafka has reported since a batch was begun.
#[derive(Default)]
struct Report {
    /// Records whose fate is known.
    done: usize,
    /// The first record's failure.
    failed: Option<(Code, String)>,
    /// Login or certificate refused.
    denied: Option<String>,
    /// The producer will never send anything again.
    fatal: Option<String>,
    /// The last thing that went wrong, which may not matter.
    last: Option<String>,
}

/// Hears librdkafka's reports; nothing of them goes to standard error.
#[derive(Default)]
struct Ear(Mutex<Report>);

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The type that librdkafka's callbacks need.
struct Hearing(Arc<Ear>);

impl ClientContext for Hearing {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _text: &str) {}

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut report = self.0.lock();
        let text = plain(reason);
        match error.rdkafka_error_code() {
            // It adds nothing to what was said of each.
            Some(Code::AllBrokersDown) => {}
            Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => report.denied = Some(text),
            Some(Code::Fatal) => report.fatal = Some(text),
            _ => report.last = Some(text),
        }
    }
}

impl ProducerContext for Hearing {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut report = self.0.lock();
        report.done += 1;
        if let Err((error, _)) = result
            && report.failed.is_none()
        {
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            report.failed = Some((code, code.to_string()));
        }
    }
}

/// A producer and what it says.
struct Link {
    producer: BaseProducer<Hearing>,
    ear: Arc<Ear>,
}

/// A Kafka cluster that takes records.
pub struct Kafka {
    options: KafkaOptions,
    link: Option<Link>,
    /// Closed when the producer before is gone. To end one may take as long as a name server does not answer.
    ending: Option<Receiver<()>>,
}

impl Kafka {
    /// A receiver that connects when it is first used.
    pub fn new(options: KafkaOptions) -> Self {
        Self { options, link: None, ending: None }
    }

    fn place(&self) -> &str {
        self.options.place()
    }

    fn link(&mut self, until: Instant) -> Result<Link, RemoteError> {
        if let Some(link) = self.link.take() {
            return Ok(link);
        }
        if !self.ended(until) {
            let text =
                format!("{}: the connection before has not ended yet; its host's name may not be known", self.place());
            return Err(RemoteError::Unreachable(text));
        }
        let wrong = |text: String| RemoteError::Denied(format!("{}: {text}", self.place()));
        let config = self.options.config().map_err(wrong)?;
        let ear = Arc::new(Ear::default());
        let producer = config.create_with_context(Hearing(Arc::clone(&ear))).map_err(|error| match error {
            KafkaError::ClientCreation(text) => wrong(plain(&text)),
            error => wrong(plain(&error.to_string())),
        })?;
        Ok(Link { producer, ear })
    }

    /// Lets go of a producer without waiting for it.
    fn end(&mut self, link: Link) {
        let (alive, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("vigil-kafka-end".into());
        let spawned = thread.spawn(move || {
            drop(link);
            drop(alive);
        });
        self.ending = spawned.ok().map(|_| ended);
    }

    /// Whether the producer before is gone, at that time at the latest.
    fn ended(&mut self, until: Instant) -> bool {
        let Some(ending) = &self.ending else { return true };
        let left = until.saturating_duration_since(Instant::now());
        let ended = ending.recv_timeout(left) != Err(RecvTimeoutError::Timeout);
        if ended {
            self.ending = None;
        }
        ended
    }

    /// Whether librdkafka would refuse one of these records for its size, which costs the producer if it has begun with those before it. What
    /// the headers add, some dozen bytes, is left to it.
    fn check(&self, batch: &[Outgoing]) -> Result<(), RemoteError> {
        let size = |record: &Outgoing| record.body.len() + record.camera.len() + OVERHEAD;
        let (largest, place) = (self.options.largest, self.place());
        match batch.iter().map(size).find(|size| *size > largest) {
            None => Ok(()),
            Some(size) => Err(RemoteError::Refused(format!(
                "{place}: a record makes a message of {size} bytes, and librdkafka takes at most {largest}; raise rdkafka.message.max.bytes and the topic's max.message.bytes, or leave out masks and thumbnails"
            ))),
        }
    }

    fn deliver(&self, link: &Link, batch: &[Outgoing], limit: Duration, until: Instant) -> Result<(), RemoteError> {
        {
            let mut report = link.ear.lock();
            *report = Report { fatal: report.fatal.take(), ..Report::default() };
        }
        for record in batch {
            self.enqueue(link, record, until)?;
        }
        // That no broker can be reached is no reason to end it before its time: names have several addresses, which are tried in
        // turns, and a connection that comes back brings what it knows.
        loop {
            link.producer.poll(LISTEN);
            let report = link.ear.lock();
            if let Some((code, text)) = &report.failed {
                return Err(self.failure(*code, text));
            }
            if report.done >= batch.len() {
                return Ok(());
            }
            if let Some(text) = &report.denied {
                return Err(RemoteError::Denied(format!(
                    "{}: {text}; check user, password and certificates",
                    self.place()
                )));
            }
            let because = report.last.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            if let Some(text) = &report.fatal {
                return Err(RemoteError::Unreachable(format!("{}: {text}", self.place())));
            }
            if Instant::now() >= until {
                let (done, all) = (report.done, batch.len());
                let text = format!("{} acknowledged {done} of {all} records within {limit:.1?}{because}", self.place());
                return Err(RemoteError::Unreachable(text));
            }
        }
    }

    fn enqueue(&self, link: &Link, record: &Outgoing, until: Instant) -> Result<(), RemoteError> {
        let topic = self.options.topic(record.kind);
        let mut headers = OwnedHeaders::new().insert(Header { key: "kind", value: Some(record.kind.as_str()) });
        if let Some(id) = record_id(&record.body) {
            headers = headers.insert(Header { key: "id", value: Some(&id) });
        }
        let mut message = BaseRecord::to(&topic).key(&*record.camera).payload(&record.body).headers(headers);
        loop {
            match link.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), again)) if Instant::now() < until => {
                    link.producer.poll(LISTEN);
                    message = again;
                }
                Err((error, _)) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                    return Err(self.failure(code, &plain(&code.to_string())));
                }
            }
        }
    }

    /// What a record's failure means.
    fn failure(&self, code: Code, text: &str) -> RemoteError {
        let text = format!("{}: {text}", self.place());
        match code {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize | Code::InvalidRecord => {
                RemoteError::Refused(text)
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
                RemoteError::Denied(format!("{text}; make the topic, or add rdkafka.allow.auto.create.topics=true"))
            }
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                RemoteError::Denied(format!("{text}; allow this user to write to the topic"))
            }
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => {
                RemoteError::Denied(format!("{text}; check user, password and certificates"))
            }
            Code::PolicyViolation | Code::UnsupportedForMessageFormat | Code::UnsupportedFeature => {
                RemoteError::Denied(format!("{text}; check what the brokers and the topic allow"))
            }
            Code::ThrottlingQuotaExceeded => RemoteError::Busy { after: None, text },
            _ => RemoteError::Unreachable(text),
        }
    }
}

impl Remote for Kafka {
    fn send(&mut self, batch: &[Outgoing], limit: Duration) -> Result<(), RemoteError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check(batch)?;
        let until = Instant::now() + limit;
        let link = self.link(until)?;
        let result = self.deliver(&link, batch, limit, until);
        match &result {
            Ok(()) => self.link = Some(link),
            // What is still in its queues, or on its way, must not be sent beside the next try.
            Err(_) => self.end(link),
        }
        result
    }

    /// librdkafka keeps the connections itself; one that breaks while nothing is sent is not worth a message.
    fn tick(&mut self, _limit: Duration) -> Result<bool, RemoteError> {
        if let Some(link) = self.link.take() {
            for _ in 0..IDLE_EVENTS {
                link.producer.poll(Duration::ZERO);
            }
            let fatal = link.ear.lock().fatal.is_some();
            if fatal {
                self.end(link);
            } else {
                self.link = Some(link);
            }
        }
        Ok(false)
    }

    fn close(&mut self, limit: Duration) {
        if let Some(link) = self.link.take() {
            self.end(link);
        }
        self.ended(Instant::now() + limit);
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.end(link);
        }
    }
}

#[cfg(test)]
#[path = "kafka_tests.rs"]
mod tests;
