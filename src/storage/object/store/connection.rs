//! Sends the HTTP requests of object_store, says on stderr which store the run waits for, and gives up if a store stays
//! unavailable. This module also adds a condition to the request that completes an upload in parts, because object_store has no
//! option for such a condition.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, HeaderValue};

use super::errors::root_cause;
use crate::console::Reporter;

/// How long a store may be unavailable before a request fails. The limit must be less than five minutes, because the signature
/// of a request expires after five minutes.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The time between two messages on stderr that say that the run waits for a store.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(30);

/// A header that makes a write fail if the object has changed since the run found it.
pub type Condition = (&'static str, HeaderValue);

/// The state that all requests to a store share.
pub struct Connection {
    reporter: Arc<Reporter>,
    health: Mutex<Health>,
    /// The conditions of uploads in parts, by the id of the upload.
    conditions: Mutex<HashMap<String, Condition>>,
}

#[derive(Default)]
struct Health {
    /// `true` if the store has answered at least once. Until the first answer, requests fail without a retry, because the
    /// address is probably wrong.
    has_answered: bool,
    /// The time of the first failure after the latest success; `None` if no request has failed since the latest success.
    failing_since: Option<Instant>,
    last_message: Option<Instant>,
}

impl Connection {
    pub fn new(reporter: Arc<Reporter>) -> Self {
        Connection { reporter, health: Mutex::default(), conditions: Mutex::default() }
    }

    /// Adds a condition to the request that will complete this upload. [`Connection::clear_condition`] removes the condition.
    pub fn set_condition(&self, upload_id: &str, condition: Condition) {
        lock(&self.conditions).insert(upload_id.to_owned(), condition);
    }

    pub fn clear_condition(&self, upload_id: &str) {
        lock(&self.conditions).remove(upload_id);
    }

    /// Returns the condition for a request, if the request completes an upload with a condition.
    fn condition_of(&self, request: &HttpRequest) -> Option<Condition> {
        let query = request.uri().query().filter(|_| request.method() == "POST")?;
        // `query_pairs` decodes the id, but needs a whole URL.
        let url = reqwest::Url::parse(&format!("http://host/?{query}")).ok()?;
        let (_, upload_id) = url.query_pairs().find(|(name, _)| name == "uploadId")?;
        lock(&self.conditions).get(&*upload_id).cloned()
    }

    fn record_success(&self) {
        let mut health = lock(&self.health);
        (health.has_answered, health.failing_since) = (true, None);
    }

    /// Records a failure, and returns whether the request must give up. All requests share one time limit, since they all wait
    /// for the same store.
    fn gives_up(&self, failure: &str, has_answered: bool) -> bool {
        let mut health = lock(&self.health);
        health.has_answered |= has_answered;
        let waited = health.failing_since.get_or_insert_with(Instant::now).elapsed();
        if !health.has_answered || waited >= PATIENCE {
            return true;
        }
        if health.last_message.is_none_or(|last| last.elapsed() >= MESSAGE_INTERVAL) {
            health.last_message = Some(Instant::now());
            let left = (PATIENCE - waited).as_secs();
            self.reporter.info(&format!("{failure}; retrying for up to {left} seconds"));
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes object_store send its requests through a [`Connection`].
pub struct Connector(pub Arc<Connection>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, connection: self.0.clone() }))
    }
}

/// Sends requests through `client`, with the conditions and the time limit of `connection`.
pub struct Service {
    pub client: HttpClient,
    pub connection: Arc<Connection>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        // A user and a password may stand before the host.
        let host = host.rsplit('@').next().unwrap_or_default().to_owned();
        if let Some((name, value)) = self.connection.condition_of(&request) {
            request.headers_mut().insert(name, value);
        }
        let answer = self.client.execute(request).await;
        let (failure, has_answered) = match &answer {
            Ok(answer) if is_temporary(answer.status().as_u16()) => {
                (format!("{host} answered {}", answer.status()), true)
            }
            Ok(_) => {
                self.connection.record_success();
                return answer;
            }
            Err(e) => (format!("{host}: {}", root_cause(e)), false),
        };
        if self.connection.gives_up(&failure, has_answered) {
            // object_store does not retry an error of the kind `Unknown`.
            return Err(HttpError::new(HttpErrorKind::Unknown, io::Error::other(failure)));
        }
        answer
    }
}

/// Returns whether object_store retries a request after an answer with this status.
fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}
