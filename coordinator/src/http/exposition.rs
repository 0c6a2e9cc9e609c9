//! The Prometheus text format, version 0.0.4.

use std::fmt::Write;

/// Its media type.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page of metrics as it is written.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its samples follow. Each family is begun once.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample. Counts are exact up to 2⁵³.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let value = match value {
            value if value.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            value => value.to_string(),
        };
        let _ = writeln!(self.text, " {value}");
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_under_their_family_with_labels_escaped() {
        let mut page = Exposition::default();
        page.family("visor_slots", Kind::Gauge, "Slots,\nby \\pool.");
        page.sample("visor_slots", &[("pool", "a\"b\\c\nd"), ("x", "y")], 2.5);
        page.single("visor_done_total", Kind::Counter, "Done.", 12_345_678.0);
        let expected = "# HELP visor_slots Slots,\\nby \\\\pool.\n# TYPE visor_slots gauge\n\
            visor_slots{pool=\"a\\\"b\\\\c\\nd\",x=\"y\"} 2.5\n\
            # HELP visor_done_total Done.\n# TYPE visor_done_total counter\n\
            visor_done_total 12345678\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn values_without_a_number_have_their_own_spelling() {
        let mut page = Exposition::default();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            page.sample("x", &[], value);
        }
        assert_eq!(page.finish(), "x NaN\nx +Inf\nx -Inf\n");
    }
}
