//! Arguments that several subcommands share in; documents, models and places out.

pub mod inputs; // which documents are read, and how
pub mod model; // the model, loaded
pub mod output; // the output's place, held
pub mod target; // a path or a URL to write to
