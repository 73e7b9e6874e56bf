//! Everything a command writes to stderr: messages, progress, and the numbers in them (the only user of indicatif, console
//! and chrono).

mod line; // a message -> one line on stderr
mod number; // counts, sizes and times -> words
mod progress; // the counts of a run -> phase, documents, speed, time left
mod reporter; // the messages and the progress of a run
mod transfer; // the progress of a download or an upload
mod width; // words -> as many as fit the terminal

pub use line::{Level, LogFormat, eprint_line, shown};
pub use number::{DecimalBytes, HumanCount, counted, human_elapsed, human_seconds, now, tokens_per_second};
pub use progress::Phase;
pub use reporter::{NamedFailure, Reporter};
pub use transfer::Transfer;
