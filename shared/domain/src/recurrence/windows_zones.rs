//! Names of zones that are not names of the IANA database: Windows ids, Outlook's display names, aliases.
//!
//! The tables are CLDR's (`data/README.md`) and are read once, at first use. A territory is not known to a
//! `TZID`, so the default row (`001`) of a Windows id counts; who needs the way back keeps the IANA name beside.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono_tz::Tz;

struct Tables {
    /// Lower-case names of any kind that are not in the IANA database, and old IANA names.
    by_name: HashMap<String, Tz>,
    /// A zone under an old name → the same zone under its preferred one.
    preferred: HashMap<Tz, Tz>,
    /// City as written in Outlook's lists → zone: the last part of each IANA name.
    by_city: HashMap<String, Tz>,
    /// Windows ids with their spelling, for whoever must list them.
    windows: Vec<(&'static str, Tz)>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(read_tables);

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

fn read_tables() -> Tables {
    let mut tables = Tables {
        by_name: HashMap::new(),
        preferred: HashMap::new(),
        by_city: HashMap::new(),
        windows: Vec::new(),
    };
    for row in rows(include_str!("data/zone_aliases.tsv")) {
        let [_, canonical, preferred, aliases] = row.as_slice() else { continue };
        let Some(zone) = preferred.parse::<Tz>().or_else(|_| canonical.parse()).ok() else { continue };
        for alias in aliases.split(' ') {
            if let Ok(old) = alias.parse::<Tz>()
                && old != zone
            {
                tables.preferred.insert(old, zone);
            }
            tables.by_name.insert(alias.to_ascii_lowercase(), zone);
            if let Some((area, city)) = alias.rsplit_once('/')
                && !area.starts_with("Etc")
            {
                tables.by_city.insert(city.to_ascii_lowercase().replace('_', " "), zone);
            }
        }
    }
    for row in rows(include_str!("data/windows_zones.tsv")) {
        let [windows, "001", zones] = row.as_slice() else { continue };
        let Some(zone) = zones.split(' ').next().and_then(|name| name.parse::<Tz>().ok()) else { continue };
        let zone = tables.preferred.get(&zone).copied().unwrap_or(zone);
        tables.by_name.insert(windows.to_ascii_lowercase(), zone);
        tables.windows.push((windows, zone));
    }
    for row in rows(include_str!("data/outlook_names.tsv")) {
        let [name, windows] = row.as_slice() else { continue };
        if let Some(zone) = tables.by_name.get(&windows.to_ascii_lowercase()).copied() {
            tables.by_name.insert((*name).to_owned(), zone);
        }
    }
    tables
}

/// The zone under the name that the IANA database prefers today (`Asia/Calcutta` → `Asia/Kolkata`).
#[must_use]
pub fn preferred(zone: Tz) -> Tz {
    TABLES.preferred.get(&zone).copied().unwrap_or(zone)
}

/// The zone of an old IANA name or a Windows id, in letters of any case.
pub fn by_name(name: &str) -> Option<Tz> {
    TABLES.by_name.get(&name.to_ascii_lowercase()).copied()
}

/// The zone of one of Outlook's display names: `(UTC+01:00) Brussels, Copenhagen, Madrid, Paris`.
///
/// The list of cities decides, not the offset, which is that of some season.
pub fn by_display_name(name: &str) -> Option<Tz> {
    let name = name.replace('\\', "").replace('&', "and").to_lowercase();
    let name = match name.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, cities)) => cities,
        None => &name,
    };
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(zone) = TABLES.by_name.get(&name) {
        return Some(*zone);
    }
    let mut cities = name.split(',').map(str::trim).filter(|city| !city.is_empty());
    cities.find_map(|city| TABLES.by_city.get(city).copied())
}

/// Every Windows id with its zone.
pub fn windows_ids() -> impl Iterator<Item = (&'static str, Tz)> {
    TABLES.windows.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_windows_id_has_a_zone() {
        assert_eq!(windows_ids().count(), 139);
    }

    #[test]
    fn every_display_name_belongs_to_a_windows_id() {
        for row in rows(include_str!("data/outlook_names.tsv")) {
            assert!(windows_ids().any(|(id, _)| id == row[1]), "{row:?}");
        }
    }

    #[test]
    fn windows_ids_and_display_names_lead_to_current_iana_names() {
        assert_eq!(by_name("Romance Standard Time"), Some(Tz::Europe__Paris));
        assert_eq!(by_name("india standard time"), Some(Tz::Asia__Kolkata));
        assert_eq!(by_display_name("(UTC+07:00) Bangkok\\, Hanoi\\, Jakarta"), Some(Tz::Asia__Bangkok));
        assert_eq!(by_display_name("(GMT+10:00) Canberra, Melbourne, Sydney"), Some(Tz::Australia__Sydney));
        assert_eq!(by_display_name("(UTC-05:00) Eastern Time (US & Canada)"), Some(Tz::America__New_York));
        assert_eq!(by_display_name("(UTC+01:00) Somewhere, Vienna"), Some(Tz::Europe__Vienna));
        assert_eq!(preferred(Tz::Asia__Calcutta), Tz::Asia__Kolkata);
    }
}
