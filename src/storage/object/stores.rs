//! The stores that a run uses, and the objects and listings that the run reads from them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use super::remote::RemoteOutput;
use super::store::{Reader, Store};
use super::url::{ListedObject, Url};
use crate::console::Reporter;

/// The stores of a run. Each store is opened once.
pub struct Stores {
    endpoint: Option<String>,
    reporter: Arc<Reporter>,
    /// The open stores, by bucket.
    open: HashMap<String, Arc<Store>>,
}

impl Stores {
    /// Makes the set of stores, but opens no store yet. `endpoint` is the address for every store, in place of the address of
    /// the cloud or an address from the environment. The reporter prints a message when the run waits for a store.
    pub fn new(endpoint: Option<&str>, reporter: Arc<Reporter>) -> Self {
        Stores { endpoint: endpoint.map(str::to_owned), reporter, open: HashMap::new() }
    }

    fn open(&mut self, url: &Url) -> anyhow::Result<Arc<Store>> {
        if let Some(store) = self.open.get(&url.bucket) {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::open(url, self.endpoint.as_deref(), self.reporter.clone())?);
        self.open.insert(url.bucket.clone(), store.clone());
        Ok(store)
    }

    /// Returns the object, or `None` if it does not exist.
    ///
    /// # Errors
    /// The store cannot be reached or denies access.
    pub fn object(&mut self, url: &Url) -> anyhow::Result<Option<Object>> {
        let store = self.open(url)?;
        let version = store.head(url)?;
        Ok(version.map(|version| Object { store, url: url.clone().into(), bytes: version.bytes }))
    }

    /// Returns the objects below a prefix.
    ///
    /// # Errors
    /// The store cannot be reached or denies access.
    pub fn list(&mut self, url: &Url) -> anyhow::Result<Listing> {
        let store = self.open(url)?;
        let mut objects = store.list(url)?;
        // The objects are sorted in the order of a walk over folders: `a/b` comes before `a.txt`.
        objects.sort_unstable_by(|one, other| in_walk(&one.key, &other.key));
        // Objects that represent folders are skipped: some programs make an empty object for each folder.
        let is_folder = |next: Option<&ListedObject>, object: &ListedObject| {
            let rest = next.and_then(|next| next.key.strip_prefix(&*object.key));
            object.bytes == 0 && rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let is_file: Vec<bool> =
            (0..objects.len()).map(|at| !is_folder(objects.get(at + 1), &objects[at])).collect();
        let mut is_file = is_file.into_iter();
        objects.retain(|_| is_file.next().unwrap_or_default());
        Ok(Listing { store, url: url.clone(), objects })
    }

    /// Returns an output for an object: the run writes a local file, and then uploads the local file.
    ///
    /// # Errors
    /// The folder for the local file cannot be made; the URL names a bucket or a prefix, not an object.
    pub fn remote(&mut self, url: Url) -> anyhow::Result<RemoteOutput> {
        let store = self.open(&url)?;
        RemoteOutput::new(store, url)
    }
}

/// An object to read.
#[derive(Debug, Clone)]
pub struct Object {
    store: Arc<Store>,
    url: Arc<Url>,
    bytes: u64,
}

impl Object {
    /// Requests the first block and returns a reader. The reader reads one version of the object, and fails if another version
    /// replaces this version.
    pub fn open(&self) -> Reader {
        Reader::new(self.store.clone(), self.url.clone(), self.bytes, None)
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the length in bytes that the object had when it was found.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The objects below a prefix, in the order of a walk over folders.
#[derive(Debug)]
pub struct Listing {
    store: Arc<Store>,
    url: Url,
    objects: Vec<ListedObject>,
}

impl Listing {
    /// Returns the URL of the prefix.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Returns whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Returns the key of the object with this index, without the prefix.
    pub fn below(&self, at: usize) -> &str {
        &self.objects[at].key
    }

    /// Returns the object with this key, without the prefix.
    pub fn find(&self, key: &str) -> Option<Object> {
        let at = self.objects.binary_search_by(|object| in_walk(&object.key, key)).ok()?;
        Some(self.object(at))
    }

    /// Returns the object with this index.
    pub fn object(&self, at: usize) -> Object {
        let ListedObject { key, bytes } = &self.objects[at];
        Object { store: self.store.clone(), url: self.url.below(key).into(), bytes: *bytes }
    }
}

/// Compares two keys in the order of a walk over folders.
fn in_walk(one: &str, other: &str) -> Ordering {
    one.split('/').cmp(other.split('/'))
}
