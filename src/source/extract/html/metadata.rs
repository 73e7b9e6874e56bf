//! Reads what a page says about itself in `title`, `meta`, `html lang` and JSON-LD.

use std::collections::HashMap;

use serde_json::Value;

use super::page::Page;
use crate::source::fields::Record;

/// Maximum size of a JSON-LD script, in bytes. A parsed value takes up to 30 times the memory of its text.
const JSON_LD_MAX: usize = 4 << 20;

/// The types of schema.org that are articles end like one of these, such as `NewsArticle`.
pub const ARTICLES: [&str; 4] = ["Article", "BlogPosting", "Report", "Review"];

/// The names of `meta` elements by field, from the most to the least specific. Dublin Core, Open Graph and Highwire Press have
/// names of their own.
const META: [(&str, &[&str]); 5] = [
    (
        "author",
        &["author", "article:author", "dc.creator", "dcterms.creator", "citation_author", "parsely-author"],
    ),
    (
        "date",
        &[
            "article:published_time",
            "date",
            "dc.date",
            "dcterms.date",
            "dcterms.created",
            "citation_publication_date",
            "parsely-pub-date",
            "last-modified",
        ],
    ),
    ("language", &["content-language", "dc.language", "dcterms.language", "og:locale"]),
    ("description", &["description", "og:description", "dc.description", "twitter:description"]),
    ("keywords", &["keywords", "news_keywords", "dc.subject"]),
];

/// Returns the title of a page: the text of the first `title` in `head`.
pub fn title(page: &Page) -> Option<String> {
    let child = |of: usize, wanted| page.children(of).find(|&at| page.name(at) == wanted);
    let title = child(child(child(0, "html")?, "head")?, "title")?;
    Some(page.raw_text(title))
}

/// Returns `title`, `author`, `date`, `language`, `description` and `keywords`, as far as the page says them.
pub fn fields(page: &Page) -> Record {
    let article = articles(page).into_iter().next().unwrap_or_default();
    let metas = metas(page);
    let meta = |names: &[&str]| names.iter().find_map(|name| metas.get(*name)).cloned();
    let of_meta = |field| META.iter().find(|(name, _)| *name == field).and_then(|(_, names)| meta(names));
    // The author of Open Graph may be the address of a profile.
    let author = of_meta("author").filter(|name| !name.contains("://"));
    let of_root =
        page.children(0).find_map(|root| page.attribute(root, "lang").map(|language| language.to_string()));
    let found = [
        (
            "title",
            title(page)
                .or_else(|| meta(&["og:title"]))
                .or_else(|| article.get("headline").and_then(words_of)),
        ),
        ("author", article.get("author").and_then(words_of).or(author)),
        ("date", article.get("datePublished").and_then(words_of).or_else(|| of_meta("date"))),
        ("language", of_root.or_else(|| of_meta("language"))),
        ("description", of_meta("description").or_else(|| article.get("description").and_then(words_of))),
        ("keywords", of_meta("keywords").or_else(|| article.get("keywords").and_then(words_of))),
    ];
    let clean = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let found = found.into_iter().filter_map(|(name, text)| Some((name.to_owned(), clean(text?))));
    found.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, Value::String(text))).collect()
}

/// Returns the longest text of an article in the JSON-LD of a page.
pub fn article_body(page: &Page) -> Option<String> {
    let body = |mut article: Record| match article.remove("articleBody")? {
        Value::String(body) => Some(body),
        _ => None,
    };
    articles(page).into_iter().filter_map(body).max_by_key(String::len)
}

/// Returns the contents of the `meta` elements by name. Of two elements with the same name, the first one counts.
fn metas(page: &Page) -> HashMap<String, String> {
    let mut metas = HashMap::new();
    for at in (0..page.len()).filter(|&at| page.name(at) == "meta") {
        let name = ["name", "property", "http-equiv"].iter().find_map(|name| page.attribute(at, name));
        if let Some((name, content)) = name.zip(page.attribute(at, "content")) {
            metas.entry(name.to_ascii_lowercase()).or_insert_with(|| content.to_string());
        }
    }
    metas
}

/// Returns the articles in the JSON-LD of a page. A script that is not valid JSON is skipped.
fn articles(page: &Page) -> Vec<Record> {
    let is_json_ld = |&at: &usize| {
        page.name(at) == "script" && page.attribute(at, "type").is_some_and(|kind| kind.contains("ld+json"))
    };
    let mut articles = Vec::new();
    for at in (0..page.len()).filter(is_json_ld) {
        let json = page.raw_text(at);
        if json.len() > JSON_LD_MAX {
            continue;
        }
        let mut left: Vec<Value> = serde_json::from_str(&json).into_iter().collect();
        while let Some(value) = left.pop() {
            match value {
                Value::Array(values) => left.extend(values.into_iter().rev()),
                Value::Object(mut object) => {
                    left.extend(object.remove("@graph"));
                    if object.contains_key("articleBody") || object.get("@type").is_some_and(is_article) {
                        articles.push(object);
                    }
                }
                _ => {}
            }
        }
    }
    articles
}

fn is_article(kind: &Value) -> bool {
    match kind {
        Value::String(kind) => ARTICLES.iter().any(|article| kind.ends_with(article)),
        Value::Array(kinds) => kinds.iter().any(|kind| {
            kind.as_str().is_some_and(|kind| ARTICLES.iter().any(|article| kind.ends_with(article)))
        }),
        _ => false,
    }
}

/// Returns a value of JSON-LD as text: a string, the name of an object, or several of them with commas between them.
fn words_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => object.get("name").and_then(Value::as_str).map(str::to_owned),
        Value::Array(values) => {
            let words =
                |value: &Value| value.as_str().or_else(|| value.get("name")?.as_str()).map(str::to_owned);
            let words: Vec<String> = values.iter().filter_map(words).collect();
            (!words.is_empty()).then(|| words.join(", "))
        }
        _ => None,
    }
}
