//! Log lines: one a fact, the same fields for people and for programs.
//!
//! - `layer`: from events and spans to lines
//! - `value`: the values of fields
//! - `text`: lines for people
//! - `json`: lines for programs

mod json;
mod layer;
mod text;
mod value;

pub(crate) use layer::LogLayer;
