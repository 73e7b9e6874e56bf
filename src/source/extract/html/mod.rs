//! Extracts the text of HTML and XHTML pages. No other module uses html5ever, xml5ever or markup5ever_rcdom.

mod article;
mod labels;
mod layout;
mod measure;
mod metadata;
mod page;
mod write;

use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{NodeData, RcDom};
use memchr::memmem;

use self::measure::{Measures, letters};
use self::page::Page;
use crate::error::ContentError;
use crate::source::document::PagePart;
use crate::source::extract::Extracted;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// The namespace of XHTML.
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Maximum length of a note in `noscript` that asks the reader to turn on scripts, in letters.
const NOTE_MAX: usize = 300;

/// Returns the title and the content of a page, without scripts, styles, menus, controls and hidden elements.
///
/// # Errors
/// The page has no text, because a script writes it.
pub fn html(source: &str, part: PagePart, wants_fields: bool) -> Result<Extracted, ContentError> {
    // A page that declares itself XHTML is parsed as XHTML, even if the file extension names HTML.
    let start = &source.as_bytes()[..source.len().min(1024)];
    if source.trim_start().starts_with("<?xml") || memmem::find(start, XHTML.as_bytes()).is_some() {
        return xhtml(source, part, wants_fields);
    }
    extract(&parse(source), part, wants_fields)
}

/// Returns the text of a fragment of HTML.
pub fn fragment(source: &str) -> Structured {
    write::write(&Page::new(&parse(source).document))
}

/// Returns the content of a page in XML syntax, in which any element can be self-closing. If the elements of the page are not
/// nested as XML requires, the page is parsed as HTML.
///
/// # Errors
/// The page has no text, because a script writes it.
pub fn xhtml(source: &str, part: PagePart, wants_fields: bool) -> Result<Extracted, ContentError> {
    let dom = xml5ever::driver::parse_document(RcDom::default(), Default::default()).one(source);
    let is_html = |data: &NodeData| matches!(data, NodeData::Element { name, .. } if &*name.local == "html");
    let is_page = dom.document.children.borrow().iter().any(|child| is_html(&child.data));
    // The parser repairs wrong nesting. Only the text of an error reports the repair.
    let is_nested = !dom.errors.borrow().iter().any(|error| error.contains("match tag"));
    let dom = if is_page && is_nested { dom } else { parse(source) };
    extract(&dom, part, wants_fields)
}

fn parse(source: &str) -> RcDom {
    parse_document(RcDom::default(), ParseOpts::default()).one(source)
}

/// Returns the title of a page, followed by its content, and the fields.
fn extract(dom: &RcDom, part: PagePart, wants_fields: bool) -> Result<Extracted, ContentError> {
    let mut page = Page::new(&dom.document);
    let scripted = scripted(&page);
    let has_main =
        scripted.is_none() && part == PagePart::Article && article::leave_out_surroundings(&mut page);
    // The text that a script would show is neither.
    let part = scripted.is_none().then_some(if has_main { PagePart::Article } else { PagePart::Whole });
    let body = scripted.unwrap_or_else(|| write::write(&page));
    let has_script = || (0..page.len()).any(|at| page.name(at) == "script");
    if body.text().trim().is_empty() && has_script() {
        return Err(ContentError::Scripted);
    }
    let mut content = BlockWriter::default();
    content.block(BlockKind::Paragraph, &metadata::title(&page).unwrap_or_default());
    content.append(&body);
    let fields = if wants_fields { metadata::fields(&page) } else { Default::default() };
    Ok(Extracted { content: content.finish(), fields, part, ..Extracted::default() })
}

/// Returns the text of an article that the page does not show without its scripts: the longest one in JSON-LD, or else the longest
/// template. Returns `None` if the page shows a text of its own.
fn scripted(page: &Page) -> Option<Structured> {
    let shown = Measures::of(page).sizes[0];
    // Some pages show the beginning of an article, and JSON-LD has all of it.
    let article = metadata::article_body(page).filter(|article| letters(article) > 2 * shown.text);
    if let Some(article) = article {
        let has_markup = article.contains('<') || article.contains('&');
        return Some(if has_markup { fragment(&article) } else { Structured::plain(article) });
    }
    if shown.prose > 0 {
        return None;
    }
    let is_template = |at: usize| match page.name(at) {
        "noscript" => true,
        "script" => page.attribute(at, "type").is_some_and(|kind| {
            kind.starts_with("text/") && (kind.contains("template") || kind.contains("html"))
        }),
        _ => false,
    };
    let templates = (0..page.len()).filter(|&at| is_template(at)).map(|at| page.raw_text(at));
    // A template with placeholders is the work of a programmer, not of an author.
    let template = templates
        .filter(|template| !["{{", "<%", "${"].iter().any(|mark| template.contains(mark)))
        .max_by_key(String::len)?;
    let text = Page::new(&parse(&template).document);
    let is_note = letters(&template) <= NOTE_MAX && template.to_ascii_lowercase().contains("javascript");
    (Measures::of(&text).sizes[0].prose > 0 && !is_note).then(|| write::write(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(page: &str) -> String {
        html(page, PagePart::Article, false).unwrap().content.clean().into_text()
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
        assert_eq!(read(page), "T # Banner in");
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

    /// Returns the kind and the text of each block, as JSON.
    fn blocks(page: &str) -> Vec<(String, String)> {
        let content = html(page, PagePart::Whole, false).unwrap().content;
        let sent = serde_json::to_value(&content).unwrap();
        let blocks = sent["blocks"].as_array().unwrap();
        let starts: Vec<usize> =
            blocks.iter().map(|block| usize::try_from(block[0].as_u64().unwrap()).unwrap()).collect();
        let ends = starts.iter().copied().skip(1).chain([content.text().len()]);
        let texts = starts.iter().zip(ends).map(|(&start, end)| content.text()[start..end].trim().to_owned());
        blocks
            .iter()
            .map(|block| block[1].to_string().replace('"', ""))
            .zip(texts)
            .filter(|(_, text)| !text.is_empty())
            .collect()
    }

    #[test]
    fn blocks_are_what_they_look_like() {
        let page = "<h2>How</h2><p>one</p><ol><li>item</ol><pre><div>line 1</div><div>line 2</div></pre>\
                    <table><thead><tr><td>Part<td>Price</thead><tr><th>Mast<td>30</table>\
                    <table><tr><td>menu<td><h3>Placed</h3><p>here</p></table>\
                    <table><tr><td>a<td>b<tr><td>c<td>d</table><table role=presentation><tr><td>e<td>f</table>";
        let expected = [
            ("{Heading:2}", "## How"),
            ("Paragraph", "one"),
            ("Item", "- item"),
            ("Code", "line 1\nline 2"),
            ("TableHeader", "| Part | Price"),
            ("TableRow", "| Mast | 30"),
            ("Paragraph", "menu"),
            ("{Heading:3}", "### Placed"),
            ("Paragraph", "here"),
            ("TableRow", "| a | b"),
            ("TableRow", "| c | d"),
            ("Paragraph", "e"),
            ("Paragraph", "f"),
        ];
        let blocks = blocks(page);
        assert_eq!(
            blocks.iter().map(|(kind, text)| (kind.as_str(), text.as_str())).collect::<Vec<_>>(),
            expected
        );
    }
}
