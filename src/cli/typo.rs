//! Tips for words that people often type instead of a subcommand or an option.

use clap::Error;
use clap::error::{ContextKind, ContextValue};

/// If [`tip`] has a tip for the wrong word, replaces the suggestion and the usage in clap's error with this tip. clap itself
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
        "ask" => "use 'search' to ask an index a question",
        "update" => "use 'build' to make an index, and to update it",
        "--batch-size" => "use '--batch-tokens' to set the tokens per batch",
        "--prompt" => "use '--instruction' to put an instruction before each text",
        "--chunk-size" => "use '--max-tokens' to set the tokens per chunk",
        _ => return None,
    })
}
