//! When things happen: zones, recurrence rules and the instances of a series.
//!
//! Everything is worked out in *wall time*: a rule runs on the clock of the zone in which its series was written,
//! and each wall time it yields becomes an instant by one stated rule for the hours that a change of the clocks
//! skips or repeats ([`zone`]). What a rule may cost is bounded ([`expand::Budget`]).
//!
//! The engine is our own. The `rrule` crate was measured first and does not fit: it refuses a local `UNTIL`
//! (common in the wild) and zones that came with the event, does not count a start that its rule does not match,
//! and searches for instances of an impossible rule (30 February) for 0.4 s and of a hostile one for minutes.

pub(crate) mod clock_periods;
pub(crate) mod custom_zone;
pub(crate) mod day_filter;
pub mod expand;
pub(crate) mod generate;
pub(crate) mod length;
pub(crate) mod meaning;
pub mod regime;
pub mod rule;
pub mod span;
pub mod split;
pub mod windows_zones;
pub mod zone;

pub use expand::{Budget, Expansion, Instance, expand, happens};
pub use generate::is_match;
pub use length::end_of;
pub use rule::{Recurrence, RuleError};
pub use span::{Span, span};
pub use split::{SplitError, split};
pub use zone::{Adjusted, EmbeddedZone};
