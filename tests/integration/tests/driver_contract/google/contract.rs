//! What Google's discovery document allows: methods, paths, parameters and properties of bodies.

use serde_json::Value;

/// The discovery document.
pub(super) struct Contract {
    document: Value,
}

impl Contract {
    pub(super) fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/contracts/calendar.v3.json");
        let text = std::fs::read_to_string(path).unwrap();
        Self { document: serde_json::from_str(&text).unwrap() }
    }

    /// What is wrong with a request. `path` is relative to the service and still encoded.
    pub(super) fn faults(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        body: &Value,
    ) -> Vec<String> {
        let Some(found) = self.method(method, path) else {
            return vec![format!("no such method: {method} {path}")];
        };
        let mut faults = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in query {
            let own = found["parameters"][name].clone();
            let parameter = if own.is_null() { self.document["parameters"][name].clone() } else { own };
            if parameter.is_null() || parameter["location"] != "query" {
                faults.push(format!("{}: no such parameter: {name}", found["id"]));
                continue;
            }
            if seen.contains(&name.as_str()) && parameter["repeated"] != true {
                faults.push(format!("{}: {name} is repeated", found["id"]));
            }
            seen.push(name);
            if !is_value(&parameter, value) {
                faults.push(format!("{}: {name} cannot be {value:?}", found["id"]));
            }
        }
        let schema = found["request"]["$ref"].as_str();
        match (schema, body.as_object()) {
            (None, Some(_)) => faults.push(format!("{}: it takes no body", found["id"])),
            (Some(schema), Some(body)) => {
                let properties = &self.document["schemas"][schema]["properties"];
                for (name, value) in body {
                    if !self.is_fitting(&properties[name], value) {
                        faults.push(format!("{}: {schema} has no such {name}: {value}", found["id"]));
                    }
                }
            }
            _ => {}
        }
        faults
    }

    /// Whether a value is what the schema describes, to its last leaf; `null` deletes anything.
    fn is_fitting(&self, schema: &Value, value: &Value) -> bool {
        let named = schema["$ref"].as_str().map(|name| &self.document["schemas"][name]);
        let schema = named.unwrap_or(schema);
        match (schema["type"].as_str(), value) {
            (Some(_), Value::Null) => true,
            (Some("array"), Value::Array(items)) => {
                items.iter().all(|item| self.is_fitting(&schema["items"], item))
            }
            (Some("object"), Value::Object(fields)) => fields.iter().all(|(name, value)| {
                let own = &schema["properties"][name];
                let own = if own.is_null() { &schema["additionalProperties"] } else { own };
                self.is_fitting(own, value)
            }),
            (Some("string"), value) => value.is_string(),
            (Some("boolean"), value) => value.is_boolean(),
            (Some("integer"), value) => value.is_i64(),
            _ => false,
        }
    }

    fn method(&self, method: &str, path: &str) -> Option<&Value> {
        let resources = self.document["resources"].as_object()?;
        let methods = resources.values().filter_map(|resource| resource["methods"].as_object());
        // `events/watch` is also `events/{eventId}` to who does not look at the method.
        methods.flat_map(|methods| methods.values()).find(|found| {
            found["httpMethod"] == method
                && found["path"].as_str().is_some_and(|pattern| is_match(pattern, path))
        })
    }
}

fn is_match(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(&path)
            .all(|(wanted, found)| wanted == found || (wanted.starts_with('{') && !found.is_empty()))
}

fn is_value(parameter: &Value, value: &str) -> bool {
    let is_listed = parameter["enum"].as_array().is_none_or(|listed| listed.iter().any(|one| one == value));
    is_listed
        && match parameter["type"].as_str() {
            Some("boolean") => matches!(value, "true" | "false"),
            Some("integer") => value.parse::<i64>().is_ok(),
            _ => true,
        }
}
