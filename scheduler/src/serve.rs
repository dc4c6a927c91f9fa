//! Listening and serving until the process drains.
//!
//! A client that sends nothing, or half a request, is let go after `api.timeout`, and draining ends after as long at the
//! latest: nobody outside keeps a connection, or a process that was told to stop, for ever. `axum::serve` knows no such
//! times.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use calfleet_domain::clock::Clock as _;
use calfleet_runtime::clock::SystemClock;
use calfleet_runtime::config::api::ApiConfig;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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

    /// Serves the API with health pages and measures until the process drains, then answers what was asked before, for
    /// as long as one request may take.
    pub async fn serve_api(self, app: App, config: &ApiConfig) {
        let draining = app.draining.clone();
        self.serve(api::router(app, config), draining, config.timeout).await;
    }

    /// Serves health pages and measures alone, in the same way.
    pub async fn serve_health(self, app: App, timeout: Duration) {
        let draining = app.draining.clone();
        self.serve(api::health::routes().with_state(app), draining, timeout).await;
    }

    async fn serve(mut self, routes: Router, draining: CancellationToken, timeout: Duration) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = draining.cancelled() => break,
                (stream, _) = Listener::accept(&mut self.0) => {
                    connections.spawn(answer(stream, routes.clone(), draining.clone(), timeout));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.0);
        let everything = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = everything => {}
            () = passed(timeout) => tracing::warn!("requests were cut off: they took longer than api.timeout"),
        }
    }
}

/// Answers what comes over one connection; while draining only what has begun.
async fn answer(stream: TcpStream, routes: Router, draining: CancellationToken, timeout: Duration) {
    let mut first = [0];
    tokio::select! {
        biased;
        _ = stream.peek(&mut first) => {}
        // the library's time for headers begins with their first byte
        () = passed(timeout) => return,
        () = draining.cancelled() => return,
    }
    // HTTP/2 is for the proxy in front; the library would wait for ever for the second letter of its preface
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = builder.http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeout);
    let service = TowerToHyperService::new(routes);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = error.as_ref() as &dyn std::error::Error, "a connection was broken off");
    }
}

/// Connections live in real time, also where a test moves the fleet's clock.
async fn passed(time: Duration) {
    let clock = SystemClock::default();
    clock.sleep(time).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    /// As long as one request may take here.
    const TIMEOUT: Duration = Duration::from_millis(200);
    /// As long as a test waits for what has to happen: many times as long.
    const PATIENCE: Duration = Duration::from_secs(20);

    const WHOLE: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A server whose `/livez` answers at once and `/never` does not, and when it drains.
    async fn start() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let socket = listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = socket.address().unwrap();
        let routes = Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/never", get(async || std::future::pending::<()>().await));
        let draining = CancellationToken::new();
        let serving = tokio::spawn(socket.serve(routes, draining.clone(), TIMEOUT));
        (address, draining, serving)
    }

    async fn sent(address: SocketAddr, text: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text).await.unwrap();
        stream
    }

    /// What the server says until it closes the connection.
    async fn said(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        tokio::select! {
            // a reset is an end, too
            _ = stream.read_to_end(&mut text) => {}
            () = passed(PATIENCE) => panic!("the connection was never closed"),
        }
        String::from_utf8(text).unwrap()
    }

    async fn ends(serving: JoinHandle<()>) {
        tokio::select! {
            ended = serving => ended.unwrap(),
            () = passed(PATIENCE) => panic!("serving never ended"),
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_half_a_request_or_nothing_is_let_go() {
        let (address, draining, serving) = start().await;

        for text in [
            &b""[..],
            b"GET",
            b"P",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\n",
        ] {
            let answer = said(sent(address, text).await).await;
            assert!(!answer.contains("alive"), "{answer}");
        }
        let mut stream = sent(address, WHOLE).await;
        stream.shutdown().await.unwrap();
        let answer = said(stream).await;
        assert!(answer.contains("alive"), "{answer}");

        draining.cancel();
        ends(serving).await;
    }

    #[tokio::test]
    async fn draining_ends_in_time_whatever_clients_do() {
        let (address, draining, serving) = start().await;
        let mut idle = sent(address, WHOLE).await;
        let mut first = [0; 1];
        idle.read_exact(&mut first).await.unwrap();
        let silent = sent(address, b"").await;
        let half = sent(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n").await;
        let endless = sent(address, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await;

        draining.cancel();

        ends(serving).await;
        for stream in [idle, silent, half, endless] {
            said(stream).await;
        }
    }
}
