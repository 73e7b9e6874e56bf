//! What the footer of a Parquet file says under the keys of this tool.

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use serde_json::Value;

use super::metadata::RowKind;

/// Other versions have other metadata, but always this.
pub fn kind(metadata: &str) -> RowKind {
    let metadata: Value = serde_json::from_str(metadata).unwrap_or_default();
    serde_json::from_value(metadata["fingerprint"]["rows"].clone()).unwrap_or(RowKind::Documents)
}

/// What stands in the file's metadata under this key.
pub fn entry(footer: &ArrowReaderMetadata, key: &str) -> Option<String> {
    let entries = footer.metadata().file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.clone()
}

/// Under these keys of a delta's metadata stand the digests of the rows of the file before and after it, as in
/// those files.
pub const FROM: &str = concat!(env!("CARGO_PKG_NAME"), ".from");
pub const TO: &str = concat!(env!("CARGO_PKG_NAME"), ".to");

/// Whether a file of this tool is one.
pub fn is_delta(footer: &ArrowReaderMetadata) -> bool {
    entry(footer, TO).is_some()
}
