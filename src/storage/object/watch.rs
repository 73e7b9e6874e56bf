//! What an upload reports while it runs.

/// What an upload tells.
pub struct UploadWatch<'a> {
    /// That it has begun, and by what it can be ended.
    pub begun: &'a mut dyn FnMut(&str) -> anyhow::Result<()>,
    /// So many bytes are there.
    pub sent: &'a mut dyn FnMut(u64),
}
