//! Object storage: lists, reads and writes objects that are named by `s3://`, `gs://` and `az://` URLs.
//!
//! Only the module `store` uses the libraries object_store and tokio. All calls block, so no other module has asynchronous code.

mod remote;
#[cfg(feature = "object-storage")]
mod store;
#[cfg(not(feature = "object-storage"))]
#[path = "absent.rs"]
mod store;
mod stores;
mod url;
mod watch;

pub use remote::RemoteOutput;
pub use store::Reader;
pub use stores::{Listing, Object, Stores};
pub use url::Url;
