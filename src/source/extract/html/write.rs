//! Writes what is not left out of a page as blocks.

use super::layout::layout_tables;
use super::page::Page;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// How an element ends.
enum HtmlEnd {
    Boundary,
    Row,
    Cell,
}

/// Returns the text of a page. Headings, list items and table cells are marked as in Markdown. An image is replaced by its
/// alternative text, unless that is the name of a file.
pub fn write(page: &Page) -> Structured {
    let is_in_layout = layout_tables(page);
    let mut text = BlockWriter::default();
    let mut open: Vec<(usize, HtmlEnd)> = Vec::new();
    let (mut at, mut code_end) = (0, 0);
    while at < page.len() {
        while let Some((_, end)) = open.pop_if(|(end, _)| *end <= at) {
            end_element(end, &mut text);
        }
        if page.is_left_out(at) {
            if page.is_block(at) {
                text.boundary();
            }
            at = page.end(at);
            continue;
        }
        if let Some(contents) = page.text(at) {
            text.push_str(&contents);
        } else if at < code_end && page.is_block(at) {
            // The lines of code may be elements. They are one block.
            text.push_str("\n");
        } else {
            if page.name(at) == "pre" {
                code_end = page.end(at);
            }
            open.extend(begin(page, at, is_in_layout[at], &mut text).map(|end| (page.end(at), end)));
        }
        at += 1;
    }
    while let Some((_, end)) = open.pop() {
        end_element(end, &mut text);
    }
    text.finish()
}

fn end_element(end: HtmlEnd, text: &mut BlockWriter) {
    match end {
        HtmlEnd::Boundary => text.boundary(),
        HtmlEnd::Row => text.end(),
        HtmlEnd::Cell => text.push_str(" "),
    }
}

/// Writes the start of an element. Returns how the element ends.
fn begin(page: &Page, at: usize, is_in_layout: bool, text: &mut BlockWriter) -> Option<HtmlEnd> {
    let name = page.name(at);
    if let Some(level @ 1..=6) = name.strip_prefix('h').and_then(|level| level.parse().ok()) {
        text.heading(level);
        return Some(HtmlEnd::Boundary);
    }
    match name {
        "li" => text.begin(BlockKind::Item, "- "),
        "pre" | "listing" | "xmp" | "plaintext" => text.begin(BlockKind::Code, ""),
        "tr" | "td" | "th" if is_in_layout => text.boundary(),
        "tr" => {
            text.begin(if is_header(page, at) { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
            return Some(HtmlEnd::Row);
        }
        "td" | "th" => {
            text.push_str("| ");
            return Some(HtmlEnd::Cell);
        }
        "br" => text.push_str("\n"),
        "img" => text
            .push_str(page.attribute(at, "alt").as_deref().filter(|alt| !is_file(alt)).unwrap_or_default()),
        _ if page.is_block(at) => text.boundary(),
        _ => return None,
    }
    (!matches!(name, "br" | "img")).then_some(HtmlEnd::Boundary)
}

/// Returns whether an alternative text is the name of a file, which a program put there.
fn is_file(alternative: &str) -> bool {
    const EXTENSIONS: [&str; 6] = ["gif", "jpeg", "jpg", "png", "svg", "webp"];
    let extension = alternative.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// Returns whether the cells of a row are the names of columns.
fn is_header(page: &Page, row: usize) -> bool {
    let has = |wanted| page.children(row).any(|child| page.name(child) == wanted);
    page.name(page.parent(row)) == "thead" || has("th") && !has("td")
}
