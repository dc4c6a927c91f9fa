//! The simulated provider inside the test process, with accounts and events to begin with.

use calfleet_sandbox::{AccountSpec, CalendarSpec, GeneratorPlan, Profile, Sandbox, SandboxOptions};

/// The password of every account.
pub(crate) const PASSWORD: &str = "correct horse";

/// A sandbox on a free port.
pub(crate) async fn start() -> Sandbox {
    Sandbox::start(SandboxOptions::default()).await.unwrap()
}

/// An account with these calendars of so many generated events.
pub(crate) fn account(sandbox: &Sandbox, name: &str, calendars: &[(&str, usize)]) {
    let mut spec = AccountSpec::new(name, PASSWORD).profile(Profile::radicale());
    for (calendar, _) in calendars {
        spec = spec.calendar(CalendarSpec::new(calendar).titled(calendar));
    }
    sandbox.create_account(spec).unwrap();
    for ((calendar, events), seed) in calendars.iter().zip(1..) {
        if *events > 0 {
            sandbox.generate(name, calendar, GeneratorPlan { events: *events, seed }).unwrap();
        }
    }
}

/// A meeting of an hour, with more lines if wanted, each ending in a line break.
pub(crate) fn an_event(uid: &str, title: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//Test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20261120T090000Z\r\nDTEND:20261120T100000Z\r\nSUMMARY:{title}\r\n\
         {lines}END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

/// The port of a URL such as `http://127.0.0.1:20345/`.
pub(crate) fn port(url: &str) -> u16 {
    url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap()
}
