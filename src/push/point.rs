//! The point of a row.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::digest::{Digest, hex};
use crate::index::FullRow;

/// The key of the row's digest in the payload.
pub const DIGEST: &str = "_digest";

/// The most bytes of a component of a vector in JSON, with its comma.
const COMPONENT_BYTES: usize = 16;

/// A point as Qdrant's REST API takes it.
#[derive(Debug, Clone, Serialize)]
pub struct QdrantPoint {
    pub id: Uuid,
    pub vector: Vec<f32>,
    pub payload: Map<String, Value>,
    /// The size of the point in JSON, in bytes, at most.
    #[serde(skip)]
    pub bytes: usize,
}

impl QdrantPoint {
    /// Returns the point of a row: the vector, and all other columns and the digest of the row as the payload.
    pub fn of(row: FullRow) -> anyhow::Result<Self> {
        let FullRow { id, mut fields, vector } = row;
        let mut written = serde_json::to_vec(&fields)?;
        let bytes = written.len() + COMPONENT_BYTES * vector.len();
        written.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
        fields.insert(DIGEST.to_owned(), hex(Digest::of(&written).as_bytes()).into());
        Ok(QdrantPoint { id: point_id(&id), vector, payload: fields, bytes })
    }

    /// Returns the digest of the row.
    pub fn digest(&self) -> Option<&Value> {
        self.payload.get(DIGEST)
    }
}

/// Returns the id of a row's point: the UUID of version 5 (RFC 9562) of the row's id, in a namespace of this program.
pub fn point_id(row: &str) -> Uuid {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_DNS, env!("CARGO_PKG_NAME").as_bytes());
    Uuid::new_v5(&namespace, row.as_bytes())
}
