//! A migrated database for one test, of either kind, and the two kinds under one suite.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Authentication, ConflictPolicy, ConnectionId, OrganizationId, ProviderKind};
use calfleet_harness::{Database, Postgres};
use calfleet_store::connections::{self, ConnectionSettings};
use calfleet_store::{Options, Priority, Scope, Store, Tx, organizations};
use sea_orm::{ConnectionTrait as _, DbErr};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The instant at which tests begin.
pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A database of the test's own, and two organizations in it.
#[derive(Debug)]
pub(crate) struct TestStore {
    /// The store, on Postgres logged in as the product is.
    pub(crate) store: Store,
    /// An organization.
    pub(crate) here: OrganizationId,
    /// Another one.
    pub(crate) there: OrganizationId,
    /// The Postgres database; `None` for SQLite.
    pub(crate) postgres: Option<Database<'static>>,
    owner_url: String,
    _folder: Option<TempDir>,
}

impl TestStore {
    /// A new SQLite file.
    pub(crate) async fn sqlite() -> anyhow::Result<Self> {
        static MIGRATED: OnceCell<Vec<u8>> = OnceCell::const_new();
        let folder = folder_in_memory()?;
        let file = folder.path().join("calfleet.db");
        let url = format!("sqlite://{}", file.display());
        let migrated = MIGRATED.get_or_try_init(|| async {
            calfleet_migrations::run(&url).await?;
            anyhow::Ok(std::fs::read(&file)?)
        });
        std::fs::write(&file, migrated.await?)?;
        Self::over(&url, url.clone(), None, Some(folder)).await
    }

    /// A new Postgres database; `None` where Postgres is not installed.
    pub(crate) async fn postgres() -> anyhow::Result<Option<Self>> {
        let Some(cluster) = Postgres::shared() else { return Ok(None) };
        let database = cluster
            .database(|url| async move {
                calfleet_migrations::run(&url).await?;
                Ok(())
            })
            .await?;
        let (url, owner_url) = (database.url_as("calfleet"), database.url());
        Self::over(&url, owner_url, Some(database), None).await.map(Some)
    }

    async fn over(
        url: &str,
        owner_url: String,
        postgres: Option<Database<'static>>,
        folder: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        let store = Store::connect(&Options::new(url)).await.context("connect")?;
        let (here, there) = (OrganizationId(Uuid::from_u128(1)), OrganizationId(Uuid::from_u128(2)));
        for (organization, name) in [(here, "Here"), (there, "There")] {
            let tx = store.begin(Scope::Organization(organization), Priority::Interactive).await?;
            organizations::create(&tx, name, NOW).await?;
            tx.commit().await?;
        }
        Ok(Self { store, here, there, postgres, owner_url, _folder: folder })
    }

    /// Runs statements past the store, as whoever owns the tables.
    pub(crate) async fn sql(&self, sql: &str) -> Result<(), DbErr> {
        let database = sea_orm::Database::connect(&self.owner_url).await?;
        database.execute_unprepared(sql).await?;
        database.close().await
    }

    /// A connection of the first organization.
    pub(crate) async fn connection(&self, account: &str) -> ConnectionId {
        let id = ConnectionId(new_id());
        let tx = self.begin().await;
        let bound = connections::bind(&tx, id, &settings(account), NOW).await.unwrap();
        tx.commit().await.unwrap();
        bound.id()
    }

    /// A transaction of the first organization.
    pub(crate) async fn begin(&self) -> Tx {
        self.begin_in(self.here).await
    }

    /// A transaction of an organization.
    pub(crate) async fn begin_in(&self, organization: OrganizationId) -> Tx {
        self.store.begin(Scope::Organization(organization), Priority::Interactive).await.unwrap()
    }

    /// A transaction of the fleet.
    pub(crate) async fn begin_fleet(&self) -> Tx {
        self.store.begin(Scope::Fleet, Priority::Background).await.unwrap()
    }
}

/// Where a commit does not wait for a disk; an ordinary folder on systems without such a place.
fn folder_in_memory() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// A new id, ordered by when it was made.
pub(crate) fn new_id() -> Uuid {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let serial = u128::from(LAST.fetch_add(1, Ordering::Relaxed));
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + serial)
}

/// A CalDAV account.
pub(crate) fn settings(account: &str) -> ConnectionSettings {
    ConnectionSettings {
        user_id: None,
        provider: ProviderKind::Caldav,
        account: account.to_owned(),
        url: "https://dav.example.com/".to_owned(),
        authentication: Authentication::Password,
        username: Some("ada".to_owned()),
        label: "Ada's calendars".to_owned(),
        environment: None,
        poll_interval: Duration::from_mins(5),
        conflict_policy: ConflictPolicy::LastWriteWins,
    }
}

/// Makes of `async fn name(store: &TestStore)` one test for SQLite and one for Postgres.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::databases::TestStore::sqlite().await.unwrap()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                if let Some(store) = crate::databases::TestStore::postgres().await.unwrap() {
                    super::$name(&store).await;
                }
            })*
        }
    };
}
pub(crate) use on_both_databases;
