//! Extracts the text of HTML and XHTML pages. No other module uses html5ever, xml5ever or markup5ever_rcdom.

use html5ever::tendril::TendrilSink;
use html5ever::{Attribute, ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use memchr::memmem;

use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Elements that are skipped, because a person does not read their text on the page: code, menus, controls, pronunciations
/// (`rt`), sources of formulas.
const SKIPPED: [&str; 19] = [
    "script",
    "style",
    "noscript",
    "noframes",
    "noembed",
    "template",
    "head",
    "svg",
    "iframe",
    "object",
    "nav",
    "menu",
    "select",
    "textarea",
    "datalist",
    "rt",
    "rp",
    "annotation",
    "annotation-xml",
];

/// An element with one of these values of the attribute `role` is a menu or a control, and is skipped.
const SKIPPED_ROLES: [&str; 5] = ["navigation", "menu", "menubar", "search", "toolbar"];

/// Elements with a line break before and after the element, according to the rendering section of the HTML standard
/// (<https://html.spec.whatwg.org/#flow-content-3>).
#[rustfmt::skip]
const BLOCKS: [&str; 32] = [
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog",
    "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr",
    "legend", "main", "ol", "p", "search", "section", "summary", "table", "tbody", "ul",
];

/// The namespace of XHTML.
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// If a button is inside one of these elements, the text of the button is kept. In a list of questions, each question may
/// be a button that shows the answer.
const TITLES: [&str; 8] = ["h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary"];

/// Returns the title and the main content of a page, without scripts, styles, menus, controls and hidden elements.
///
/// If a page has no main element, the whole body is returned. Headings, list items and table cells are marked as in
/// Markdown. An image is replaced by its alternative text.
pub fn html(source: &str) -> Structured {
    // A page that declares itself XHTML is parsed as XHTML, even if the file extension names HTML.
    let start = &source.as_bytes()[..source.len().min(1024)];
    if source.trim_start().starts_with("<?xml") || memmem::find(start, XHTML.as_bytes()).is_some() {
        return xhtml(source);
    }
    text(&parse(source))
}

/// Returns the text of a fragment of HTML.
pub fn fragment(source: &str) -> Structured {
    text_of(&parse(source).document)
}

/// Returns the text of a page in XML syntax, in which any element can be self-closing. If the elements of the page are not
/// nested as XML requires, the page is parsed as HTML.
pub fn xhtml(source: &str) -> Structured {
    let dom = xml5ever::driver::parse_document(RcDom::default(), Default::default()).one(source);
    let is_page = child(&dom.document, "html").is_some();
    // The parser repairs wrong nesting. Only the text of an error reports the repair.
    let is_nested = !dom.errors.borrow().iter().any(|error| error.contains("match tag"));
    if is_page && is_nested {
        return text(&dom);
    }
    text(&parse(source))
}

fn parse(source: &str) -> RcDom {
    parse_document(RcDom::default(), ParseOpts::default()).one(source)
}

/// Returns the title, followed by the main content or the body.
fn text(dom: &RcDom) -> Structured {
    let body = text_of(&dom.document);
    let main = main_content(&dom.document).map(|element| text_of(&element));
    // In some pages, a script fills the main element when the page is shown. Without the script, the main element is nearly
    // empty, and the text is elsewhere in the body.
    let is_filled = |main: &Structured| 10 * main.text().trim().len() > body.text().trim().len();
    let mut text = BlockWriter::default();
    text.block(BlockKind::Paragraph, &title(&dom.document).unwrap_or_default());
    text.append(&main.filter(is_filled).unwrap_or(body));
    text.finish()
}

/// Returns the element that the page marks as its main content, with the element name `main` or the role `main`. The text
/// outside of this element is banners, key bindings and similar text. Returns `None` if the page has no such element or
/// several such elements.
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

/// A step of the traversal. An explicit stack is needed because trees can be deeper than the call stack allows.
enum HtmlStep {
    /// Visit a node. The flag says whether the node is inside one of [`TITLES`].
    Visit(Handle, bool),
    Write(&'static str),
    Boundary,
    EndRow,
}

fn text_of(root: &Handle) -> Structured {
    let mut text = BlockWriter::default();
    let mut steps = vec![HtmlStep::Visit(root.clone(), false)];
    while let Some(step) = steps.pop() {
        let (node, in_title) = match step {
            HtmlStep::Visit(node, in_title) => (node, in_title),
            HtmlStep::Write(part) => {
                text.push_str(part);
                continue;
            }
            HtmlStep::Boundary => {
                text.boundary();
                continue;
            }
            HtmlStep::EndRow => {
                text.end();
                continue;
            }
        };
        match &node.data {
            NodeData::Text { contents } => text.push_str(&contents.borrow()),
            NodeData::Element { name, attrs, .. } => {
                let attributes = attrs.borrow();
                let is_button = &*name.local == "button";
                match &*name.local {
                    local if is_left_out(local, &attributes) || is_button && !in_title => continue,
                    // Some pages are hidden as a whole until a script shows them, or while a dialogue is open. Therefore an
                    // element that contains the content of the page is kept even if it is hidden.
                    local if is_hidden(&attributes) && local != "body" && !holds_page(&node) => continue,
                    local => steps.extend(begin(local, &attributes, &node, &mut text)),
                }
                push_children(&node, in_title || TITLES.contains(&&*name.local), &mut steps);
            }
            NodeData::Document => push_children(&node, false, &mut steps),
            _ => {}
        }
    }
    text.finish()
}

/// Writes the start of an element. Returns the step that ends it.
fn begin(name: &str, attributes: &[Attribute], node: &Handle, text: &mut BlockWriter) -> Option<HtmlStep> {
    if let Some(level @ 1..=6) = name.strip_prefix('h').and_then(|level| level.parse().ok()) {
        text.heading(level);
        return Some(HtmlStep::Boundary);
    }
    match name {
        "li" => text.begin(BlockKind::Item, "- "),
        "pre" | "listing" | "xmp" | "plaintext" => text.begin(BlockKind::Code, ""),
        "tr" => {
            let is_header = child(node, "th").is_some() && child(node, "td").is_none();
            text.begin(if is_header { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
            return Some(HtmlStep::EndRow);
        }
        "td" | "th" => {
            text.push_str("| ");
            return Some(HtmlStep::Write(" "));
        }
        "br" => text.push_str("\n"),
        "img" => text.push_str(attribute(attributes, "alt").unwrap_or_default()),
        name if BLOCKS.contains(&name) => text.boundary(),
        _ => return None,
    }
    (!matches!(name, "br" | "img")).then_some(HtmlStep::Boundary)
}

/// Returns whether an element contains the content of the page. Such an element is a `main`, `article` or `h1`, or contains
/// one of these elements.
fn holds_page(node: &Handle) -> bool {
    let mut left = vec![node.clone()];
    while let Some(node) = left.pop() {
        if matches!(&node.data, NodeData::Element { name, .. } if matches!(&*name.local, "main" | "article" | "h1"))
        {
            return true;
        }
        left.extend(node.children.borrow().iter().cloned());
    }
    false
}

fn push_children(node: &Handle, in_title: bool, steps: &mut Vec<HtmlStep>) {
    steps.extend(node.children.borrow().iter().rev().map(|child| HtmlStep::Visit(child.clone(), in_title)));
}

fn is_left_out(name: &str, attributes: &[Attribute]) -> bool {
    SKIPPED.contains(&name) || attribute(attributes, "role").is_some_and(|role| SKIPPED_ROLES.contains(&role))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    let attribute = |name| attribute(attributes, name);
    // A hidden panel is not skipped, because a person reads the content of the panel after a click on a tab or switch.
    let is_panel = matches!(attribute("role"), Some("tabpanel" | "region"));
    attribute("aria-hidden") == Some("true")
        || attribute("hidden").is_some() && !is_panel
        || attribute("style").is_some_and(|style| style.replace(' ', "").contains("display:none"))
            && !is_panel
}

fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
}

/// Returns the text of the first `title` in `head`.
fn title(document: &Handle) -> Option<String> {
    let title = child(&child(&child(document, "html")?, "head")?, "title")?;
    Some(title.children.borrow().iter().map(|part| text_of(part).text().to_owned()).collect())
}

/// Returns the first child with this name.
fn child(node: &Handle, wanted: &str) -> Option<Handle> {
    let is_wanted =
        |child: &&Handle| matches!(&child.data, NodeData::Element { name, .. } if &*name.local == wanted);
    node.children.borrow().iter().find(is_wanted).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(page: &str) -> String {
        html(page).clean().text().to_owned()
    }

    #[test]
    fn what_a_person_reads_stays() {
        let page = "<!DOCTYPE html><html><head><title>Returns &amp; refunds</title><style>p{}</style></head><body>\
                    <nav><a href='/'>Home</a></nav><div role='menu'>File</div><script>let x = '<p>';</script>\
                    <h2>How</h2><p>Send it <b>ba</b>ck<br>within <a href='x'>30 days</a>.</p>\
                    <ul><li>one<li>two</ul><table><tr><th>a<td>b</table>\
                    <p hidden>gone<p style='color:red; display: none'>gone<p>Caf&eacute; <ruby>今<rp>(<rt>jin</ruby>&#22825;<img src='d.png' alt='a door'></p><!-- gone --></body></html>";
        let expected =
            "Returns & refunds ## How Send it back within 30 days. - one - two | a | b Café 今天a door";
        assert_eq!(read(page), expected);
        let page = "<title>T</title><h1>Banner</h1><div role=main><p>in</div><p>out";
        assert_eq!(read(page), "T in");
        assert_eq!(read("<main>one</main><main>two</main>"), "one two");
        assert_eq!(read("<main> </main><p>all there is"), "all there is");
        assert_eq!(read("just text"), "just text");
        assert_eq!(read("<body hidden><p>shown by a script</p></body>"), "shown by a script");
        let page = "<h2><button>How?</button></h2><div role=region hidden>So.</div><button>Send</button>\
                    <div aria-hidden=true><h1>Behind a dialogue</h1></div><i aria-hidden=true>x</i>";
        assert_eq!(read(page), "## How? So. # Behind a dialogue");
        assert_eq!(read(""), "");
    }

    #[test]
    fn elements_of_xhtml_end_in_themselves() {
        let page = "<?xml version='1.0'?><!DOCTYPE html><html xmlns='http://www.w3.org/1999/xhtml'><head><title>A &amp; B</title>\
                    <script src='x.js'/></head><body><a id='top'/><p>one&#160;two<br/>three</p><p><![CDATA[4 < 5]]></p></body></html>";
        assert_eq!(read(page), "A & B one two three 4 < 5");
        for soup in [
            "<?xml version='1.0'?><html><head><title>T</title></head><body><img src=l.png alt=Logo><p>All</body></html>",
            "<?xml version='1.0'?><HTML><STYLE>p {}</STYLE><TITLE>T</TITLE><BODY><IMG ALT=Logo><P>All</BODY></HTML>",
        ] {
            assert!(read(soup).ends_with("Logo All"), "{}", read(soup));
        }
    }
}
