//! Finds the tables that only place parts of a page side by side. Their cells are no row of a table.

use super::measure::letters;
use super::page::Page;

/// A cell with more text is a part of the page, in letters.
const CELL_MAX: usize = 1000;

/// Returns for each node whether the innermost table around it is there for the layout.
///
/// A table with names of columns or a caption has data. Any other table is there for the layout if the page says so, if it holds
/// a heading, code or another table, or if one of its cells is all there is or has a long text.
pub fn layout_tables(page: &Page) -> Vec<bool> {
    if !(0..page.len()).any(|at| page.name(at) == "table") {
        return vec![false; page.len()];
    }
    // The innermost table and the innermost cell around each node. 0 means that there is none.
    let (mut tables, mut cells) = (vec![0; page.len()], vec![0; page.len()]);
    let (mut is_layout, mut has_data) = (vec![false; page.len()], vec![false; page.len()]);
    let (mut cell_count, mut cell_text) = (vec![0; page.len()], vec![0; page.len()]);
    let mut at = 0;
    while at < page.len() {
        let parent = page.parent(at);
        let table = tables[parent];
        (tables[at], cells[at]) = (table, cells[parent]);
        if page.is_left_out(at) {
            at = page.end(at);
            continue;
        }
        match page.name(at) {
            "table" => {
                is_layout[table] = true;
                let role = page.attribute(at, "role");
                is_layout[at] = role.is_some_and(|role| matches!(&*role, "presentation" | "none"));
                (tables[at], cells[at]) = (at, 0);
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "pre" => is_layout[table] = true,
            "th" | "thead" | "caption" => has_data[table] = true,
            "td" => {
                cell_count[table] += 1;
                cells[at] = at;
            }
            _ => {}
        }
        let cell = cells[at];
        if let Some(contents) = page.text(at).filter(|_| cell != 0) {
            cell_text[cell] += letters(&contents);
            is_layout[table] |= cell_text[cell] > CELL_MAX;
        }
        at += 1;
    }
    let is_placed =
        |table: usize| table != 0 && !has_data[table] && (is_layout[table] || cell_count[table] == 1);
    tables.into_iter().map(is_placed).collect()
}
