//! What Graph's description allows: methods, paths, parameters, properties of bodies and of `$select`, preferences.

use serde_json::Value;

/// The OpenAPI description of the calendar part of Graph.
pub(super) struct Contract {
    document: Value,
}

/// A request, or a part of a batch.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Relative to the service and still encoded, with a slash at its beginning.
    pub(super) path: &'a str,
    pub(super) query: &'a [(String, String)],
    pub(super) prefer: &'a str,
    pub(super) body: &'a Value,
}

impl Contract {
    pub(super) fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/contracts/graph-calendar-v1.0.openapi.json");
        let text = std::fs::read_to_string(path).unwrap();
        Self { document: serde_json::from_str(&text).unwrap() }
    }

    /// What is wrong with a request.
    pub(super) fn faults(&self, asked: &Asked<'_>) -> Vec<String> {
        let (method, path) = (asked.method, asked.path);
        let Some((pattern, operation)) = self.operation(method, path) else {
            return vec![format!("no such operation: {method} {path}")];
        };
        let mut faults = Vec::new();
        for name in self.required(operation) {
            let goes_on = asked.query.iter().any(|(name, _)| name.ends_with("token"));
            if !goes_on && !asked.query.iter().any(|(given, _)| *given == name) {
                faults.push(format!("{name} is missing"));
            }
        }
        for (name, value) in asked.query {
            match self.parameters(operation).find(|parameter| parameter["name"] == name.as_str()) {
                None => faults.push(format!("no such parameter: {name}")),
                Some(parameter)
                    if parameter["schema"]["type"] == "integer" && value.parse::<u32>().is_err() =>
                {
                    faults.push(format!("{name} cannot be {value:?}"));
                }
                Some(_) => {}
            }
            if matches!(name.as_str(), "$select" | "$expand") {
                let schema = if pattern.contains("events") || pattern.contains("calendarView") {
                    "microsoft.graph.event"
                } else {
                    "microsoft.graph.calendar"
                };
                let properties = self.properties(schema);
                let is_known = |name: &&str| properties.iter().any(|(known, _)| known == name);
                faults.extend(
                    value
                        .split(',')
                        .filter(|name| !is_known(name))
                        .map(|name| format!("{schema} has no {name}")),
                );
            }
        }
        faults.extend(preferences(asked.prefer));
        faults.extend(self.body_faults(operation, asked.body));
        faults.iter().map(|fault| format!("{method} {path}: {fault}")).collect()
    }

    fn body_faults(&self, operation: &Value, body: &Value) -> Vec<String> {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let Some(body) = body.as_object() else { return Vec::new() };
        if schema.is_null() {
            return vec!["it takes no body".to_owned()];
        }
        // Actions say what they take where they stand.
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let properties = name.map_or_else(
            || {
                let own = schema["properties"].as_object().into_iter().flatten();
                own.map(|(name, value)| (name.clone(), value.clone())).collect()
            },
            |name| self.properties(name),
        );
        let schema = name.unwrap_or("the action");
        let faults = body.iter().filter_map(|(name, value)| {
            let Some((_, property)) = properties.iter().find(|(known, _)| known == name) else {
                return Some(format!("{schema} has no {name}"));
            };
            let is_fitting = match property["type"].as_str() {
                Some("string") => value.is_string(),
                Some("array") => {
                    let most = property["maxItems"].as_u64().unwrap_or(u64::MAX);
                    value.as_array().is_some_and(|items| u64::try_from(items.len()).unwrap() <= most)
                }
                _ => true,
            };
            (!is_fitting).then(|| format!("{schema}.{name} cannot be {value}"))
        });
        faults.collect()
    }

    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let paths = self.document["paths"].as_object()?;
        // `calendars/{id}` is also whatever else stands there: the pattern with the fewest blanks is meant.
        let fitting = paths.iter().filter(|(pattern, _)| is_match(pattern, path));
        let (pattern, found) = fitting.min_by_key(|(pattern, _)| pattern.matches('{').count())?;
        let operation = &found[method.to_ascii_lowercase()];
        operation.is_object().then_some((pattern.as_str(), operation))
    }

    fn parameters<'a>(&'a self, operation: &'a Value) -> impl Iterator<Item = &'a Value> {
        let named = operation["parameters"].as_array().into_iter().flatten();
        named.map(|parameter| match parameter["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            Some(name) => &self.document["components"]["parameters"][name],
            None => parameter,
        })
    }

    fn required(&self, operation: &Value) -> Vec<String> {
        let required =
            self.parameters(operation).filter(|one| one["required"] == true && one["in"] == "query");
        required.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The properties of a schema and of what it is made of.
    fn properties(&self, schema: &str) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let mut waiting = vec![&self.document["components"]["schemas"][schema]];
        while let Some(schema) = waiting.pop() {
            for part in schema["allOf"].as_array().into_iter().flatten() {
                let name = part["$ref"].as_str().and_then(|name| name.rsplit('/').next());
                waiting.push(name.map_or(part, |name| &self.document["components"]["schemas"][name]));
            }
            let properties = schema["properties"].as_object().into_iter().flatten();
            found.extend(properties.map(|(name, value)| (name.clone(), value.clone())));
        }
        found
    }
}

/// Every request asks for ids that last, and for nothing that nobody knows.
fn preferences(prefer: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !prefer.contains(r#"IdType="ImmutableId""#) {
        faults.push("it does not ask for immutable ids".to_owned());
    }
    let known = ["IdType", "outlook.timezone", "outlook.body-content-type", "odata.maxpagesize"];
    for one in prefer.split(", ") {
        let name = one.split('=').next().unwrap();
        if !known.contains(&name) {
            faults.push(format!("no such preference: {name:?}"));
        }
    }
    faults
}

fn is_match(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(&path)
            .all(|(wanted, found)| wanted == found || (wanted.starts_with('{') && !found.is_empty()))
}
