//! Log lines: one a fact, the same fields for people and for programs.
//!
//! - `layer`: from events and spans to lines
//! - `value`: the values of fields
//! - `text`: lines for people
//! - `json`: lines for programs
//! - `zone`: the local time zone

mod json;
mod layer;
mod text;
mod value;
mod zone;

pub(crate) use layer::LogLayer;
