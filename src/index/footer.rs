//! Reads the metadata that this tool writes into the footer of a Parquet file.

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use serde_json::Value;

use super::metadata::RowKind;

/// The metadata key under which a delta stores the content digest of the old index file.
pub const FROM: &str = concat!(env!("CARGO_PKG_NAME"), ".from");

/// The metadata key under which a delta stores the content digest of the new index file.
pub const TO: &str = concat!(env!("CARGO_PKG_NAME"), ".to");

/// Reads the kind of rows from the JSON metadata of an index file. Every version of this tool writes the kind to the same field,
/// so this function works even when `Metadata` cannot be parsed.
pub fn kind(metadata: &str) -> RowKind {
    let metadata: Value = serde_json::from_str(metadata).unwrap_or_default();
    serde_json::from_value(metadata["fingerprint"]["rows"].clone()).unwrap_or(RowKind::Documents)
}

/// Returns the value that the footer stores under a metadata key.
pub fn entry(footer: &ArrowReaderMetadata, key: &str) -> Option<String> {
    let entries = footer.metadata().file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.clone()
}

/// Returns whether a file that this tool wrote is a delta.
pub fn is_delta(footer: &ArrowReaderMetadata) -> bool {
    entry(footer, TO).is_some()
}
