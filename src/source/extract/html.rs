//! HTML in, its text out (the only user of html5ever).

use encoding_rs::Encoding;
use html5ever::tendril::TendrilSink;
use html5ever::{Attribute, ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use memchr::memmem;

/// Elements whose text is no part of what a person reads of a page: code, menus, controls.
const SKIPPED: [&str; 14] = [
    "script", "style", "noscript", "template", "head", "svg", "iframe", "object", "nav", "menu", "button",
    "select", "textarea", "datalist",
];

/// Roles that make a menu of any element.
const SKIPPED_ROLES: [&str; 5] = ["navigation", "menu", "menubar", "search", "toolbar"];

/// Elements that part what is before and behind them.
const BLOCKS: [&str; 31] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "caption",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "legend",
    "main",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tr",
    "ul",
    "body",
    "option",
];

/// Title and main content (the body, where no element says that it is that), without scripts, styles, menus,
/// controls and what is hidden. Headings, list items and table cells are marked as in Markdown, the
/// alternative text stands for an image.
pub fn html(source: &str) -> String {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(source);
    let mut text = title(&dom.document).unwrap_or_default();
    text.push('\n');
    let title_bytes = text.len();
    if let Some(main) = main_content(&dom.document) {
        write_text(&main, &mut text);
    }
    // A script may fill an empty one when the page is shown.
    if text[title_bytes..].trim().is_empty() {
        write_text(&dom.document, &mut text);
    }
    text
}

/// The one element that is the page's main content by name or role: around it stand banners, key bindings
/// and the like. Where there are several, none is.
fn main_content(document: &Handle) -> Option<Handle> {
    let mut found = None;
    let mut left = vec![document.clone()];
    while let Some(node) = left.pop() {
        left.extend(node.children.borrow().iter().cloned());
        let NodeData::Element { name, attrs, .. } = &node.data else { continue };
        let is_main = &*name.local == "main" || attribute(&attrs.borrow(), "role") == Some("main");
        if is_main && found.replace(node.clone()).is_some() {
            return None;
        }
    }
    found
}

/// The encoding that a page declares in its first kilobyte, as browsers look for it.
pub fn declared_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    const CHARSET: &[u8] = b"charset=";
    let start = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    let behind = &start[memmem::find(&start, CHARSET)? + CHARSET.len()..];
    let behind = behind.strip_prefix(b"\"").or(behind.strip_prefix(b"'")).unwrap_or(behind);
    Encoding::for_label(behind.split(|byte| !byte.is_ascii_alphanumeric() && !b"-_:".contains(byte)).next()?)
}

/// What is left to do at some depth: trees can be deeper than a stack of calls.
enum Step {
    Visit(Handle),
    Write(&'static str),
}

fn write_text(root: &Handle, text: &mut String) {
    let mut steps = vec![Step::Visit(root.clone())];
    while let Some(step) = steps.pop() {
        let node = match step {
            Step::Write(part) => {
                text.push_str(part);
                continue;
            }
            Step::Visit(node) => node,
        };
        match &node.data {
            NodeData::Text { contents } => text.push_str(&contents.borrow()),
            NodeData::Element { name, attrs, .. } => {
                let (before, after) = match &*name.local {
                    local if is_skipped(local, &attrs.borrow()) => continue,
                    "h1" => ("\n# ", "\n"),
                    "h2" => ("\n## ", "\n"),
                    "h3" => ("\n### ", "\n"),
                    "h4" => ("\n#### ", "\n"),
                    "h5" => ("\n##### ", "\n"),
                    "h6" => ("\n###### ", "\n"),
                    "li" => ("\n- ", "\n"),
                    "td" | "th" => ("| ", " "),
                    "img" => {
                        text.push_str(attribute(&attrs.borrow(), "alt").unwrap_or_default());
                        continue;
                    }
                    local if BLOCKS.contains(&local) => ("\n", "\n"),
                    _ => ("", ""),
                };
                text.push_str(before);
                steps.push(Step::Write(after));
                push_children(&node, &mut steps);
            }
            NodeData::Document => push_children(&node, &mut steps),
            _ => {}
        }
    }
}

fn push_children(node: &Handle, steps: &mut Vec<Step>) {
    steps.extend(node.children.borrow().iter().rev().cloned().map(Step::Visit));
}

fn is_skipped(name: &str, attributes: &[Attribute]) -> bool {
    SKIPPED.contains(&name)
        || attribute(attributes, "hidden").is_some()
        || attribute(attributes, "aria-hidden") == Some("true")
        || attribute(attributes, "role").is_some_and(|role| SKIPPED_ROLES.contains(&role))
}

fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

/// The text of the first `title`, which stands in `head`.
fn title(document: &Handle) -> Option<String> {
    let child = |node: &Handle, wanted: &str| {
        let children = node.children.borrow();
        let is_wanted =
            |child: &&Handle| matches!(&child.data, NodeData::Element { name, .. } if &*name.local == wanted);
        children.iter().find(is_wanted).cloned()
    };
    let title = child(&child(&child(document, "html")?, "head")?, "title")?;
    let mut text = String::new();
    write_text(title.children.borrow().first()?, &mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::clean;

    #[test]
    fn what_a_person_reads_stays() {
        let page = "<!DOCTYPE html><html><head><title>Returns &amp; refunds</title><style>p{}</style></head><body>\
                    <nav><a href='/'>Home</a></nav><div role='menu'>File</div><script>let x = '<p>';</script>\
                    <h2>How</h2><p>Send it <b>ba</b>ck<br>within <a href='x'>30 days</a>.</p>\
                    <ul><li>one<li>two</ul><table><tr><th>a<td>b</table>\
                    <p hidden>gone<p>Caf&eacute; &#20170;天<img src='d.png' alt='a door'></p><!-- gone --></body></html>";
        let expected =
            "Returns & refunds ## How Send it back within 30 days. - one - two | a | b Café 今天a door";
        assert_eq!(clean(&html(page)), expected);
        let page = "<title>T</title><h1>Banner</h1><div role=main><p>in</div><p>out";
        assert_eq!(clean(&html(page)), "T in");
        assert_eq!(clean(&html("<main>one</main><main>two</main>")), "one two");
        assert_eq!(clean(&html("<main> </main><p>all there is")), "all there is");
        assert_eq!(clean(&html("just text")), "just text");
        assert_eq!(clean(&html("")), "");
    }

    #[test]
    fn the_declared_encoding_is_found_in_both_forms() {
        let declared = |page: &str| declared_encoding(page.as_bytes()).map(Encoding::name);
        assert_eq!(declared("<meta charset=\"GB2312\">"), Some("GBK"));
        assert_eq!(declared("<META http-equiv=x content='text/html; Charset=shift_jis'>"), Some("Shift_JIS"));
        assert_eq!(declared("<meta charset=nonsense>"), None);
        assert_eq!(declared("<p>no charset"), None);
    }

    #[test]
    fn hostile_html_is_read_in_linear_time_at_any_depth() {
        for pattern in
            ["<div>", "<b>", "<p><table>", "<a href=", "<!--", "</p>", "<svg><p>", "&", "<select><option>"]
        {
            html(&pattern.repeat(40_000 / pattern.len()));
        }
    }
}
