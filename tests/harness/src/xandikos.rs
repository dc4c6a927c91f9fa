//! Xandikos, the CalDAV server of the Python package `xandikos`, which keeps calendars as git repositories.

use std::path::Path;

use crate::dav::{DavServer, Home, answers};
use crate::python;
use crate::requirement::{Program, demand, is_available};
use crate::server::{Recipe, Server};

/// Starts Xandikos servers.
#[derive(Debug, Clone, Copy)]
pub struct Xandikos;

impl Xandikos {
    /// A server without authentication, with its own empty default calendar. `None`: not installed.
    ///
    /// Xandikos does Basic only under TLS; credentials that are sent are ignored.
    pub fn start() -> Option<DavServer> {
        is_available(Program::Xandikos).then(|| {
            let server = demand(Server::start(|folder, port| Ok(recipe(folder, port))));
            let home = Home { path: "/ada/calendars/", folder: "ada/calendars", is_git: true };
            DavServer::new(server, home, "ada", "unused")
        })
    }
}

fn recipe(folder: &Path, port: u16) -> Recipe {
    let mut arguments = vec![python::interpreter().into(), "-m".into(), "xandikos".into(), "serve".into()];
    arguments
        .extend(["--defaults", "--no-detect-systemd", "--current-user-principal", "/ada/"].map(Into::into));
    arguments.extend(["--listen-address", "127.0.0.1", "--port"].map(Into::into));
    arguments.push(port.to_string().into());
    arguments.push("--state-dir".into());
    arguments.push(folder.join("state").into());
    arguments.push("--directory".into());
    arguments.push(folder.join("storage").into());
    Recipe { name: "xandikos", arguments, signal: "TERM", is_ready: answers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ending;

    const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one@example.com\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260102T090000Z\r\nDTEND:20260102T100000Z\r\nSUMMARY:Review\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn xandikos_keeps_an_event_over_a_kill() {
        let Some(server) = Xandikos::start() else { return };
        let calendar = server.create_calendar("work");
        server.put(&calendar, "one.ics", EVENT);

        server.stop(Ending::Kill);
        server.start_again();

        server.delete(&calendar, "one.ics");
    }
}
