//! Where bytes are stored: locks, files and objects.

pub(crate) mod lock; // one run at a time per output
pub(crate) mod object; // URLs of objects: reads, lists and writes them
pub mod place; // replaces a file atomically
