//! Sends requests to Qdrant's REST API, and sends a request again that may succeed later.

use std::time::Duration;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, StatusCode, Uri};

use super::error::PushError;
use crate::interrupt;
use crate::network::{self, EndpointProxy, Pauses, is_transient, is_transient_status, retry_after};

/// The port of Qdrant's REST API, as in Qdrant's own clients.
const DEFAULT_PORT: u16 = 6333;

/// The time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for each wait for the server.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer, in bytes. The largest is that of a comparison: the payloads and vectors of 256 points.
const ANSWER_MAX: u64 = 1 << 30;

/// A server of Qdrant.
pub struct QdrantServer<'a> {
    agent: Agent,
    url: String,
    key: Option<String>,
    proxy: Option<EndpointProxy>,
    /// Whether the server has answered before. If nothing has ever answered, most often no server is running.
    is_reached: bool,
    /// Receives the reason for each pause before a retry.
    on_wait: &'a dyn Fn(&str),
}

/// The reason why a request failed.
struct Failed {
    error: anyhow::Error,
    /// Whether a retry may succeed.
    is_transient: bool,
    /// The pause that the server names, in seconds.
    retry_after: Option<u64>,
}

/// An answer of Qdrant.
#[derive(Deserialize)]
struct QdrantAnswer<T> {
    result: T,
}

impl<'a> QdrantServer<'a> {
    /// Makes a client for the server at `url`. This function sends no request.
    ///
    /// # Errors
    /// `url` is not a URL of HTTP; a proxy variable is not the address of a proxy.
    pub fn new(url: &str, key: Option<String>, on_wait: &'a dyn Fn(&str)) -> anyhow::Result<Self> {
        let uri: Option<Uri> = url.parse().ok();
        let parts = uri.and_then(|uri| {
            let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?.to_owned();
            let authority = uri.authority()?;
            let port = authority.port().map_or(format!(":{DEFAULT_PORT}"), |_| String::new());
            Some(format!("{scheme}://{authority}{port}{}", uri.path().trim_end_matches('/')))
        });
        let Some(url) = parts else { bail!("{url}: is not a URL; write it as http://HOST:{DEFAULT_PORT}") };
        let proxy = EndpointProxy::from_environment(&url)?;
        let agent = network::client(proxy.as_ref(), CONNECT_TIMEOUT, WAIT_TIMEOUT)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Ok(QdrantServer { agent: agent.into(), url, key, proxy, is_reached: false, on_wait })
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request with a body in JSON, and returns the result in the answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the request; the answer is not one of Qdrant; a signal arrived.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Bytes>,
    ) -> anyhow::Result<T> {
        let mut pauses = Pauses::new();
        loop {
            let failed = match self.attempt(method, path, body) {
                Ok(body) => {
                    self.is_reached = true;
                    let answer: Result<QdrantAnswer<T>, _> = serde_json::from_slice(&body);
                    return answer.map(|answer| answer.result).map_err(|e| {
                        anyhow!("the answer is not from Qdrant's REST API: {e}; check the URL and its port")
                    });
                }
                Err(failed) => failed,
            };
            let pause = if failed.is_transient { pauses.next(failed.retry_after) } else { None };
            let Some(pause) = pause else { return Err(failed.error) };
            (self.on_wait)(&format!("{}: {:#}; trying again in {pause} s", self.url, failed.error));
            interrupt::sleep(Duration::from_secs(pause))?;
        }
    }

    /// Sends a request once, and returns the body of an answer that reports success.
    fn attempt(&self, method: &Method, path: &str, body: Option<&Bytes>) -> Result<Vec<u8>, Failed> {
        let permanent = |error| Failed { error, is_transient: false, retry_after: None };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.header("api-key", key);
        }
        let request = request.header("content-type", "application/json").body(body.cloned());
        let request = request.map_err(|e| permanent(anyhow!("no request can be made: {e}")))?;
        let agent = self.agent.clone();
        let sent = interrupt::run(move || -> Result<_, ureq::Error> {
            let (parts, body) = request.into_parts();
            let response = match body {
                Some(body) => agent.run(Request::from_parts(parts, &*body)),
                None => agent.run(Request::from_parts(parts, ())),
            }?;
            let (status, retry_after) = (response.status(), retry_after(&response));
            let body = response.into_body().into_with_config().limit(ANSWER_MAX).read_to_vec()?;
            Ok((status, retry_after, body))
        });
        let (status, retry_after, body) =
            sent.map_err(|e| permanent(e.into()))?.map_err(|e| self.unreachable(&e))?;
        if status.is_success() {
            return Ok(body);
        }
        let error = PushError::Refused { status: status.as_u16(), reason: reason(status, &body) };
        Err(Failed { error: error.into(), is_transient: is_transient_status(status), retry_after })
    }

    /// Returns the error for a request that got no complete answer. A server that has answered before may be starting again.
    fn unreachable(&self, error: &ureq::Error) -> Failed {
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for_endpoint);
        let through = proxy.map_or(String::new(), |proxy| format!(" through {proxy}"));
        Failed {
            error: anyhow!("no answer{through}: {error}"),
            is_transient: is_transient(error) || self.is_reached,
            retry_after: None,
        }
    }
}

/// Returns the reason that Qdrant gives for an error, or else the name of the status.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let reason = body["status"]["error"].as_str().or(status.canonical_reason()).unwrap_or("an error");
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
}
