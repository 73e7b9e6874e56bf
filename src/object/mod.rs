//! `s3://`, `gs://` and `az://` URLs in; listings, bytes and whole new objects out (the only user of object_store and of
//! tokio, in `store`). All calls block; the rest of the program knows no asynchronous code.

mod remote;
#[cfg(feature = "object-storage")]
mod store;
#[cfg(not(feature = "object-storage"))]
#[path = "absent.rs"]
mod store;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Usage;
use crate::report::Reporter;
use store::Store;

pub use remote::Remote;
pub use store::Reader;

/// What an object, or what is below a prefix, is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Scheme and bucket, as in `s3://bucket`.
    bucket: String,
    /// The key of an object or a prefix, as it is, without encoding; it has no `/` at its ends.
    key: String,
    /// Whether only a prefix can be meant.
    is_prefix: bool,
}

/// Where objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    S3,
    Google,
    Azure,
}

impl Scheme {
    fn of(name: &str) -> Option<Scheme> {
        match name {
            "s3" => Some(Scheme::S3),
            "gs" | "gcs" => Some(Scheme::Google),
            "az" | "abfs" | "abfss" => Some(Scheme::Azure),
            _ => None,
        }
    }
}

impl Url {
    /// The URL that a path as typed is; `None` for a path.
    ///
    /// # Errors
    /// It begins as one and is none.
    pub fn of(path: &Path) -> Result<Option<Url>, Usage> {
        let Some((scheme, rest)) = path.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(None);
        };
        if Scheme::of(scheme).is_none() {
            return Ok(None);
        }
        let scheme = if scheme == "gcs" { "gs" } else { scheme };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let is_prefix = key.is_empty() || key.ends_with('/');
        let key = key.strip_suffix('/').unwrap_or(key);
        let is_part = |part: &str| !["", ".", ".."].contains(&part) && !part.contains(char::is_control);
        if bucket.is_empty() || !(key.is_empty() || key.split('/').all(is_part)) {
            return Err(Usage(format!(
                "{}: is no URL of an object; write it as {scheme}://bucket/path, without empty parts, `.` and `..`",
                path.display()
            )));
        }
        let bucket = format!("{scheme}://{bucket}");
        Ok(Some(Url { bucket, key: key.to_owned(), is_prefix }))
    }

    /// What `build` and `read` alone take as a URL must be a path elsewhere.
    ///
    /// # Errors
    /// It is a URL; `what` is what messages call it.
    pub fn refuse(what: &str, path: &Path) -> Result<(), Usage> {
        let Some(url) = Url::of(path)? else { return Ok(()) };
        Err(Usage(format!(
            "{what} {url}: only `build` and `read` go to object storage themselves; name a file here, and copy it"
        )))
    }

    /// The last part of its key.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// What the key is below; its bucket, where that is nothing.
    pub fn parent(&self) -> String {
        match self.key.rsplit_once('/') {
            Some((parent, _)) => format!("{}/{parent}", self.bucket),
            None => self.bucket.clone(),
        }
    }

    /// Whether only a prefix can be meant, since it ends in `/` or names a bucket.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// Of a key below this one.
    pub fn below(&self, key: &str) -> Url {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}/{key}", self.key) };
        Url { bucket: self.bucket.clone(), key, is_prefix: false }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "/{}", self.key) }
    }
}

/// Which content of an object is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    etag: Option<String>,
    /// Where a store has such numbers beside.
    version: Option<String>,
    /// How long it is.
    bytes: u64,
}

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {cause}")]
pub struct Trouble {
    url: String,
    /// What is wrong, and what to do.
    pub cause: String,
    /// Whether nothing can be had from the store now; otherwise it is about one object.
    pub is_of_store: bool,
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        io::Error::other(trouble)
    }
}

/// The stores of a run, each opened once.
pub struct Stores {
    endpoint: Option<String>,
    reporter: Arc<Reporter>,
    open: HashMap<String, Arc<Store>>,
}

impl Stores {
    /// `endpoint` is where all of them are, instead of where the environment or their makers say. The reporter is told
    /// when a store is waited for.
    pub fn new(endpoint: Option<&str>, reporter: Arc<Reporter>) -> Self {
        Stores { endpoint: endpoint.map(str::to_owned), reporter, open: HashMap::new() }
    }

    fn get(&mut self, url: &Url) -> anyhow::Result<Arc<Store>> {
        if let Some(store) = self.open.get(&url.bucket) {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::open(url, self.endpoint.as_deref(), self.reporter.clone())?);
        self.open.insert(url.bucket.clone(), store.clone());
        Ok(store)
    }

    /// The object, if it is there.
    ///
    /// # Errors
    /// The store does not say.
    pub fn object(&mut self, url: &Url) -> anyhow::Result<Option<Object>> {
        let store = self.get(url)?;
        let version = store.look(url)?;
        Ok(version.map(|version| Object { store, url: url.clone().into(), bytes: version.bytes }))
    }

    /// What is below a prefix.
    ///
    /// # Errors
    /// The store does not say.
    pub fn list(&mut self, url: &Url) -> anyhow::Result<Listing> {
        let store = self.get(url)?;
        let mut keys = store.list(url)?;
        // As a walk over folders goes: `a/b` before `a.txt`.
        keys.sort_unstable_by(|one, other| one.0.split('/').cmp(other.0.split('/')));
        // Some programs make an empty object for each folder.
        let is_folder = |next: Option<&(Box<str>, u64)>, (key, bytes): &(Box<str>, u64)| {
            let next = next.and_then(|next| next.0.strip_prefix(&**key));
            *bytes == 0 && next.is_some_and(|rest| rest.starts_with('/'))
        };
        let is_file: Vec<bool> = (0..keys.len()).map(|at| !is_folder(keys.get(at + 1), &keys[at])).collect();
        let mut is_file = is_file.into_iter();
        keys.retain(|_| is_file.next().unwrap_or_default());
        Ok(Listing { store, url: url.clone(), keys })
    }

    /// What is to be written there, by way of a file on this machine.
    ///
    /// # Errors
    /// There is no place for that file; the URL names no object.
    pub fn remote(&mut self, url: Url) -> anyhow::Result<Remote> {
        let store = self.get(&url)?;
        Remote::new(store, url)
    }
}

/// An object to be read.
#[derive(Debug, Clone)]
pub struct Object {
    store: Arc<Store>,
    url: Arc<Url>,
    bytes: u64,
}

impl Object {
    /// Begins to read it; what comes first is on its way when this returns. What is read is of one content of the object,
    /// or an error.
    pub fn open(&self) -> Reader {
        Reader::new(self.store.clone(), self.url.clone(), self.bytes, None)
    }

    /// What it is called.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How long it was when it was found.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What is below a prefix, in the order of a walk over folders.
#[derive(Debug)]
pub struct Listing {
    store: Arc<Store>,
    url: Url,
    /// Keys below the prefix, and their lengths in bytes.
    keys: Vec<(Box<str>, u64)>,
}

impl Listing {
    /// What it is of.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How many objects.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key below the prefix.
    pub fn below(&self, at: usize) -> &str {
        &self.keys[at].0
    }

    /// The object.
    pub fn object(&self, at: usize) -> Object {
        let (key, bytes) = &self.keys[at];
        Object { store: self.store.clone(), url: self.url.below(key).into(), bytes: *bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Url::of(Path::new(text)).unwrap().map(|url| url.to_string())
    }

    #[test]
    fn urls_are_told_from_paths() {
        for url in [
            "s3://bucket",
            "s3://bucket/a b/今天.md",
            "gs://b/k%20k",
            "abfss://c@account.dfs.core.windows.net/k",
        ] {
            assert_eq!(parsed(url).as_deref(), Some(url));
        }
        assert_eq!(parsed("s3://bucket/docs/").as_deref(), Some("s3://bucket/docs"));
        assert_eq!(parsed("gcs://bucket/docs").as_deref(), Some("gs://bucket/docs"));
        for path in ["docs", "/docs", "-", "https://a/b", "s3:/docs", "file:///docs"] {
            assert_eq!(parsed(path), None, "{path}");
        }
        for wrong in
            ["s3://", "s3:///key", "s3://bucket//key", "s3://bucket/a/../b", "az://c/.", "s3://bucket/a\nb"]
        {
            assert!(Url::of(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
