//! Sends the HTTP requests of object_store with ureq, each on a thread of its own. Follows no redirects, so `Connection` can decide
//! what another host may see.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, Error};
use tokio::sync::{mpsc, oneshot};
use ureq::Agent;
use ureq::http::{Request, Response};
use ureq::tls::TlsConfig;

use crate::network::{self, EndpointProxy};

/// The time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for each wait for the store.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// The most simultaneous requests for blocks, for all objects together.
pub const REQUESTS_MAX: usize = 32;

/// Bytes per piece of an answer.
const PIECE_BYTES: usize = 256 << 10;

/// The most pieces of an answer that wait for the reader of the answer.
const PIECES_AHEAD: usize = 4;

/// Sends requests with the proxy for their scheme.
#[derive(Debug)]
pub struct Transport {
    http: Agent,
    https: Agent,
}

impl Transport {
    /// Makes a client with the proxy of the environment. Of the options of object_store it uses those that say which connections
    /// are allowed.
    ///
    /// # Errors
    /// A proxy variable is not the address of a proxy; an option is set that this client does not have.
    pub fn new(options: &ClientOptions) -> object_store::Result<Self> {
        for key in [ClientConfigKey::ProxyUrl, ClientConfigKey::ProxyCaCertificate] {
            if options.get_config_value(&key).is_some() {
                return Err(invalid(format!(
                    "{}: is not supported; set HTTPS_PROXY, and add certificates to those of the system",
                    key.as_ref()
                )));
            }
        }
        let proxy = |scheme| EndpointProxy::from_environment(scheme).map_err(|e| invalid(e.to_string()));
        let (http, https) = (proxy("http:")?, proxy("https:")?);
        Ok(Transport { http: agent(http.as_ref(), options), https: agent(https.as_ref(), options) })
    }
}

fn invalid(reason: String) -> Error {
    Error::Generic { store: "HTTP client", source: reason.into() }
}

fn agent(proxy: Option<&EndpointProxy>, options: &ClientOptions) -> Agent {
    let is_on = |key| options.get_config_value(&key).is_some_and(|value| is_true(&value));
    let mut config = network::client(proxy, CONNECT_TIMEOUT, WAIT_TIMEOUT)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(REQUESTS_MAX)
        .max_idle_connections_per_host(REQUESTS_MAX)
        .https_only(!is_on(ClientConfigKey::AllowHttp));
    if is_on(ClientConfigKey::AllowInvalidCertificates) {
        config = config.tls_config(TlsConfig::builder().disable_verification(true).build());
    }
    config.build().into()
}

/// Returns whether a value means `true` to object_store.
fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = Request::from_parts(parts, body);
        let is_http = request.uri().scheme_str() == Some("http");
        let agent = if is_http { &self.http } else { &self.https }.clone();
        let (head, answer) = oneshot::channel();
        // A thread whose answer nobody reads any more ends at its next piece. Unlike tokio's threads for calls that block, nothing waits
        // for it at the end of the run.
        let thread = thread::Builder::new().spawn(move || match send(&agent, request) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let (pieces, received) = mpsc::channel(PIECES_AHEAD);
                if head.send(Ok(HttpResponse::from_parts(parts, stream_of(received)))).is_ok() {
                    read_pieces(body.into_reader(), &pieces);
                }
            }
            Err(e) => drop(head.send(Err(e))),
        });
        thread.map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        answer.await.map_err(|e| HttpError::new(HttpErrorKind::Interrupted, e))?
    }
}

/// Sends a request and waits for the head of its answer.
fn send(agent: &Agent, request: Request<Bytes>) -> Result<Response<ureq::Body>, HttpError> {
    let (parts, body) = request.into_parts();
    let answer = match parts.method.as_str() {
        "POST" | "PUT" => agent.run(Request::from_parts(parts, &*body)),
        _ => agent.run(Request::from_parts(parts, ())),
    };
    answer.map_err(|e| http_error(e.into_io()))
}

fn read_pieces(mut reader: impl Read, pieces: &mpsc::Sender<Result<Bytes, HttpError>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let piece = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                Ok(piece.into())
            }
            Err(e) => Err(http_error(e)),
        };
        let is_last = piece.is_err();
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}

fn stream_of(mut pieces: mpsc::Receiver<Result<Bytes, HttpError>>) -> HttpResponseBody {
    let frames = stream::poll_fn(move |context| pieces.poll_recv(context));
    HttpResponseBody::new(StreamBody::new(frames.map_ok(Frame::data)))
}

/// Says by its kind whether object_store may repeat the request.
fn http_error(error: io::Error) -> HttpError {
    let kind = match error.get_ref().and_then(|source| source.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)) => HttpErrorKind::Connect,
        Some(ureq::Error::Timeout(_)) => HttpErrorKind::Timeout,
        Some(ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => HttpErrorKind::Connect,
        // The server does not speak HTTP, or its certificate is not trusted.
        Some(_) => HttpErrorKind::Unknown,
        None if error.kind() == io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        None => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error)
}
