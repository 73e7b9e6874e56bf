//! Events of a download, from the client and the cache to whoever shows them.

/// An event of a download.
pub enum Progress<'a> {
    /// A file begins.
    File {
        /// The path in the repository.
        name: &'a str,
        bytes: u64,
    },
    /// Bytes of the file that are on disk, including those of earlier runs.
    Bytes(u64),
    /// The download waits before a retry or for another program. The text says why.
    Waiting(String),
}

/// The callback that gets the events.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);
