//! The events of a download, which the client and the cache report to the caller.

/// An event of a download.
pub enum Progress<'a> {
    /// The download of a file begins.
    File {
        /// The path of the file in the repository.
        name: &'a str,
        bytes: u64,
    },
    /// How many bytes of the file are on disk, including bytes that earlier runs have downloaded.
    Bytes(u64),
    /// The download pauses before a retry, or waits for another program. The text gives the reason.
    Waiting(String),
}

/// The callback that receives the events of a download.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);
