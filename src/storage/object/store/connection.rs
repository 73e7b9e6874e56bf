//! Sends the HTTP requests of object_store, says on stderr which store the run waits for, and gives up if a store stays
//! unavailable. This module also follows redirects, bounds the answers that object_store keeps in memory, and adds a condition to
//! the request that completes an upload in parts, because object_store has no option for such a condition.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpService,
};
use object_store::{ClientOptions, HeaderValue};
use url::Url;

use super::body;
use super::errors::root_cause;
use super::transport::Transport;
use crate::console::Reporter;

/// How long a store may be unavailable before a request fails. The limit must be less than five minutes, because the signature
/// of a request expires after five minutes.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The time between two messages on stderr that say that the run waits for a store.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(30);

/// The largest answer in bytes, except for the blocks of objects. Listings are the largest answers, with up to 5,000 keys of up to
/// 1,024 bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The most redirects of one request.
const REDIRECTS_MAX: usize = 5;

/// The headers that another host may see after a redirect. All other headers may contain credentials or a signature.
const HEADERS_FOR_OTHERS: [&str; 5] = ["accept", "if-match", "if-none-match", "range", "user-agent"];

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
        let url = Url::parse(&format!("http://host/?{query}")).ok()?;
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
        let client = HttpClient::new(Transport::new(options)?);
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
        let answer = match self.answer(request).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let max = ANSWER_BYTES_MAX >> 20;
                let error = io::Error::other(format!("{host} sent an answer of more than {max} MiB"));
                return Err(HttpError::new(HttpErrorKind::Unknown, error));
            }
            Err(e) => Err(e),
        };
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

impl Service {
    /// Returns the answer to a request, or `None` if it is too large. An answer with a range of an object is a stream. Any other
    /// answer is complete, because object_store would allocate as much memory as the header `Content-Length` says.
    async fn answer(&self, request: HttpRequest) -> Result<Option<HttpResponse>, HttpError> {
        let is_read = request.method().is_safe();
        let asks_for_range = request.headers().contains_key("range");
        let answer = if is_read { self.follow(request).await } else { self.client.execute(request).await }?;
        if asks_for_range && answer.status().as_u16() == 206 {
            return Ok(Some(answer));
        }
        let (parts, body) = answer.into_parts();
        let body = body::collect(body.bytes_stream(), ANSWER_BYTES_MAX).await.map_err(|e| match is_read {
            true => e,
            // The store may have done what it was asked to do. object_store does not repeat a write after this error.
            false => HttpError::new(HttpErrorKind::Interrupted, e),
        })?;
        Ok(body.map(|body| HttpResponse::from_parts(parts, body.into())))
    }

    /// Sends a request that only reads, and follows redirects. Another host gets no credentials.
    async fn follow(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Ok(mut url) = Url::parse(&request.uri().to_string()) else {
            return self.client.execute(request).await;
        };
        let (method, mut headers) = (request.method().clone(), request.headers().clone());
        let mut answer = self.client.execute(request).await?;
        for _ in 0..REDIRECTS_MAX {
            let Some(next) = redirect(&url, &answer) else { break };
            let Ok(uri) = next.as_str().parse() else { break };
            if url.origin() != next.origin() {
                let may_go = |name: &str| HEADERS_FOR_OTHERS.contains(&name);
                let kept = headers.iter().filter(|(name, _)| may_go(name.as_str()));
                headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
            }
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            (*request.method_mut(), *request.uri_mut()) = (method.clone(), uri);
            *request.headers_mut() = headers.clone();
            answer = self.client.execute(request).await?;
            url = next;
        }
        Ok(answer)
    }
}

/// Returns the URL that an answer redirects to, if any.
fn redirect(url: &Url, answer: &HttpResponse) -> Option<Url> {
    let place = answer.headers().get("location").filter(|_| answer.status().is_redirection())?;
    url.join(place.to_str().ok()?).ok()
}

/// Returns whether object_store retries a request after an answer with this status.
fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}
