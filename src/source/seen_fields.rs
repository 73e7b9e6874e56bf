//! What a run has seen of the fields of its documents, to say what a field that no document has may be called.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fields::Record;

/// How many rows and documents without a field are asked for the names of their fields.
const RECORDS_MAX: usize = 64;

/// The most names.
const NAMES_MAX: usize = 1000;

/// The names of fields, and whether rows have ids of their own.
#[derive(Debug, Default)]
pub struct SeenFields {
    has_rows: AtomicBool,
    has_ids: AtomicBool,
    records: AtomicUsize,
    names: Mutex<BTreeSet<String>>,
}

impl SeenFields {
    /// Notes whether a row has an id of its own.
    pub fn row(&self, has_id: bool) {
        // The threads that read rows would wait for each other if every row wrote.
        for (flag, is_so) in [(&self.has_rows, true), (&self.has_ids, has_id)] {
            if is_so && !flag.load(Relaxed) {
                flag.store(true, Relaxed);
            }
        }
    }

    /// Notes the fields of a row or a document that lacks a field.
    pub fn lacking(&self, record: &Record) {
        if self.records.load(Relaxed) < RECORDS_MAX && !record.is_empty() {
            self.records.fetch_add(1, Relaxed);
            self.add(record.keys());
        }
    }

    /// Notes the columns of a table.
    pub fn columns(&self, header: &[String]) {
        self.add(header.iter());
    }

    /// Returns whether there were rows, but none with an id of its own.
    pub fn lack_ids(&self) -> bool {
        self.has_rows.load(Relaxed) && !self.has_ids.load(Relaxed)
    }

    /// Returns the names of the fields that were noted, sorted.
    pub fn names(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn add<'a>(&self, names: impl Iterator<Item = &'a String>) {
        let mut known = self.lock();
        for name in names {
            if known.len() < NAMES_MAX && !known.contains(name) {
                known.insert(name.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
