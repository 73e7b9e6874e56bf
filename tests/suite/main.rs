//! The tests through the binary and through the library's seams; a module a theme.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A test that panics says where; tables are printed.

mod bad_inputs;
mod documents;
mod errors;
mod golden;
mod kinds;
mod make;
mod mixed;
mod pipeline;
mod readers;
mod util;
mod vectors;
