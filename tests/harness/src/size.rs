//! How much a test of a law does: a little in every run, all of it before a release.

/// The size of this run, `CALFLEET_TEST_SIZE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// What fits into minutes on two cores; the default.
    Ci,
    /// The figures of the laws themselves: `CALFLEET_TEST_SIZE=full`, as `just release-proof` sets it.
    Full,
}

impl Size {
    /// The size that was asked for.
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of the test run is no configuration of the product"
    )]
    pub fn of_this_run() -> Self {
        match std::env::var("CALFLEET_TEST_SIZE").as_deref() {
            Ok("full") => Self::Full,
            _ => Self::Ci,
        }
    }

    /// One of two figures: `Size::of_this_run().pick(5, 100)` wipes.
    pub fn pick<T>(self, ci: T, full: T) -> T {
        match self {
            Self::Ci => ci,
            Self::Full => full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_size_is_picked_only_when_asked_for() {
        assert_eq!(Size::Ci.pick(5, 100), 5);
        assert_eq!(Size::Full.pick(5, 100), 100);
    }
}
