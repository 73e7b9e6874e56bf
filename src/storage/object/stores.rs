//! The stores of a run, and what is read from them.

use std::collections::HashMap;
use std::sync::Arc;

use super::remote::RemoteOutput;
use super::store::{Reader, Store};
use super::url::Url;
use crate::console::Reporter;

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
    pub fn remote(&mut self, url: Url) -> anyhow::Result<RemoteOutput> {
        let store = self.get(&url)?;
        RemoteOutput::new(store, url)
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
