//! One bucket of S3, Google Cloud Storage or Azure, by object_store.

mod bucket; // a store and the requests that read from it
mod connection; // sends requests; says which store the run waits for, and gives up
mod errors; // object_store's errors -> StoreError
mod open; // a URL and the environment -> a store
mod read; // the reader of one object, with blocks ahead
mod upload; // a file -> an object, whole or in parts

pub use bucket::Store;
pub use read::Reader;

#[cfg(test)]
mod tests;
