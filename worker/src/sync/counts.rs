//! What a run has changed, in numbers.

use serde::Serialize;

/// How many copies a run changed, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New here.
    pub inserted: u64,
    /// Changed here.
    pub updated: u64,
    /// Found in another place.
    pub moved: u64,
    /// No longer where they were: deleted unless they turn up elsewhere.
    pub missing: u64,
    /// Became tombstones.
    pub deleted: u64,
    /// Left what the provider shows.
    pub out_of_window: u64,
    /// Cannot be read.
    pub unreadable: u64,
    /// Shown and as we had them.
    pub unchanged: u64,
    /// Have to be read singly.
    pub rechecked: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.moved += other.moved;
        self.missing += other.missing;
        self.deleted += other.deleted;
        self.out_of_window += other.out_of_window;
        self.unreadable += other.unreadable;
        self.unchanged += other.unchanged;
        self.rechecked += other.rechecked;
    }

    /// Whether anything that people could see is different.
    pub fn has_changes(self) -> bool {
        Self { unchanged: 0, rechecked: 0, ..self } != Self::default()
    }
}
