//! Asking for a page while its members stream in.
//!
//! Names arrive in batches while the answer is still being received. They are compared with what we hold as they
//! come: those whose revision is ours are seen and done. What is left to be read stays in memory while this turn
//! can read it; more than that goes into tables, so that a listing of a hundred thousand names needs the memory of
//! a few thousand, and is not asked for again after a crash.
//!
//! The page after one is asked for while that one is applied, and what it named is read.
//!
//! A listing that breaks off has listed nothing: what it left in the tables belongs to a generation that is
//! cleared when the next begins.

use std::sync::Arc;

use calfleet_domain::model::{Listing, Member};
use calfleet_providers::driver::{ChangePage, DriverError, Since};
use calfleet_store::listing::{self, ListingHash};
use tokio::sync::mpsc;

use super::Stop;
use super::ahead::Ahead;
use super::turn::Turn;

/// Names that are compared, and written if need be, at once.
const COMPARED_AT_ONCE: usize = 2_000;

/// Batches that may wait between the driver and us; the driver stops receiving when there are more.
const BATCHES_AHEAD: usize = 4;

/// A page that is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Where it begins.
    pub(super) since: Since,
    asking: Ahead<Result<ChangePage, DriverError>>,
    members: mpsc::Receiver<Vec<Member>>,
}

/// A page and what it named.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) page: ChangePage,
    /// What has to be read; empty when it went into the tables.
    pub(super) to_read: Vec<Member>,
    /// Members that are live here.
    pub(super) known: usize,
    /// Those of them whose revision is ours.
    pub(super) unchanged: usize,
    /// Whether names went into the tables.
    pub(super) is_spilled: bool,
}

#[derive(Debug, Default)]
struct Collected {
    to_read: Vec<Member>,
    known: usize,
    unchanged: usize,
    is_spilled: bool,
    /// Hashes that are not in the tables yet.
    unwritten: Vec<ListingHash>,
}

impl Turn<'_> {
    /// Asks for the page at `since`.
    pub(super) fn ask(&self, since: Since) -> Asked {
        let (sender, members) = mpsc::channel(BATCHES_AHEAD);
        let (driver, calendar, at) = (Arc::clone(self.sync.driver), self.calendar.clone(), since.clone());
        let asking = Ahead::ask(async move { driver.list_changes(&calendar, &at, &sender).await });
        Asked { since, asking, members }
    }

    /// Waits for a page that was asked for, and sorts what it names as the names come.
    pub(super) async fn listed(&mut self, asked: Asked) -> Result<Listed, Stop> {
        let (page, collected) = tokio::join!(asked.asking.answer(), self.collect(asked.members));
        // Our own failure ended the listing; the driver's error is then only its echo.
        let mut collected = collected?;
        let page = page?;
        if collected.is_spilled {
            self.spill(&mut collected).await?;
        }
        let Collected { to_read, known, unchanged, is_spilled, .. } = collected;
        Ok(Listed { page, to_read, known, unchanged, is_spilled })
    }

    async fn collect(&mut self, mut batches: mpsc::Receiver<Vec<Member>>) -> Result<Collected, Stop> {
        let mut collected = Collected::default();
        let mut waiting = Vec::new();
        while let Some(batch) = batches.recv().await {
            waiting.extend(batch);
            if waiting.len() >= COMPARED_AT_ONCE {
                self.compare(&mut waiting, &mut collected).await?;
            }
        }
        if !waiting.is_empty() {
            self.compare(&mut waiting, &mut collected).await?;
        }
        Ok(collected)
    }

    /// Sorts names into those that are as we have them and those to be read. A name that comes again counts once.
    async fn compare(&mut self, waiting: &mut Vec<Member>, collected: &mut Collected) -> Result<(), Stop> {
        let mut members = std::mem::take(waiting);
        members.retain(|member| {
            let hash = ListingHash::of(&member.provider_id);
            let is_new = self.named.insert(hash);
            if is_new {
                collected.unwritten.push(hash);
            }
            is_new
        });
        let held = if self.is_first_run {
            std::collections::HashMap::new()
        } else {
            let tx = self.sync.store.read(self.scope()).await?;
            listing::revisions(&tx, self.key.calendar_id, &members).await?
        };
        self.state.items_listed += count(members.len());
        for member in members {
            let row = held.get(&member.provider_id);
            let is_live = row.is_some_and(|row| row.is_current);
            // a complete comparison also looks again at what could not be read
            let is_settled =
                is_live && (self.state.listing == Listing::Delta || row.is_some_and(|row| row.is_readable));
            let is_ours = is_settled
                && member.revision.is_some()
                && row.is_some_and(|row| row.revision == member.revision);
            collected.known += usize::from(is_live);
            if is_ours {
                collected.unchanged += 1;
                self.state.items_done += 1;
                self.counts.unchanged += 1;
            } else {
                collected.to_read.push(member);
            }
        }
        if collected.is_spilled || collected.to_read.len() > self.readable_in_this_turn() {
            self.spill(collected).await?;
        }
        Ok(())
    }

    /// How many names can stay in memory: what this turn can still read, and no more than is compared at once.
    fn readable_in_this_turn(&self) -> usize {
        let pages = self.budget.left(self.sync.clock.now());
        let batch = self.sync.driver.capabilities().read_batch.max(1);
        pages.saturating_mul(batch).min(COMPARED_AT_ONCE)
    }

    /// Writes names into the tables and forgets them here.
    async fn spill(&mut self, collected: &mut Collected) -> Result<(), Stop> {
        if collected.to_read.is_empty() && collected.unwritten.is_empty() {
            return Ok(());
        }
        collected.is_spilled = true;
        let tx = self.begin().await?;
        self.open_generation(&tx).await?;
        let at = (self.state.generation, self.state.pages);
        let (named, to_read) =
            (std::mem::take(&mut collected.unwritten), std::mem::take(&mut collected.to_read));
        listing::add_page(&tx, self.key.calendar_id, at, &named, &to_read).await?;
        self.state.pages += 1;
        self.commit(tx).await
    }
}

pub(super) fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}
