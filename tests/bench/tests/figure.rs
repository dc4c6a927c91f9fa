//! One line a figure, in one form: `name value unit`, and where there is a bound, the bound and whether it is kept.

use std::time::Duration;

/// What a figure has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// It is only noted.
    None,
    /// No more than this.
    AtMost(f64),
    /// Less than this.
    Below(f64),
    /// No less than this.
    AtLeast(f64),
}

/// Prints a figure. A bound that is missed is said so and fails nothing: the machine may be busy, a person judges.
pub(crate) fn figure(name: &str, value: f64, unit: &str, bound: Bound) {
    let (bound, is_kept) = match bound {
        Bound::None => (String::new(), None),
        Bound::AtMost(most) => (format!(" (bound <= {most})"), Some(value <= most)),
        Bound::Below(limit) => (format!(" (bound < {limit})"), Some(value < limit)),
        Bound::AtLeast(least) => (format!(" (bound >= {least})"), Some(value >= least)),
    };
    let verdict = match is_kept {
        None => "",
        Some(true) => " ok",
        Some(false) => " MISSED",
    };
    println!("{name} {} {unit}{bound}{verdict}", rounded(value));
}

/// Three significant digits, no decimals from a hundred on, and none for what is whole.
fn rounded(value: f64) -> String {
    let decimals = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of durations in seconds.
pub(crate) fn median_seconds(values: &[Duration]) -> f64 {
    median(values.iter().map(Duration::as_secs_f64).collect())
}

/// A count as a figure; exact below 2^32.
pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
