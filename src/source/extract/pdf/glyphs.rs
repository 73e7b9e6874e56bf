//! Collects the characters that a page draws, with their positions.

use std::collections::HashSet;

use hayro_interpret::font::{Glyph, GlyphRun};
use hayro_interpret::hayro_cmap::{BfString, WritingMode};
use hayro_interpret::hayro_syntax::content::TypedIter;
use hayro_interpret::hayro_syntax::object::{self, Dict, Stream};
use hayro_interpret::hayro_syntax::page::{Page, Resources};
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Vec2};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, RenderContent, SoftMask, interpret, interpret_page,
};

use super::collections::Fonts;
use super::strings::text_string;

/// Units of glyph space per em.
const EM: f64 = 1000.0;

/// A drawn glyph. The axes are rotated with the text: `along` grows in the direction of reading, and `down` grows from one
/// line to the next line. Lengths are in units of the displayed page.
#[derive(Debug, Clone)]
pub struct Placed {
    pub text: String,
    pub turn: Turn,
    pub along: f64,
    pub down: f64,
    /// Distance to the next glyph.
    pub advance: f64,
    /// Length of one em.
    pub size: f64,
}

/// Maximum angle between the text of a page that was scanned at a slant and the edges of the page, in degrees.
const SKEW_MAX: i16 = 10;

/// The direction in which text runs on the displayed page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Right,
    Down,
    Left,
    Up,
    /// Any other direction, such as that of a watermark: the clockwise angle from `Right`, in degrees.
    Slanted(i16),
}

impl Turn {
    /// Returns the direction of text that runs in `direction`. A small skew is ignored.
    //
    // The angle lies between -180 and 180.
    #[allow(clippy::cast_possible_truncation)]
    pub fn of(direction: Vec2) -> Self {
        let angle = direction.atan2().to_degrees().round() as i16;
        match angle {
            _ if angle.abs() <= SKEW_MAX => Self::Right,
            _ if (angle - 90).abs() <= SKEW_MAX => Self::Down,
            _ if (angle + 90).abs() <= SKEW_MAX => Self::Up,
            _ if angle.abs() >= 180 - SKEW_MAX => Self::Left,
            _ => Self::Slanted(angle),
        }
    }

    /// Converts a point of the page to `along` and `down`. The y coordinate of the page grows downwards.
    pub fn axes(self, point: Point) -> (f64, f64) {
        match self {
            Self::Right => (point.x, point.y),
            Self::Down => (point.y, -point.x),
            Self::Left => (-point.x, -point.y),
            Self::Up => (-point.y, point.x),
            Self::Slanted(angle) => {
                let (sin, cos) = f64::from(angle).to_radians().sin_cos();
                (point.x * cos + point.y * sin, point.y * cos - point.x * sin)
            }
        }
    }
}

/// The glyphs of a page or of an annotation, and whether it has a picture.
#[derive(Default)]
pub struct Drawn {
    pub glyphs: Vec<Placed>,
    /// Number of glyphs without a known character.
    pub unmapped: usize,
    pub has_picture: bool,
}

/// Runs the drawing commands of a page and of its annotations.
pub struct Painter<'p, 'a> {
    page: &'p Page<'a>,
    context: Context<'a>,
    collector: Collector<'a>,
}

impl<'p, 'a> Painter<'p, 'a> {
    pub fn new(page: &'p Page<'a>, cache: &InterpreterCache<'a>, fonts: &'a Fonts<'a>) -> Self {
        let (width, height) = page.render_dimensions();
        let shown = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
        let settings =
            InterpreterSettings { render_content: RenderContent::PAGE, ..InterpreterSettings::default() };
        let context = Context::new(to_display(page), shown, cache, page.xref(), settings);
        Painter { page, context, collector: Collector::new(shown, fonts) }
    }

    /// Returns the glyphs of the page in drawing order, without its annotations.
    pub fn page(&mut self) -> Drawn {
        interpret_page(self.page, &mut self.context, &mut self.collector);
        std::mem::take(&mut self.collector.drawn)
    }

    /// Returns the glyphs of an annotation's appearance in drawing order. The appearance fills `area`, a part of the page in the
    /// page's own units.
    pub fn appearance(&mut self, appearance: &Stream<'a>, area: Rect) -> Drawn {
        if let (Some(fit), Ok(commands)) = (fit(appearance, area), appearance.decoded_data()) {
            let [a, b, c, d, e, f] = fit.as_coeffs();
            let mut content = format!("{a:.9} {b:.9} {c:.9} {d:.9} {e:.9} {f:.9} cm ").into_bytes();
            content.extend_from_slice(&commands);
            let own = appearance.dict().get::<Dict<'a>>(b"Resources".as_slice()).map(Resources::new);
            let resources = own.as_ref().unwrap_or(self.page.resources());
            interpret(TypedIter::new(&content), resources, &mut self.context, &mut self.collector);
        }
        std::mem::take(&mut self.collector.drawn)
    }
}

/// Returns the transform from the units of a page to the displayed page, where the y coordinate grows downwards.
pub fn to_display(page: &Page<'_>) -> Affine {
    Affine::new(page.initial_transform(true).as_coeffs())
}

/// Returns the transform from an appearance to the page (ISO 32000-2, 12.5.5). Returns `None` if the appearance has no area.
fn fit(appearance: &Stream<'_>, area: Rect) -> Option<Affine> {
    let dict = appearance.dict();
    let matrix = dict.get::<[f64; 6]>(b"Matrix".as_slice()).map_or(Affine::IDENTITY, Affine::new);
    let [x0, y0, x1, y1] = dict.get::<[f64; 4]>(b"BBox".as_slice())?;
    let drawn = matrix.transform_rect_bbox(Rect::from_points((x0, y0), (x1, y1)));
    let scale = Vec2::new(area.width() / drawn.width(), area.height() / drawn.height());
    let fit = Affine::translate((area.x0, area.y0))
        * Affine::scale_non_uniform(scale.x, scale.y)
        * Affine::translate((-drawn.x0, -drawn.y0))
        * matrix;
    fit.is_finite().then_some(fit)
}

/// Receives the drawing commands of a page, and collects the glyphs.
struct Collector<'a> {
    drawn: Drawn,
    /// The displayed part of the page.
    shown: Rect,
    fonts: &'a Fonts<'a>,
    /// The text and the rounded position of each glyph that has been drawn. Some programs draw bold text twice, or draw the
    /// fill of a text and then its outline. The second drawing of such a text must not repeat the text.
    seen: HashSet<(String, i32, i32)>,
    /// The replacement text (`/ActualText`) of each open section of marked content; `None` for a section without a
    /// replacement text. The first glyph of the section receives the whole replacement text, and every later glyph of the
    /// section receives an empty text.
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

    /// Returns the replacement text of the innermost open section with a replacement text. If there is no such section,
    /// returns the characters that the font assigns to the glyph.
    fn text_of(&mut self, glyph: &Glyph<'_>) -> Option<String> {
        match self.marked.iter_mut().rev().flatten().next() {
            Some(replacement) => Some(std::mem::take(replacement)),
            // Some `/ToUnicode` tables map unknown glyphs to U+FFFD.
            None => unicode(glyph, self.fonts).filter(|text| !text.contains(char::REPLACEMENT_CHARACTER)),
        }
    }

    /// Remembers the text and the position of a glyph. Returns whether no earlier glyph has the same text at nearly the
    /// same position.
    //
    // The casts saturate. Positions beyond the range of `i32` lie outside of every page.
    #[allow(clippy::cast_possible_truncation)]
    fn is_new(&mut self, placed: &Placed) -> bool {
        let grid = (placed.size * 0.1).max(0.1);
        let x = (placed.along / grid).round() as i32;
        let y = (placed.down / grid).round() as i32;
        self.seen.insert((placed.text.clone(), x, y))
    }
}

/// Returns the characters that the font assigns to a glyph.
fn unicode(glyph: &Glyph<'_>, fonts: &Fonts<'_>) -> Option<String> {
    match glyph.as_unicode() {
        Some(BfString::Char(character)) => Some(character.to_string()),
        Some(BfString::String(text)) => Some(text),
        None => fonts.unicode(glyph).or_else(|| code_as_character(glyph)),
    }
}

/// Reads the code of a glyph as an ASCII code and returns the character. Most bitmap fonts without character names are in
/// ASCII order.
fn code_as_character(glyph: &Glyph<'_>) -> Option<String> {
    let Glyph::Type3(_) = glyph else { return None };
    char::from_u32(glyph.char_code()).filter(|c| c.is_ascii_graphic() || *c == ' ').map(String::from)
}

/// Returns the width of a glyph in units of glyph space.
fn width(glyph: &Glyph<'_>) -> f64 {
    let width = match glyph {
        Glyph::Outline(outline) => outline.advance_width(),
        Glyph::Type3(drawn) => drawn.advance_width(),
    };
    width.map_or(EM / 2.0, f64::from)
}

/// Returns a glyph with its position. Returns `None` if the glyph lies outside of the displayed page, or if its position or
/// size is invalid.
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
    // A page without area has a damaged page box, so the positions of the glyphs are not checked.
    if shown.area() > 1.0 && !shown.inflate(2.0, size).contains(origin) {
        return None;
    }
    let (turn, origin, advance) = match mode {
        WritingMode::Horizontal => (Turn::of(right), origin, width(glyph) / EM * size * stretch),
        // The transform maps (0, 0) to the origin for horizontal writing. In vertical writing, the position of a glyph is a
        // point on the middle line of the column: 0.5 em to the right of this origin, and 0.88 em above this origin.
        WritingMode::Vertical => (Turn::of(-up), transform * Point::new(EM * 0.5, EM * 0.88), size),
    };
    let (along, down) = turn.axes(origin);
    Some(Placed { text, turn, along, down, advance, size })
}

/// Returns the horizontal scaling of a run of glyphs, relative to the vertical scaling.
///
/// hayro-interpret scales each glyph of a substitute font separately, and this scaling does not change the advance. Such a
/// scaling must not be returned. Therefore the result is 1 if the run has fewer than three glyphs, or if the scalings of
/// the glyphs differ.
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

    // Paths, clips and transparency do not change the text.
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
