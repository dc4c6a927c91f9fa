//! A database that falls silent: nothing is refused and nothing is closed, its machine or a firewall says no more.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use calfleet_domain::clock::Clock as _;
use calfleet_domain::clock::Timestamp;
use calfleet_runtime::clock::SystemClock;
use calfleet_store::{Options, Priority, Scope, Store, StoreError, work};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::fleet::{ORGANIZATION, postgres};

/// Many times as long as it should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What stands between a program and its database.
struct Relay {
    address: SocketAddr,
    era: Arc<Mutex<CancellationToken>>,
}

impl Relay {
    async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let era = Arc::new(Mutex::new(CancellationToken::new()));
        let eras = era.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let silenced = eras.lock().unwrap().clone();
                tokio::spawn(pass(client, upstream, silenced));
            }
        });
        Self { address, era }
    }

    /// Carries nothing any more over the connections that there are, and does not close them.
    fn fall_silent(&self) {
        std::mem::take(&mut *self.era.lock().unwrap()).cancel();
    }
}

async fn pass(mut client: TcpStream, upstream: SocketAddr, silenced: CancellationToken) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        () = silenced.cancelled() => std::future::pending().await,
    }
}

async fn write(store: &Store) -> Result<(), StoreError> {
    store.begin(Scope::Organization(ORGANIZATION), Priority::Interactive).await?.commit().await
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let clock = SystemClock::default();
    tokio::select! {
        done = what => done,
        () = clock.sleep(PATIENCE) => panic!("it waits for a database that says nothing"),
    }
}

#[tokio::test]
async fn a_database_that_falls_silent_is_told_of_and_connected_to_anew() {
    let Some(database) = postgres().await else { return };
    let url = database.url();
    let (before, after) = url.split_once("@127.0.0.1:").unwrap();
    let (port, name) = after.split_once('/').unwrap();
    let relay = Relay::start(SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))).await;
    let url = format!("{before}@{}/{name}", relay.address);
    let options = Options { connections: 4, answer_timeout: Duration::from_secs(1), ..Options::new(url) };
    let store = Store::connect(&options).await.unwrap();
    write(&store).await.unwrap();
    work::look(&store, Timestamp(1)).await.unwrap();
    let open = store.begin(Scope::Organization(ORGANIZATION), Priority::Interactive).await.unwrap();

    relay.fall_silent();

    assert!(in_time(open.commit()).await.unwrap_err().is_transient());
    for _ in 0..10 {
        in_time(write(&store)).await.unwrap();
        in_time(work::look(&store, Timestamp(1))).await.unwrap();
    }
    relay.fall_silent();
    assert!(in_time(work::look(&store, Timestamp(1))).await.unwrap_err().is_transient());
    in_time(store.database_time()).await.unwrap();
    in_time(store.close()).await.unwrap();
}
