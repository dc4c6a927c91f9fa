//! Requests that the sandbox sends by itself: notifications to whoever watches a calendar.
//!
//! Handlers and controls hand them over while they hold the world; a task carries them out, each in a task
//! of its own, so that a slow receiver holds up nobody. Habits apply here, to all providers alike: a
//! notification can be dropped, come twice, or come late.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::oauth::with_query;

/// How often a notification is tried when the receiver answers 5xx or not at all.
const TRIES: u32 = 3;

/// First pause between tries, in milliseconds of real time; doubles.
const PAUSE_MS: u64 = 200;

/// How long an address has to answer a handshake, in seconds.
const HANDSHAKE_S: u64 = 10;

/// What it has to answer; letters that an address carries encoded are in it on purpose.
const VALIDATION_TOKEN: &str =
    "Validation: Testing client application reachability & <decoding> + Request-Id: 5d3a/1=";

/// Deliveries kept for tests; older ones fall out.
const KEPT: usize = 10_000;

/// What happens to notifications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotificationHabits {
    /// Sends none; the watch lives on, silently.
    pub dropped: bool,
    /// Sends each this many times more.
    pub duplicates: u32,
    /// Sends each so much later, in milliseconds of real time.
    pub delay_ms: u64,
}

/// One notification that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Where it went.
    pub address: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
    /// The receiver's last answer; `None` when there was none.
    pub status: Option<u16>,
}

/// A request to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parcel {
    pub(crate) address: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Goes out whatever the habits, as a handshake does.
    pub(crate) is_handshake: bool,
}

/// The way out; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Courier {
    way: UnboundedSender<Parcel>,
    habits: Arc<Mutex<NotificationHabits>>,
    sent: Arc<Mutex<VecDeque<Delivery>>>,
    /// `None` when the machine cannot have one.
    client: Option<reqwest::Client>,
}

impl Courier {
    /// The courier, and what its task works on.
    pub(crate) fn new() -> (Self, UnboundedReceiver<Parcel>) {
        let (way, parcels) = unbounded_channel();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        if let Err(error) = &client {
            tracing::error!(%error, "the sandbox cannot send notifications");
        }
        (Self { way, habits: Arc::default(), sent: Arc::default(), client: client.ok() }, parcels)
    }

    /// Sends a parcel as soon as may be.
    pub(crate) fn send(&self, parcel: Parcel) {
        let habits = self.habits();
        if habits.dropped && !parcel.is_handshake {
            return;
        }
        for _ in 0..habits.duplicates {
            drop(self.way.send(parcel.clone()));
        }
        drop(self.way.send(parcel));
    }

    pub(crate) fn habits(&self) -> NotificationHabits {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_habits(&self, habits: NotificationHabits) {
        *self.habits.lock().unwrap_or_else(PoisonError::into_inner) = habits;
    }

    fn sent(&self) -> MutexGuard<'_, VecDeque<Delivery>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.sent().iter().cloned().collect()
    }

    pub(crate) fn reset(&self) {
        self.set_habits(NotificationHabits::default());
        self.sent().clear();
    }

    /// Asks an address for the token it is sent, as Microsoft does before a subscription is made.
    pub(crate) async fn shake_hands(&self, address: &str) -> bool {
        let Some(client) = &self.client else { return false };
        let address = with_query(address, &[("validationToken", VALIDATION_TOKEN)]);
        let request = client.post(&address).header("Content-Type", "text/plain; charset=utf-8");
        let answer = request.timeout(Duration::from_secs(HANDSHAKE_S)).send().await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        self.note(Delivery { address, headers: Vec::new(), body: String::new(), status });
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => {
                answer.text().await.is_ok_and(|text| text == VALIDATION_TOKEN)
            }
            _ => false,
        }
    }

    /// Carries parcels out until the sandbox stops.
    pub(crate) async fn run(self, mut parcels: UnboundedReceiver<Parcel>, stopping: CancellationToken) {
        let Some(client) = self.client.clone() else { return };
        while let Some(Some(parcel)) = stopping.run_until_cancelled(parcels.recv()).await {
            let (courier, client, stopping) = (self.clone(), client.clone(), stopping.clone());
            tokio::spawn(async move {
                stopping.run_until_cancelled(courier.carry(&client, parcel)).await;
            });
        }
    }

    async fn carry(&self, client: &reqwest::Client, parcel: Parcel) {
        let delay_ms = self.habits().delay_ms;
        if delay_ms > 0 && !parcel.is_handshake {
            clock::pause(delay_ms).await;
        }
        let mut status = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                clock::pause(PAUSE_MS << attempt).await;
            }
            let mut request = client.post(&parcel.address).body(parcel.body.clone());
            for (name, value) in &parcel.headers {
                request = request.header(name, value);
            }
            status = request.send().await.ok().map(|answer| answer.status());
            if status.is_some_and(|status| !is_tried_again(status)) {
                break;
            }
        }
        let status = status.map(|status| status.as_u16());
        let Parcel { address, headers, body, .. } = parcel;
        self.note(Delivery { address, headers, body, status });
    }

    fn note(&self, delivery: Delivery) {
        let mut sent = self.sent();
        if sent.len() >= KEPT {
            sent.pop_front();
        }
        sent.push_back(delivery);
    }
}

fn is_tried_again(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
