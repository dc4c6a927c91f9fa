//! What tests do with a real CalDAV server, whichever it is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::http::{self, Request};
use crate::requirement::demand;
use crate::server::{Ending, Server};

/// Where a server keeps the calendars of its user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home {
    /// In URLs: an absolute path with a slash at the end.
    pub(crate) path: &'static str,
    /// On disk, under the folder `storage`: a folder for each calendar, a file for each object.
    pub(crate) folder: &'static str,
    /// Whether each calendar is a git repository, of which the server serves the last commit.
    pub(crate) is_git: bool,
}

/// A running CalDAV server with one user.
#[derive(Debug)]
pub struct DavServer {
    server: Server,
    home: Home,
    user: &'static str,
    password: &'static str,
}

impl DavServer {
    pub(crate) const fn new(server: Server, home: Home, user: &'static str, password: &'static str) -> Self {
        Self { server, home, user, password }
    }

    /// The address that a person would type, `http://127.0.0.1:…/`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.server.port())
    }

    /// The user for HTTP Basic; a server without authentication ignores it.
    pub const fn user(&self) -> &'static str {
        self.user
    }

    /// The user's password.
    pub const fn password(&self) -> &'static str {
        self.password
    }

    /// Makes an empty calendar and gives its URL, with a slash at the end.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_calendar(&self, name: &str) -> String {
        let path = format!("{}{name}/", self.home.path);
        let body = format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:set><D:prop>
<D:displayname>{name}</D:displayname></D:prop></D:set></C:mkcalendar>"#
        );
        demand(self.expect(201, "MKCALENDAR", &path, "application/xml; charset=utf-8", &body));
        format!("http://127.0.0.1:{}{path}", self.server.port())
    }

    /// Stores an object in a calendar, whether it was there or not.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn put(&self, calendar: &str, name: &str, ics: &str) {
        let path = demand(self.path(calendar)) + name;
        let status = demand(self.send("PUT", &path, "text/calendar; charset=utf-8", ics));
        demand(if (200..300).contains(&status) { Ok(()) } else { refusal("PUT", &path, status) });
    }

    /// Removes an object from a calendar.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn delete(&self, calendar: &str, name: &str) {
        let path = demand(self.path(calendar)) + name;
        let status = demand(self.send("DELETE", &path, "text/plain", ""));
        demand(if (200..300).contains(&status) { Ok(()) } else { refusal("DELETE", &path, status) });
    }

    /// Writes objects, as (file name, text), straight into the storage of a calendar that `create_calendar` made.
    ///
    /// For imports of thousands of events: a PUT takes 10 to 60 ms, because the server reads the whole calendar for
    /// it. The server sees them at the next request and computes its ETags then.
    ///
    /// # Panics
    /// When the calendar does not exist.
    pub fn fill(&self, calendar: &str, objects: impl IntoIterator<Item = (String, String)>) {
        let path = demand(self.path(calendar));
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let folder = self.server.folder().join("storage").join(self.home.folder).join(name);
        for (file, ics) in objects {
            let file = folder.join(file);
            demand(fs::write(&file, ics).with_context(|| format!("write {}", file.display())));
        }
        if self.home.is_git {
            demand(git(&folder, &["add", "--all"]));
            demand(git(&folder, &["commit", "--quiet", "--message", "Fill the calendar"]));
        }
    }

    /// Ends the server; its calendars stay.
    pub fn stop(&self, ending: Ending) {
        demand(self.server.stop(ending));
    }

    /// Starts the stopped server on the same port and calendars.
    pub fn start_again(&self) {
        demand(self.server.start_again());
    }

    /// Freezes the server (SIGSTOP): connections open and nothing is answered.
    pub fn pause(&self) {
        demand(self.server.pause());
    }

    /// Lets the frozen server go on (SIGCONT).
    pub fn resume(&self) {
        demand(self.server.resume());
    }

    fn path(&self, url: &str) -> anyhow::Result<String> {
        match url.strip_prefix(&self.url()) {
            Some(rest) => Ok(format!("/{rest}")),
            None => bail!("{url} is not on {}", self.url()),
        }
    }

    fn expect(&self, wanted: u16, method: &str, path: &str, kind: &str, body: &str) -> anyhow::Result<()> {
        match self.send(method, path, kind, body)? {
            status if status == wanted => Ok(()),
            status => refusal(method, path, status),
        }
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> anyhow::Result<u16> {
        let request = Request { method, path, content_type, body, user: self.user, password: self.password };
        http::send(self.server.port(), request)
    }
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("git")
        // A test run from a git hook inherits these, and would commit to the wrong repository.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("run git")?;
    if !output.status.success() {
        bail!("git {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn refusal(method: &str, path: &str, status: u16) -> anyhow::Result<()> {
    bail!("{method} {path} was answered with {status}")
}

/// Whether anything that speaks HTTP answers; the status does not matter.
pub(crate) fn answers(_folder: &Path, port: u16, _id: u32) -> bool {
    let request = Request {
        method: "OPTIONS",
        path: "/",
        content_type: "text/plain",
        body: "",
        user: "",
        password: "",
    };
    http::send(port, request).is_ok()
}
