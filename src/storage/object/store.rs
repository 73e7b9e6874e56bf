//! One bucket, by object_store. What may go well in a moment is tried again for three minutes, and who waits is told.

use std::collections::VecDeque;
use std::env;
use std::error::Error as _;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::stream::{FuturesOrdered, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientConfigKey, Error, GetOptions, GetRange, HeaderValue, MultipartId,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, RetryConfig,
    UpdateVersion,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::url::{Scheme, Url, Version};
use super::watch::UploadWatch;
use crate::console::Reporter;
use crate::digest::hex;
use crate::error::{StoreError, Usage};
use crate::interrupt::{self, Interrupted};

/// What is asked for at once: an object is read, and written, in blocks of this size. A connection that would be kept
/// open while documents are embedded would be cut.
const BLOCK: u64 = 8 << 20;

/// Blocks of an object on their way.
const BLOCKS_AHEAD: usize = 3;

/// Objects on their way.
const AT_ONCE: usize = 32;

/// Most parts of an upload, on all stores.
const PARTS_MAX: u64 = 10_000;

/// A request is tried again for so long. Its signature is good for five minutes.
const PATIENCE: Duration = Duration::from_secs(180);

/// And so often, which comes later: pauses grow to 15 seconds.
const RETRIES_MAX: usize = 1000;

/// To an address that nobody answers at, and for the answer to a request, its body included. The whole of a request has no
/// limit that matters.
const TIMES: [(ClientConfigKey, &str); 4] = [
    (ClientConfigKey::ConnectTimeout, "10s"),
    (ClientConfigKey::ReadTimeout, "120s"),
    (ClientConfigKey::Timeout, "1day"),
    (ClientConfigKey::UserAgent, concat!("qwen3-index/", env!("CARGO_PKG_VERSION"))),
];

/// So often is told that a store is waited for.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// While a request goes on, so often is looked whether to.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is undone at the end of a run may take so long.
const UNDO: Duration = Duration::from_secs(3);

/// Pauses after which that is tried again which object_store does not repeat: an answer that was cut, and a put that might
/// have been done.
const PAUSES_SECONDS: [u64; 5] = [1, 1, 2, 4, 8];

/// An attribute of an object that says what was uploaded. Azure wants a word for its name.
const NOTE: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("qwen3index"));

/// Variables that name where S3 is.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// A bucket.
pub struct Store {
    scheme: Scheme,
    objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    line: Arc<Connection>,
    runtime: Runtime,
    at_once: Arc<Semaphore>,
    /// Whether a multipart upload can be completed on a condition.
    has_conditions: bool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.objects)
    }
}

impl Store {
    /// With the credentials of the environment; nothing is asked for yet.
    pub fn open(url: &Url, endpoint: Option<&str>, reporter: Arc<Reporter>) -> anyhow::Result<Self> {
        // The hub's client has it without saying so; who was first does not matter.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let line = Arc::new(Connection { reporter, health: Mutex::default(), condition: Mutex::default() });
        let scheme = url.bucket.split(':').next().and_then(Scheme::of).unwrap_or(Scheme::S3);
        let connector = Connector(line.clone());
        check_endpoints(endpoint, scheme)?;
        let opened = match scheme {
            Scheme::S3 => open_s3(&url.bucket, endpoint, connector),
            Scheme::Google => open_google(&url.bucket, endpoint, connector),
            Scheme::Azure => open_azure(&url.bucket, endpoint, connector),
        };
        let Backend { objects, parts, has_conditions } = opened.map_err(|e| StoreError {
            url: url.to_string(),
            cause: format!("{}; see to {}", cause(&e), variables(scheme)),
            is_of_store: true,
        })?;
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("objects").enable_all().build();
        let runtime = runtime.context("no threads can be started for object storage")?;
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Ok(Store { scheme, objects, parts, line, runtime, at_once, has_conditions })
    }

    /// The object as it is now, if it is there.
    pub fn look(&self, url: &Url) -> anyhow::Result<Option<Version>> {
        let key = Path::from(url);
        let look = async {
            match self.objects.head(&key).await {
                // An answer without a body does not say whether the bucket is there.
                Err(Error::NotFound { .. }) => {
                    let options =
                        GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
                    self.objects.get_opts(&key, options).await.map(|found| found.meta)
                }
                found => found,
            }
        };
        match self.wait(look)? {
            Ok(meta) => Ok(Some(Version::from(&meta))),
            Err(Error::NotFound { source, .. }) if !is_of_bucket(&source.to_string()) => Ok(None),
            Err(e) => Err(self.trouble(url, &e).into()),
        }
    }

    /// The first bytes of an object that has so many.
    pub fn start(&self, url: &Url, version: &Version, count: usize) -> anyhow::Result<Vec<u8>> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..count as u64)),
            if_match: version.etag.clone(),
            ..GetOptions::default()
        };
        let key = Path::from(url);
        let start = async { self.objects.get_opts(&key, options).await?.bytes().await };
        Ok(self.wait(start)?.map_err(|e| self.trouble(url, &e))?.to_vec())
    }

    /// Keys below a prefix, and their lengths in bytes, page after page.
    pub fn list(&self, url: &Url) -> anyhow::Result<Vec<(Box<str>, u64)>> {
        let prefix = Path::from(url);
        let below = |meta: ObjectMeta| {
            let key = meta.location.as_ref();
            let below =
                if url.key.is_empty() { Some(key) } else { key.strip_prefix(&url.key)?.strip_prefix('/') };
            Some((below.filter(|below| !below.is_empty())?.into(), meta.size))
        };
        let prefix = Some(&prefix).filter(|_| !url.key.is_empty());
        let listed =
            || self.objects.list(prefix).try_filter_map(|meta| async { Ok(below(meta)) }).try_collect();
        Ok(self.again(listed)?.map_err(|e| self.trouble(url, &e))?)
    }

    /// Uploads a file to the place of what was `found` there. Until all of it is there, what was there is. Gives back what
    /// it is now.
    pub fn put(
        &self,
        url: &Url,
        mut file: File,
        found: Option<&Version>,
        watch: UploadWatch,
    ) -> anyhow::Result<Version> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file)?;
        file.rewind()?;
        let note = hex(hasher.finalize().as_bytes());
        let bytes = file.metadata()?.len();
        let put = if bytes <= BLOCK {
            self.put_whole(url, file, found, &note)
        } else {
            self.put_parts(url, (file, bytes), found, &note, watch)
        };
        let etag = match put {
            Ok(etag) => etag,
            // It may be there, though the answer that said so was lost.
            Err(e) if e.is::<Interrupted>() || !self.is_there(url, &note) => return Err(e),
            Err(_) => None,
        };
        let bare = |etag: &Option<String>| etag.as_deref().map(|etag| etag.trim_matches('"').to_owned());
        let is_ours = |version: &Version| {
            version.bytes == bytes && (etag.is_none() || bare(&version.etag) == bare(&etag))
        };
        let version = self.look(url)?.filter(is_ours);
        version.with_context(|| format!("{url}: is not there any more as it was uploaded; run again"))
    }

    /// Gives back its ETag, if the store tells.
    fn put_whole(
        &self,
        url: &Url,
        mut file: File,
        found: Option<&Version>,
        note: &str,
    ) -> anyhow::Result<Option<String>> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut options = PutOptions::from(attributes(note));
        options.mode = match found {
            _ if self.scheme == Scheme::S3 && !self.has_conditions => PutMode::Overwrite,
            None => PutMode::Create,
            Some(Version { etag, version, .. }) => {
                PutMode::Update(UpdateVersion { e_tag: etag.clone(), version: version.clone() })
            }
        };
        let key = Path::from(url);
        self.check_as_found(url, found)?;
        let put = || self.objects.put_opts(&key, bytes.clone().into(), options.clone());
        self.again(put)?.map(|put| put.e_tag).map_err(|e| self.trouble(url, &e).into())
    }

    /// The same in parts.
    fn put_parts(
        &self,
        url: &Url,
        (file, bytes): (File, u64),
        found: Option<&Version>,
        note: &str,
        watch: UploadWatch,
    ) -> anyhow::Result<Option<String>> {
        let key = Path::from(url);
        let options = match self.scheme {
            // Of parts, object_store has none for it.
            Scheme::Azure => PutMultipartOptions::default(),
            _ => PutMultipartOptions::from(attributes(note)),
        };
        let begin = || self.parts.create_multipart_opts(&key, options.clone());
        let id = self.again(begin)?.map_err(|e| self.trouble(url, &e))?;
        let begun = (watch.begun)(&id);
        let done = begun.and_then(|()| self.send_parts(url, &id, (file, bytes), found, watch.sent));
        if done.is_err() {
            // Should this fail too, the next run tries it.
            let abort = self.parts.abort_multipart(&key, &id);
            let _ = self.runtime.block_on(async { tokio::time::timeout(UNDO, abort).await });
        }
        done
    }

    fn send_parts(
        &self,
        url: &Url,
        id: &MultipartId,
        (mut file, bytes): (File, u64),
        found: Option<&Version>,
        sent: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Option<String>> {
        let key = Path::from(url);
        let part_bytes = BLOCK.max(bytes.div_ceil(PARTS_MAX));
        let mut parts: Vec<PartId> = Vec::new();
        let mut on_the_way = FuturesOrdered::new();
        let mut offset = 0;
        loop {
            while on_the_way.len() < BLOCKS_AHEAD && offset < bytes {
                let mut part = Vec::new();
                let count = file.by_ref().take(part_bytes).read_to_end(&mut part)? as u64;
                ensure!(count > 0, "{url}: the file to be uploaded has become shorter; run again");
                let number = parts.len() + on_the_way.len();
                on_the_way.push_back(self.parts.put_part(&key, id, number, part.into()));
                offset += count;
            }
            let Some(part) = self.wait(on_the_way.next())? else { break };
            parts.push(part.map_err(|e| self.trouble(url, &e))?);
            sent(bytes.min(parts.len() as u64 * part_bytes));
        }
        self.check_as_found(url, found)?;
        if self.has_conditions {
            *lock(&self.line.condition) = condition(found);
        }
        let completed = self.again(|| self.parts.complete_multipart(&key, id, parts.clone()));
        *lock(&self.line.condition) = None;
        completed?.map(|put| put.e_tag).map_err(|e| self.trouble(url, &e).into())
    }

    /// Removes the parts of an upload that did not come to its end.
    pub fn abort(&self, url: &Url, id: &str) -> anyhow::Result<()> {
        match self.wait(self.parts.abort_multipart(&Path::from(url), &id.to_owned()))? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.trouble(url, &e).into()),
        }
    }

    /// For stores that do not look themselves.
    fn check_as_found(&self, url: &Url, found: Option<&Version>) -> anyhow::Result<()> {
        ensure!(self.look(url)?.as_ref() == found, changed(url));
        Ok(())
    }

    /// Whether the object is what was uploaded under this note.
    fn is_there(&self, url: &Url, note: &str) -> bool {
        let key = Path::from(url);
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = self.wait(self.objects.get_opts(&key, head));
        found.is_ok_and(|found| {
            found.is_ok_and(|found| found.attributes.get(&NOTE).is_some_and(|there| **there == *note))
        })
    }

    /// Waits, and looks now and then whether to go on.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                match tokio::time::timeout(LOOK_EVERY, &mut future).await {
                    Ok(done) => return Ok(done),
                    Err(_) => interrupt::check()?,
                }
            }
        })
    }

    /// Waits for what is tried again where a connection was cut and object_store leaves it at that.
    fn again<T, F>(&self, attempt: impl Fn() -> F) -> Result<object_store::Result<T>, Interrupted>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut pauses = PAUSES_SECONDS.into_iter();
        loop {
            let started = Instant::now();
            match (self.wait(attempt())?, pauses.next()) {
                (Err(e), Some(pause)) if is_cut(&e) && started.elapsed() < PATIENCE => {
                    self.wait(async { tokio::time::sleep(Duration::from_secs(pause)).await })?;
                }
                (done, _) => return Ok(done),
            }
        }
    }

    fn trouble(&self, url: &Url, error: &Error) -> StoreError {
        let text = error.to_string();
        let variables = variables(self.scheme);
        let (cause, is_of_store) = match error {
            _ if is_of_bucket(&text) => {
                ("there is no such bucket; see to its name, its region and --endpoint".to_owned(), true)
            }
            Error::NotFound { .. } => ("is not there".to_owned(), false),
            _ if ["401 ", "403 "].iter().any(|status| text.contains(&format!("{STATUS}{status}"))) => {
                let is_of_store = !matches!(error, Error::PermissionDenied { .. });
                (
                    format!("access is denied ({}); see to {variables} and what they allow", cause(error)),
                    is_of_store,
                )
            }
            Error::Precondition { .. } | Error::AlreadyExists { .. } => return changed(url),
            // It has become shorter.
            _ if text.contains(&format!("{STATUS}416 ")) => return changed(url),
            Error::InvalidPath { source } => (format!("{source}; rename it"), false),
            _ if text.contains("169.254.169.254") || text.contains("metadata.google.internal") => {
                (format!("no credentials; set {variables}"), true)
            }
            _ => (format!("{}; see to the network, --endpoint and {variables}", cause(error)), true),
        };
        StoreError { url: url.to_string(), cause, is_of_store }
    }
}

/// The crate's two views of one store.
struct Backend {
    objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    has_conditions: bool,
}

fn open_s3(bucket: &str, endpoint: Option<&str>, connector: Connector) -> object_store::Result<Backend> {
    let mut builder = AmazonS3Builder::from_env().with_url(bucket);
    for (key, value) in TIMES {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    if let Some(endpoint) = endpoint {
        // The one that goes before all others.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let named = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let named = named.iter().find_map(|key| builder.get_config_value(key));
    if endpoint.or(named.as_deref()).is_some_and(is_plain) {
        builder = builder.with_allow_http(true);
    }
    let condition = builder.get_config_value(&AmazonS3ConfigKey::ConditionalPut);
    let has_conditions = condition.is_none_or(|condition| condition != "disabled");
    let store = Arc::new(builder.with_retry(retry()).with_http_connector(connector).build()?);
    Ok(Backend { objects: store.clone(), parts: store, has_conditions })
}

fn open_google(bucket: &str, endpoint: Option<&str>, connector: Connector) -> object_store::Result<Backend> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_url(bucket);
    for (key, value) in TIMES {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    if let Some(endpoint) = endpoint {
        let allow_http = GoogleConfigKey::Client(ClientConfigKey::AllowHttp);
        builder = builder.with_base_url(endpoint).with_config(allow_http, is_plain(endpoint).to_string());
    }
    let store = Arc::new(builder.with_retry(retry()).with_http_connector(connector).build()?);
    Ok(Backend { objects: store.clone(), parts: store, has_conditions: false })
}

fn open_azure(bucket: &str, endpoint: Option<&str>, connector: Connector) -> object_store::Result<Backend> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_url(bucket);
    for (key, value) in TIMES {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.to_owned()).with_allow_http(is_plain(endpoint));
    }
    let store = Arc::new(builder.with_retry(retry()).with_http_connector(connector).build()?);
    Ok(Backend { objects: store.clone(), parts: store, has_conditions: false })
}

/// object_store would panic.
fn check_endpoints(endpoint: Option<&str>, scheme: Scheme) -> Result<(), Usage> {
    let variables = if scheme == Scheme::S3 { &ENDPOINTS[..] } else { &[] };
    let named = variables.iter().filter_map(|&name| Some((name, env::var(name).ok()?)));
    for (name, value) in endpoint.map(|value| ("--endpoint", value.to_owned())).into_iter().chain(named) {
        if !value.starts_with("http://") && !value.starts_with("https://") {
            return Err(Usage(format!(
                "{name} {value}: is no URL; write it as http://host:port or https://host"
            )));
        }
    }
    Ok(())
}

/// Without encryption, as on one machine.
fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES_MAX, retry_timeout: PATIENCE, ..RetryConfig::default() }
}

/// Where credentials come from, as the store's own tools have it.
fn variables(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION",
        Scheme::Google => "GOOGLE_APPLICATION_CREDENTIALS",
        Scheme::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
    }
}

/// What object_store says before a status.
const STATUS: &str = "status code: ";

/// Whether the connection was cut, by the kind that [`Service`] has left it.
fn is_cut(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return error.kind() != HttpErrorKind::Unknown;
        }
        source = error.source();
    }
    false
}

fn changed(url: &Url) -> StoreError {
    StoreError {
        url: url.to_string(),
        cause: "another program has written or removed it during this run; run again".to_owned(),
        is_of_store: false,
    }
}

fn is_of_bucket(text: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound"].iter().any(|code| text.contains(code))
}

/// What the server said, or what kept it from saying something, without what object_store puts around it.
fn cause(error: &Error) -> String {
    let text = error.to_string();
    let between = |start: &str, end: &str| text.split_once(start)?.1.split(end).next();
    if let Some(code) = between("<Code>", "</Code>") {
        return code.to_owned();
    }
    if let Some(status) = between(STATUS, ": ") {
        return format!("the store answers {status}");
    }
    let mut source = error.source();
    let mut last = text.clone();
    while let Some(error) = source {
        last = error.to_string();
        source = error.source();
    }
    last
}

fn attributes(note: &str) -> Attributes {
    Attributes::from_iter([(NOTE, note.to_owned())])
}

/// That what was found is there still.
fn condition(found: Option<&Version>) -> Option<(&'static str, HeaderValue)> {
    match found {
        None => Some(("if-none-match", HeaderValue::from_static("*"))),
        Some(found) => Some(("if-match", HeaderValue::from_str(found.etag.as_ref()?).ok()?)),
    }
}

impl From<&Url> for Path {
    fn from(url: &Url) -> Self {
        // Checked when the URL was read, or listed.
        Path::parse(&url.key).unwrap_or_default()
    }
}

impl From<&ObjectMeta> for Version {
    fn from(meta: &ObjectMeta) -> Self {
        Version { etag: meta.e_tag.clone(), version: meta.version.clone(), bytes: meta.size }
    }
}

/// What sends requests, and sees how they go.
struct Connection {
    reporter: Arc<Reporter>,
    health: Mutex<Health>,
    /// A header for the request that completes an upload, which object_store has no option for.
    condition: Mutex<Option<(&'static str, HeaderValue)>>,
}

/// How requests have gone so far.
#[derive(Default)]
struct Health {
    /// Before anybody has answered, an address is more likely wrong than out of order.
    has_answered: bool,
    /// Since when none has gone well.
    ill_since: Option<Instant>,
    /// When it was last told.
    told: Option<Instant>,
}

impl Connection {
    fn is_well(&self) {
        let mut health = lock(&self.health);
        (health.has_answered, health.ill_since) = (true, None);
    }

    /// Whether there is no use in trying again. Many requests wait for the same store: the patience is that of all.
    fn gives_up(&self, trouble: &str, has_answered: bool) -> bool {
        let mut health = lock(&self.health);
        health.has_answered |= has_answered;
        let since = health.ill_since.get_or_insert_with(Instant::now).elapsed();
        if !health.has_answered || since >= PATIENCE {
            return true;
        }
        if health.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            health.told = Some(Instant::now());
            let left = (PATIENCE - since).as_secs();
            self.reporter.info(&format!("{trouble}; trying again for {left} seconds"));
        }
        false
    }
}

/// Gives a [`Connection`] to a store.
struct Connector(Arc<Connection>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, line: self.0.clone() }))
    }
}

struct Service {
    client: HttpClient,
    line: Arc<Connection>,
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
        let completes =
            request.method() == "POST" && request.uri().query().unwrap_or_default().contains("uploadId=");
        if let Some((name, value)) = lock(&self.line.condition).clone().filter(|_| completes) {
            request.headers_mut().insert(name, value);
        }
        let answer = self.client.execute(request).await;
        let (trouble, has_answered) = match &answer {
            Ok(answer) if is_busy(answer.status().as_u16()) => {
                (format!("{host} answers {}", answer.status()), true)
            }
            Ok(_) => {
                self.line.is_well();
                return answer;
            }
            Err(e) => (format!("{host}: {}", root(e)), false),
        };
        if self.line.gives_up(&trouble, has_answered) {
            // Of a kind that is not tried again.
            return Err(HttpError::new(HttpErrorKind::Unknown, io::Error::other(trouble)));
        }
        answer
    }
}

/// Whether it may go well in a moment, as object_store has it.
fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

fn root(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object, read in blocks, some of them ahead.
#[derive(Debug)]
pub struct Reader {
    store: Arc<Store>,
    url: Arc<Url>,
    /// Once the first block is there.
    version: Option<Version>,
    block: Bytes,
    ahead: VecDeque<JoinHandle<object_store::Result<(Bytes, ObjectMeta)>>>,
    /// Where the block behind those begins.
    next: u64,
}

impl Reader {
    /// Asks for the first block. `bytes` and perhaps `version` are what is known of the object.
    pub fn new(store: Arc<Store>, url: Arc<Url>, bytes: u64, version: Option<Version>) -> Self {
        let mut reader = Reader { store, url, version, block: Bytes::new(), ahead: VecDeque::new(), next: 0 };
        // Of nothing, there is no range.
        if bytes > 0 {
            reader.ask();
        }
        reader
    }

    fn ask(&mut self) {
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.next..self.next + BLOCK)),
            if_match: self.version.as_ref().and_then(|version| version.etag.clone()),
            ..GetOptions::default()
        };
        self.next += BLOCK;
        let (objects, at_once, key) =
            (self.store.objects.clone(), self.store.at_once.clone(), Path::from(&*self.url));
        self.ahead.push_back(self.store.runtime.spawn(async move {
            // It is never closed.
            let _turn = at_once.acquire().await.ok();
            let found = objects.get_opts(&key, options).await?;
            let meta = found.meta.clone();
            Ok((found.bytes().await?, meta))
        }));
    }

    /// Whether there is one.
    fn next_block(&mut self) -> io::Result<bool> {
        let Some(block) = self.ahead.pop_front() else { return Ok(false) };
        let block = self.store.wait(block).map_err(io::Error::other)?.map_err(io::Error::other)?;
        let (block, meta) = block.map_err(|e| self.store.trouble(&self.url, &e))?;
        let version = self.version.get_or_insert_with(|| Version::from(&meta));
        if version.etag != meta.e_tag {
            return Err(changed(&self.url).into());
        }
        self.block = block;
        while self.ahead.len() < BLOCKS_AHEAD && self.next < meta.size {
            self.ask();
        }
        Ok(true)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len());
        self.block.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
