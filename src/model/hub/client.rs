//! The client of the hub. Sends requests with ureq, retries requests that may succeed later, and resumes downloads.

use std::env;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, bail, ensure};
use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::environment::{home, path_variable};
use super::error::HubError;
use super::event::{OnProgress, Progress};
use crate::interrupt::{self, Interrupted};
use crate::network::{self, EndpointProxy, Pauses, is_transient, is_transient_status, retry_after};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The time limit for each wait for the server.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes per read of a download.
const BLOCK: usize = 256 << 10;

/// The largest response about a repository, in bytes. The hub sends 100 bytes per file of the repository.
const INFO_MAX: u64 = 10 << 20;

/// The most redirects that one request follows. The hub redirects from an old name of a repository to the current name.
const RENAMED_MAX: usize = 5;

pub struct Client {
    agent: Agent,
    endpoint: String,
    proxy: Option<EndpointProxy>,
    token: Option<String>,
}

/// The commit and the files of a revision of a repository.
pub struct Revision {
    /// The commit, in 40 hexadecimal digits.
    pub commit: String,
    /// The paths of the files in the repository.
    pub files: Vec<String>,
}

/// A file on the hub.
pub struct RemoteFile {
    url: String,
    /// The ETag without quotes. The hub uses the SHA-256 of a large file, and the SHA-1 that git computes for a small file.
    pub etag: String,
    pub bytes: u64,
}

/// The reason why a request failed.
enum RequestError {
    /// A retry may succeed.
    Transient {
        cause: String,
        /// The environment variable that names the proxy, if the server sent no response.
        unreachable_by: Option<&'static str>,
        /// The pause before the retry, in seconds, if the server names a pause.
        retry_after: Option<u64>,
        /// `true` if this attempt received bytes that no earlier attempt had received.
        has_progressed: bool,
    },
    Permanent(anyhow::Error),
}

impl From<Interrupted> for RequestError {
    fn from(interrupted: Interrupted) -> Self {
        RequestError::Permanent(interrupted.into())
    }
}

/// Returns whether `HF_HUB_OFFLINE` is on. Hugging Face's tools accept the same values.
pub fn is_offline() -> bool {
    let value = env::var("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

impl Client {
    /// Makes a client from `HF_ENDPOINT`, the token and the proxy variables. This function sends no request.
    ///
    /// # Errors
    /// `HF_ENDPOINT` is not a URL, or a proxy variable is not the address of a proxy.
    pub fn from_environment() -> anyhow::Result<Self> {
        let endpoint = env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        let endpoint =
            endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()).trim_end_matches('/').to_owned();
        // The message leaves out the endpoint, because it may contain a password.
        ensure!(
            endpoint.starts_with("https://") || endpoint.starts_with("http://"),
            "HF_ENDPOINT: is not a URL; write it as https://host"
        );
        let proxy = EndpointProxy::from_environment(&endpoint)?;
        let agent = network::client(proxy.as_ref(), CONNECT_TIMEOUT, WAIT_TIMEOUT).build();
        Ok(Client { agent: agent.into(), endpoint, proxy, token: token() })
    }

    /// Asks the hub for the current commit of a revision and for the names of all files of this commit.
    ///
    /// # Errors
    /// The hub cannot be reached or denies access, or the server is not a hub.
    pub fn revision(&self, id: &str, revision: &str, on_progress: OnProgress) -> anyhow::Result<Revision> {
        #[derive(Deserialize)]
        struct ModelInfo {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = format!("{}/api/models/{id}/revision/{}", self.endpoint, revision.replace('/', "%2F"));
        let model: ModelInfo = retry(on_progress, |_| {
            let response = self.send(self.agent.get(&url))?;
            let read = move || response.into_body().into_with_config().limit(INFO_MAX).read_to_vec();
            let not_a_hub = |e: &dyn Display| {
                RequestError::Permanent(anyhow!(
                    "{url}: the server does not answer like a hub: {e}; check HF_ENDPOINT"
                ))
            };
            let cut_off = |e: &dyn Display| RequestError::Transient {
                cause: format!("{url}: the response is cut off: {e}"),
                unreachable_by: None,
                retry_after: None,
                has_progressed: false,
            };
            let body = interrupt::run(read)?.map_err(|e| match e {
                ureq::Error::BodyExceedsLimit(_) => not_a_hub(&e),
                e => cut_off(&e),
            })?;
            serde_json::from_slice(&body).map_err(|e| if e.is_eof() { cut_off(&e) } else { not_a_hub(&e) })
        })?;
        let is_commit = model.sha.len() == 40 && model.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_commit {
            bail!("{url}: the response names no commit; check HF_ENDPOINT");
        }
        let files = model.siblings.into_iter().map(|file| file.rfilename).collect();
        Ok(Revision { commit: model.sha, files })
    }

    /// Asks the hub for the digest and the size of a file.
    ///
    /// # Errors
    /// The hub cannot be reached or denies access, or does not have the file.
    pub fn file(
        &self,
        id: &str,
        commit: &str,
        name: &str,
        on_progress: OnProgress,
    ) -> anyhow::Result<RemoteFile> {
        let url = format!("{}/{id}/resolve/{commit}/{name}", self.endpoint);
        // For a large file, the hub answers with a redirect to a storage server. The hub's answer has the digest of the file in
        // a header. The storage server does not send the digest, so this client does not follow the redirect.
        let head = |url: &str| {
            let request =
                self.agent.head(url).config().max_redirects(0).max_redirects_will_error(false).build();
            self.send(request.header("accept-encoding", "identity"))
        };
        let mut response = retry(on_progress, |_| head(&url))?;
        // If the hub redirects to a path on the hub itself, this path has the current name of the repository.
        for _ in 0..RENAMED_MAX {
            let location = response.headers().get("location").and_then(|location| location.to_str().ok());
            let is_path = |location: &&str| location.starts_with('/') && !location.starts_with("//");
            let Some(location) = location.filter(is_path) else { break };
            let renamed = format!("{}{location}", self.endpoint);
            response = retry(on_progress, |_| head(&renamed))?;
        }
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let etag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        // The ETag becomes the name of a file, so only letters, digits and hyphens are allowed.
        let is_name = !etag.is_empty() && etag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let bytes = header("x-linked-size").or_else(|| header("content-length"));
        match bytes.and_then(|bytes| bytes.parse().ok()).filter(|_| is_name) {
            Some(bytes) => Ok(RemoteFile { url, etag, bytes }),
            None => bail!("{url}: the response has no ETag or no size; check HF_ENDPOINT"),
        }
    }

    /// Downloads all bytes that are missing at the end of the file at `path`.
    ///
    /// # Errors
    /// The hub cannot be reached, denies access, or sends more bytes than it announced; or the local file cannot be written.
    pub fn download(&self, remote: &RemoteFile, path: &Path, on_progress: OnProgress) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        if file.metadata()?.len() > remote.bytes {
            file.set_len(0)?;
        }
        retry(on_progress, |on_progress| self.resume(remote, &mut file, on_progress))
    }

    /// Sends one request for the bytes that are missing at the end of the file.
    fn resume(
        &self,
        remote: &RemoteFile,
        file: &mut File,
        on_progress: OnProgress,
    ) -> Result<(), RequestError> {
        let before = file.metadata().map_err(local_error)?.len();
        let mut done = before;
        if done == remote.bytes && done > 0 {
            return Ok(());
        }
        let request = self.agent.get(&remote.url).header("accept-encoding", "identity");
        let request = if done > 0 { request.header("range", format!("bytes={done}-")) } else { request };
        let response = self.send(request)?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0).map_err(local_error)?;
            done = 0;
        }
        // The reader returns at most one byte more than the hub announced. The extra byte shows that a response is too long.
        let mut reader = response.into_body().into_reader().take(remote.bytes - done + 1);
        let mut block = vec![0; BLOCK];
        let cause = loop {
            let read;
            (reader, block, read) = interrupt::run(move || {
                let read = reader.read(&mut block);
                (reader, block, read)
            })?;
            match read {
                Ok(0) => break format!("the download ended after {done} of {} bytes", remote.bytes),
                Ok(count) => {
                    file.write_all(&block[..count]).map_err(local_error)?;
                    done += count as u64;
                    on_progress(Progress::Bytes(done));
                }
                Err(e) => break format!("the download stopped after {done} of {} bytes: {e}", remote.bytes),
            }
        };
        if done > remote.bytes {
            file.set_len(0).map_err(local_error)?;
            return Err(RequestError::Permanent(anyhow!(
                "{}: is longer than the {} bytes that the hub announced; check HF_ENDPOINT",
                remote.url,
                remote.bytes
            )));
        }
        match done == remote.bytes {
            true => Ok(()),
            false => Err(RequestError::Transient {
                cause,
                unreachable_by: None,
                retry_after: None,
                has_progressed: done > before,
            }),
        }
    }

    /// Sends a request with the token, and turns an HTTP status that reports a failure into an error.
    fn send(&self, request: RequestBuilder<WithoutBody>) -> Result<Response<Body>, RequestError> {
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let url = request.uri_ref().map(ToString::to_string).unwrap_or_default();
        let response = interrupt::run(move || request.call())?.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        if is_transient_status(status) {
            let (cause, retry_after) =
                (format!("{} answered {status}", self.endpoint), retry_after(&response));
            return Err(RequestError::Transient {
                cause,
                unreachable_by: None,
                retry_after,
                has_progressed: false,
            });
        }
        Err(match status.as_u16() {
            401 | 403 => RequestError::Permanent(anyhow!(
                "{url}: {status}: the model does not exist, or needs a token; check the name, accept the model's terms on its page, and set HF_TOKEN"
            )),
            404 => RequestError::Permanent(anyhow!(
                "{url}: {status}: the model or file does not exist; check the name and revision of the model"
            )),
            _ => RequestError::Permanent(anyhow!("{url}: {status}; check HF_ENDPOINT")),
        })
    }

    /// Returns the error for a request that got no response.
    fn unreachable(&self, error: &ureq::Error) -> RequestError {
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for_endpoint);
        let through = proxy.map_or(String::new(), |proxy| format!(" through {proxy}"));
        let cause = format!("{} cannot be reached{through}: {error}", self.endpoint);
        let proxy_variable = proxy.map_or("HTTPS_PROXY", |proxy| proxy.variable);
        if is_transient(error) {
            let unreachable_by = Some(proxy_variable);
            return RequestError::Transient {
                cause,
                unreachable_by,
                retry_after: None,
                has_progressed: false,
            };
        }
        RequestError::Permanent(HubError::Unreachable { cause, proxy_variable }.into())
    }
}

/// Calls `attempt`, and repeats the call after each transient error. Waits for the next of [`Pauses`] before each retry, and gives
/// up when no pause is left. After an attempt that made progress, the pauses start again with the first pause.
fn retry<T>(
    on_progress: OnProgress,
    mut attempt: impl FnMut(OnProgress) -> Result<T, RequestError>,
) -> anyhow::Result<T> {
    let mut pauses = Pauses::new();
    loop {
        let (cause, unreachable_by, retry_after) = match attempt(on_progress) {
            Ok(done) => return Ok(done),
            Err(RequestError::Permanent(error)) => return Err(error),
            Err(RequestError::Transient { cause, unreachable_by, retry_after, has_progressed }) => {
                if has_progressed {
                    pauses = Pauses::new();
                }
                (cause, unreachable_by, retry_after)
            }
        };
        let Some(pause) = pauses.next(retry_after) else {
            let cause = format!("{cause} ({} attempts)", Pauses::ATTEMPTS);
            match unreachable_by {
                Some(proxy_variable) => bail!(HubError::Unreachable { cause, proxy_variable }),
                None => bail!("{cause}; run again later, the downloaded part is kept"),
            }
        };
        on_progress(Progress::Waiting(format!("{cause}; trying again in {pause} s")));
        interrupt::sleep(Duration::from_secs(pause))?;
    }
}

/// Turns an error of the local file into a permanent error, because a retry would not help.
fn local_error(error: io::Error) -> RequestError {
    RequestError::Permanent(error.into())
}

/// Returns the token from `HF_TOKEN`, or else from the token file of Hugging Face's tools.
fn token() -> Option<String> {
    let token = env::var("HF_TOKEN").ok().or_else(|| {
        let path = path_variable("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
        fs::read_to_string(path).ok()
    });
    token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}
