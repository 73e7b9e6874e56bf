//! What a file holds in, the text that a person would read out. Pure.

mod markdown;

pub use markdown::markdown;

/// Version of the extraction rules. Vectors depend on them, so it is part of the fingerprint: raise it
/// with every change of what an extractor returns.
pub const VERSION: u32 = 1;
