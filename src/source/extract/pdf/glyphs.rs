//! The characters a page draws, with their places.

use std::collections::HashSet;

use hayro_interpret::font::{Glyph, GlyphRun};
use hayro_interpret::hayro_cmap::{BfString, WritingMode};
use hayro_interpret::hayro_syntax::object::{self, Dict};
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Vec2};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, interpret_page,
};

use super::collections::Fonts;
use crate::source::decode::Charset;

/// Glyph space units of one em.
const EM: f64 = 1000.0;

/// One drawn glyph. `along` and `down` are its place on axes turned with the text: `along` grows in reading
/// direction, `down` from line to line.
#[derive(Debug, Clone)]
pub struct Placed {
    pub text: String,
    pub turn: Turn,
    pub along: f64,
    pub down: f64,
    pub advance: f64,
    pub size: f64,
}

/// The direction in which text runs on the page as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Right,
    Down,
    Left,
    Up,
}

impl Turn {
    fn of(direction: Vec2) -> Self {
        if direction.x.abs() >= direction.y.abs() {
            if direction.x >= 0.0 { Self::Right } else { Self::Left }
        } else if direction.y >= 0.0 {
            Self::Down
        } else {
            Self::Up
        }
    }

    /// Turns a point of the page (y grows downwards) to the axes of the text.
    fn axes(self, point: Point) -> (f64, f64) {
        match self {
            Self::Right => (point.x, point.y),
            Self::Down => (point.y, -point.x),
            Self::Left => (-point.x, -point.y),
            Self::Up => (-point.y, point.x),
        }
    }
}

/// What a page draws.
#[derive(Default)]
pub struct Drawn {
    pub glyphs: Vec<Placed>,
    /// Glyphs of which the file does not say the character.
    pub unmapped: usize,
    pub has_picture: bool,
}

/// Runs the content of a page and returns its glyphs in drawing order.
pub fn collect<'a>(
    page: &Page<'a>,
    cache: &InterpreterCache<'a>,
    fonts: &'a Fonts<'a>,
    settings: InterpreterSettings,
) -> Drawn {
    let (width, height) = page.render_dimensions();
    let shown = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
    let start = Affine::new(page.initial_transform(true).as_coeffs());
    let mut context = Context::new(start, shown, cache, page.xref(), settings);
    let mut collector = Collector::new(shown, fonts);
    interpret_page(page, &mut context, &mut collector);
    collector.drawn
}

struct Collector<'a> {
    drawn: Drawn,
    shown: Rect,
    fonts: &'a Fonts<'a>,
    /// Places of the glyphs so far: a bold face made by drawing twice, and the outline drawn after the fill, must
    /// not repeat the text.
    seen: HashSet<(String, i32, i32)>,
    /// The open marked content: the replacement text not yet used up, if any.
    marked: Vec<Option<String>>,
}

impl<'a> Collector<'a> {
    fn new(shown: Rect, fonts: &'a Fonts<'a>) -> Self {
        Self { drawn: Drawn::default(), shown, fonts, seen: HashSet::new(), marked: Vec::new() }
    }

    fn add(&mut self, glyph: &Glyph<'_>, transform: Affine, stretch: f64, mode: WritingMode) {
        let Some(text) = self.text_of(glyph) else {
            self.drawn.unmapped += 1;
            return;
        };
        let Some(placed) = place(text, glyph, transform, stretch, mode, self.shown) else {
            return;
        };
        if placed.text.trim().is_empty() || self.is_new(&placed) {
            self.drawn.glyphs.push(placed);
        }
    }

    /// The characters of a glyph, where an open replacement text (`/ActualText`) comes before what the font says.
    fn text_of(&mut self, glyph: &Glyph<'_>) -> Option<String> {
        match self.marked.iter_mut().rev().flatten().next() {
            Some(replacement) => Some(std::mem::take(replacement)),
            // A table may say that it doesn't know.
            None => unicode(glyph, self.fonts).filter(|text| !text.contains(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn is_new(&mut self, placed: &Placed) -> bool {
        let grid = (placed.size * 0.1).max(0.1);
        let x = (placed.along / grid).round() as i32;
        let y = (placed.down / grid).round() as i32;
        self.seen.insert((placed.text.clone(), x, y))
    }
}

fn unicode(glyph: &Glyph<'_>, fonts: &Fonts<'_>) -> Option<String> {
    match glyph.as_unicode() {
        Some(BfString::Char(character)) => Some(character.to_string()),
        Some(BfString::String(text)) => Some(text),
        None => fonts.unicode(glyph).or_else(|| code_as_character(glyph)),
    }
}

/// A bitmap font without character names is mostly in ASCII order.
fn code_as_character(glyph: &Glyph<'_>) -> Option<String> {
    let Glyph::Type3(_) = glyph else { return None };
    char::from_u32(glyph.char_code()).filter(|c| c.is_ascii_graphic() || *c == ' ').map(String::from)
}

fn width(glyph: &Glyph<'_>) -> f64 {
    let width = match glyph {
        Glyph::Outline(outline) => outline.advance_width(),
        Glyph::Type3(drawn) => drawn.advance_width(),
    };
    width.map_or(EM / 2.0, f64::from)
}

/// Finds the place of a glyph; `None` where it is not on the shown page or its numbers are of no use.
fn place(
    text: String,
    glyph: &Glyph<'_>,
    transform: Affine,
    stretch: f64,
    mode: WritingMode,
    shown: Rect,
) -> Option<Placed> {
    let [a, b, c, d, ..] = transform.as_coeffs();
    let (right, up) = (Vec2::new(a, b), Vec2::new(c, d));
    let size = up.hypot() * EM;
    let origin = transform * Point::ZERO;
    if !(size.is_finite() && size > 0.01 && origin.is_finite() && right.hypot() > 0.0) {
        return None;
    }
    // A page without extent has a broken box, which must not hide the text.
    if shown.area() > 1.0 && !shown.inflate(2.0, size).contains(origin) {
        return None;
    }
    let (turn, origin, advance) = match mode {
        WritingMode::Horizontal => (Turn::of(right), origin, width(glyph) / EM * size * stretch),
        // Down the middle of the column: from the origin of horizontal writing, which the transform leads to,
        // half a width aside and an ascent up.
        WritingMode::Vertical => (Turn::of(-up), transform * Point::new(EM * 0.5, EM * 0.88), size),
    };
    let (along, down) = turn.axes(origin);
    Some(Placed { text, turn, along, down, advance, size })
}

/// The horizontal scaling of a run, as a share of its size. A font that stands in for a missing one is stretched
/// glyph by glyph, which says nothing about the advance: only a scaling which all glyphs share counts.
fn run_stretch(run: &GlyphRun<'_, '_>, transform: Affine) -> f64 {
    let ratio = |m: Affine| {
        let [a, b, c, d, ..] = (transform * m).as_coeffs();
        Vec2::new(a, b).hypot() / Vec2::new(c, d).hypot()
    };
    let mut ratios = run.glyphs().iter().map(|glyph| ratio(glyph.transform()));
    let Some(first) = ratios.next() else {
        return 1.0;
    };
    let shared = run.glyphs().len() > 2 && ratios.all(|ratio| (ratio - first).abs() < 0.005);
    if shared && first.is_finite() { first } else { 1.0 }
}

impl<'a> Device<'a> for Collector<'_> {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, _: &DrawMode) {
        let stretch = run_stretch(run, props.transform);
        for glyph in run.glyphs() {
            let transform = props.transform * glyph.transform();
            self.add(glyph, transform, stretch, run.writing_mode());
        }
    }

    fn begin_marked_content(&mut self, _: &[u8], properties: Option<&Dict<'_>>) {
        let replacement = properties
            .and_then(|dict| dict.get::<object::String<'_>>(b"ActualText".as_slice()))
            .and_then(|text| text_string(text.as_bytes()));
        self.marked.push(replacement);
    }

    fn end_marked_content(&mut self) {
        self.marked.pop();
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn draw_rect(&mut self, _: &Rect, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_clip_rect(&mut self, _: &Rect) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {
        self.drawn.has_picture = true;
    }

    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}

/// A text string of the document: with a byte order mark in that encoding, otherwise nearly Latin-1.
fn text_string(bytes: &[u8]) -> Option<String> {
    match Charset::for_bom(bytes) {
        Some((encoding, mark)) => encoding
            .decode_without_bom_handling_and_without_replacement(&bytes[mark..])
            .map(|text| text.into_owned()),
        None => Some(bytes.iter().copied().map(char::from).collect()),
    }
}
