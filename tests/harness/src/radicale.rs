//! Radicale, the CalDAV server of the Python package `radicale`.

use std::fs;
use std::path::Path;

use crate::dav::{DavServer, Home, answers};
use crate::python;
use crate::requirement::{Program, demand, is_available};
use crate::server::{Recipe, Server};

const USER: &str = "ada";
const PASSWORD: &str = "correct horse";

/// Starts Radicale servers.
#[derive(Debug, Clone, Copy)]
pub struct Radicale;

impl Radicale {
    /// A server with the user `ada`, HTTP Basic, and no calendar. `None`: not installed.
    pub fn start() -> Option<DavServer> {
        Self::start_with("")
    }

    /// The same without Radicale's refusal of REPORTs whose answer holds more than 10,000 components: a client that
    /// asks for a whole calendar at once gets it.
    pub fn start_with_long_reports() -> Option<DavServer> {
        Self::start_with("[reporting]\nmax_expand_occurrence = 1000000\n")
    }

    fn start_with(settings: &str) -> Option<DavServer> {
        is_available(Program::Radicale).then(|| {
            let server = demand(Server::start(|folder, port| recipe(folder, port, settings)));
            let home = Home { path: "/ada/", folder: "collection-root/ada", is_git: false };
            DavServer::new(server, home, USER, PASSWORD)
        })
    }
}

fn recipe(folder: &Path, port: u16, further_settings: &str) -> anyhow::Result<Recipe> {
    let users = folder.join("users");
    fs::write(&users, format!("{USER}:{PASSWORD}\n"))?;
    let settings = format!(
        "[server]\nhosts = 127.0.0.1:{port}\nmax_connections = 100\n\
         [auth]\ntype = htpasswd\nhtpasswd_filename = {}\nhtpasswd_encryption = plain\ndelay = 0\n\
         [rights]\ntype = owner_only\n[web]\ntype = none\n[logging]\nlevel = warning\n\
         [storage]\nfilesystem_folder = {}\n{further_settings}",
        users.display(),
        folder.join("storage").display(),
    );
    let file = folder.join("radicale.conf");
    fs::write(&file, settings)?;
    Ok(Recipe {
        name: "radicale",
        arguments: vec![
            python::interpreter().into(),
            "-m".into(),
            "radicale".into(),
            "--config".into(),
            file.into(),
        ],
        signal: "TERM",
        is_ready: answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ending;

    const EVENT: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one@example.com\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260102T090000Z\r\nDTEND:20260102T100000Z\r\nSUMMARY:Review\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn radicale_keeps_an_event_over_a_restart() {
        let Some(server) = Radicale::start() else { return };
        let calendar = server.create_calendar("work");
        server.put(&calendar, "one.ics", EVENT);

        server.stop(Ending::Orderly);
        server.start_again();

        server.delete(&calendar, "one.ics");
    }
}
