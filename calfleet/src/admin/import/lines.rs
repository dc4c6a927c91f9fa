//! Reading the lines of a file: CSV (RFC 4180, with a header) or JSON. A line that cannot be read says why and leaves
//! the others alone.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use calfleet_domain::model::ProviderId;
use calfleet_service::import::ImportWish;
use serde::Deserialize;

/// A line by its number in the file, or why it cannot be read.
pub(super) type Numbered = (usize, Result<ImportWish, String>);

/// The columns of a file; the fields of an object.
const COLUMNS: [&str; 5] = ["organization", "user", "email", "provider", "calendars"];

/// A line as it was written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    organization: String,
    #[serde(default)]
    user: Option<String>,
    email: String,
    provider: String,
    #[serde(default)]
    calendars: Vec<String>,
}

impl Written {
    fn read(self) -> Result<ImportWish, String> {
        let user = self.user.filter(|user| !user.trim().is_empty());
        let user_id = match &user {
            Some(user) => Some(user.trim().parse().map_err(|_| format!("user {user:?} is no id (a UUID)"))?),
            None => None,
        };
        let named = |name: &str, value: &str| {
            if value.trim().is_empty() {
                Err(format!("{name} is empty"))
            } else {
                Ok(value.trim().to_owned())
            }
        };
        let provider = named("provider", &self.provider)?;
        let calendars = self.calendars.iter().map(|id| id.trim()).filter(|id| !id.is_empty());
        Ok(ImportWish {
            organization: named("organization", &self.organization)?,
            user_id,
            email: named("email", &self.email)?,
            provider: provider.parse().map_err(|_| format!("there is no provider {provider:?}"))?,
            calendars: calendars.map(ProviderId::from).collect::<BTreeSet<_>>(),
        })
    }
}

/// The objects of a list, numbered from 1.
pub(super) fn of_json(text: &str) -> anyhow::Result<Vec<Numbered>> {
    let items: Vec<serde_json::Value> = serde_json::from_str(text).context("the file is no list in JSON")?;
    let read = |item| match serde_json::from_value::<Written>(item) {
        Ok(written) => written.read(),
        Err(error) => Err(error.to_string()),
    };
    Ok(items.into_iter().enumerate().map(|(index, item)| (index + 1, read(item))).collect())
}

/// The records below the header, numbered by the line on which they begin.
pub(super) fn of_csv(text: &str) -> anyhow::Result<Vec<Numbered>> {
    let mut records = records(text.trim_start_matches('\u{feff}'))?.into_iter();
    let (_, header) = records.next().context("the file is empty")?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
    if let Some(odd) = header.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        bail!("there is no column {odd:?}; the columns are {}", COLUMNS.join(", "));
    }
    for name in ["organization", "email", "provider"] {
        if !header.iter().any(|known| known == name) {
            bail!("the column {name} is missing");
        }
    }
    let mut lines = Vec::new();
    for (line, record) in records {
        let read = if record.len() == header.len() {
            let mut written = Written::default();
            for (name, value) in header.iter().zip(record) {
                match name.as_str() {
                    "organization" => written.organization = value,
                    "user" => written.user = Some(value),
                    "email" => written.email = value,
                    "provider" => written.provider = value,
                    _ => written.calendars = value.split([' ', ';']).map(str::to_owned).collect(),
                }
            }
            written.read()
        } else {
            Err(format!("it has {} fields instead of {}", record.len(), header.len()))
        };
        lines.push((line, read));
    }
    Ok(lines)
}

/// Records with the lines on which they begin; empty lines are none.
fn records(text: &str) -> anyhow::Result<Vec<(usize, Vec<String>)>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begins, mut is_quoted) = (1, 1, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if is_quoted || field.is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field).trim_end_matches('\r').to_owned());
                let whole = std::mem::take(&mut record);
                if whole.iter().any(|field| !field.is_empty()) {
                    records.push((begins, whole));
                }
                begins = line;
            }
            letter => field.push(letter),
        }
    }
    if is_quoted {
        bail!("the quotation that is open in the record of line {begins} does not end");
    }
    record.push(field);
    if record.iter().any(|field| !field.is_empty()) {
        records.push((begins, record));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_quotations_line_ends_and_their_lines() {
        let text = "organization,email,provider,calendars\r\n\
            \"Ada, Inc.\",ada@example.com,google,\"a b;c\"\r\n\r\n\
            \"two\nlines \"\"quoted\"\"\",bob@example.com,google,";

        let lines = of_csv(text).unwrap();

        let wishes: Vec<_> = lines.iter().map(|(line, wish)| (*line, wish.as_ref().unwrap())).collect();
        assert_eq!(wishes.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(wishes[0].1.organization, "Ada, Inc.");
        assert_eq!(wishes[0].1.calendars.iter().map(|id| id.0.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(wishes[1].1.organization, "two\nlines \"quoted\"");
        assert!(wishes[1].1.calendars.is_empty());
    }

    #[test]
    fn a_line_that_cannot_be_read_says_why_and_leaves_the_others_alone() {
        let text = "organization,user,email,provider\n\
            a,nobody,ada@example.com,google\na,,ada@example.com,gogle\na,,,google\na,b\n\
            a,01890a5d-ac96-774b-bcce-b302099a8057,ada@example.com,google\n";

        let lines = of_csv(text).unwrap();

        let reasons: Vec<_> = lines.iter().map(|(_, wish)| wish.as_ref().err().cloned()).collect();
        assert_eq!(
            reasons,
            [
                Some("user \"nobody\" is no id (a UUID)".to_owned()),
                Some("there is no provider \"gogle\"".to_owned()),
                Some("email is empty".to_owned()),
                Some("it has 2 fields instead of 4".to_owned()),
                None,
            ]
        );
        for odd in ["", "organization,email\n", "organization,email,provider,color\n", "a,\"b"] {
            assert!(of_csv(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_list_in_json_is_read_in_the_same_way() {
        let text = r#"[{ "organization": "a", "email": "ada@example.com", "provider": "google", "calendars": ["x"] },
            { "organization": "a" }]"#;

        let lines = of_json(text).unwrap();

        assert_eq!(lines[0].1.as_ref().unwrap().calendars.len(), 1);
        assert!(lines[1].1.as_ref().unwrap_err().contains("email"));
        assert!(of_json("{}").is_err());
    }
}
