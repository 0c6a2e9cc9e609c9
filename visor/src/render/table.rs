//! Columns that line up.

use super::style::Style;
use super::text;

/// A table of text: a head, rows, and nothing drawn around them.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: impl Into<Vec<&'static str>>) -> Self {
        Self { head: head.into(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as the head has. Cells may be coloured, and are harmless.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.head.len(), "every column has a cell");
        self.rows.push(cells);
    }

    /// The text; the last column is not padded, so long reasons do not widen every line.
    pub(crate) fn render(&self, style: Style) -> String {
        let last = self.head.len().saturating_sub(1);
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| text::width(&row[column]));
                cells.chain([text::width(self.head[column])]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| -> String {
            let cells = cells.iter().enumerate().map(|(column, cell)| {
                if column == last { cell.clone() } else { text::pad(cell, widths[column]) }
            });
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        let head: Vec<String> = self.head.iter().map(|&name| style.dim(name)).collect();
        let mut out = line(&head);
        self.rows.iter().for_each(|row| out.push_str(&line(row)));
        out
    }
}
