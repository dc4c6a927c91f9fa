//! A server in a folder of its own under a leased port: start, stop, pause, start again in place.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::port::Port;
use crate::process::Process;

/// How a server is brought down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By the signal that the program's manual gives for it.
    Orderly,
    /// By SIGKILL.
    Kill,
}

/// What it takes to start one program, and to start it again.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// For messages, such as `redis`.
    pub(crate) name: &'static str,
    /// The program and its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// The signal that ends it.
    pub(crate) signal: &'static str,
    /// Whether it answers; given the folder, the port and the process id.
    pub(crate) is_ready: fn(&Path, u16, u32) -> bool,
}

/// A server that runs, or that a test has stopped for a while.
#[derive(Debug)]
pub(crate) struct Server {
    recipe: Recipe,
    // Before the folder, so that the program has ended when its folder is removed.
    process: Mutex<Option<Process>>,
    port: Port,
    folder: TempDir,
}

impl Server {
    /// Leases a port, makes a folder, lets `prepare` fill it, and waits until the program answers.
    pub(crate) fn start(prepare: impl FnOnce(&Path, u16) -> anyhow::Result<Recipe>) -> anyhow::Result<Self> {
        let port = Port::lease()?;
        let folder = tempfile::Builder::new().prefix("calfleet-").tempdir()?;
        let recipe = prepare(folder.path(), port.number())?;
        let server = Self { recipe, process: Mutex::new(None), port, folder };
        server.start_again()?;
        Ok(server)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the stopped program on the same port and folder; nothing happens when it runs.
    pub(crate) fn start_again(&self) -> anyhow::Result<()> {
        let mut slot = self.process();
        if slot.is_some() {
            return Ok(());
        }
        let attempt = || {
            let mut process = Process::start(self.folder(), self.recipe.signal, &self.recipe.arguments)?;
            let id = process.id();
            process.wait_ready(|| (self.recipe.is_ready)(self.folder(), self.port(), id))?;
            anyhow::Ok(process)
        };
        *slot = Some(attempt().with_context(|| format!("start {}", self.recipe.name))?);
        Ok(())
    }

    /// Ends the program and waits for it; nothing happens when it is stopped.
    pub(crate) fn stop(&self, ending: Ending) -> anyhow::Result<()> {
        let Some(mut process) = self.process().take() else {
            return Ok(());
        };
        match ending {
            Ending::Orderly => process.stop(),
            Ending::Kill => process.kill(),
        }
        .map(drop)
        .with_context(|| format!("stop {}", self.recipe.name))
    }

    /// Freezes the program: it accepts connections and never answers.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets a paused program go on.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let slot = self.process();
        let process = slot.as_ref().with_context(|| format!("{} is stopped", self.recipe.name))?;
        process.signal(name)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
