//! `s3://`, `gs://` and `az://` URLs in; listings, bytes and whole new objects out (the only user of object_store and of
//! tokio, in `store`). All calls block; the rest of the program knows no asynchronous code.

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
