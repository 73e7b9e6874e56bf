//! Tells from the names in `class` and `id` that an element surrounds an article, such as a list of related pages.

use super::page::Page;

/// Words that begin like one of these name surroundings. The list has the words that content management systems use, whatever
/// the language of the page.
#[rustfmt::skip]
const STEMS: [&str; 30] = [
    "advert", "banner", "breadcrumb", "comment", "consent", "cookie", "disqus", "footer", "gdpr", "login",
    "masthead", "menu", "modal", "navbar", "navigation", "newsletter", "overlay", "pager", "pagination", "popup", "promo",
    "recommend", "related", "respond", "share", "sharing", "signup", "social", "sponsored", "subscri",
];

/// Words that name surroundings only if they are the whole word.
const WORDS: [&str; 9] = ["ad", "ads", "nav", "sidebar", "sidebars", "tagcloud", "tags", "toolbar", "widget"];

/// Words that name who wrote a page. The title page of a manual has the same names.
const CREDITS: [&str; 3] = ["author", "byline", "copyright"];

/// A name that begins with one of these words tells a state or a topic, such as `has-sidebar` or `category-social`.
const STATES: [&str; 8] = ["category", "has", "is", "js", "no", "tag", "with", "without"];

/// An element with one of these words in another of its names holds the article, such as `class="article-body has-menu"`.
const CONTENT: [&str; 7] = ["article", "body", "content", "entry", "main", "story", "text"];

/// An element with one of these words is content that another site provides, such as `class="social-embed"`.
const EMBEDDED: [&str; 2] = ["embed", "tweet"];

/// Maximum number of words in a name. Longer names are headings that became the id of a section.
const WORDS_MAX: usize = 4;

/// Maximum length of a name, in bytes. Longer names are made by programs.
const NAME_MAX: usize = 100;

/// Elements that a label may leave out. Others, such as table rows and terms of a list, are parts of a whole.
const LABELLED: [&str; 9] = ["aside", "div", "footer", "form", "header", "ol", "p", "section", "ul"];

/// Returns whether the names of an element say that it surrounds the article. A footer needs no name. `with_credits` says whether
/// the names of authors surround an article too.
pub fn is_labelled(page: &Page, at: usize, with_credits: bool) -> bool {
    let element = page.name(at);
    if !LABELLED.contains(&element) {
        return false;
    }
    // The footer of a quotation names its author.
    let mut is_labelled = element == "footer" && page.name(page.parent(at)) != "blockquote";
    // The id of a section of a document is its heading.
    let is_section = element == "section" || page.attribute(at, "class").as_deref() == Some("section");
    for attribute in if is_section { &["class"][..] } else { &["class", "id"] } {
        let Some(names) = page.attribute(at, attribute) else { continue };
        let is_usable = |name: &&str| {
            // The id of a function in a manual has its name.
            let is_of_function = *attribute == "id" && name.contains('-') && name.contains('_');
            name.len() <= NAME_MAX && !is_of_function
        };
        for name in names.split_ascii_whitespace().filter(is_usable) {
            let words = words(name);
            let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
            let is_label = has(&WORDS)
                || with_credits && has(&CREDITS)
                || words.iter().any(|word| STEMS.iter().any(|stem| word.starts_with(stem)));
            if has(&EMBEDDED) || !is_label && element != "footer" && has(&CONTENT) {
                return false;
            }
            let is_state = words.first().is_some_and(|first| STATES.contains(&first.as_str()));
            is_labelled |= is_label && !is_state && words.len() <= WORDS_MAX;
        }
    }
    is_labelled
}

/// Returns the words of a name in lower case, without numbers: `relatedPosts` and `related-posts2` are `related` and `posts`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphabetic() || c.is_uppercase() && was_lower {
            words.push(String::new());
        }
        was_lower = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
