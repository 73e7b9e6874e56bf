//! Requests to the hub (with `proxy`, the only user of ureq): what may go well in a moment is tried again, and a file that
//! has come in part goes on where it was.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::environment::{home, variable};
use super::event::{Progress, Tell};
use super::proxy::Through;

const ENDPOINT: &str = "https://huggingface.co";
const CONNECT: Duration = Duration::from_secs(20);

/// So long may nothing come.
const SILENCE: Duration = Duration::from_secs(30);

/// Between attempts; a server may ask for another one, of this length at most.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 4, 8, 16];
const PAUSE_MAX_SECONDS: u64 = 300;

const BLOCK: usize = 256 << 10;

/// How often a repository may have been renamed.
const RENAMED_MAX: usize = 5;

pub struct Client {
    agent: Agent,
    endpoint: String,
    through: Option<Through>,
    token: Option<String>,
}

/// A repository at a revision.
pub struct Info {
    pub commit: String,
    pub files: Vec<String>,
}

/// A file of it.
pub struct RemoteFile {
    url: String,
    /// What the file is recognised by, for large ones their SHA-256.
    pub etag: String,
    pub bytes: u64,
}

/// Why a request came to nothing.
enum RequestError {
    /// It may go well in a moment, or after what the server asks for.
    Passing {
        cause: String,
        /// In seconds.
        pause: Option<u64>,
        /// Whether there is more than before.
        is_further: bool,
    },
    Lasting(anyhow::Error),
}

/// Whether `HF_HUB_OFFLINE` says so, in the words of Hugging Face's tools.
pub fn is_offline() -> bool {
    let said = env::var("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&said.as_str())
}

impl Client {
    pub fn from_environment() -> anyhow::Result<Self> {
        let endpoint = env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint.unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned();
        let through = Through::from_environment(&endpoint)?;
        // The system's certificates: a firewall may have one of its own.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .proxy(through.as_ref().map(|through| through.proxy.clone()))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("qwen3-index/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client { agent: agent.into(), endpoint, through, token: token() })
    }

    /// The commit of a revision, and its files.
    pub fn info(&self, id: &str, revision: &str, tell: Tell) -> anyhow::Result<Info> {
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
        let model: ModelInfo = patiently(tell, |_| {
            let mut response = self.checked(self.agent.get(&url))?;
            let no_hub =
                |e| RequestError::Lasting(anyhow!("{url}: is no answer of a hub ({e}); see to HF_ENDPOINT"));
            response.body_mut().read_json().map_err(no_hub)
        })?;
        let is_commit = model.sha.len() == 40 && model.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_commit {
            bail!("{url}: names no commit; see that HF_ENDPOINT is a hub");
        }
        Ok(Info { commit: model.sha, files: model.siblings.into_iter().map(|file| file.rfilename).collect() })
    }

    /// What the hub says of a file.
    pub fn file(&self, id: &str, commit: &str, name: &str, tell: Tell) -> anyhow::Result<RemoteFile> {
        let url = format!("{}/{id}/resolve/{commit}/{name}", self.endpoint);
        // What large files are redirected to says nothing of their digest.
        let head = |url: &str| {
            let request =
                self.agent.head(url).config().max_redirects(0).max_redirects_will_error(false).build();
            self.checked(request.header("accept-encoding", "identity"))
        };
        let mut response = patiently(tell, |_| head(&url))?;
        // A repository that has another name now.
        for _ in 0..RENAMED_MAX {
            let place = response.headers().get("location").and_then(|place| place.to_str().ok());
            let Some(place) = place.filter(|place| place.starts_with('/') && !place.starts_with("//")) else {
                break;
            };
            let place = format!("{}{place}", self.endpoint);
            response = patiently(tell, |_| head(&place))?;
        }
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let etag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let is_name = !etag.is_empty() && etag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let bytes = header("x-linked-size").or_else(|| header("content-length"));
        match bytes.and_then(|bytes| bytes.parse().ok()).filter(|_| is_name) {
            Some(bytes) => Ok(RemoteFile { url, etag, bytes }),
            None => bail!("{url}: has no ETag or no length; see that HF_ENDPOINT is a hub"),
        }
    }

    /// Gets what is missing of a file.
    pub fn download(&self, remote: &RemoteFile, path: &Path, tell: Tell) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        if file.metadata()?.len() > remote.bytes {
            file.set_len(0)?;
        }
        patiently(tell, |tell| self.append(remote, &mut file, tell))
    }

    fn append(&self, remote: &RemoteFile, file: &mut File, tell: Tell) -> Result<(), RequestError> {
        let before = file.metadata().map_err(lasting)?.len();
        let mut there = before;
        if there == remote.bytes && there > 0 {
            return Ok(());
        }
        let request = self.agent.get(&remote.url).header("accept-encoding", "identity");
        let request = if there > 0 { request.header("range", format!("bytes={there}-")) } else { request };
        let response = self.checked(request)?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0).map_err(lasting)?;
            there = 0;
        }
        // One byte more than there should be, to see that there is no more.
        let mut reader = response.into_body().into_reader().take(remote.bytes - there + 1);
        let mut block = vec![0; BLOCK];
        let cause = loop {
            match reader.read(&mut block) {
                Ok(0) => break format!("it ended after {there} of {} bytes", remote.bytes),
                Ok(count) => {
                    file.write_all(&block[..count]).map_err(lasting)?;
                    there += count as u64;
                    tell(Progress::Bytes(there));
                }
                Err(e) => break e.to_string(),
            }
        };
        if there > remote.bytes {
            file.set_len(0).map_err(lasting)?;
            return Err(RequestError::Lasting(anyhow!(
                "{}: is longer than the hub says; see to HF_ENDPOINT",
                remote.url
            )));
        }
        match there == remote.bytes {
            true => Ok(()),
            false => Err(RequestError::Passing { cause, pause: None, is_further: there > before }),
        }
    }

    /// Sends it, and looks at the status.
    fn checked(&self, request: RequestBuilder<WithoutBody>) -> Result<Response<Body>, RequestError> {
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let url = request.uri_ref().map(ToString::to_string).unwrap_or_default();
        let response = request.call().map_err(|e| self.no_answer(&e))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let pause = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Err(match status.as_u16() {
            408 | 429 | 500.. => {
                let cause = format!("{} answers {status}", self.endpoint);
                RequestError::Passing { cause, pause, is_further: false }
            }
            401 | 403 => RequestError::Lasting(anyhow!(
                "{url}: {status}: it is not there, or wants a token; see to its name, accept its terms on its page, and set HF_TOKEN"
            )),
            404 => RequestError::Lasting(anyhow!(
                "{url}: {status}: it is not there; see to its name and revision"
            )),
            _ => RequestError::Lasting(anyhow!("{url}: {status}")),
        })
    }

    fn no_answer(&self, error: &ureq::Error) -> RequestError {
        let may_pass = match error {
            ureq::Error::Timeout(_) => true,
            ureq::Error::Io(e) => e.kind() != io::ErrorKind::ConnectionRefused,
            _ => false,
        };
        let proxy = self.through.as_ref().filter(|through| through.is_for_endpoint);
        let through = proxy.map_or(String::new(), |proxy| format!(" through {proxy}"));
        let cause = format!("{} cannot be reached{through} ({error})", self.endpoint);
        if may_pass {
            return RequestError::Passing { cause, pause: None, is_further: false };
        }
        RequestError::Lasting(anyhow!(
            "{cause}; see to the network, {} and HF_ENDPOINT, or copy the model and name its folder with --model",
            proxy.map_or("HTTPS_PROXY", |proxy| proxy.variable)
        ))
    }
}

/// Tries again what may go well, after growing pauses, as long as there is progress or some are left.
fn patiently<T>(tell: Tell, mut attempt: impl FnMut(Tell) -> Result<T, RequestError>) -> anyhow::Result<T> {
    let mut pauses = PAUSES_SECONDS.into_iter();
    loop {
        let (cause, wanted) = match attempt(tell) {
            Ok(done) => return Ok(done),
            Err(RequestError::Lasting(error)) => return Err(error),
            Err(RequestError::Passing { cause, pause, is_further }) => {
                if is_further {
                    pauses = PAUSES_SECONDS.into_iter();
                }
                (cause, pause)
            }
        };
        let Some(pause) = pauses.next() else {
            bail!("{cause}, {} times; run again later: what has come is kept", PAUSES_SECONDS.len() + 1)
        };
        let pause = wanted.unwrap_or(pause).min(PAUSE_MAX_SECONDS);
        tell(Progress::Waiting(format!("{cause}; trying again in {pause} s")));
        thread::sleep(Duration::from_secs(pause));
    }
}

/// Of this machine, not of the hub.
fn lasting(error: io::Error) -> RequestError {
    RequestError::Lasting(error.into())
}

/// In the order of Hugging Face's tools.
fn token() -> Option<String> {
    let named = env::var("HF_TOKEN").ok();
    let token = named.or_else(|| {
        let path = variable("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
        fs::read_to_string(path).ok()
    });
    token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}
