//! Every message of the program in one list, so that a change of wording shows in a review.
//!
//! The list is taken from the string literals of the source: `{}` stands for what a run puts there. `screens` and `help` show
//! some of them as a person sees them.

use std::collections::BTreeMap;
use std::fs;

use regex::Regex;
use walkdir::WalkDir;

/// A literal is a message where it has at least two words.
const TWO_WORDS: &str = r"[a-z]{2,}.*\s.*[a-z]{2,}";

/// Returns the messages of a file, in their order.
fn messages(code: &str) -> Vec<String> {
    let literal = Regex::new(r#""((?:[^"\\]|\\(?s:.))*)""#).unwrap();
    let continued = Regex::new(r"\\\n\s*").unwrap();
    let words = Regex::new(TWO_WORDS).unwrap();
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: Vec<&str> = code.lines().filter(is_code).collect();
    // A quote as a character begins no literal.
    let code = code.join("\n").replace("'\"'", "' '").replace("b'\"'", "' '");
    let found = literal.captures_iter(&code).map(|found| continued.replace_all(&found[1], "").into_owned());
    found.filter(|text| words.is_match(text)).collect()
}

#[test]
fn messages_are_worded_as_reviewed() {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new("src") {
        let path = entry.unwrap().into_path();
        // What clap prints is in the snapshots of `help`.
        if path.extension().is_some_and(|end| end == "rs")
            && !path.starts_with("src/cli")
            && !path.ends_with("tests.rs")
        {
            files.insert(path.clone(), messages(&fs::read_to_string(path).unwrap()));
        }
    }
    let mut list = String::new();
    for (path, messages) in files.iter().filter(|(_, messages)| !messages.is_empty()) {
        list += &format!("{}\n", path.display());
        list.extend(messages.iter().map(|message| format!("    {message}\n")));
    }
    insta::assert_snapshot!(list);
}
