//! A client of the HTTP API and of the health pages, which trusts nothing.

use std::collections::HashMap;

use serde_json::Value;

/// The API of one program with one key.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    url: String,
    key: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self { url: url.to_owned(), key: Some(key.to_owned()) }
    }

    /// The same without a key.
    pub(crate) fn stranger(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// Any answer to a GET of a path under `/api/v1`.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        self.send(reqwest::Method::GET, path).await
    }

    /// Any answer to a request of a path under `/api/v1`.
    pub(crate) async fn send(&self, method: reqwest::Method, path: &str) -> Answer {
        self.exchange(path, client().request(method, format!("{}/api/v1{path}", self.url))).await
    }

    /// The same with a JSON body.
    pub(crate) async fn send_json(&self, method: reqwest::Method, path: &str, body: &Value) -> Answer {
        let request = client().request(method, format!("{}/api/v1{path}", self.url));
        self.exchange(path, request.body(body.to_string())).await
    }

    /// The same with more headers.
    pub(crate) async fn send_with(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = client().request(method, format!("{}/api/v1{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(path, request.body(body.to_string())).await
    }

    /// The same with any text for a body.
    pub(crate) async fn send_text(&self, method: reqwest::Method, path: &str, body: &str) -> Answer {
        let request = client().request(method, format!("{}/api/v1{path}", self.url));
        self.exchange(path, request.body(body.to_owned())).await
    }

    async fn exchange(&self, path: &str, mut request: reqwest::RequestBuilder) -> Answer {
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = answer.bytes().await.unwrap();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| panic!("{path}: {status} {}", String::from_utf8_lossy(&body)));
        Answer { status, headers, body }
    }

    /// The body of a good answer.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Everything on all pages of a list; `path` has a query already.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let more = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let page = self.get(&format!("{path}{more}")).await;
            assert_eq!(page["is_complete"], true, "{path}");
            found.extend(page["data"].as_array().unwrap().iter().cloned());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return found;
            }
        }
    }
}

/// Status and text of a page that needs no key; `None` when nobody answers.
pub(crate) async fn get(url: &str) -> Option<(u16, String)> {
    let answer = client().get(url).send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.text().await.ok()?))
}

fn client() -> reqwest::Client {
    // Each request on a connection of its own: programs are killed and come back in these tests.
    reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().unwrap()
}
