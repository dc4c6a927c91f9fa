//! The system query options of `OData`, as far as calendars are asked with them: `$select`, `$expand`, `$filter`.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::times;

/// Whether a `$select` names the property.
pub(crate) fn selects(select: &str, name: &str) -> bool {
    select.split(',').any(|part| part.trim().eq_ignore_ascii_case(name))
}

/// What a `$select` leaves of an object; `id` and annotations always stay.
pub(crate) fn select(object: &mut Map<String, Value>, wanted: &str, expand: &str) {
    object.retain(|name, _| {
        name.starts_with('@') || name == "id" || selects(wanted, name) || expanded(expand, name).is_some()
    });
}

/// Splits at a separator, outside of brackets and quotes.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut is_quoted, mut from) = (Vec::new(), 0_usize, false, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_here = text.get(at..).is_some_and(|rest| rest.starts_with(separator));
        if depth == 0 && !is_quoted && at >= from && is_here {
            parts.push(text.get(from..at).unwrap_or_default());
            from = at + separator.len();
        }
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

/// The options in the brackets behind a name in `$expand`; `None` when it is not named.
pub(crate) fn expanded<'a>(expand: &'a str, name: &str) -> Option<&'a str> {
    split(expand, ",").into_iter().find_map(|part| {
        let part = part.trim();
        let (head, options) = part.split_once('(').unwrap_or((part, ""));
        head.trim().eq_ignore_ascii_case(name).then_some(options.trim_end_matches(')'))
    })
}

/// Whether `$filter=id eq '…' or id eq '…'` names the id; an expansion without a filter names all.
pub(crate) fn names_id(options: &str, id: &str) -> bool {
    options.is_empty() || options.to_lowercase().contains(&format!("'{}'", id.to_lowercase()))
}

/// One condition of a `$filter`.
#[derive(Debug)]
enum Condition {
    Compare {
        path: Vec<String>,
        operator: String,
        value: String,
    },
    Contains {
        path: Vec<String>,
        value: String,
        is_start: bool,
    },
    /// An extended property of that id and value.
    Property {
        id: String,
        value: Option<String>,
    },
}

/// A `$filter`: conditions joined by `and`.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    all: Vec<Condition>,
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('\'').replace("''", "'")
}

fn path(text: &str) -> Vec<String> {
    text.trim().split('/').map(str::to_owned).collect()
}

impl Filter {
    /// Reads one; what it cannot read it refuses, as Exchange refuses much.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, ApiError> {
        let mut all = Vec::new();
        for part in text.map(|text| split(text, " and ")).unwrap_or_default() {
            let refused =
                || ApiError::new(400, "ErrorInvalidUrlQueryFilter", "The query filter is not supported.");
            all.push(condition(part.trim()).ok_or_else(refused)?);
        }
        Ok(Self { all })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether an event whose fields are this text can pass: a look-up by property does not read a whole calendar.
    pub(crate) fn may_admit(&self, own: &str) -> bool {
        self.all.iter().all(|condition| match condition {
            Condition::Property { value: Some(value), .. } if value.is_ascii() => {
                own.contains(value) || value.contains(['"', '\\'])
            }
            _ => true,
        })
    }

    /// Whether an event passes; `own` has what is not shown.
    pub(crate) fn admits(&self, shown: &Map<String, Value>, own: &Map<String, Value>) -> bool {
        self.all.iter().all(|condition| match condition {
            Condition::Compare { path, operator, value } => compare(at(shown, path), operator, value),
            Condition::Contains { path, value, is_start } => {
                let text = at(shown, path).and_then(Value::as_str).unwrap_or_default().to_lowercase();
                let value = value.to_lowercase();
                if *is_start { text.starts_with(&value) } else { text.contains(&value) }
            }
            Condition::Property { id, value } => {
                let all = own.get("singleValueExtendedProperties").and_then(Value::as_array);
                all.into_iter().flatten().any(|property| {
                    let text = |name: &str| property.get(name).and_then(Value::as_str).unwrap_or_default();
                    text("id").eq_ignore_ascii_case(id)
                        && value.as_deref().is_none_or(|value| text("value") == value)
                })
            }
        })
    }
}

fn condition(part: &str) -> Option<Condition> {
    if let Some(rest) = part.strip_prefix("singleValueExtendedProperties/any(") {
        let inner = rest.strip_suffix(')')?.split_once(':')?.1;
        let mut found = (None, None);
        for piece in split(inner, " and ") {
            let (name, value) = piece.split_once(" eq ")?;
            match name.trim().rsplit('/').next()? {
                "id" => found.0 = Some(unquoted(value)),
                "value" => found.1 = Some(unquoted(value)),
                _ => return None,
            }
        }
        return Some(Condition::Property { id: found.0?, value: found.1 });
    }
    for (name, is_start) in [("contains(", false), ("startswith(", true)] {
        if let Some(rest) = part.strip_prefix(name) {
            let (field, value) = rest.strip_suffix(')')?.split_once(',')?;
            return Some(Condition::Contains { path: path(field), value: unquoted(value), is_start });
        }
    }
    let mut words = part.splitn(3, ' ');
    let (field, operator, value) = (words.next()?, words.next()?, words.next()?);
    matches!(operator, "eq" | "ne" | "ge" | "gt" | "le" | "lt").then(|| Condition::Compare {
        path: path(field),
        operator: operator.to_owned(),
        value: unquoted(value),
    })
}

fn at<'a>(object: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(object.get(first)?, |value, name| value.get(name))
}

fn compare(found: Option<&Value>, operator: &str, wanted: &str) -> bool {
    let found = match found {
        None | Some(Value::Null) => "null".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let order = match (times::instant(&found), times::instant(wanted)) {
        (Some(found), Some(wanted)) => found.cmp(&wanted),
        _ => found.as_str().cmp(wanted),
    };
    match operator {
        "eq" => order.is_eq(),
        "ne" => order.is_ne(),
        "ge" => order.is_ge(),
        "gt" => order.is_gt(),
        "le" => order.is_le(),
        _ => order.is_lt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn admits(filter: &str) -> bool {
        let shown =
            json!({ "subject": "Plan and do", "start": { "dateTime": "2026-03-16T09:00:00.0000000" } });
        let own = json!({ "singleValueExtendedProperties": [{ "id": "String {a} Name b", "value": "x" }] });
        Filter::read(Some(filter)).unwrap().admits(shown.as_object().unwrap(), own.as_object().unwrap())
    }

    #[test]
    fn a_filter_compares_times_and_texts_and_finds_extended_properties() {
        assert!(admits("subject eq 'Plan and do' and start/dateTime ge '2026-03-16T08:00'"));
        assert!(!admits("start/dateTime lt '2026-03-16'"));
        assert!(admits("startswith(subject,'plan')"));
        assert!(admits(
            "singleValueExtendedProperties/any(ep: ep/id eq 'String {a} Name b' and ep/value eq 'x')"
        ));
        assert!(!admits(
            "singleValueExtendedProperties/any(ep: ep/id eq 'String {a} Name b' and ep/value eq 'y')"
        ));
        assert!(Filter::read(Some("nonsense")).is_err());
    }

    #[test]
    fn an_expansion_is_found_with_its_options() {
        let expand = "extensions,singleValueExtendedProperties($filter=id eq 'a,b')";

        assert_eq!(expanded(expand, "extensions"), Some(""));
        assert!(names_id(expanded(expand, "singleValueExtendedProperties").unwrap(), "a,b"));
        assert_eq!(expanded(expand, "instances"), None);
    }
}
