//! The rows of the table.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// What a goal asks of a figure.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One figure with its floor and its goal.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// What the program does.
    pub(super) ours: f64,
    /// What the machine does without it, in the same unit, where there is such a thing.
    pub(super) floor: Option<(&'static str, f64)>,
    pub(super) goal: Option<Goal>,
    /// The goal is about ours over the floor, or their difference, or ours alone.
    pub(super) goal_is_about: About,
    /// Further figures.
    pub(super) more: Vec<(&'static str, f64)>,
}

/// What a goal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Ours,
    Ratio,
    Difference,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.floor.map(|(_, floor)| self.ours / floor)
    }

    fn judged(&self) -> Option<f64> {
        match self.goal_is_about {
            About::Ours => Some(self.ours),
            About::Ratio => self.ratio(),
            About::Difference => self.floor.map(|(_, floor)| self.ours - floor),
        }
    }

    /// Whether the goal is met; none when there is no goal.
    fn is_met(&self) -> Option<bool> {
        let judged = self.judged()?;
        Some(match self.goal? {
            Goal::AtMost(limit) => judged <= limit,
            Goal::AtLeast(limit) => judged >= limit,
        })
    }

    fn goal_in_words(&self) -> String {
        let Some(goal) = self.goal else { return String::new() };
        let (sign, limit) = match goal {
            Goal::AtMost(limit) => ("≤", limit),
            Goal::AtLeast(limit) => ("≥", limit),
        };
        match self.goal_is_about {
            About::Ours => format!("{sign} {limit}"),
            About::Ratio => format!("{sign} {limit} × floor"),
            About::Difference => format!("{sign} floor + {limit}"),
        }
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let more: Map<String, Value> =
            self.more.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "floor": self.floor.map(|(_, floor)| floor),
            "floor_is": self.floor.map(|(name, _)| name),
            "ratio": self.ratio(),
            "goal": self.goal.map(|_| self.goal_in_words()),
            "met": self.is_met(),
            "more": more,
        })
    }
}

fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// For people.
pub(super) fn render(rows: &[Row]) -> String {
    let mut out =
        format!("{:<46}{:>10}{:>10}{:>8}  {:<18}{}\n", "", "ours", "floor", "ratio", "goal", "");
    for row in rows {
        let name = format!("{}, {}", row.name, row.unit);
        let floor = row.floor.map_or_else(String::new, |(_, floor)| figure(floor));
        let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let met = row.is_met().map_or("", |met| if met { "met" } else { "MISSED" });
        let ours = figure(row.ours);
        let goal = row.goal_in_words();
        writeln!(out, "{name:<46}{ours:>10}{floor:>10}{ratio:>8}  {goal:<18}{met}")
            .expect("a String takes all text");
        for (name, value) in &row.more {
            writeln!(out, "    {name:<42}{:>10}", figure(*value)).expect("a String takes all text");
        }
    }
    let floors: Vec<String> = rows
        .iter()
        .filter_map(|row| row.floor.map(|(floor, _)| format!("  {}: {floor}", row.name)))
        .collect();
    out.push_str("\nFloors, measured in turn with ours:\n");
    out.push_str(&floors.join("\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal_is_about: About, goal: Goal) -> Row {
        Row {
            name: "n",
            unit: "ms",
            ours: 12.0,
            floor: Some(("bare", 4.0)),
            goal: Some(goal),
            goal_is_about,
            more: vec![("peak MB", 20.0)],
        }
    }

    #[test]
    fn a_goal_is_judged_by_what_it_is_about() {
        assert_eq!(row(About::Ours, Goal::AtMost(12.0)).is_met(), Some(true));
        assert_eq!(row(About::Difference, Goal::AtMost(7.0)).is_met(), Some(false));
        assert_eq!(row(About::Ratio, Goal::AtLeast(3.0)).is_met(), Some(true));
    }

    #[test]
    fn the_table_and_the_object_say_the_same() {
        let row = row(About::Difference, Goal::AtMost(10.0));
        let text = render(std::slice::from_ref(&row));
        assert!(text.contains("≤ floor + 10") && text.contains("met"), "{text}");
        let object = row.to_json();
        assert_eq!(object["met"], true);
        assert_eq!(object["ratio"], 3.0);
        assert_eq!(object["more"]["peak MB"], 20.0);
    }
}
