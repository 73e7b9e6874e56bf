//! Turns the arguments that several subcommands share into inputs, models and places of outputs.

pub mod inputs; // the inputs, and the settings for reading them
pub mod locate; // finds the files of the model
pub mod model; // checks and loads the model
pub mod output; // checks and locks the place of an index
pub mod target; // a path or an object to write to
