//! Servers with all their habits: the same calendar comes out of each.

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Listing, RemoteChange};
use calfleet_providers::driver::{Account, ListingMode, Since};
use calfleet_sandbox::{
    AccountSpec, CalendarSpec, DataForm, Fault, FaultRule, GeneratorPlan, HrefForm, InvalidToken,
    MissingHref, NamespaceStyle, Profile, Sandbox,
};

use super::mirror::{Mirror, list};
use super::{account, connect, registry, sandbox, settings};

/// The UIDs that the sandbox holds, sorted.
fn held(sandbox: &Sandbox) -> Vec<String> {
    let mut uids: Vec<_> =
        sandbox.resources("ada", "work").unwrap().into_iter().map(|resource| resource.uid).collect();
    uids.sort();
    uids
}

fn odd_profiles() -> Vec<Profile> {
    vec![
        Profile { name: "absolute hrefs".to_owned(), hrefs: HrefForm::Url, ..Profile::standard() },
        Profile { name: "relative hrefs".to_owned(), hrefs: HrefForm::Relative, ..Profile::standard() },
        Profile { name: "no slash".to_owned(), collections_without_slash: true, ..Profile::standard() },
        Profile { name: "cdata".to_owned(), data_form: DataForm::Cdata, ..Profile::standard() },
        Profile { name: "numbered".to_owned(), namespaces: NamespaceStyle::Numbered, ..Profile::standard() },
        Profile { name: "no principal".to_owned(), principal: false, ..Profile::standard() },
        Profile { name: "lists itself".to_owned(), lists_collection_in_sync: true, ..Profile::standard() },
        Profile { name: "weak etags".to_owned(), weak_etags: true, ..Profile::standard() },
        Profile { name: "mute 401".to_owned(), challenges: false, ..Profile::standard() },
        Profile { name: "closes".to_owned(), requests_per_connection: Some(2), ..Profile::standard() },
        Profile { name: "pages of 7".to_owned(), page_limit: Some(7), ..Profile::standard() },
        Profile { name: "few in a report".to_owned(), report_event_limit: Some(20), ..Profile::standard() },
    ]
}

#[tokio::test]
async fn every_server_is_mirrored_and_stays_so() {
    for profile in Profile::presets().into_iter().chain(odd_profiles()) {
        let name = profile.name.clone();
        let has_principal = profile.principal;
        let sandbox = sandbox().await;
        let spec = AccountSpec::new("ada", "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        sandbox.generate("ada", "work", GeneratorPlan { events: 60, seed: 1 }).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let mut typed = account(&access);
        if !has_principal {
            typed.url = access.home.parse().unwrap();
        }

        let (_, driver) = connect(&registry, typed).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let calendars = driver.list_calendars().await.unwrap();
        let mut mirror = Mirror::of(&calendars[0]);
        let first = mirror.sync(driver.as_ref()).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));

        assert_eq!(calendars.len(), 1, "{name}");
        assert_eq!(first, Listing::Full, "{name}");
        assert_eq!(mirror.uids(), held(&sandbox), "{name}");
        assert!(mirror.unreadable.is_empty(), "{name}: {:?}", mirror.unreadable);
        for round in 0..4 {
            sandbox.clock().advance(std::time::Duration::from_secs(2));
            sandbox.mutate("ada", "work", 15, round).unwrap();
            sandbox.clock().advance(std::time::Duration::from_secs(2));
            mirror.sync(driver.as_ref()).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(mirror.uids(), held(&sandbox), "{name}, round {round}");
        }
    }
}

#[tokio::test]
async fn a_poll_without_change_is_one_request() {
    for profile in Profile::presets().into_iter().filter(|profile| profile.name != "etag-only") {
        let name = profile.name.clone();
        let sandbox = sandbox().await;
        let spec = AccountSpec::new("ada", "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        sandbox.generate("ada", "work", GeneratorPlan { events: 10, seed: 1 }).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let (stored, driver) = connect(&registry, account(&access)).await.unwrap();
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        mirror.sync(driver.as_ref()).await.unwrap();
        sandbox.clock().advance(std::time::Duration::from_secs(5));
        let cursor = mirror.cursor.clone();

        let again = registry.open(stored).unwrap();
        sandbox.log().clear();
        let listing = mirror.sync(again.as_ref()).await.unwrap();

        assert_eq!((listing, sandbox.log().count(), again.requests_sent()), (Listing::Delta, 1, 1), "{name}");
        assert_eq!(mirror.cursor, cursor, "{name}");
    }
}

#[tokio::test]
async fn the_way_of_listing_is_found_by_trying() {
    for (profile, mode) in [
        (Profile::cyrus(), ListingMode::SyncToken),
        (Profile::ctag_only(), ListingMode::Ctag),
        (Profile::etag_only(), ListingMode::EntityTags),
    ] {
        let sandbox = sandbox().await;
        let spec = AccountSpec::new("ada", "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();

        let report = registry(settings(&[sandbox.address().port()]))
            .open(account(&access))
            .unwrap()
            .probe()
            .await
            .unwrap();

        assert_eq!(report.capabilities.listing, mode);
        assert!(report.findings.iter().all(|finding| finding.detail.ends_with('.')), "{report:#?}");
    }
}

#[tokio::test]
async fn one_calendar_that_refuses_to_be_asked_by_token_is_listed_by_its_tags() {
    for code in [405, 415, 501] {
        let sandbox = sandbox().await;
        let access = sandbox
            .create_account(AccountSpec::new("ada", "secret").calendar(CalendarSpec::new("work")))
            .unwrap();
        sandbox.generate("ada", "work", GeneratorPlan { events: 5, seed: 1 }).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let (stored, driver) = connect(&registry, account(&access)).await.unwrap();
        assert_eq!(stored.capabilities.unwrap().listing, ListingMode::SyncToken);
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        let refusal = Fault::Status { code, retry_after: None };
        sandbox.inject(FaultRule::next(refusal).body("sync-collection").always());

        assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Full, "{code}");
        assert_eq!(mirror.uids(), held(&sandbox), "{code}");

        // it is not asked in vain at every poll
        let sent = driver.requests_sent();
        assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Delta, "{code}");
        assert_eq!(driver.requests_sent(), sent + 1, "{code}");
        sandbox.generate("ada", "work", GeneratorPlan { events: 3, seed: 2 }).unwrap();
        assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Full, "{code}");
        assert_eq!(mirror.uids(), held(&sandbox), "{code}");
    }
}

#[tokio::test]
async fn a_dead_token_is_recognised_in_every_form_that_says_so() {
    use InvalidToken::{BadRequest, Conflict, Forbidden, Gone, PreconditionFailed, ServerError};
    for form in [Forbidden, Conflict, PreconditionFailed, Gone, BadRequest, ServerError] {
        let sandbox = sandbox().await;
        let profile = Profile { invalid_token: form, ..Profile::standard() };
        let spec = AccountSpec::new("ada", "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        sandbox.generate("ada", "work", GeneratorPlan { events: 5, seed: 1 }).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let (_, driver) = connect(&registry, account(&access)).await.unwrap();
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        mirror.sync(driver.as_ref()).await.unwrap();

        sandbox.expire_tokens("ada", "work").unwrap();
        let error = mirror.sync(driver.as_ref()).await.expect_err("the token is dead");

        assert_eq!(error.class, FailureClass::Gone, "{form:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_not_taken_for_a_dead_token() {
    let sandbox = sandbox().await;
    let spec = AccountSpec::new("ada", "secret").calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    let registry = registry(settings(&[sandbox.address().port()]));
    let (_, driver) = connect(&registry, account(&access)).await.unwrap();
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
    mirror.sync(driver.as_ref()).await.unwrap();

    let trouble = Fault::Status { code: 500, retry_after: None };
    sandbox.inject(FaultRule::next(trouble).body("sync-collection").always());
    let error = mirror.sync(driver.as_ref()).await.expect_err("the server is in trouble");

    assert_eq!(error.class, FailureClass::Transient, "{error}");
}

#[tokio::test]
async fn what_is_gone_unreadable_or_left_out_is_told_apart() {
    for missing in [MissingHref::NotFound, MissingHref::Omitted] {
        let sandbox = sandbox().await;
        let profile = Profile { multiget_missing: missing, ..Profile::standard() };
        let spec = AccountSpec::new("ada", "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        sandbox.generate("ada", "work", GeneratorPlan { events: 6, seed: 1 }).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let (_, driver) = connect(&registry, account(&access)).await.unwrap();
        let mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        let (_, members) = list(driver.as_ref(), &mirror.calendar, &Since::Beginning).await.unwrap();
        let ids: Vec<_> = members.into_iter().map(|member| member.provider_id).collect();
        let name = |at: usize| ids[at].as_str().rsplit('/').next().unwrap().to_owned();
        sandbox.delete("ada", "work", &name(0)).unwrap();
        sandbox.inject(FaultRule::next(Fault::Unreadable(name(1))).always());

        let changes = driver.read(&mirror.calendar, &ids).await.unwrap();

        assert_eq!(changes.len(), ids.len(), "{missing:?}");
        for change in &changes {
            let id = change.provider_id();
            match change {
                RemoteChange::Removed { .. } => assert_eq!(*id, ids[0], "{missing:?}"),
                RemoteChange::Unreadable { .. } => assert_eq!(*id, ids[1], "{missing:?}"),
                RemoteChange::Upsert(_) => assert!(*id != ids[0] && *id != ids[1], "{missing:?}"),
                other => panic!("CalDAV has no such item: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_object_that_spoils_the_answer_about_its_neighbours_is_read_by_itself() {
    let sandbox = sandbox().await;
    let spec = AccountSpec::new("ada", "secret").calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    sandbox.generate("ada", "work", GeneratorPlan { events: 32, seed: 1 }).unwrap();
    let registry = registry(settings(&[sandbox.address().port()]));
    let (_, driver) = connect(&registry, account(&access)).await.unwrap();
    let mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
    let (_, members) = list(driver.as_ref(), &mirror.calendar, &Since::Beginning).await.unwrap();
    let ids: Vec<_> = members.into_iter().map(|member| member.provider_id).collect();
    let before = driver.requests_sent();

    sandbox.inject(FaultRule::next(Fault::EntityBomb).body(ids[20].as_str()).always());
    let changes = driver.read(&mirror.calendar, &ids).await.unwrap();

    let answered: std::collections::BTreeSet<_> =
        changes.iter().map(|change| change.provider_id().clone()).collect();
    assert_eq!(answered, ids.iter().cloned().collect());
    assert_eq!(changes.len(), ids.len(), "each is answered once");
    assert!(changes.iter().all(|change| matches!(change, RemoteChange::Upsert(_))));
    let sent = driver.requests_sent() - before;
    assert!(
        sent <= 11,
        "{sent} requests: the whole, five times two halves, and no object singly but the last"
    );
}

#[tokio::test]
async fn two_users_of_a_server_that_names_no_principal_are_two_accounts() {
    let sandbox = sandbox().await;
    let registry = registry(settings(&[sandbox.address().port()]));
    let mut accounts = Vec::new();
    for user in ["ada", "bob"] {
        let profile = Profile { principal: false, ..Profile::standard() };
        let spec = AccountSpec::new(user, "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        let typed = Account { url: access.home.parse().unwrap(), ..account(&access) };
        let report = registry.open(typed).unwrap().probe().await.unwrap();
        accounts.push(report.account);
    }

    assert_ne!(accounts[0], accounts[1]);
    assert!(accounts[0].starts_with("ada@http"), "{accounts:?}");
}

#[tokio::test]
async fn doubled_and_shuffled_members_change_nothing() {
    let sandbox = sandbox().await;
    let spec = AccountSpec::new("ada", "secret").calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    sandbox.generate("ada", "work", GeneratorPlan { events: 40, seed: 1 }).unwrap();
    let registry = registry(settings(&[sandbox.address().port()]));
    let (_, driver) = connect(&registry, account(&access)).await.unwrap();
    let mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);

    for fault in [Fault::Duplicates, Fault::Shuffled(3)] {
        sandbox.inject(FaultRule::next(fault).body("sync-collection"));
        let (_, members) = list(driver.as_ref(), &mirror.calendar, &Since::Beginning).await.unwrap();
        assert_eq!(members.len(), 40);
    }
}
