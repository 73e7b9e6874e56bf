//! Roots as the user named them in, one [`Found`] after another out, in a stable order.
//!
//! Finding is cheap and lazy; reading ([`Raw::read`]) is not, and is left to the caller's threads.

mod decode;
mod document;
pub(crate) mod extract;
mod fields;
mod filter;
mod form;
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
pub use form::Form;
pub use found::Found;
pub use raw::{Raw, Reading};
pub use roots::Roots;
pub use serve::serve;
pub use worker::Workers;
