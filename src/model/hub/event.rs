//! What a download reports while it runs.

/// What is told of a download.
pub enum Progress<'a> {
    /// A file has begun, of so many bytes.
    File {
        /// Its path in the repository.
        name: &'a str,
        /// How long it is.
        bytes: u64,
    },
    /// So many bytes of it are there.
    Bytes(u64),
    /// Something has gone wrong that may go well in a moment, or another run is doing this.
    Waiting(String),
}

/// Who is told.
pub type Tell<'a> = &'a mut dyn FnMut(Progress);
