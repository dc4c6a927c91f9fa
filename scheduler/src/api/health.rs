//! `/livez`, `/readyz` and `/metrics`: for orchestrators and Prometheus, without a key and without data.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::app::App;

/// The routes; a worker serves these alone.
pub fn routes() -> Router<App> {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).route("/metrics", get(measures))
}

/// The process runs.
async fn live() -> &'static str {
    "alive\n"
}

/// The process can do its work: the database answers and it does not drain. Redis is not asked: without it work
/// waits, and nothing is lost.
async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match app.service.store.database_time().await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "not ready: the database does not answer"
            );
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

async fn measures(State(app): State<App>) -> String {
    if let Ok(depths) = app.queue.depths().await {
        for (lane, depth) in calfleet_domain::job::Lane::ALL.iter().zip(depths) {
            let depth = u32::try_from(depth).unwrap_or(u32::MAX);
            metrics::gauge!("calfleet_queue_depth", "lane" => lane.as_str()).set(f64::from(depth));
        }
    }
    app.telemetry.render()
}
