//! Service accounts that act for the people of organizations that opted in, and bringing their accounts in.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::model::{ConnectionId, ConnectionState, ProviderId, ProviderKind};
use calfleet_sandbox::{Fault, FaultRule, GoogleAccountSpec};
use calfleet_service::Actor;
use calfleet_service::import::{ImportMode, ImportWish, Imported};
use calfleet_service::service_accounts::ClientError;
use calfleet_service::tokens::Access;
use calfleet_store::departures::{self, Ending, Events};
use calfleet_store::events::{self, RangeQuery};
use calfleet_store::{calendars, connections};
use secrecy::SecretString;
use serde_json::json;

use super::fleet::{ADA, Fleet, READ, USER};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    nobody_acts_for_an_organization_that_has_not_opted_in,
    a_dry_run_stores_nothing_and_an_import_can_be_run_again,
    known_calendars_are_synced_and_others_are_not,
    a_hundred_that_need_a_token_ask_for_one,
    an_account_that_a_person_has_connected_is_not_doubled,
    moving_from_a_service_account_to_a_persons_consent_writes_nothing_and_doubles_nothing,
    what_is_not_about_the_person_is_never_called_a_credential_problem,
    disconnecting_asks_nothing_of_the_provider_and_what_a_person_disconnected_stays_so,
];

const ROBOT: &str = "robot@calfleet.iam.example.com";

fn wish(email: &str) -> ImportWish {
    ImportWish {
        organization: "Here".to_owned(),
        user_id: Some(USER),
        email: email.to_owned(),
        provider: ProviderKind::Google,
        calendars: BTreeSet::new(),
    }
}

/// A deployment whose first organization has a service account for everything.
async fn ready(database: &TestStore) -> Fleet<'_> {
    let fleet = Fleet::start(database).await;
    for number in 1..=3 {
        let lunch = json!({
            "id": format!("lunch{number}"), "summary": "Lunch",
            "start": { "dateTime": "2026-10-06T12:00:00+02:00", "timeZone": "Europe/Paris" },
            "end": { "dateTime": "2026-10-06T13:00:00+02:00", "timeZone": "Europe/Paris" },
        });
        fleet.google().plant(ADA, &lunch).unwrap();
    }
    fleet.service.allow_service_accounts(database.here, true, &Actor::operator()).await.unwrap();
    set_key(&fleet, &[READ]).await.unwrap();
    fleet
}

async fn set_key(fleet: &Fleet<'_>, delegated: &[&str]) -> Result<String, ClientError> {
    let file = fleet.google().create_service_account(ROBOT, delegated).unwrap();
    let file = SecretString::from(file.to_string());
    let (at, actor) = (ProviderKind::Google, Actor::operator());
    fleet.service.set_service_account(fleet.organization, at, &file, &actor).await
}

async fn import(fleet: &Fleet<'_>, wish: &ImportWish, mode: ImportMode) -> Imported {
    Box::pin(fleet.service.import(wish, mode, &Actor::operator())).await.unwrap()
}

async fn imported(fleet: &Fleet<'_>, email: &str) -> ConnectionId {
    match import(fleet, &wish(email), ImportMode::Apply).await {
        Imported::Connected { connection, .. } => connection,
        other => panic!("{other:?}"),
    }
}

async fn count(fleet: &Fleet<'_>) -> usize {
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    connections::list(&tx, None, 100).await.unwrap().len()
}

async fn rows(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<events::StoredRow> {
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    let calendars = calendars::list(&tx, id).await.unwrap().into_iter().map(|calendar| calendar.id).collect();
    let query = RangeQuery { calendars, from: None, until: None, after: None, limit: 1000 };
    events::in_range(&tx, &query).await.unwrap().into_iter().map(|(_, row)| row).collect()
}

fn minted(fleet: &Fleet<'_>) -> usize {
    fleet.sandbox.log().entries().iter().filter(|entry| entry.path.ends_with("/google/token")).count()
}

async fn nobody_acts_for_an_organization_that_has_not_opted_in(database: &TestStore) {
    let fleet = ready(database).await;
    let id = imported(&fleet, ADA).await;
    fleet.service.allow_service_accounts(database.here, false, &Actor::operator()).await.unwrap();
    let before = minted(&fleet);

    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;
    let refused = import(&fleet, &wish("bob@example.com"), ImportMode::DryRun).await;
    let key = set_key(&fleet, &[READ]).await;

    assert_eq!(minted(&fleet), before);
    let connection = fleet.connection(id).await;
    assert_eq!(connection.state, ConnectionState::Active);
    assert!(connection.last_problem.unwrap().text.contains("does not allow service accounts"));
    assert!(matches!(&refused, Imported::Refused { reason } if reason.contains("does not allow")));
    assert!(matches!(key, Err(ClientError::NotAllowed)));
    fleet.service.allow_service_accounts(database.here, true, &Actor::operator()).await.unwrap();
    set_key(&fleet, &[READ]).await.unwrap();
    fleet.advance(Duration::from_hours(1));
    fleet.sync(id).await;
    assert_eq!(fleet.connection(id).await.last_problem, None);
}

async fn a_dry_run_stores_nothing_and_an_import_can_be_run_again(database: &TestStore) {
    let fleet = ready(database).await;
    let unknown = ImportWish { organization: "Nowhere".to_owned(), ..wish(ADA) };
    let microsoft = ImportWish { provider: ProviderKind::Microsoft, ..wish(ADA) };

    let dry = import(&fleet, &wish("Ada@Example.com"), ImportMode::DryRun).await;
    assert_eq!(dry, Imported::Ready { calendars: 1, unknown: Vec::new() });
    assert_eq!(count(&fleet).await, 0);
    for odd in [unknown, microsoft, wish("ada"), wish("nobody@example.com")] {
        let refused = import(&fleet, &odd, ImportMode::Apply).await;
        assert!(matches!(refused, Imported::Refused { .. }), "{odd:?}: {refused:?}");
    }
    assert_eq!(count(&fleet).await, 0);
    let id = imported(&fleet, "Ada@Example.com").await;
    let asked = minted(&fleet);
    let again = import(&fleet, &wish(ADA), ImportMode::Apply).await;

    assert_eq!(again, Imported::Exists { connection: id, state: "active" });
    assert_eq!(minted(&fleet), asked, "what is known is recognised before the provider is asked");
    assert_eq!(fleet.connection(id).await.settings.user_id, Some(USER));
    fleet.sync(id).await;
    assert_eq!(rows(&fleet, id).await.len(), 3);
    let stored = database.sql(
        "CREATE TABLE refusing (a integer CHECK (a = 0));
         INSERT INTO refusing SELECT 1 FROM provider_clients WHERE CAST(secret AS text) LIKE '%PRIVATE%'",
    );
    assert!(stored.await.is_ok(), "the key stands in the open");
}

async fn known_calendars_are_synced_and_others_are_not(database: &TestStore) {
    let fleet = ready(database).await;
    let team = fleet.google().create_calendar(ADA, "Team").unwrap();
    let named = |ids: &[&str]| ImportWish {
        calendars: ids.iter().map(|id| ProviderId::from(*id)).collect(),
        ..wish(ADA)
    };

    let none = import(&fleet, &named(&["gone@example.com"]), ImportMode::Apply).await;
    let some = import(&fleet, &named(&[&team, "gone@example.com"]), ImportMode::Apply).await;

    assert!(matches!(none, Imported::Refused { .. }), "{none:?}");
    let Imported::Connected { connection, calendars: 1, unknown } = some else { panic!("{some:?}") };
    assert_eq!(unknown, ["gone@example.com"]);
    fleet.sync(connection).await;
    assert!(rows(&fleet, connection).await.is_empty(), "the primary calendar was not asked for");
    let tx = database.begin().await;
    let stored = calendars::list(&tx, connection).await.unwrap();
    let selected: Vec<(bool, bool)> =
        stored.iter().map(|one| (one.remote.is_primary, one.is_selected)).collect();
    assert_eq!(selected.len(), 2);
    assert!(selected.iter().all(|(is_primary, is_selected)| is_primary != is_selected), "{selected:?}");
}

async fn a_hundred_that_need_a_token_ask_for_one(database: &TestStore) {
    let fleet = ready(database).await;
    let id = imported(&fleet, ADA).await;
    let connection = fleet.connection(id).await;
    for generation in 1..=3 {
        fleet.advance(Duration::from_hours(2));
        let before = minted(&fleet);
        let mut looking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (tokens, connection) = (fleet.service.tokens(), connection.clone());
            looking.spawn(async move { tokens.ensure(&connection).await.unwrap() });
        }

        let found = looking.join_all().await;

        assert!(found.iter().any(|access| matches!(access, Access::Ready { .. })), "{found:?}");
        assert!(found.iter().all(|one| matches!(one, Access::Ready { .. } | Access::Busy)), "{found:?}");
        assert_eq!(minted(&fleet), before + 1, "{generation}");
    }
}

async fn an_account_that_a_person_has_connected_is_not_doubled(database: &TestStore) {
    let fleet = ready(database).await;
    let id = fleet.connect().await;

    let again = import(&fleet, &wish("ADA@example.com"), ImportMode::Apply).await;

    assert_eq!(again, Imported::Exists { connection: id, state: "active" });
    assert_eq!(count(&fleet).await, 1);
}

async fn moving_from_a_service_account_to_a_persons_consent_writes_nothing_and_doubles_nothing(
    database: &TestStore,
) {
    let fleet = ready(database).await;
    let id = imported(&fleet, ADA).await;
    fleet.sync(id).await;
    let before = rows(&fleet, id).await;
    assert_eq!(before.len(), 3);

    assert_eq!(fleet.connect().await, id);
    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;

    assert_eq!((rows(&fleet, id).await, count(&fleet).await), (before, 1));
    let connection = fleet.connection(id).await;
    assert_eq!((connection.state, connection.last_problem), (ConnectionState::Active, None));
    assert!(!connection.settings.account.starts_with("email:"), "{}", connection.settings.account);
    assert_eq!(fleet.connect().await, id);
    let again = import(&fleet, &wish(ADA), ImportMode::Apply).await;
    assert_eq!(again, Imported::Exists { connection: id, state: "active" });
}

async fn what_is_not_about_the_person_is_never_called_a_credential_problem(database: &TestStore) {
    let fleet = ready(database).await;
    let id = imported(&fleet, ADA).await;
    for trouble in [
        Fault::Refused { code: 400, reason: "invalid_grant".to_owned() },
        Fault::Refused { code: 401, reason: "unauthorized_client".to_owned() },
        Fault::Status { code: 500, retry_after: None },
        Fault::Status { code: 400, retry_after: None },
        Fault::Html,
        Fault::CutBefore,
    ] {
        let told = format!("{trouble:?}");
        fleet.advance(Duration::from_hours(2));
        fleet.sandbox.inject(FaultRule::next(trouble).path("/google/token").always());
        fleet.sync(id).await;
        let connection = fleet.connection(id).await;
        assert_eq!(connection.state, ConnectionState::Active, "{told}");
        assert!(connection.last_problem.is_some(), "{told}");
        fleet.sandbox.clear_faults();
    }
    // a key that was made anew, and one that nothing is delegated to
    for delegated in [&[][..], &[READ][..]] {
        fleet.advance(Duration::from_hours(2));
        fleet.google().create_service_account(ROBOT, delegated).unwrap();
        fleet.sync(id).await;
        assert_eq!(fleet.connection(id).await.state, ConnectionState::Active);
        assert_eq!(fleet.connection(id).await.last_problem.unwrap().code, "client_refused");
    }
    set_key(&fleet, &[READ]).await.unwrap();
    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;
    assert_eq!(fleet.connection(id).await.last_problem, None);

    assert!(fleet.google().remove_account(ADA));
    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;

    assert_eq!(fleet.connection(id).await.state, ConnectionState::NeedsReauth);
}

async fn disconnecting_asks_nothing_of_the_provider_and_what_a_person_disconnected_stays_so(
    database: &TestStore,
) {
    let fleet = ready(database).await;
    fleet.google().create_account(GoogleAccountSpec::new("bob@example.com")).unwrap();
    let id = imported(&fleet, ADA).await;
    let bob = imported(&fleet, "bob@example.com").await;
    let before = fleet.sandbox.log().entries().len();

    fleet.service.disconnect(database.here, id, Events::Keep, &Actor::operator()).await.unwrap();
    fleet.leave(id).await;
    let again = import(&fleet, &wish(ADA), ImportMode::Apply).await;

    assert_eq!(fleet.sandbox.log().entries().len(), before);
    let tx = database.begin().await;
    assert_eq!(departures::load(&tx, id).await.unwrap().unwrap().ending, Some(Ending::Nothing));
    drop(tx);
    assert_eq!(again, Imported::Exists { connection: id, state: "disconnected" });
    fleet.sync(bob).await;
    assert_eq!(fleet.connection(bob).await.last_problem, None);
}
