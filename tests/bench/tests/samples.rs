//! Generated calendars: singles, series with overrides, all-day events, many zones, guests.

use calfleet_sandbox::{AccountSpec, CalendarSpec, GeneratorPlan, Sandbox, SandboxOptions, StoredResource};

/// The account and the calendar of every sandbox here.
pub(crate) const USER: &str = "ada";
pub(crate) const PASSWORD: &str = "secret";
pub(crate) const CALENDAR: &str = "work";

/// A sandbox with one calendar of generated events; the same at every call.
pub(crate) async fn sandbox(events: usize) -> Sandbox {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let account = AccountSpec::new(USER, PASSWORD).calendar(CalendarSpec::new(CALENDAR));
    sandbox.create_account(account).unwrap();
    sandbox.generate(USER, CALENDAR, GeneratorPlan { events, seed: 1 }).unwrap();
    sandbox
}

/// The texts of such a calendar.
pub(crate) async fn resources(events: usize) -> Vec<StoredResource> {
    let sandbox = sandbox(events).await;
    let resources = sandbox.resources(USER, CALENDAR).unwrap();
    sandbox.shutdown().await;
    resources
}
