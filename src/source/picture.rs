//! A picture of a page, on its way from a worker to the command that reads pictures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::DocumentError;

/// A picture of a page without text.
#[derive(Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The number of the page, counted from 1.
    pub page: u32,
    /// A PNG file.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub png: Vec<u8>,
}

/// Takes the pictures of a document, in the order of its pages.
pub type Pictures<'a> = dyn FnMut(Picture) + 'a;

/// Takes the pictures of a document, until an error says that no more pictures are needed.
pub type Take<'a> = dyn FnMut(Picture) -> Result<(), DocumentError> + 'a;

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}
