//! The HTTP API: JSON under `/api/v1`, read and written with an API key; health pages and measures beside it.
//!
//! A handler turns a request into a call of the service and the answer into JSON. It knows no SQL, and another
//! organization's ids are answered like unknown ones.

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use calfleet_runtime::config::api::ApiConfig;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use crate::app::App;

mod auth;
mod body;
mod conflicts;
mod connections;
mod disconnect;
mod events;
pub mod health;
mod outbox;
mod parameters;
pub mod problem;
mod sign_in;
mod wish;
mod writes;

pub use auth::{CONNECT, SCHEDULE, VIEW_ALL};

use problem::Problem;

/// All routes.
pub fn router(app: App, config: &ApiConfig) -> Router {
    let limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|_| async { Problem::timeout() }))
        .layer(TimeoutLayer::new(config.timeout));
    let api = Router::new()
        .route("/connections", get(connections::list))
        .route("/connections/{id}", get(connections::read).delete(disconnect::connection))
        .route("/connections/{ticket}/confirm", post(sign_in::confirm))
        .route("/calendar/{provider}", delete(disconnect::of_provider))
        .route("/calendar/{provider}/connect", post(sign_in::begin))
        .route("/calendars/{id}", get(connections::read_calendar))
        .route("/calendars/{id}/events", post(writes::create))
        .route("/calendars/{id}/explain", get(connections::explain))
        .route("/calendars/{id}/events/by-key/{key}", put(writes::save))
        .route("/events", get(events::list))
        .route("/events/{id}", get(events::read).patch(writes::edit).delete(writes::delete))
        .route("/events/{id}/history", get(events::history))
        .route("/events/{id}/respond", post(writes::respond))
        .route("/events/{id}/undo", post(writes::undo))
        .route("/events/{id}/instances", get(events::instances_of))
        .route("/instances", get(events::instances))
        .route("/conflicts", get(conflicts::list))
        .route("/conflicts/{id}", get(conflicts::read))
        .route("/conflicts/{id}/resolve", post(conflicts::resolve))
        .route("/undo", post(writes::undo_cause))
        .route("/outbox", get(outbox::list))
        .route("/outbox/{id}/discard", post(outbox::discard))
        .route("/outbox/{id}/explain", get(outbox::explain))
        .route("/outbox/{id}/retry", post(outbox::retry))
        .method_not_allowed_fallback(async || Problem::no_method())
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid));
    Router::new()
        .nest("/api/v1", api)
        .route("/connect/{provider}/callback", get(crate::connect::callback))
        .merge(crate::notifications::routes(&app))
        .merge(health::routes())
        .fallback(async || Problem::no_route())
        .layer(limits)
        // ours takes the place of the library's own limit
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(config.max_body_bytes))
        .layer(axum::middleware::map_response(body::in_words))
        .with_state(app)
}
