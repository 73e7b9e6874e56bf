//! Finds the documents in the user's inputs and reads them. Every run finds the documents in the same order.
//!
//! [`Roots::documents`] finds the documents. Finding documents is fast, so one thread finds all documents. [`Raw::read`]
//! reads one document. Reading is slow, so the caller reads documents on several threads.

mod collection;
mod confine;
mod decode;
mod document;
pub(crate) mod extract;
mod fields;
mod filter;
mod format;
mod found;
mod id;
mod ignore_files;
mod json;
mod json_bytes;
mod local_file;
mod location;
mod names;
mod ocr;
mod picture;
mod raw;
mod raw_file;
mod roots;
mod rows;
mod seen_fields;
mod serve;
mod walk;
mod worker;

pub use confine::Confinement;
pub use decode::Charset;
pub use document::{Document, LeftOut, Limits, Origin, PagePart};
pub use fields::{Fields, shortened};
pub use filter::{Filter, PatternError, PatternList};
pub use format::FormatKind;
pub use found::Found;
pub use id::IdPrefix;
pub use ocr::{CommandError, Ocr};
pub use raw::{Raw, Reading};
pub use raw_file::RawFile;
pub use roots::Roots;
pub use rows::documents;
pub use seen_fields::SeenFields;
pub use serve::serve;
pub use worker::{Workers, confinement};
