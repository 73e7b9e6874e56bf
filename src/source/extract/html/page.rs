//! The visible nodes of a page, in one flat list. Work on a list needs no recursion, so a deep page cannot overflow the stack.

use std::cell::{Ref, RefCell};

use html5ever::tendril::StrTendril;
use markup5ever_rcdom::{Handle, NodeData};

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

/// If a button is inside one of these elements, the text of the button is kept. In a list of questions, each question may
/// be a button that shows the answer.
const TITLES: [&str; 8] = ["h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary"];

/// Elements with a line break before and after the element, according to the rendering section of the HTML standard
/// (<https://html.spec.whatwg.org/#flow-content-3>).
#[rustfmt::skip]
const BLOCKS: [&str; 46] = [
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog",
    "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hgroup", "hr", "legend", "li", "listing", "main", "ol", "p", "plaintext", "pre", "search", "section", "summary",
    "table", "tbody", "td", "th", "tr", "ul", "xmp",
];

/// The nodes of a page in the order of the page. Node 0 is the root. A node is followed by its descendants.
pub struct Page {
    nodes: Vec<Node>,
}

struct Node {
    handle: Handle,
    parent: usize,
    /// The index after the last descendant.
    end: usize,
    /// A person does not see the node and its descendants, or they are not part of what is wanted.
    is_left_out: bool,
}

impl Page {
    /// Lists a node and its descendants, and leaves out what a person does not read on the page.
    pub fn new(root: &Handle) -> Page {
        let mut nodes: Vec<Node> = Vec::new();
        let mut left = vec![(root.clone(), 0)];
        while let Some((handle, parent)) = left.pop() {
            let at = nodes.len();
            left.extend(handle.children.borrow().iter().rev().map(|child| (child.clone(), at)));
            nodes.push(Node { handle, parent, end: at + 1, is_left_out: false });
        }
        for at in (1..nodes.len()).rev() {
            let Node { parent, end, .. } = nodes[at];
            nodes[parent].end = nodes[parent].end.max(end);
        }
        let mut page = Page { nodes };
        page.leave_out_unseen();
        page
    }

    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the name of an element, or an empty name for any other node.
    pub fn name(&self, at: usize) -> &str {
        match &self.nodes[at].handle.data {
            NodeData::Element { name, .. } => &name.local,
            _ => "",
        }
    }

    /// Returns the text of a text node.
    pub fn text(&self, at: usize) -> Option<Ref<'_, StrTendril>> {
        match &self.nodes[at].handle.data {
            NodeData::Text { contents } => Some(contents.borrow()),
            _ => None,
        }
    }

    /// Returns the value of an attribute.
    pub fn attribute(&self, at: usize, name: &str) -> Option<Ref<'_, str>> {
        let NodeData::Element { attrs, .. } = &self.nodes[at].handle.data else { return None };
        Ref::filter_map(RefCell::borrow(attrs), |attributes| {
            let attribute = attributes.iter().find(|attribute| &*attribute.name.local == name)?;
            Some(&*attribute.value)
        })
        .ok()
    }

    /// Returns the text of the children of a node, even if they are left out.
    pub fn raw_text(&self, at: usize) -> String {
        self.children(at).filter_map(|child| self.text(child).map(|text| text.to_string())).collect()
    }

    pub fn parent(&self, at: usize) -> usize {
        self.nodes[at].parent
    }

    /// Returns the index after the last descendant of a node.
    pub fn end(&self, at: usize) -> usize {
        self.nodes[at].end
    }

    /// Returns the children of a node.
    pub fn children(&self, at: usize) -> impl Iterator<Item = usize> {
        self.children_from(at + 1, at)
    }

    /// Returns the children of a node from one of them on, which may be the end of the node.
    pub fn children_from(&self, child: usize, of: usize) -> impl Iterator<Item = usize> {
        let (mut next, end) = (child, self.end(of));
        std::iter::from_fn(move || {
            let child = (next < end).then_some(next)?;
            next = self.end(child);
            Some(child)
        })
    }

    /// Returns whether a node is left out. Its descendants are left out too, whatever this function returns for them.
    pub fn is_left_out(&self, at: usize) -> bool {
        self.nodes[at].is_left_out
    }

    /// Leaves out a node and its descendants.
    pub fn leave_out(&mut self, at: usize) {
        self.nodes[at].is_left_out = true;
    }

    /// Returns whether there is a line break before and after an element.
    pub fn is_block(&self, at: usize) -> bool {
        BLOCKS.contains(&self.name(at))
    }

    fn leave_out_unseen(&mut self) {
        let holds_page = self.holding(|page, at| matches!(page.name(at), "main" | "article" | "h1"));
        let (mut at, mut title_end) = (0, 0);
        while at < self.len() {
            let name = self.name(at);
            if TITLES.contains(&name) {
                title_end = title_end.max(self.end(at));
            }
            let is_skipped = SKIPPED.contains(&name)
                || self.attribute(at, "role").is_some_and(|role| SKIPPED_ROLES.contains(&&*role))
                || name == "button" && at >= title_end;
            // Some pages are hidden as a whole until a script shows them, or while a dialogue is open. Therefore an
            // element that contains the content of the page is kept even if it is hidden.
            if is_skipped || name != "body" && !holds_page[at] && self.is_hidden(at) {
                self.leave_out(at);
                at = self.end(at);
            } else {
                at += 1;
            }
        }
    }

    /// Returns whether two elements have the same name and the same classes.
    pub fn is_alike(&self, at: usize, other: usize) -> bool {
        self.name(at) == self.name(other)
            && self.attribute(at, "class").as_deref() == self.attribute(other, "class").as_deref()
    }

    /// Returns for each node whether it or one of its ancestors has a property.
    pub fn inside(&self, has: impl Fn(&Page, usize) -> bool) -> Vec<bool> {
        let mut inside = vec![false; self.len()];
        for at in 0..self.len() {
            inside[at] = inside[self.parent(at)] || has(self, at);
        }
        inside
    }

    /// Returns for each node whether it or one of its descendants has a property.
    pub fn holding(&self, has: impl Fn(&Page, usize) -> bool) -> Vec<bool> {
        let mut holds = vec![false; self.len()];
        for at in (0..self.len()).rev() {
            if holds[at] || has(self, at) {
                holds[at] = true;
                holds[self.parent(at)] = true;
            }
        }
        holds
    }

    fn is_hidden(&self, at: usize) -> bool {
        let is = |name, value| self.attribute(at, name).is_some_and(|found| &*found == value);
        // A hidden panel is not skipped, because a person reads the content of the panel after a click on a tab or switch.
        let is_panel = || is("role", "tabpanel") || is("role", "region");
        let has_style = || {
            let style = self.attribute(at, "style");
            style.is_some_and(|style| style.replace(' ', "").contains("display:none"))
        };
        is("aria-hidden", "true") || (self.attribute(at, "hidden").is_some() || has_style()) && !is_panel()
    }
}
