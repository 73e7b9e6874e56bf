//! Sorts the shapes of a slide as a person reads them. Pure.

use std::cmp::Ordering;

/// A shape and its place on the slide.
pub struct Positioned<T> {
    pub item: T,
    /// Whether the shape has the title of the slide, which is read first.
    pub is_title: bool,
    /// The distance from the upper edge.
    pub top: f64,
    /// The distance from the left edge.
    pub left: f64,
}

/// Returns the shapes in reading order: titles first, then rows from top to bottom, each from left to right. A row has the
/// shapes that begin less than `row_height` below its first shape. Shapes at the same place keep their order.
pub fn in_reading_order<T>(mut shapes: Vec<Positioned<T>>, row_height: f64) -> Vec<T> {
    shapes.sort_by(|a, b| b.is_title.cmp(&a.is_title).then(a.top.total_cmp(&b.top)));
    let mut start = 0;
    while let Some(first) = shapes.get(start) {
        let (is_title, below) = (first.is_title, first.top + row_height);
        let is_of_row = |shape: &&Positioned<T>| {
            shape.is_title == is_title && shape.top.total_cmp(&below) == Ordering::Less
        };
        // A row has at least its first shape, even if its place is not a number.
        let length = shapes[start..].iter().take_while(is_of_row).count().max(1);
        shapes[start..start + length].sort_by(|a, b| a.left.total_cmp(&b.left));
        start += length;
    }
    shapes.into_iter().map(|shape| shape.item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_left_to_right() {
        let shapes = [
            ("footer", false, 90.0, 0.0),
            ("right", false, 20.0, 50.0),
            ("left", false, 24.0, 0.0),
            ("title", true, 60.0, 0.0),
            ("below", false, 31.0, 0.0),
            ("below too", false, 31.0, 0.0),
            ("nowhere", false, f64::NAN, 0.0),
        ];
        let shapes = shapes.map(|(item, is_title, top, left)| Positioned { item, is_title, top, left });
        let expected = ["title", "left", "right", "below", "below too", "footer", "nowhere"];
        assert_eq!(in_reading_order(shapes.into(), 10.0), expected);
        assert!(in_reading_order(Vec::<Positioned<()>>::new(), 10.0).is_empty());
    }
}
