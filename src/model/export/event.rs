//! The events of an export, which the caller receives.

use crate::model::precision::Precision;

/// An event of an export.
pub enum ExportEvent {
    /// The export in a precision begins. It reads this many bytes of weights.
    Begun { precision: Precision, bytes: u64 },
    /// How many bytes of the weights have been read.
    Read(u64),
    /// The export in a precision is in place. Graph and data have this many bytes together.
    Made { precision: Precision, bytes: u64 },
    /// The export waits for another run. The text gives the reason.
    Waiting(String),
}

/// The callback that receives the events of an export.
pub type OnExport<'a> = &'a mut dyn FnMut(ExportEvent);
