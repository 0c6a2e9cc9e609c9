//! Interleaved rounds: what is compared takes turns, so that a slow minute hits both.

use anyhow::Result;

use crate::interrupt;

/// Calls both in turn, so many times, after one of each that does not count.
pub(super) fn interleave<A, B>(
    rounds: usize,
    mut floor: impl FnMut() -> Result<A>,
    mut ours: impl FnMut() -> Result<B>,
) -> Result<(Vec<A>, Vec<B>)> {
    floor()?;
    ours()?;
    let (mut floors, mut all_ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        interrupt::check()?;
        floors.push(floor()?);
        all_ours.push(ours()?);
    }
    Ok((floors, all_ours))
}

/// The middle one; of an even number the higher of the middle two.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 3.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn both_take_turns_and_the_first_of_each_does_not_count() {
        let turns = std::cell::RefCell::new(String::new());
        let turn = |who: char| {
            turns.borrow_mut().push(who);
            Ok(turns.borrow().len())
        };
        let (floors, ours) = interleave(2, || turn('f'), || turn('o')).unwrap();
        assert_eq!(*turns.borrow(), "fofofo");
        assert_eq!((floors, ours), (vec![3, 5], vec![4, 6]));
    }
}
