//! Stores bytes: locks an output, replaces files, and reads and writes objects.

pub(crate) mod found; // tells a missing file from one that cannot be read
pub(crate) mod lock; // allows only one run at a time per output
pub(crate) mod object; // reads, lists and writes objects in object storage
pub mod place; // replaces a file atomically
pub(crate) mod unfinished; // folders of unfinished work
