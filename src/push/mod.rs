//! Brings a collection of Qdrant to the state of an index, or applies a delta to the collection, by Qdrant's REST API.
//!
//! The id of a point is made from the id of its row, so a row that is written twice makes one point. Each point has a digest of its
//! row, and a point with the right digest is not sent again, so a load that was interrupted goes on where it stopped. The metadata
//! of the collection says what its vectors are, and which index the collection equals.

mod collection;
mod error;
mod point;
mod server;
mod verify;

pub use collection::{Pushed, QdrantCollection, StorageOptions};
pub use error::PushError;
pub use server::QdrantServer;
