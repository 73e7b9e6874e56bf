//! Writes messages and progress to stderr, and formats numbers and times. Only this module uses indicatif, console and
//! chrono.

mod color; // says when output has colors
mod detail; // says what is decided and why
mod line; // writes a message as one line on stderr
mod number; // formats counts, sizes and times
mod progress; // turns the counts of a run into words
mod reporter; // shows the messages and the progress of a run
mod secret; // hides passwords and signatures in URLs
mod transfer; // shows the progress of a download or an upload
mod width; // fits a bar and words into the width of the terminal

pub use color::Colors;
pub use detail::{Detail, debug, trace};
pub use line::{Level, LogFormat, eprint_line, shown};
pub use number::{DecimalBytes, HumanCount, counted, human_elapsed, human_seconds, now, tokens_per_second};
pub use progress::Phase;
pub use reporter::{NamedFailure, Reporter};
pub use secret::{is_secret_parameter, without_secrets};
pub use transfer::Transfer;
