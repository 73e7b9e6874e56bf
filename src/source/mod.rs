//! Inputs as the user named them in, documents out, in a stable order.
//!
//! [`Roots::documents`] finds documents lazily and cheaply. Reading one ([`Raw::read`]) costs time, so the caller spreads it
//! over its threads.

mod decode;
mod document;
pub(crate) mod extract;
mod fields;
mod filter;
mod format;
mod found;
mod id;
mod json;
mod location;
mod raw;
mod roots;
mod rows;
mod serve;
mod walk;
mod worker;

pub use decode::Charset;
pub use document::{Document, LeftOut, Limits, Origin};
pub use fields::Fields;
pub use filter::Filter;
pub use found::Found;
pub use raw::{Raw, RawFile, Reading};
pub use roots::Roots;
pub use serve::serve;
pub use worker::Workers;
