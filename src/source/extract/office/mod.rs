//! Extracts the text of office documents, which are ZIP packages of XML parts. No module outside of this folder uses zip or
//! roxmltree.

pub mod counting;
pub mod docx;
pub mod drawing;
pub mod ooxml;
pub mod package;
pub mod pptx;
pub mod reading_order;
pub mod symbols;
pub mod xml;
