//! The values of fields.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// The fields of an event or a span, in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) named: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds a field, or replaces the one of this name.
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match (name, &value) {
            ("message", Value::String(text)) => self.message.clone_from(text),
            ("message", other) => self.message = other.to_string(),
            _ => match self.named.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.named.push((name, value)),
            },
        }
    }

    /// Adds what an outer span knows, unless something nearer says it.
    pub(super) fn adopt(&mut self, outer: &Self) {
        for (name, value) in &outer.named {
            if !self.named.iter().any(|(known, _)| known == name) {
                self.named.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.set(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}
