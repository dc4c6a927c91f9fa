//! The HTTP API: JSON under `/api/v1`, read with an API key; health pages and measures beside it.
//!
//! A handler turns a request into a call of the service and the answer into JSON. It knows no SQL, and another
//! organization's ids are answered like unknown ones.

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::routing::{delete, get, post};
use calfleet_runtime::config::api::ApiConfig;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::app::App;

mod auth;
mod connections;
mod disconnect;
mod events;
pub mod health;
mod parameters;
pub mod problem;
mod sign_in;

pub use auth::{CONNECT, VIEW_ALL};

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
        .route("/events", get(events::list))
        .route("/events/{id}", get(events::read))
        .route("/events/{id}/instances", get(events::instances_of))
        .route("/instances", get(events::instances))
        .method_not_allowed_fallback(async || Problem::no_method());
    Router::new()
        .nest("/api/v1", api)
        .route("/connect/{provider}/callback", get(crate::connect::callback))
        .merge(crate::notifications::routes(&app))
        .merge(health::routes())
        .fallback(async || Problem::no_route())
        .layer(limits)
        .layer(RequestBodyLimitLayer::new(config.max_body_bytes))
        .with_state(app)
}
