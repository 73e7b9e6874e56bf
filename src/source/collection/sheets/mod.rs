//! Reads spreadsheets: a document per sheet, or per row if a column has the name of a text field.

mod biff;
pub mod excel;
mod number;
pub mod open_document;
mod sheet;
