//! Measures how much text, prose and links each node of a page has.

use super::page::Page;

/// Minimum length of a line of prose, in letters. Shorter lines are titles, names and captions.
const PROSE_MIN: usize = 80;

/// Minimum length of a paragraph (`p`) of prose, in letters.
const PARAGRAPH_MIN: usize = 25;

/// Minimum length of a link that counts as a headline, in letters.
const HEADLINE_MIN: usize = 20;

/// A list of headlines has at least this many.
const HEADLINES_MIN: usize = 3;

/// Length of the text under the headline of another page, in letters. A section of an article is longer.
const TEASER_MAX: usize = 300;

/// Letters that an East Asian character counts for, because it stands for a syllable or a word.
const EAST_ASIAN_LETTERS: usize = 3;

/// The sizes of a node with its descendants. Texts are measured in letters: characters other than white space.
#[derive(Debug, Default, Clone, Copy)]
pub struct TextSize {
    /// The whole text.
    pub text: usize,
    /// The text of links.
    pub linked: usize,
    /// The text of long lines that are not links.
    pub prose: usize,
    /// The number of links.
    pub links: usize,
    /// The number of lines that are a link of several words.
    pub headlines: usize,
}

impl TextSize {
    /// Returns whether more than half of the text is prose.
    pub fn is_prose(&self) -> bool {
        self.prose > 0 && 2 * self.prose >= self.text
    }

    /// Returns whether more than half of the text is links.
    pub fn is_linked(&self) -> bool {
        2 * self.linked > self.text
    }

    /// Returns whether this is a list of headlines of other pages, each with little text.
    pub fn is_teasers(&self) -> bool {
        self.headlines >= HEADLINES_MIN && self.prose < self.headlines * TEASER_MAX
    }

    fn add(&mut self, other: TextSize) {
        self.text += other.text;
        self.linked += other.linked;
        self.prose += other.prose;
        self.links += other.links;
        self.headlines += other.headlines;
    }
}

/// The measures of all nodes of a page. What is left out has no size.
pub struct Measures {
    /// The size of each node.
    pub sizes: Vec<TextSize>,
    /// The prose of the paragraphs that each node holds, and half of the prose that its children hold. The list items of a menu of
    /// teasers hold as much prose as an article, but no node holds many of them.
    pub held: Vec<usize>,
}

impl Measures {
    /// Measures each node of a page.
    pub fn of(page: &Page) -> Measures {
        let nodes = vec![TextSize::default(); page.len()];
        let mut measuring =
            Measuring { page, sizes: nodes, held: vec![0; page.len()], line: TextSize::default(), block: 0 };
        measuring.run();
        let Measuring { mut sizes, held, .. } = measuring;
        for at in (1..page.len()).rev() {
            let size = sizes[at];
            sizes[page.parent(at)].add(size);
        }
        Measures { sizes, held }
    }
}

/// The state of a walk over the nodes of a page.
struct Measuring<'a> {
    page: &'a Page,
    /// The sizes without those of the descendants.
    sizes: Vec<TextSize>,
    held: Vec<usize>,
    /// The size of the current line. A line ends where a block starts or ends.
    line: TextSize,
    /// The innermost block that holds the current line.
    block: usize,
}

impl Measuring<'_> {
    fn run(&mut self) {
        // Each open block: the block that holds it, and its end.
        let mut open: Vec<(usize, usize)> = Vec::new();
        let (mut at, mut link_end) = (0, 0);
        while at < self.page.len() {
            while let Some((outer, _)) = open.pop_if(|(_, end)| *end <= at) {
                self.end_line();
                self.block = outer;
            }
            if self.page.is_block(at) {
                self.end_line();
            }
            if self.page.is_left_out(at) {
                at = self.page.end(at);
                continue;
            }
            if let Some(contents) = self.page.text(at) {
                let text = letters(&contents);
                let linked = if at < link_end { text } else { 0 };
                let size = TextSize { text, linked, ..TextSize::default() };
                self.sizes[at].add(size);
                self.line.add(size);
            } else if self.page.is_block(at) {
                open.push((self.block, self.page.end(at)));
                self.block = at;
            } else if self.page.name(at) == "a"
                && self.page.attribute(at, "href").is_some_and(|target| !target.starts_with('#'))
            {
                link_end = link_end.max(self.page.end(at));
                self.sizes[at].links += 1;
            }
            at += 1;
        }
        self.end_line();
    }

    fn end_line(&mut self) {
        let TextSize { text, linked, .. } = std::mem::take(&mut self.line);
        let name = self.page.name(self.block);
        let min = match name {
            "pre" => 1,
            "p" => PARAGRAPH_MIN,
            _ => PROSE_MIN,
        };
        if text >= min && text > 2 * linked {
            let prose = text - linked;
            self.sizes[self.block].prose += prose;
            self.hold(prose, name);
        }
        if text >= HEADLINE_MIN && text == linked {
            self.sizes[self.block].headlines += 1;
        }
    }

    /// Adds the prose of a line to the node that holds it.
    fn hold(&mut self, prose: usize, name: &str) {
        let holder = match name {
            _ if is_container(name) => self.block,
            "p" | "pre" | "blockquote" => self.page.parent(self.block),
            _ => return,
        };
        self.held[holder] += prose;
        self.held[self.page.parent(holder)] += prose / 2;
    }
}

/// Returns whether an element holds blocks rather than text.
pub fn is_container(name: &str) -> bool {
    const CONTAINERS: [&str; 16] = [
        "article", "aside", "body", "center", "details", "div", "fieldset", "footer", "form", "header",
        "main", "section", "table", "tbody", "td", "tr",
    ];
    CONTAINERS.contains(&name)
}

/// Returns the length of a text in letters.
pub fn letters(text: &str) -> usize {
    let weight = |c: char| match c {
        '\u{2E80}'.. => EAST_ASIAN_LETTERS,
        _ => usize::from(!c.is_whitespace()),
    };
    text.chars().map(weight).sum()
}
