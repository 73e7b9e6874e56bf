//! What people type who mean something else, and what they are told.

use clap::Error;
use clap::error::{ContextKind, ContextValue};

/// Puts a tip of ours into an error about a word that is in the list, in place of the tips and the usage by clap: clap
/// suggests the name with the most similar letters, such as `inspect` for `index`.
pub fn explain(error: &mut Error) {
    let word = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].map(|kind| error.get(kind));
    let Some(ContextValue::String(word)) = word.into_iter().flatten().next() else { return };
    let Some(tip) = tip(word) else { return };
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::Usage] {
        error.remove(kind);
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
}

fn tip(word: &str) -> Option<&'static str> {
    Some(match word {
        "query" | "ask" => "use 'search' to ask an index a question",
        "index" | "update" => "use 'build' to make an index, and to update it",
        "--chunk-size" => "use '--max-tokens' to set the tokens per chunk",
        "-v" => "use '-V' to print the version; there is no option for more messages, '-q' prints fewer",
        _ => return None,
    })
}
