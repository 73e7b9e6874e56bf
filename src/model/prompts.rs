//! The prompts of a model: the words that a model was trained to find before questions and before documents.

use serde_json::Value;

/// The instruction for questions that Qwen3-Embedding was trained with, from its model card.
pub const RETRIEVAL: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// The words before an instruction, in the form that Qwen3-Embedding was trained with (`get_detailed_instruct` of its model
/// card).
const BEFORE_INSTRUCTION: &str = "Instruct: ";

/// The words between an instruction and the text.
const AFTER_INSTRUCTION: &str = "\nQuery:";

/// The names of the prompt for questions in `config_sentence_transformers.json`. The first name that the file has is used.
/// Early revisions of Harrier have only the second name.
const QUERY: [&str; 2] = ["query", "web_search_query"];

/// The names of the prompt for documents, in the order in which sentence-transformers looks for them.
const DOCUMENT: [&str; 3] = ["document", "passage", "corpus"];

/// The prompts of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    /// The words before a question; empty if the model needs none.
    pub query: String,
    /// The words before a document; empty if the model needs none.
    pub document: String,
}

impl Prompts {
    /// Takes the prompts from the content of `config_sentence_transformers.json`. If the file names no prompt for questions, a
    /// Qwen3 model gets the prompt of Qwen3-Embedding.
    pub(super) fn new(settings: Option<&Value>, is_qwen3: bool) -> Self {
        let prompts = settings.and_then(|settings| settings.get("prompts"));
        let prompt = |name: &str| prompts?.get(name)?.as_str();
        let default_name = settings.and_then(|settings| settings.get("default_prompt_name")?.as_str());
        let of_names = |names: &[&str]| names.iter().find_map(|name| prompt(name));
        let default = |others: &[&str]| default_name.filter(|name| !others.contains(name)).and_then(prompt);
        let of_qwen3 = || is_qwen3.then(|| instruct(RETRIEVAL));
        let query = of_names(&QUERY).or_else(|| default(&DOCUMENT)).map(str::to_owned).or_else(of_qwen3);
        let document = of_names(&DOCUMENT).or_else(|| default(&QUERY));
        Prompts { query: query.unwrap_or_default(), document: document.unwrap_or_default().to_owned() }
    }

    /// Returns the words to put before a text for an instruction of the user. The words after the instruction are those of the
    /// model's own prompt, because some models have a space more there than Qwen3-Embedding.
    pub fn with_instruction(&self, instruction: &str) -> String {
        match self
            .query
            .strip_prefix(BEFORE_INSTRUCTION)
            .and_then(|prompt| prompt.split_once(AFTER_INSTRUCTION))
        {
            Some((_, end)) => format!("{}{end}", instruct(instruction)),
            None => instruct(instruction),
        }
    }
}

/// Returns the words to put before a text for an instruction, in the form of Qwen3-Embedding.
pub fn instruct(instruction: &str) -> String {
    format!("{BEFORE_INSTRUCTION}{instruction}{AFTER_INSTRUCTION}")
}

/// Returns the instruction in a prompt; `None` if the prompt does not have the form of [`instruct`].
pub fn instruction_in(prompt: &str) -> Option<&str> {
    prompt.strip_prefix(BEFORE_INSTRUCTION)?.strip_suffix(AFTER_INSTRUCTION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(settings: Value, is_qwen3: bool) -> [String; 2] {
        let Prompts { query, document } = Prompts::new(Some(&settings), is_qwen3);
        [query, document]
    }

    #[test]
    fn prompts_are_those_of_sentence_transformers() {
        let qwen3 = instruct(RETRIEVAL);
        let e5 = json!({"prompts": {"query": "query: ", "passage": "passage: "}});
        assert_eq!(of(e5, false), ["query: ", "passage: "]);
        // A model may be trained without prompts.
        assert_eq!(of(json!({"prompts": {"query": "", "document": ""}}), true), ["", ""]);
        assert_eq!(of(json!({"prompts": {}}), true), [&qwen3, ""]);
        assert_eq!(of(json!({"prompts": null}), false), ["", ""]);
        let default = json!({"prompts": {"text": "text: "}, "default_prompt_name": "text"});
        assert_eq!(of(default, true), ["text: ", "text: "]);
        let only_query = json!({"prompts": {"query": "query: "}, "default_prompt_name": "query"});
        assert_eq!(of(only_query, false), ["query: ", ""]);
        let harrier = json!({"prompts": {"web_search_query": "Instruct: Search\nQuery: "}});
        assert_eq!(of(harrier, true), ["Instruct: Search\nQuery: ", ""]);
    }

    #[test]
    fn an_instruction_has_the_form_of_the_models_own_prompt() {
        let with = |query: &str| {
            Prompts { query: query.to_owned(), document: String::new() }.with_instruction("Find")
        };
        assert_eq!(with(""), "Instruct: Find\nQuery:");
        assert_eq!(with("Instruct: Search\nQuery:"), "Instruct: Find\nQuery:");
        assert_eq!(with("Instruct: Search\nQuery: "), "Instruct: Find\nQuery: ");
        assert_eq!(with("query: "), "Instruct: Find\nQuery:");
        assert_eq!(instruction_in("Instruct: Find\nQuery:"), Some("Find"));
        assert_eq!(instruction_in("Instruct: Find\nQuery: "), None);
        assert_eq!(instruction_in("query: "), None);
    }
}
