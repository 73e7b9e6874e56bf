//! Extracts the text of office documents, which are ZIP packages of XML parts. No module outside of this folder uses zip or
//! roxmltree.

mod counting;
mod docx;
mod drawing;
mod epub;
mod odf;
mod ooxml;
mod package;
mod pptx;
mod reading_order;
mod xml;

pub use docx::docx;
pub use epub::epub;
pub use odf::odf;
pub use pptx::pptx;
