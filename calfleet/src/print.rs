//! Results on standard output: as lines and tables for people, as JSON for programs.
//!
//! Text that came from outside is stripped of control characters and of what turns letters round, so that a
//! calendar's name can neither steer a terminal nor pass for another.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

/// Whether a result is for a person or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Format {
    /// Print JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One JSON document on a line of its own.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    // as what it is, so that a reader who has gone away is known below
    serde_json::to_writer(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// One line for people.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", plain(text))?;
    Ok(())
}

/// One line for people on standard error, where standard output is for the result.
pub(crate) fn aside(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr().lock(), "{}", plain(text))?;
    Ok(())
}

/// A table for people: columns as wide as their widest cell, two spaces between them.
pub(crate) fn table<const N: usize>(headers: [&str; N], rows: &[[String; N]]) -> anyhow::Result<()> {
    let headers = headers.map(str::to_owned);
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.clone().map(|cell| plain(&cell))).collect();
    let mut widths = headers.clone().map(|header| header.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = std::io::stdout().lock();
    for row in std::iter::once(&headers).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// The error and what caused it, on standard error, in one line. A reader that has gone away (`| head`) is none.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    let broken = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if broken == Some(std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to be told when standard error is closed.
    let written = writeln!(std::io::stderr().lock(), "calfleet: {}", plain(&chain(error.as_ref())));
    if written.is_err() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// An error and its causes, each of them once: libraries repeat a cause in their own text.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.ends_with(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        cause = error.source();
    }
    said
}

/// The text without control characters, and without what turns the letters after it round (Unicode TR 9 §2).
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if is_plain(letter) { letter } else { ' ' }).collect()
}

fn is_plain(letter: char) -> bool {
    let turns = matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !turns
}
