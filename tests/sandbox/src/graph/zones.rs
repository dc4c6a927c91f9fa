//! Time zones by the names that Exchange knows: Windows names, IANA names, and its own for UTC.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono_tz::Tz;

/// Windows names and their IANA zones (CLDR; licence in `tests/data/LICENSES.md`).
const TABLE: &str = include_str!("../../../data/cldr-windowsZones.tsv");

#[derive(Debug, Default)]
struct Names {
    by_windows: HashMap<&'static str, Tz>,
    by_iana: HashMap<&'static str, &'static str>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names::default();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (Some(windows), Some(territory), Some(ids)) = (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        for id in ids.split(' ') {
            if territory == "001"
                && let Ok(zone) = id.parse()
            {
                names.by_windows.insert(windows, zone);
            }
            names.by_iana.insert(id, windows);
        }
    }
    names
});

/// The zone of a name; `None` for one that Exchange does not know.
pub(crate) fn read(name: &str) -> Option<Tz> {
    match name {
        "UTC" | "tzone://Microsoft/Utc" | "Etc/GMT" | "Etc/UTC" => Some(Tz::UTC),
        _ => NAMES.by_windows.get(name).copied().or_else(|| name.parse().ok()),
    }
}

/// The name under which Exchange keeps a zone: the Windows name, where there is one.
pub(crate) fn kept_name(name: &str) -> &str {
    if name == "Etc/UTC" || name == "Etc/GMT" {
        return "UTC";
    }
    NAMES.by_iana.get(name).copied().unwrap_or(name)
}

/// Every Windows name, in order.
pub(crate) fn windows_names() -> Vec<&'static str> {
    let mut all: Vec<&str> = NAMES.by_windows.keys().copied().collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_read_by_either_name_and_kept_by_the_windows_one() {
        assert_eq!(read("Romance Standard Time"), Some(Tz::Europe__Paris));
        assert_eq!(read("Europe/Vienna"), Some(Tz::Europe__Vienna));
        assert_eq!(read("tzone://Microsoft/Utc"), Some(Tz::UTC));
        assert_eq!(read("Somewhere"), None);
        assert_eq!(kept_name("Europe/Vienna"), "W. Europe Standard Time");
        assert_eq!(kept_name("Pacific Standard Time"), "Pacific Standard Time");
    }
}
