//! Listening and serving until the process drains.

use std::net::SocketAddr;

use calfleet_runtime::config::api::ApiConfig;
use tokio::net::TcpListener;

use crate::api;
use crate::app::App;

/// The address cannot be listened on, or serving failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else has the address, or it is not this machine's.
    #[error("listen on {address}; another program may use it: change api.listen or api.worker_listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The socket broke.
    #[error("serve requests")]
    Serve(#[source] std::io::Error),
}

/// A socket that is listened on, so that a wrong address is found out before anything else starts.
#[derive(Debug)]
pub struct Socket(TcpListener);

/// Listens.
///
/// # Errors
/// When the address cannot be had.
pub async fn listen(address: SocketAddr) -> Result<Socket, ServeError> {
    let listener = TcpListener::bind(address).await;
    listener.map(Socket).map_err(|source| ServeError::Listen { address, source })
}

impl Socket {
    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.0.local_addr().map_err(ServeError::Serve)
    }

    /// Serves the API with health pages and measures until the process drains, then answers what was asked before.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve_api(self, app: App, config: &ApiConfig) -> Result<(), ServeError> {
        let draining = app.draining.clone();
        self.serve(api::router(app, config), draining).await
    }

    /// Serves health pages and measures alone.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve_health(self, app: App) -> Result<(), ServeError> {
        let draining = app.draining.clone();
        self.serve(api::health::routes().with_state(app), draining).await
    }

    async fn serve(
        self,
        routes: axum::Router,
        draining: tokio_util::sync::CancellationToken,
    ) -> Result<(), ServeError> {
        axum::serve(self.0, routes)
            .with_graceful_shutdown(draining.cancelled_owned())
            .await
            .map_err(ServeError::Serve)
    }
}
