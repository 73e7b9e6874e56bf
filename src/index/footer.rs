//! The metadata that this tool writes into the footer of a Parquet file.

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::KeyValue;
use serde_json::Value;

use super::content::ContentDigest;
use super::metadata::{Metadata, RowKind};
use super::vector_column::SCALE;

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

/// Returns the metadata entries of an index file.
pub fn index_entries(metadata: &Metadata, content: &str) -> anyhow::Result<Vec<KeyValue>> {
    let mut entries = vec![
        new_entry(Metadata::KEY, serde_json::to_string(metadata)?),
        new_entry(ContentDigest::KEY, content.to_owned()),
    ];
    entries.extend(metadata.fingerprint.vectors().scale().map(|scale| new_entry(SCALE, scale)));
    Ok(entries)
}

pub fn new_entry(key: &str, value: String) -> KeyValue {
    KeyValue::new(key.to_owned(), Some(value))
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
