//! Tests through the binary and through the library's public functions, one module per subject.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation)] // Tests panic to fail, and print tables.

mod bad_inputs;
mod checkpoints;
mod crashes;
mod devices;
mod doctor;
mod documents;
mod embed;
mod errors;
mod eval;
mod export;
mod fuzz;
mod golden;
mod gpu;
mod help;
mod hub;
mod inspect;
mod install;
mod kinds;
mod layers;
mod make;
mod messages;
mod mixed;
mod nights;
mod objects;
mod pipeline;
mod prompts;
mod qdrant;
mod quality;
mod ray;
mod readers;
mod recipes;
mod schema;
mod screen;
mod screens;
mod screens_build;
mod search;
mod secrets;
mod shards;
mod stand_in;
mod stream;
mod util;
mod vectors;
mod workers;
