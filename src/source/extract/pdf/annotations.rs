//! Reads the annotations of a page: values of form fields, text on top of the page, and notes.

use std::collections::{HashMap, HashSet};

use hayro_interpret::hayro_syntax::Pdf;
use hayro_interpret::hayro_syntax::object::{Array, Dict, Name, Object, Rect as Area, Stream};
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::kurbo::{Point, Rect, Vec2};

use super::glyphs::{Painter, Turn, to_display};
use super::lines::{self, Line};
use super::strings::text_string;

/// Flags of annotations that are not displayed: Hidden and NoView (ISO 32000-2, 12.5.3).
const NOT_DISPLAYED: i32 = 1 << 1 | 1 << 5;

/// Flags of form fields (ISO 32000-2, 12.7.5): a text of several lines, a password, and a button without a value.
const MULTILINE: i32 = 1 << 12;
const PASSWORD: i32 = 1 << 13;
const PUSH_BUTTON: i32 = 1 << 16;

/// The annotations with a note that readers show when the user points at them.
const WITH_NOTE: [&[u8]; 12] = [
    b"Text",
    b"Highlight",
    b"Underline",
    b"Squiggly",
    b"StrikeOut",
    b"Caret",
    b"Ink",
    b"Line",
    b"Square",
    b"Circle",
    b"Polygon",
    b"PolyLine",
];

/// Limit on the levels of a form field. A damaged file may name a field as its own parent.
const LEVELS_MAX: usize = 32;

/// Limit on the options of a choice that are compared with its value.
const OPTIONS_MAX: usize = 1000;

/// The largest font size of a value that is fitted into its field, in units of the page.
const FITTED_SIZE: f64 = 12.0;

/// The part of a field's height that a fitted value fills.
const FITTED_PART: f64 = 0.7;

/// Distance between two lines of a value, in ems.
const LINE_STEP: f64 = 1.15;

/// Estimated width of a character, in ems.
const CHARACTER_WIDTH: f64 = 0.5;

/// Limit on the comparisons between the lines and the values of a page. Above it, the values follow the text of the page.
const COMPARISONS_MAX: usize = 10_000_000;

/// The text of a page's annotations.
#[derive(Default)]
pub struct Annotations {
    /// The lines of each form field and each free text. They belong between the lines of the page.
    pub placed: Vec<Vec<Line>>,
    /// The lines of other appearances, such as stamps.
    pub others: Vec<Line>,
    /// Texts that readers show on request.
    pub notes: Vec<String>,
    /// Number of glyphs.
    pub glyphs: usize,
    /// Number of glyphs without a known character.
    pub unmapped: usize,
    pub has_picture: bool,
}

/// Returns whether the appearances of the form fields may be outdated.
pub fn needs_appearances(file: &Pdf) -> bool {
    let form = || {
        let root = file.xref().get::<Dict<'_>>(file.xref().root_id())?;
        root.get::<Dict<'_>>(b"AcroForm".as_slice())?.get::<bool>(b"NeedAppearances".as_slice())
    };
    form().unwrap_or(false)
}

/// Reads the annotations of a page that are displayed. `outdated` says whether the appearances of form fields may be outdated.
pub fn read<'a>(page: &Page<'a>, painter: &mut Painter<'_, 'a>, outdated: bool) -> Annotations {
    let mut read = Annotations::default();
    let mut seen = HashSet::new();
    let annotations = page.raw().get::<Array<'a>>(b"Annots".as_slice());
    for annotation in annotations.iter().flat_map(|annotations| annotations.iter::<Dict<'a>>()) {
        let subtype = annotation.get::<Name<'_>>(b"Subtype".as_slice());
        let subtype = subtype.as_ref().map_or(b"".as_slice(), |name| name.as_ref());
        let flags = annotation.get::<i32>(b"F".as_slice()).unwrap_or(0);
        if flags & NOT_DISPLAYED != 0 || subtype == b"Popup" || is_password(&annotation) {
            continue;
        }
        let shown = appearance(&annotation).map_or_else(Vec::new, |appearance| {
            let drawn =
                area(&annotation).map(|area| painter.appearance(&appearance, area)).unwrap_or_default();
            read.glyphs += drawn.glyphs.len();
            read.unmapped += drawn.unmapped;
            read.has_picture |= drawn.has_picture;
            lines::group(&drawn.glyphs)
        });
        match subtype {
            b"Widget" | b"FreeText" => {
                let is_field = subtype == b"Widget";
                let value = if shown.is_empty() || outdated && is_field {
                    value(&annotation, is_field).map(|text| set(&text, &annotation, page))
                } else {
                    None
                };
                let lines = value.filter(|lines| !lines.is_empty()).unwrap_or(shown);
                read.glyphs += lines.len();
                read.placed.push(lines);
            }
            _ => read.others.extend(shown),
        }
        if WITH_NOTE.contains(&subtype) && !annotation.contains_key(b"State".as_slice()) {
            let note = string(&annotation, b"Contents").filter(|note| !note.trim().is_empty());
            read.notes.extend(note.filter(|note| seen.insert(note.clone())));
        }
    }
    read.placed.retain(|lines| !lines.is_empty());
    read
}

/// Returns the normal appearance of an annotation in its current state.
fn appearance<'a>(annotation: &Dict<'a>) -> Option<Stream<'a>> {
    match annotation.get::<Dict<'a>>(b"AP".as_slice())?.get::<Object<'a>>(b"N".as_slice())? {
        Object::Stream(appearance) => Some(appearance),
        Object::Dict(states) => states.get::<Stream<'a>>(annotation.get::<Name<'a>>(b"AS".as_slice())?),
        _ => None,
    }
}

/// Returns the part of the page that an annotation covers.
fn area(annotation: &Dict<'_>) -> Option<Rect> {
    let Area { x0, y0, x1, y1 } = annotation.get::<Area>(b"Rect".as_slice())?;
    Some(Rect::new(x0, y0, x1, y1)).filter(|area| area.is_finite())
}

fn is_password(field: &Dict<'_>) -> bool {
    is_kind(field, b"Tx") && field_flags(field) & PASSWORD != 0
}

fn is_kind(field: &Dict<'_>, kind: &[u8]) -> bool {
    matches!(inherited(field, b"FT"), Some(Object::Name(name)) if name.as_ref() == kind)
}

fn field_flags(field: &Dict<'_>) -> i32 {
    match inherited(field, b"Ff") {
        // Flags have at most 32 bits. Other numbers are damage.
        #[allow(clippy::cast_possible_truncation)]
        Some(Object::Number(flags)) => flags.as_f64() as i32,
        _ => 0,
    }
}

/// Returns an entry of a form field or of the nearest field above it that has the entry.
fn inherited<'a>(field: &Dict<'a>, key: &[u8]) -> Option<Object<'a>> {
    let mut field = field.clone();
    for _ in 0..LEVELS_MAX {
        if let Some(found) = field.get::<Object<'a>>(key) {
            return Some(found);
        }
        field = field.get::<Dict<'a>>(b"Parent".as_slice())?;
    }
    None
}

/// Returns what a reader draws in an annotation without an appearance: the value of a form field, or a free text.
fn value(annotation: &Dict<'_>, is_field: bool) -> Option<String> {
    if !is_field {
        return string(annotation, b"Contents");
    }
    if is_kind(annotation, b"Btn") {
        return is_checked(annotation).then(|| "✔".to_owned());
    }
    let value = inherited(annotation, b"V")?;
    if !is_kind(annotation, b"Ch") {
        return text(&value);
    }
    let names = option_names(annotation);
    let name = |value: String| names.get(&value).cloned().unwrap_or(value);
    match value {
        Object::Array(values) => {
            let chosen = values.iter::<Object<'_>>().take(OPTIONS_MAX).filter_map(|value| text(&value));
            Some(chosen.map(name).collect::<Vec<_>>().join("\n"))
        }
        value => text(&value).map(name),
    }
}

/// Returns whether a check box or a radio button without an appearance is on.
fn is_checked(button: &Dict<'_>) -> bool {
    let state = button.get::<Name<'_>>(b"AS".as_slice()).or_else(|| button.get::<Name<'_>>(b"V".as_slice()));
    field_flags(button) & PUSH_BUTTON == 0
        && !button.contains_key(b"AP".as_slice())
        && state.is_some_and(|state| state.as_ref() != b"Off")
}

/// Returns the displayed name of each value of a choice that has one.
fn option_names(choice: &Dict<'_>) -> HashMap<String, String> {
    let Some(Object::Array(options)) = inherited(choice, b"Opt") else { return HashMap::new() };
    let pair = |option: Object<'_>| {
        let pair = option.into_array()?;
        let mut pair = pair.iter::<Object<'_>>();
        Some((text(&pair.next()?)?, text(&pair.next()?)?))
    };
    options.iter::<Object<'_>>().take(OPTIONS_MAX).filter_map(pair).collect()
}

fn string(dict: &Dict<'_>, key: &[u8]) -> Option<String> {
    text(&dict.get::<Object<'_>>(key)?)
}

/// Returns the text of a value. A long text may be a stream.
fn text(value: &Object<'_>) -> Option<String> {
    match value {
        Object::String(value) => text_string(value.as_bytes()),
        Object::Stream(value) => text_string(&value.decoded_data().ok()?),
        _ => None,
    }
}

/// Sets a text as a reader draws it in an annotation without an appearance.
fn set(text: &str, annotation: &Dict<'_>, page: &Page<'_>) -> Vec<Line> {
    let Some(area) = area(annotation) else { return Vec::new() };
    let size = font_size(annotation).unwrap_or((area.height() * FITTED_PART).min(FITTED_SIZE));
    let is_field = annotation.contains_key(b"FT".as_slice()) || annotation.contains_key(b"Parent".as_slice());
    let top = if is_field && field_flags(annotation) & MULTILINE == 0 {
        area.center().y - 0.35 * size
    } else {
        area.y1 - size
    };
    let to_display = to_display(page);
    let [a, b, ..] = to_display.as_coeffs();
    let turn = Turn::of(Vec2::new(a, b));
    let lines = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty());
    lines
        .zip(0..)
        .map(|(line, row)| {
            let baseline = to_display * Point::new(area.x0, top - f64::from(row) * LINE_STEP * size);
            let (start, down) = turn.axes(baseline);
            let width = line.chars().count() as f64 * CHARACTER_WIDTH * size;
            Line { text: lines::usual(line.trim()), turn, start, end: start + width, down, size }
        })
        .collect()
}

/// Returns the font size in the default appearance of an annotation. Returns `None` if a reader chooses the size.
fn font_size(annotation: &Dict<'_>) -> Option<f64> {
    let Some(Object::String(commands)) = inherited(annotation, b"DA") else { return None };
    let commands = String::from_utf8_lossy(commands.as_bytes()).into_owned();
    let words: Vec<&str> = commands.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "Tf")?;
    words.get(at.checked_sub(1)?)?.parse().ok().filter(|size: &f64| size.is_finite() && *size > 0.0)
}

/// Puts the lines of each value between the lines of the page: behind the label on the same row, or else below the nearest line
/// above.
pub fn place(lines: Vec<Line>, values: Vec<Vec<Line>>) -> Vec<Line> {
    let are_few = values.len().saturating_mul(lines.len()) <= COMPARISONS_MAX;
    let position = |value: &Line| if are_few { position(&lines, value) } else { lines.len() };
    let mut placed: Vec<(usize, Vec<Line>)> =
        values.into_iter().filter_map(|value| Some((position(value.first()?), value))).collect();
    placed.sort_by(|(at, value), (other_at, other)| {
        let by_place = |one: &Line, other: &Line| {
            one.down.total_cmp(&other.down).then(one.start.total_cmp(&other.start))
        };
        at.cmp(other_at).then_with(|| by_place(&value[0], &other[0]))
    });
    let mut placed = placed.into_iter().peekable();
    let mut ordered = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        while let Some((_, value)) = placed.next_if(|(before, _)| *before == at) {
            ordered.extend(value);
        }
        ordered.push(line);
    }
    ordered.extend(placed.flat_map(|(_, value)| value));
    ordered
}

/// Returns the index of the line of the page that a value belongs before.
fn position(lines: &[Line], value: &Line) -> usize {
    let (mut left, mut right, mut above) = (None, None, None);
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.turn == value.turn) {
        if line.same_row(value.turn, value.down, value.size) {
            let side = if line.start <= value.start { &mut left } else { &mut right };
            let distance = (line.start - value.start).abs();
            nearest(side, at, (false, distance));
        } else if line.down < value.down {
            let is_beside = line.end < value.start || line.start > value.end;
            nearest(&mut above, at, (is_beside, value.down - line.down));
        }
    }
    match (left, right, above) {
        (Some((at, _)), ..) | (None, None, Some((at, _))) => at + 1,
        (None, Some((at, _)), _) => at,
        (None, None, None) => 0,
    }
}

/// Keeps the index with the smallest distance. Of two lines at the same distance, the later one is kept.
fn nearest(best: &mut Option<(usize, (bool, f64))>, at: usize, distance: (bool, f64)) {
    if best.is_none_or(|(_, other)| distance <= other) {
        *best = Some((at, distance));
    }
}
