//! Writing 10,000 event rows through the page transaction, beside a plain insert of the very same rows.
//!
//! The plain insert gets the finished rows, read back from the first database, in statements of many rows and in
//! transactions of as many events; so the ratio is what locking, encoding, compressing and deriving cost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use calfleet_domain::clock::{Clock, Rng};
use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{
    CalendarId, ConnectionId, DetailLevel, EventId, MeetingId, OrganizationId, ProviderId, Revision, Role,
};
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::{span, zone};
use calfleet_harness::{Durability, Postgres};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use calfleet_sandbox::StoredResource;
use calfleet_store::apply::{Applied, CalendarKey, EventWrite, PageWrites, Stamp, apply, marked};
use calfleet_store::events::{StoredRow, load_for_page};
use calfleet_store::{Options, Priority, Scope, Store};
use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, Statement, TransactionTrait, TryGetable, Value,
};
use uuid::Uuid;

use crate::figure::{Bound, figure, median, median_seconds, number};
use crate::samples;

const EVENTS: usize = 10_000;
/// Events of a page, as the CalDAV driver reads them.
const PAGE: usize = 100;
const ROUNDS: usize = 5;
/// Changes that an import writes in one transaction.
const IMPORTED_AT_ONCE: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn rows_written_to_postgres() {
    let Some(postgres) = Postgres::start(Durability::Full) else { return };
    let texts = samples::resources(EVENTS).await;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let migrate = |url: String| async move { Ok(calfleet_migrations::run(&url).await.map(drop)?) };
        let (paged, plain) =
            (postgres.database(migrate).await.unwrap(), postgres.database(migrate).await.unwrap());
        times.round(&texts, &paged.url(), &plain.url()).await;
    }
    times.print("rows.postgres");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn rows_written_to_sqlite() {
    let texts = samples::resources(EVENTS).await;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().unwrap();
        let [paged, plain] = ["paged", "plain"]
            .map(|name| format!("sqlite://{}", folder.path().join(name).with_extension("db").display()));
        for url in [&paged, &plain] {
            calfleet_migrations::run(url).await.unwrap();
        }
        times.round(&texts, &paged, &plain).await;
    }
    times.print("rows.sqlite");
}

#[derive(Debug, Default)]
struct Times {
    paged: Vec<Duration>,
    plain: Vec<Duration>,
    rows: usize,
}

impl Times {
    async fn round(&mut self, texts: &[StoredResource], paged: &str, plain: &str) {
        let store = Store::connect(&Options::new(paged)).await.unwrap();
        self.paged.push(write_pages(&store, texts).await);
        drop(store);
        let (source, target) =
            (Database::connect(paged).await.unwrap(), Database::connect(plain).await.unwrap());
        if target.get_database_backend() == sea_orm::DbBackend::Sqlite {
            // as the store does
            let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
            target.execute_unprepared(settings).await.unwrap();
        }
        let (took, rows) = copy_plainly(&source, &target).await;
        self.plain.push(took);
        self.rows = rows;
        for database in [source, target] {
            database.close().await.unwrap();
        }
    }

    fn print(self, name: &str) {
        let ratios =
            self.paged.iter().zip(&self.plain).map(|(one, other)| one.as_secs_f64() / other.as_secs_f64());
        figure(&format!("{name}.rows"), number(self.rows), "rows", Bound::None);
        figure(&format!("{name}.page_transactions"), median_seconds(&self.paged), "s", Bound::None);
        figure(&format!("{name}.plain_insert"), median_seconds(&self.plain), "s", Bound::None);
        figure(&format!("{name}.ratio"), median(ratios.collect()), "x", Bound::None);
    }
}

/// Writes the events page by page; parsing and planning are not counted.
async fn write_pages(store: &Store, texts: &[StoredResource]) -> Duration {
    let (clock, rng) = (SystemClock::default(), SystemRng);
    let organization = OrganizationId(rng.uuid(clock.now()));
    let key = CalendarKey {
        organization_id: organization,
        connection_id: ConnectionId(rng.uuid(clock.now())),
        calendar_id: CalendarId(rng.uuid(clock.now())),
    };
    let writes: Vec<_> =
        texts.iter().map(|text| write_of(text, key, EventId(rng.uuid(clock.now())))).collect();
    let pages: Vec<_> = writes
        .chunks(PAGE)
        .map(|inserts| PageWrites { inserts: inserts.to_vec(), ..PageWrites::default() })
        .collect();
    apply_pages(store, key, &pages).await
}

/// How long the page transactions take.
async fn apply_pages(store: &Store, key: CalendarKey, pages: &[PageWrites]) -> Duration {
    let clock = SystemClock::default();
    let began = Instant::now();
    for page in pages {
        let now = clock.now();
        let stamp = Stamp { now, requested_at: now, zone_data: zone::DATA_VERSION, cause_id: None };
        let tx = store.begin(Scope::Organization(key.organization_id), Priority::Background).await.unwrap();
        assert_eq!(apply(&tx, key, page, &stamp).await.unwrap(), Applied::Written);
        tx.commit().await.unwrap();
    }
    began.elapsed()
}

/// Writes the rows of an imported calendar into another database by the statements of an import, in pages as large
/// as an import's; how long that took, and how many events they were.
pub(crate) async fn write_again(source: &Store, target: &Store, imported: CalendarKey) -> (Duration, usize) {
    let tx = source.read(Scope::Organization(imported.organization_id)).await.unwrap();
    let (mut pages, mut after, mut events) = (Vec::new(), None, 0);
    loop {
        let some = marked(&tx, imported.calendar_id, after, IMPORTED_AT_ONCE).await.unwrap();
        let Some(last) = some.last() else { break };
        after = Some(last.id);
        events += some.len();
        let ids: Vec<_> = some.iter().map(|one| &one.provider_id).collect();
        let rows = load_for_page(&tx, imported.calendar_id, &ids).await.unwrap();
        let mut raw: HashMap<_, _> = some.iter().map(|one| (one.id, one.raw.clone())).collect();
        let inserts = rows.into_iter().map(|row| insertion_of(row, imported, &mut raw)).collect();
        pages.push(PageWrites { inserts, ..PageWrites::default() });
    }
    drop(tx);
    (apply_pages(target, imported, &pages).await, events)
}

fn insertion_of(row: StoredRow, calendar: CalendarKey, raw: &mut HashMap<EventId, String>) -> EventWrite {
    let StoredRow { event: stored, instances, .. } = row;
    let reach = stored.event.as_ref().map(span).unwrap();
    EventWrite {
        id: stored.id,
        lock_version: 0,
        calendar,
        meeting_id: stored.meeting_id,
        uid: stored.event.as_ref().unwrap().uid.clone(),
        provider_id: stored.provider_id,
        version: stored.version,
        revision: stored.revision,
        event: stored.event,
        base: None,
        role: stored.role,
        detail: stored.detail,
        problem: None,
        span_start: Some(reach.start),
        span_end: reach.end,
        edited_at: None,
        raw: raw.remove(&stored.id),
        instances,
    }
}

fn write_of(resource: &StoredResource, calendar: CalendarKey, id: EventId) -> EventWrite {
    let mut document = ics::read(&resource.body, None, &Limits::default()).unwrap();
    let Item::Read(object) = document.items.remove(0) else { panic!("{} cannot be read", resource.name) };
    let reach = span(&object.event);
    EventWrite {
        id,
        lock_version: 0,
        calendar,
        meeting_id: MeetingId::of(calendar.organization_id, &object.event.uid),
        uid: object.event.uid.clone(),
        provider_id: ProviderId(format!("/dav/calendars/ada/work/{}", resource.name)),
        version: version::of(&object.event),
        revision: Some(Revision(resource.etag.clone())),
        event: Some(object.event),
        base: None,
        role: Role::None,
        detail: DetailLevel::Full,
        problem: None,
        span_start: Some(reach.start),
        span_end: reach.end,
        edited_at: None,
        raw: Some(resource.body.to_string()),
        instances: std::collections::BTreeMap::new(),
    }
}

/// How a column travels.
#[derive(Debug, Clone, Copy)]
enum Column {
    Id,
    Text,
    Bytes,
    Number,
    Small,
    Bool,
}

use Column::{Bool, Bytes, Id, Number, Small, Text};

type Table = (&'static str, &'static str, &'static [(&'static str, Column)]);

/// Every table that an import writes events to, with the column that names the event.
const TABLES: &[Table] = &[
    ("meetings", "id", &[("organization_id", Id), ("id", Id), ("uid", Text), ("created_at", Number)]),
    (
        "events",
        "meeting_id",
        &[
            ("id", Id),
            ("organization_id", Id),
            ("connection_id", Id),
            ("calendar_id", Id),
            ("meeting_id", Id),
            ("provider_id", Text),
            ("uid", Text),
            ("is_series", Bool),
            ("body", Text),
            ("version", Bytes),
            ("revision", Text),
            ("role", Text),
            ("detail", Text),
            ("state", Small),
            ("span_start", Number),
            ("span_end", Number),
            ("zone_data", Text),
            ("lock_version", Number),
            ("created_at", Number),
            ("updated_at", Number),
        ],
    ),
    ("event_payloads", "event_id", &[("event_id", Id), ("organization_id", Id), ("payload", Bytes)]),
    (
        "overrides",
        "event_id",
        &[
            ("calendar_id", Id),
            ("series_key", Text),
            ("recurrence_key", Text),
            ("organization_id", Id),
            ("event_id", Id),
            ("revision", Text),
            ("body", Text),
        ],
    ),
];

type Row = Vec<Value>;

/// Inserts the rows of one database into another; how long that took, and how many they were.
async fn copy_plainly(source: &DatabaseConnection, target: &DatabaseConnection) -> (Duration, usize) {
    let backend = source.get_database_backend();
    let mut pages: Vec<HashMap<&str, Vec<Row>>> = Vec::new();
    let mut count = 0;
    for table in TABLES {
        let rows = read(source, table).await;
        count += rows.len();
        let pages_of_events = EVENTS / PAGE;
        pages.resize_with(pages_of_events, HashMap::new);
        // Overrides are fewer than events: they are spread over the pages alike.
        let size = rows.len().div_ceil(pages_of_events).max(1);
        for (page, chunk) in pages.iter_mut().zip(rows.chunks(size)) {
            page.insert(table.0, chunk.to_vec());
        }
    }
    let began = Instant::now();
    for mut page in pages {
        let tx = target.begin().await.unwrap();
        for (name, _, columns) in TABLES {
            let Some(rows) = page.remove(name) else { continue };
            let (sql, values) = insertion(name, columns, rows);
            tx.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    (began.elapsed(), count)
}

async fn read(source: &DatabaseConnection, (name, order, columns): &Table) -> Vec<Row> {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let sql = format!("SELECT {} FROM {name} ORDER BY {order}", names.join(", "));
    let statement = Statement::from_string(source.get_database_backend(), sql);
    let rows = source.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| {
            let columns = columns.iter().enumerate();
            columns
                .map(|(place, (_, kind))| match kind {
                    Id => value::<Uuid>(row, place),
                    Text => value::<String>(row, place),
                    Bytes => value::<Vec<u8>>(row, place),
                    Number => value::<i64>(row, place),
                    Small => value::<i16>(row, place),
                    Bool => value::<bool>(row, place),
                })
                .collect()
        })
        .collect()
}

fn value<T>(row: &sea_orm::QueryResult, place: usize) -> Value
where
    Option<T>: TryGetable + Into<Value>,
{
    row.try_get_by_index::<Option<T>>(place).unwrap().into()
}

fn insertion(name: &str, columns: &[(&str, Column)], rows: Vec<Row>) -> (String, Row) {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let tuple = |row: usize| {
        let places = (1..=columns.len()).map(|place| format!("${}", row * columns.len() + place));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    };
    let tuples: Vec<_> = (0..rows.len()).map(tuple).collect();
    let sql = format!("INSERT INTO {name} ({}) VALUES {}", names.join(", "), tuples.join(", "));
    (sql, rows.into_iter().flatten().collect())
}
