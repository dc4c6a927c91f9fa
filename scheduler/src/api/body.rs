//! Bodies of requests: JSON, refused with the field that cannot be read.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::problem::Problem;

/// A body as it came.
#[derive(Debug)]
pub(super) struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Problem::too_large()
            } else {
                Problem::bad_body("The body did not arrive whole; send it again.")
            }
        })?;
        Ok(Self(bytes))
    }
}

impl Body {
    /// What it says: an object, for fields in a list would be told apart by their places.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.0.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::bad_body("Send a JSON object."));
        }
        let mut json = serde_json::Deserializer::from_slice(&self.0);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = spelled(error.path());
            let detail = format!("The body cannot be read: {}.", error.inner());
            if field.is_empty() { Problem::bad_body(detail) } else { Problem::bad_field(field, detail) }
        })?;
        let rest = json.end();
        rest.map_err(|error| Problem::bad_body(format!("The body cannot be read: {error}.")))?;
        Ok(value)
    }

    /// What it says, or what nothing and `null` mean.
    pub(super) fn read_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if matches!(self.0.trim_ascii(), b"" | b"null") { Ok(T::default()) } else { self.read() }
    }

    /// What tells it from other bodies: the same whatever the order and spacing of its fields.
    pub(super) fn spelled(&self) -> Vec<u8> {
        let value = serde_json::from_slice::<serde_json::Value>(&self.0);
        value.map_or_else(|_| self.0.to_vec(), |value| value.to_string().into_bytes())
    }
}

/// A path as fields are named elsewhere: `attendees.3.address`.
fn spelled(path: &Path) -> String {
    let names = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    names.collect::<Vec<_>>().join(".")
}

/// An answer of a layer below in words of its own, as a problem like all others.
pub(super) async fn in_words(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_bare = kind.is_none_or(|kind| kind != "application/problem+json");
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && is_bare {
        return Problem::too_large().into_response();
    }
    response
}
