//! Lines for programs: a JSON object each.

use serde_json::{Map, Value};
use tracing::Metadata;
use visor_protocol::time::Timestamp;

use super::value::Fields;

pub(super) fn line(at: Timestamp, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut object = Map::new();
    object.insert("time".into(), serde_json::to_value(at).unwrap_or_default());
    object.insert("level".into(), metadata.level().as_str().into());
    object.insert("message".into(), fields.message.as_str().into());
    object.insert("target".into(), metadata.target().into());
    for (name, value) in &fields.named {
        // The four above are what every reader relies on.
        object.entry(*name).or_insert_with(|| value.clone());
    }
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}
