//! Which random histories a run tries.

use std::ops::Range;

use crate::requirement::demand;

/// The seeds of this run: those of `CALFLEET_TEST_SEEDS`, such as `0..4000`, or else `usual`.
///
/// # Panics
/// When the variable is no such range.
#[expect(
    clippy::disallowed_methods,
    reason = "the switch of the test run is no configuration of the product"
)]
pub fn seeds(usual: Range<u64>) -> Range<u64> {
    match std::env::var("CALFLEET_TEST_SEEDS") {
        Ok(text) => demand(read(&text)),
        Err(_) => usual,
    }
}

fn read(text: &str) -> anyhow::Result<Range<u64>> {
    let (first, end) = text.split_once("..").ok_or_else(|| anyhow::anyhow!("{text} is no range of seeds"))?;
    Ok(first.parse()?..end.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_numbers() {
        assert_eq!(read("7..4000").unwrap(), 7..4000);
        assert!(read("7").is_err() && read("a..b").is_err());
    }
}
