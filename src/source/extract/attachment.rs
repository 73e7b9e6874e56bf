//! A file inside of a document.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A file inside of a document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// The name of the file without folders, with a supported file extension. No two files of a document have the same name.
    pub name: String,
    /// The content of the file. A text whose encoding the document names is in UTF-8 with a byte order mark.
    #[serde(serialize_with = "as_base64", deserialize_with = "of_base64")]
    pub content: Vec<u8>,
}

/// Writes bytes as base64, because JSON has no type for bytes.
fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    STANDARD.encode(bytes).serialize(serializer)
}

fn of_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}
