//! How the slots of a worker are shared among the lanes. Pure.
//!
//! Every lane is entitled to a share of the slots; what it does not use is lent to the others, the more urgent
//! first. An eighth of the slots is never lent by the interactive lane: a slot that runs an import may be gone for
//! twenty seconds, and a person would wait behind it.

use calfleet_domain::job::Lane;

/// How many lanes there are.
pub const LANES: usize = 4;

/// The share of each lane in percent, in the order of [`Lane::ALL`].
pub const SHARES_PERCENT: [usize; LANES] = [50, 20, 20, 10];

/// The part of all slots that only the interactive lane may use.
const KEPT_FOR_PEOPLE: usize = 8;

/// What one lane may take now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneRoom {
    /// Hints the lane is entitled to.
    pub entitled: usize,
    /// Hints it may take when the others leave slots over; at least `entitled`.
    pub most: usize,
}

/// What a worker can take now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Per lane, in the order of [`Lane::ALL`].
    pub lanes: [LaneRoom; LANES],
    /// Over all lanes.
    pub total: usize,
}

/// One value per lane, in the order of [`Lane::ALL`].
pub fn per_lane<T>(mut value: impl FnMut(Lane) -> T) -> [T; LANES] {
    [Lane::Interactive, Lane::Delivery, Lane::Sync, Lane::Upkeep].map(&mut value)
}

impl Room {
    /// The room of a worker with `slots`, of which each lane occupies `running`.
    pub fn of(slots: usize, running: [usize; LANES]) -> Self {
        let busy: usize = running.iter().sum();
        let free = slots.saturating_sub(busy);
        let kept = if slots < 2 { 0 } else { slots.div_ceil(KEPT_FOR_PEOPLE) };
        let people = running.first().copied().unwrap_or(0);
        let lendable = free.saturating_sub(kept.saturating_sub(people));
        let mut lanes = [LaneRoom::default(); LANES];
        for (lane, ((room, share), running)) in lanes.iter_mut().zip(SHARES_PERCENT).zip(running).enumerate()
        {
            let most = if lane == 0 { free } else { lendable };
            let share = (slots * share / 100).max(1);
            *room = LaneRoom { entitled: share.saturating_sub(running).min(most), most };
        }
        Self { lanes, total: free }
    }

    /// Whether nothing can be taken.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether some lane may take nothing although another may.
    pub fn excludes_a_lane(&self) -> bool {
        self.lanes.iter().any(|lane| lane.most == 0)
    }

    /// How many each lane gives when so many wait on it.
    pub fn allot(&self, waiting: [usize; LANES]) -> [usize; LANES] {
        let mut taken = [0; LANES];
        let mut left = self.total;
        let mut lendable = self.lanes.iter().skip(1).map(|lane| lane.most).max().unwrap_or(0);
        for pass in [|room: &LaneRoom| room.entitled, |room: &LaneRoom| room.most] {
            for (lane, ((taken, waiting), room)) in taken.iter_mut().zip(waiting).zip(&self.lanes).enumerate()
            {
                let bound = if lane == 0 { left } else { left.min(lendable) };
                let more = waiting.min(pass(room)).saturating_sub(*taken).min(bound);
                *taken += more;
                left -= more;
                if lane != 0 {
                    lendable -= more;
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_gets_its_share_when_all_are_waiting() {
        let room = Room::of(100, [0; LANES]);

        assert_eq!(room.allot([1000; LANES]), [50, 20, 20, 10]);
    }

    #[test]
    fn unused_shares_are_lent_but_for_what_is_kept_for_people() {
        let room = Room::of(16, [0; LANES]);

        assert_eq!(room.allot([0, 0, 1000, 0]), [0, 0, 14, 0]);
        assert_eq!(room.allot([1000, 0, 0, 0]), [16, 0, 0, 0]);
        assert_eq!(room.allot([0, 1000, 1000, 1000]).iter().sum::<usize>(), 14);
    }

    #[test]
    fn a_lane_that_borrowed_gives_back_as_its_jobs_end() {
        let room = Room::of(10, [0, 0, 7, 0]);

        assert_eq!(room.total, 3);
        assert_eq!(room.allot([5, 5, 5, 5]), [3, 0, 0, 0]);
        assert_eq!(Room::of(10, [3, 0, 6, 0]).allot([0, 5, 5, 5]), [0, 1, 0, 0]);
    }

    #[test]
    fn a_single_slot_serves_every_lane() {
        let room = Room::of(1, [0; LANES]);

        assert_eq!(room.allot([0, 0, 0, 3]), [0, 0, 0, 1]);
        assert!(Room::of(1, [0, 1, 0, 0]).is_empty());
    }
}
