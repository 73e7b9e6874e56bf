//! Where bytes are put.

pub(crate) mod lock; // one run at a time
pub(crate) mod object; // the URL of an object -> its bytes, and the other way round
pub mod place; // a file, in the place of what was there
