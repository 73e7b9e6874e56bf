//! The progress reports of an upload in parts.

/// The callbacks of an upload in parts.
pub struct UploadWatch<'a> {
    /// Receives the id of the upload before the first part is sent. The id is needed to abort the upload.
    pub begun: &'a mut dyn FnMut(&str) -> anyhow::Result<()>,
    /// Receives the number of bytes uploaded so far.
    pub sent: &'a mut dyn FnMut(u64),
}
