//! Object storage: `s3://`, `gs://` and `az://` URLs in; listings, bytes and new objects out.
//!
//! `store` alone uses object_store and tokio. All calls block, so the rest of the program has no asynchronous code.

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
