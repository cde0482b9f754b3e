//! Two things measured in turn: criterion measures one after the other, minutes apart, and what else
//! the machine does meets them unlike.

use std::env;

/// Rounds of both.
const ROUNDS: usize = 60;

/// Whether benches are to be measured, not only run once.
pub fn in_earnest() -> bool {
    let asked = |option| env::args().any(|argument| argument == option);
    asked("--bench") && !asked("--test")
}

/// The median and the quartiles of the ratios of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    median: f64,
    quartiles: [f64; 2],
}

impl Ratio {
    /// Of `ROUNDS` calls of `round`, which measures both and divides.
    pub fn of(mut round: impl FnMut() -> f64) -> Self {
        let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
        ratios.sort_by(f64::total_cmp);
        Self {
            median: ratios[ROUNDS / 2],
            quartiles: [ratios[ROUNDS / 4], ratios[ROUNDS * 3 / 4]],
        }
    }

    /// Prints it behind what it is the ratio of: "two move", "times the frames of one".
    pub fn tell(self, [id, before, behind]: [&str; 3]) {
        let [lower, upper] = self.quartiles;
        let median = self.median;
        #[expect(clippy::print_stdout, reason = "criterion has no word for it")]
        {
            println!(
                "{id}: {before} {median:.2} {behind} (median of {ROUNDS} rounds; middle half \
                 {lower:.2} to {upper:.2})"
            );
        }
    }
}
