//! Reads and writes a bucket of S3, Google Cloud Storage or Azure, through object_store.

mod body; // collects the body of an answer, up to a limit
mod bucket; // a bucket and the requests that read from the bucket
mod connection; // sends requests; says which store the run waits for, and gives up
mod errors; // turns errors of object_store into StoreError
mod list; // lists the objects below a prefix
mod open; // opens a store with the settings of the environment
mod read; // reads one object in blocks, and requests some blocks ahead
mod transport; // sends requests on threads, and follows no redirects
mod upload; // uploads a file, whole or in parts

pub use bucket::Store;
pub use read::Reader;

#[cfg(test)]
mod tests;
