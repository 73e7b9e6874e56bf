//! What an upload in parts reports while it runs.

/// Callbacks of an upload.
pub struct UploadWatch<'a> {
    /// Receives the upload's id, by which it can be aborted, before the first part is sent.
    pub begun: &'a mut dyn FnMut(&str) -> anyhow::Result<()>,
    /// Receives the number of bytes uploaded so far.
    pub sent: &'a mut dyn FnMut(u64),
}
