//! Where Python is, and what it can import.
//!
//! In this order: `CALFLEET_TEST_PYTHON`, the environment that `.ci/run` makes, `python3` on the path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::requirement::runs;

/// The root of the repository, where `tests/` and `.ci/` are.
pub fn repository_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}

/// The Python interpreter that tests use.
pub fn interpreter() -> &'static Path {
    static FOUND: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(chosen) = chosen() {
            return chosen;
        }
        let prepared = repository_root().join(".ci/venv/bin/python");
        if prepared.exists() { prepared } else { PathBuf::from("python3") }
    });
    &FOUND
}

/// Whether `import {modules}` succeeds.
pub(crate) fn has_modules(modules: &str) -> bool {
    runs(Command::new(interpreter()).args(["-c", &format!("import {modules}")]))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch of the test run is no configuration of the product"
)]
fn chosen() -> Option<PathBuf> {
    std::env::var_os("CALFLEET_TEST_PYTHON").map(PathBuf::from)
}
