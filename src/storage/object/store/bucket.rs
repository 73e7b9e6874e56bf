//! A bucket, and the requests that read from the bucket. Each call blocks until the store answers or the run is interrupted.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use object_store::list::PaginatedListStore;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::super::url::{Scheme, Url, Version};
use super::body;
use super::connection::{Connection, PATIENCE};
use super::errors;
use super::transport::REQUESTS_MAX;
use crate::error::StoreError;
use crate::interrupt::{self, Interrupted};

/// The size of a block in bytes. One request reads one block. A single request for a whole object would stay open while documents
/// are embedded, and the server would cut the connection. A file that is larger than a block is uploaded in parts of at least
/// this size.
pub const BLOCK_BYTES: u64 = 8 << 20;

/// The most simultaneous requests for blocks of one object.
pub const BLOCKS_AHEAD: usize = 3;

/// The time between two checks for an interrupt while a request runs.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);

/// The pause before each retry, in seconds. The retries are for requests that object_store does not retry itself: the
/// connection was cut during the answer, or a write may have succeeded.
const PAUSES_SECONDS: [u64; 5] = [1, 1, 2, 4, 8];

/// A bucket, the connection to its store, and the runtime that sends the requests.
pub struct Store {
    pub(super) scheme: Scheme,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) parts: Arc<dyn MultipartStore>,
    pub(super) pages: Arc<dyn PaginatedListStore>,
    pub(super) connection: Arc<Connection>,
    pub(super) runtime: Runtime,
    pub(super) request_slots: Arc<Semaphore>,
    pub(super) conditions: Conditions,
}

/// The three interfaces of object_store to one bucket, and the conditions that the store supports.
pub struct Backend {
    pub objects: Arc<dyn ObjectStore>,
    pub parts: Arc<dyn MultipartStore>,
    pub pages: Arc<dyn PaginatedListStore>,
    pub conditions: Conditions,
}

impl Backend {
    pub fn new<T>(store: Arc<T>, conditions: Conditions) -> Self
    where
        T: ObjectStore + MultipartStore + PaginatedListStore,
    {
        Backend { objects: store.clone(), parts: store.clone(), pages: store, conditions }
    }
}

/// The kinds of conditional writes that a store supports. A conditional write fails if the object has changed since the run
/// found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    None,
    /// Only a request that puts a whole object.
    Put,
    /// A request that puts a whole object, and a request that completes an upload in parts.
    PutAndParts,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.objects)
    }
}

impl Store {
    /// Starts the runtime, but sends no request yet.
    ///
    /// # Errors
    /// The system cannot start more threads.
    pub fn new(scheme: Scheme, backend: Backend, connection: Arc<Connection>) -> anyhow::Result<Self> {
        let Backend { objects, parts, pages, conditions } = backend;
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("objects").enable_time().build();
        let runtime =
            runtime.context("cannot start threads for object storage; check the limit on processes")?;
        let request_slots = Arc::new(Semaphore::new(REQUESTS_MAX));
        Ok(Store { scheme, objects, parts, pages, connection, runtime, request_slots, conditions })
    }

    /// Returns the current version of an object, or `None` if there is no such object.
    pub fn head(&self, url: &Url) -> anyhow::Result<Option<Version>> {
        let key = Path::from(url);
        let head = async {
            match self.objects.head(&key).await {
                // The answer to HEAD has no body. Only a body says whether the object or the bucket is missing, so this function
                // asks again with GET.
                Err(Error::NotFound { .. }) => {
                    let options =
                        GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
                    self.objects.get_opts(&key, options).await.map(|found| found.meta)
                }
                found => found,
            }
        };
        match self.wait(head)? {
            Ok(meta) => Ok(Some(Version::from(&meta))),
            Err(e) if errors::is_missing_object(&e) => Ok(None),
            Err(e) => Err(self.error(url, &e).into()),
        }
    }

    /// Returns the first `count` bytes of this version of an object. The object must have at least `count` bytes.
    pub fn read_start(&self, url: &Url, version: &Version, count: usize) -> anyhow::Result<Vec<u8>> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..count as u64)),
            if_match: version.etag.clone(),
            ..GetOptions::default()
        };
        let key = Path::from(url);
        let start = async { body::of_range(self.objects.get_opts(&key, options).await?).await };
        Ok(self.wait(start)?.map_err(|e| e.of_url(url))?)
    }

    /// Waits for a request, and checks for an interrupt while it waits.
    pub(super) fn wait<T>(&self, request: impl Future<Output = T>) -> Result<T, Interrupted> {
        self.runtime.block_on(async {
            let mut request = pin!(request);
            loop {
                match tokio::time::timeout(INTERRUPT_INTERVAL, &mut request).await {
                    Ok(done) => return Ok(done),
                    Err(_) => interrupt::check()?,
                }
            }
        })
    }

    /// Waits for a request. Repeats the request if the connection was cut and object_store did not retry.
    pub(super) fn retry<T, F>(&self, request: impl Fn() -> F) -> Result<object_store::Result<T>, Interrupted>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut pauses = PAUSES_SECONDS.into_iter();
        loop {
            let started = Instant::now();
            match (self.wait(request())?, pauses.next()) {
                (Err(e), Some(pause)) if errors::is_cut(&e) && started.elapsed() < PATIENCE => {
                    self.wait(async { tokio::time::sleep(Duration::from_secs(pause)).await })?;
                }
                (done, _) => return Ok(done),
            }
        }
    }

    pub(super) fn error(&self, url: &Url, error: &Error) -> StoreError {
        errors::store_error(url, error)
    }
}

impl From<&Url> for Path {
    fn from(url: &Url) -> Self {
        // The key is always valid: it was checked when the URL was parsed, or a listing contained it.
        Path::parse(&url.key).unwrap_or_default()
    }
}

impl From<&ObjectMeta> for Version {
    fn from(meta: &ObjectMeta) -> Self {
        Version { etag: meta.e_tag.clone(), version: meta.version.clone(), bytes: meta.size }
    }
}
