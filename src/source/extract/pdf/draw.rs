//! Draws pages for OCR. Only this module uses hayro and png.

use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings, render};
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::{InterpreterSettings, RenderContent};
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, PixelDimensions, Unit};

use super::unreadable;
use crate::error::ContentError;

/// The resolution of a drawing, in dots per inch. OCR programs are made for this resolution.
const RESOLUTION: f32 = 300.0;

/// Units of the page per inch.
const UNITS: f32 = 72.0;

const METERS_PER_INCH: f32 = 0.0254;

/// Maximum number of pixels of a drawing. A page of A3 has 17 million; a larger page is drawn at a lower resolution.
const PIXELS_MAX: f32 = 20e6;

/// Maximum width and height of a drawing, in pixels.
const SIDE_MAX: f32 = 16_000.0;

/// Draws a page in gray on white. Returns a PNG file. `with_annotations` says whether the annotations are drawn too.
///
/// # Errors
/// The picture cannot be encoded.
// The resolution is positive and far below 2^32.
#[allow(clippy::cast_possible_truncation)]
pub fn draw(page: &Page<'_>, with_annotations: bool) -> Result<Vec<u8>, ContentError> {
    let (width, height) = page.render_dimensions();
    let scale = (RESOLUTION / UNITS)
        .min((PIXELS_MAX / (width * height)).sqrt())
        .min(SIDE_MAX / width.max(height))
        .max(1.0 / width.min(height));
    let render_content = if with_annotations { RenderContent::all() } else { RenderContent::PAGE };
    let pixels = render(
        page,
        &RenderCache::new(),
        &InterpreterSettings { render_content, ..InterpreterSettings::default() },
        &RenderSettings::default(),
        &PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE },
    );
    let (width, height) = (u32::from(pixels.width()), u32::from(pixels.height()));
    let gray: Vec<u8> = pixels.data().iter().map(|pixel| luma([pixel.r, pixel.g, pixel.b])).collect();
    drop(pixels);
    let per_meter = (scale * UNITS / METERS_PER_INCH).round() as u32;
    encoded(&gray, width, height, per_meter)
        .map_err(|e| unreadable(&format!("a page cannot be drawn (png: {e})")))
}

/// Returns a PNG file in gray. `per_meter` is the number of pixels per meter.
fn encoded(gray: &[u8], width: u32, height: u32, per_meter: u32) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_meter, yppu: per_meter, unit: Unit::Meter }));
    encoder.write_header()?.write_image_data(gray)?;
    Ok(file)
}

/// Returns the brightness of a color, with the weights of ITU-R BT.601.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    u8::try_from(sum / 1000).unwrap_or(u8::MAX)
}
