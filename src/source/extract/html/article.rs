//! Finds the main content of a page, and leaves out what surrounds it.
//!
//! No rule here is certain, so a page says first how far the rules may go: see [`Declared`]. Every rule keeps what it has doubts
//! about. The rules and what each of them contributes are in `docs/design/reading.md`.

use std::collections::HashSet;

use super::labels::is_labelled;
use super::measure::{Measures, TextSize, is_container};
use super::metadata::ARTICLES;
use super::page::Page;

/// A page with less prose is not an article, in letters.
const ARTICLE_MIN: usize = 300;

/// What a page says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    /// The page is an article, so that lists of links in it lead to other articles.
    Article,
    /// The page belongs to a documentation, or marks its main content. Lists of links are content there, and so is everything in
    /// the main element.
    Documentation,
    Nothing,
}

/// Programs that write documentation, as the first word of `<meta name="generator">` names them.
const DOCUMENTATION: [&str; 13] = [
    "asciidoc",
    "docbook",
    "docusaurus",
    "docutils",
    "doxygen",
    "gi-docgen",
    "javadoc",
    "makeinfo",
    "mediawiki",
    "mkdocs",
    "pandoc",
    "rustdoc",
    "sphinx",
];

/// Leaves out menus, comments, related pages and all else that surrounds the main content of a page. Returns whether a main content
/// was found.
pub fn leave_out_surroundings(page: &mut Page) -> bool {
    let declared = declared(page);
    let main = main_content(page);
    leave_out_labelled(page, declared, main);
    if let Some(main) = main {
        leave_out_around(page, main);
    }
    let is_article = declared != Declared::Documentation && leave_out_by_density(page, declared);
    if is_article && declared == Declared::Article {
        leave_out_lists_of_links(page);
    }
    is_article || main.is_some()
}

fn declared(page: &Page) -> Declared {
    let mut declared = Declared::Nothing;
    for at in 0..page.len() {
        let has = |name, of: &str| page.attribute(at, name).is_some_and(|value| &*value == of);
        // The theme of Read the Docs calls each page of a documentation an article.
        if has("role", "main") && has("class", "document") {
            declared = Declared::Documentation;
            continue;
        }
        if page
            .attribute(at, "itemtype")
            .is_some_and(|kind| ARTICLES.iter().any(|article| kind.ends_with(article)))
        {
            return Declared::Article;
        }
        if page.name(at) != "meta" {
            continue;
        }
        let value =
            |name| page.attribute(at, name).map(|value| value.to_ascii_lowercase()).unwrap_or_default();
        let (property, name, content) = (value("property"), value("name"), value("content"));
        if property.starts_with("article:") || property == "og:type" && content == "article" {
            return Declared::Article;
        }
        if name == "generator" && DOCUMENTATION.iter().any(|program| content.starts_with(program)) {
            declared = Declared::Documentation;
        }
    }
    declared
}

/// Returns the element that the page marks as its main content, with the element name `main` or the role `main`. Returns `None` if
/// the page has no such element or several such elements, or if the element is nearly empty: in some pages, a script fills it.
fn main_content(page: &Page) -> Option<usize> {
    let is_main = |&at: &usize| {
        page.name(at) == "main" || page.attribute(at, "role").is_some_and(|role| &*role == "main")
    };
    let mut mains = (0..page.len()).filter(is_main);
    let main = mains.next().filter(|_| mains.next().is_none())?;
    let sizes = Measures::of(page).sizes;
    (10 * sizes[main].text > sizes[0].text).then_some(main)
}

/// Leaves out what is labelled as surroundings, unless the page would lose its content by that.
fn leave_out_labelled(page: &mut Page, declared: Declared, main: Option<usize>) {
    let Measures { sizes, held } = Measures::of(page);
    let labelled: Vec<bool> =
        (0..page.len()).map(|at| is_labelled(page, at, declared != Declared::Documentation)).collect();
    let top = densest(page, &held, &labelled);
    let holds_main = page.holding(|page, at| page.name(at) == "main");
    // In a forum, the posts have a label, and the densest node is one of them or holds them.
    let of_top: HashSet<_> =
        ancestors(page, top).filter(|&at| labelled[at]).map(|at| kind(page, at)).collect();
    let is_post =
        |page: &Page, at| labelled[top] && page.parent(at) == top || of_top.contains(&kind(page, at));
    let mut prose_left = sizes[0].prose;
    let mut at = 0;
    while at < page.len() {
        if matches!(page.name(at), "pre" | "code") || main == Some(at) && declared == Declared::Documentation
        {
            at = page.end(at);
            continue;
        }
        let TextSize { prose, .. } = sizes[at];
        let holds_top = (at..page.end(at)).contains(&top);
        let is_page = 10 * prose_left.saturating_sub(prose) < sizes[0].prose;
        if labelled[at] && !holds_top && !holds_main[at] && !is_page && !is_post(page, at) {
            prose_left = prose_left.saturating_sub(prose);
            page.leave_out(at);
        }
        at = if page.is_left_out(at) { page.end(at) } else { at + 1 };
    }
}

/// Returns a node and its ancestors, without the root.
fn ancestors(page: &Page, at: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(at), |&at| Some(page.parent(at))).take_while(|&at| at != 0)
}

/// Returns the name and the first class of an element.
fn kind(page: &Page, at: usize) -> (String, Option<String>) {
    let class = page.attribute(at, "class");
    let first = class.and_then(|class| class.split_ascii_whitespace().next().map(str::to_owned));
    (page.name(at).to_owned(), first)
}

/// Returns the node that holds most prose: the body of an article, if the page has one. Prose in or near something labelled counts
/// a quarter.
fn densest(page: &Page, held: &[usize], labelled: &[bool]) -> usize {
    let weight = |&at: &usize| {
        let (parent, grandparent) = (page.parent(at), page.parent(page.parent(at)));
        held[at] / if labelled[at] || labelled[parent] || labelled[grandparent] { 4 } else { 1 }
    };
    // Of several nodes with the same weight, this is the first one.
    (0..page.len()).rev().max_by_key(weight).unwrap_or(0)
}

/// Leaves out everything around the main element but its headline: some pages have the headline and the lead before it.
fn leave_out_around(page: &mut Page, main: usize) {
    let holds_headline = page.holding(|page, at| page.name(at) == "h1");
    let mut on = main;
    while on != 0 {
        for sibling in siblings(page, on).collect::<Vec<_>>() {
            if sibling > on || holds_headline[main] || !holds_headline[sibling] {
                page.leave_out(sibling);
            }
        }
        on = page.parent(on);
    }
}

/// Goes from the densest node up to the root and leaves out the siblings that are no content. Returns whether the page is an
/// article. If most prose is elsewhere, it is not, and nothing is left out.
fn leave_out_by_density(page: &mut Page, declared: Declared) -> bool {
    let Measures { sizes, held } = Measures::of(page);
    if sizes[0].prose < ARTICLE_MIN {
        return false;
    }
    let top = densest(page, &held, &vec![false; page.len()]);
    let holds_headline = page.holding(|page, at| page.name(at) == "h1");
    let is_in_article = page.inside(|page, at| page.name(at) == "article");
    let choice = Choice { page, sizes: &sizes, declared, top, holds_headline, is_in_article };
    let (mut kept, mut left_out) = (sizes[top].prose, Vec::new());
    let mut on = top;
    while on != 0 {
        let (content, others) = choice.among_siblings(on);
        kept += content.iter().map(|&at| sizes[at].prose).sum::<usize>();
        left_out.extend(others);
        on = page.parent(on);
    }
    if 2 * kept < sizes[0].prose {
        return false;
    }
    for at in left_out {
        page.leave_out(at);
    }
    true
}

/// Decides which siblings of the densest node and of its ancestors are content.
struct Choice<'a> {
    page: &'a Page,
    sizes: &'a [TextSize],
    declared: Declared,
    top: usize,
    holds_headline: Vec<bool>,
    is_in_article: Vec<bool>,
}

impl Choice<'_> {
    /// Splits the siblings of a node into content and surroundings.
    fn among_siblings(&self, on: usize) -> (Vec<usize>, Vec<usize>) {
        let has_text = |&at: &usize| !self.page.is_left_out(at) && self.sizes[at].text > 0;
        let siblings: Vec<usize> = siblings(self.page, on).filter(has_text).collect();
        let flow = siblings.iter().filter(|&&at| self.is_flow(at)).map(|&at| self.sizes[at].prose).sum();
        let is_content: Vec<bool> = siblings.iter().map(|&at| self.is_content(at, on, flow)).collect();
        let is_part =
            |(&at, &is_content): (&usize, &bool)| (is_content && self.sizes[at].prose > 0).then_some(at);
        let parts = || siblings.iter().zip(&is_content).filter_map(is_part).chain([on]);
        let (first, last) = (parts().min().unwrap_or(on), parts().max().unwrap_or(on));
        let mut is_content = is_content.iter();
        // What stands between two parts of an article belongs to it.
        siblings.iter().partition(|&&at| {
            is_content.next() == Some(&true) || (first..last).contains(&at) && !self.is_list_of_links(at)
        })
    }

    /// Returns whether a sibling of a node is content. `flow` is the prose of the siblings that are text of their parent.
    fn is_content(&self, at: usize, on: usize, flow: usize) -> bool {
        let (size, beside) = (self.sizes[at], self.sizes[on]);
        if self.holds_headline[at] && !self.holds_headline[on] {
            return true;
        }
        let is_unsaid = self.declared == Declared::Nothing;
        if self.is_list_of_links(at) {
            // The items of a list of changes may be links.
            return is_unsaid && self.page.name(at) == "li" && self.page.is_alike(at, on);
        }
        is_unsaid
            || on == self.top
            || matches!(self.page.name(at), "h2" | "h3")
            || self.page.is_alike(at, on)
            || if self.is_in_article[at] {
                size.is_prose()
            } else if self.is_flow(at) {
                5 * flow > beside.prose
            } else {
                size.is_prose() && 5 * size.prose > beside.prose
            }
    }

    /// Returns whether a node is text rather than a container of blocks.
    fn is_flow(&self, at: usize) -> bool {
        !is_container(self.page.name(at)) && !matches!(self.page.name(at), "ul" | "ol")
    }

    fn is_list_of_links(&self, at: usize) -> bool {
        let size = self.sizes[at];
        size.is_linked() && size.links >= 3 && self.page.name(at) != "p" || size.is_teasers()
    }
}

/// Leaves out lists of links in an article, and their titles. They lead to other articles.
fn leave_out_lists_of_links(page: &mut Page) {
    let Measures { sizes, .. } = Measures::of(page);
    let holds_headline = page.holding(|page, at| page.name(at) == "h1");
    let mut at = 0;
    while at < page.len() {
        let size = sizes[at];
        let is_list = match page.name(at) {
            "aside" | "div" | "dl" | "form" | "ol" | "section" | "table" | "ul" => {
                size.links >= 2 && size.is_linked() || size.is_teasers()
            }
            "p" => size.text > 20 && size.text == size.linked,
            _ => false,
        };
        if is_list && size.text > 0 && 3 * size.prose < sizes[0].prose && !holds_headline[at] {
            page.leave_out(at);
        }
        at = if page.is_left_out(at) { page.end(at) } else { at + 1 };
    }
    leave_out_titles_without_text(page, &sizes);
}

/// Leaves out the titles of what was left out. `sizes` are those before that.
fn leave_out_titles_without_text(page: &mut Page, sizes: &[TextSize]) {
    let mut at = 0;
    while at < page.len() {
        if is_title(page, at)
            && sizes[at].text > 0
            && !page.is_left_out(at)
            && has_lost_its_text(page, at, sizes)
        {
            page.leave_out(at);
        }
        at = if page.is_left_out(at) { page.end(at) } else { at + 1 };
    }
}

fn is_title(page: &Page, at: usize) -> bool {
    matches!(page.name(at), "h2" | "h3" | "h4" | "h5" | "h6")
}

/// Returns whether all that stood between a title and the next one was left out.
fn has_lost_its_text(page: &Page, title: usize, sizes: &[TextSize]) -> bool {
    let mut following =
        page.children_from(page.end(title), page.parent(title)).filter(|&at| sizes[at].text > 0);
    if !following.next().is_some_and(|at| page.is_left_out(at)) {
        return false;
    }
    let next = following.find(|&at| !page.is_left_out(at));
    next.is_none_or(|next| is_title(page, next) && page.name(next) <= page.name(title))
}

/// Returns the other children of the parent of a node.
fn siblings(page: &Page, of: usize) -> impl Iterator<Item = usize> {
    page.children(page.parent(of)).filter(move |&at| at != of)
}
