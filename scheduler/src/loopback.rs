//! The way back from a consent page to a program on the person's own machine (RFC 8252 §7.3): a page on 127.0.0.1
//! that takes the one-time id and thanks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::get;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;

use crate::serve::ServeError;

const THANKS: &str = "<!doctype html><meta charset=\"utf-8\"><title>Calfleet</title>\
    <body style=\"font:1rem/1.5 system-ui;margin:15vh auto;max-width:30rem\">\
    <h1 style=\"font-size:1.25rem\">Thank you</h1><p>You can close this page and go back to the terminal.</p>";

/// Waits for one person to come back.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, Deserialize)]
struct Answer {
    connect: Option<SecretString>,
    connect_error: Option<String>,
}

type Returned = Result<SecretString, String>;
type Sender = Arc<Mutex<Option<oneshot::Sender<Returned>>>>;

impl Loopback {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub async fn listen() -> Result<Self, ServeError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where the person is to be sent back to.
    ///
    /// # Errors
    /// Never in practice: the address is a number.
    pub fn url(&self) -> Result<Url, url::ParseError> {
        Url::parse(&format!("http://{}/", self.address))
    }

    /// Waits until somebody comes back: the one-time id, or the provider's word for its refusal.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn returned(self) -> Result<Returned, ServeError> {
        let (sender, receiver) = oneshot::channel();
        let routes =
            Router::new().route("/", get(take)).with_state(Arc::new(Mutex::new(Some(sender))) as Sender);
        let stopped = Arc::new(tokio::sync::Notify::new());
        let stop = Arc::clone(&stopped);
        let serving = async move {
            axum::serve(self.listener, routes)
                .with_graceful_shutdown(async move { stop.notified().await })
                .await
                .map_err(ServeError::Serve)
        };
        let serving = tokio::spawn(serving);
        let returned = receiver.await.unwrap_or_else(|_| Err("no_answer".to_owned()));
        // the page is answered before the socket goes
        stopped.notify_one();
        match serving.await {
            Ok(Err(error)) => Err(error),
            _ => Ok(returned),
        }
    }
}

async fn take(State(sender): State<Sender>, Query(answer): Query<Answer>) -> Html<&'static str> {
    let returned = match answer {
        Answer { connect: Some(ticket), .. } => Ok(ticket),
        Answer { connect_error, .. } => Err(connect_error.unwrap_or_else(|| "no_answer".to_owned())),
    };
    if let Some(sender) = sender.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // whoever waited may have gone
        drop(sender.send(returned));
    }
    Html(THANKS)
}
