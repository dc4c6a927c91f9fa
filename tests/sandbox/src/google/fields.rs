//! Partial answers: the `fields` parameter, such as `items(id,start/dateTime),nextPageToken`.

use serde_json::{Map, Value};

use super::error::ApiError;

/// Sets a field of an object; other values stay as they are.
pub(crate) fn set(document: &mut Value, name: &str, value: Value) {
    if let Some(fields) = document.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The selected part of a document.
pub(crate) fn select(document: &Value, wanted: &str) -> Result<Value, ApiError> {
    let refused = || ApiError::invalid_parameter("fields", &format!("Invalid field selection {wanted}"));
    let (tree, rest) = read(wanted).ok_or_else(refused)?;
    if rest.is_empty() { Ok(keep(document, &tree)) } else { Err(refused()) }
}

/// A name and what is wanted below it; everything when nothing is named.
#[derive(Debug)]
struct Node<'a> {
    name: &'a str,
    below: Vec<Node<'a>>,
}

/// A list of selections, and what follows it.
fn read(text: &str) -> Option<(Vec<Node<'_>>, &str)> {
    let mut nodes = Vec::new();
    let mut rest = text;
    loop {
        let (node, after) = read_node(rest)?;
        nodes.push(node);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((nodes, after)),
        }
    }
}

fn read_node(text: &str) -> Option<(Node<'_>, &str)> {
    let end = text.find(['/', '(', ')', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    if let Some(below) = rest.strip_prefix('/') {
        let (node, rest) = read_node(below)?;
        return Some((Node { name: name.trim(), below: vec![node] }, rest));
    }
    if let Some(below) = rest.strip_prefix('(') {
        let (below, rest) = read(below)?;
        return Some((Node { name: name.trim(), below }, rest.strip_prefix(')')?));
    }
    Some((Node { name: name.trim(), below: Vec::new() }, rest))
}

fn keep(value: &Value, wanted: &[Node<'_>]) -> Value {
    if wanted.is_empty() || wanted.iter().any(|node| node.name == "*" && node.below.is_empty()) {
        return value.clone();
    }
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| keep(item, wanted)).collect()),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (name, field) in fields {
                if let Some(node) = wanted.iter().find(|node| node.name == name || node.name == "*") {
                    kept.insert(name.clone(), keep(field, &node.below));
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_is_kept_at_any_depth() {
        let document =
            json!({ "etag": "1", "items": [{ "id": "a", "start": { "date": "d", "x": 1 }, "y": 2 }] });

        let selected = select(&document, "items(id,start/date)").unwrap();

        assert_eq!(selected, json!({ "items": [{ "id": "a", "start": { "date": "d" } }] }));
        assert!(select(&document, "items(id").is_err());
    }
}
