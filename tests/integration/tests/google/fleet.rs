//! An application's side of a sign-in, a person in front of the consent page, and the jobs as the worker runs them.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::job::{Ask, Asker, Claim, Finish, Kind, Lane, WorkKey};
use calfleet_domain::model::{ConnectionId, LeaseOwner, OrganizationId, ProviderKind, UserId};
use calfleet_providers::caldav::services::DnsServices;
use calfleet_providers::http::HttpClient;
use calfleet_providers::oauth::{OauthClient, OauthSettings};
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_sandbox::{GoogleAccountSpec, GoogleControl, Sandbox, SandboxClock, SandboxOptions};
use calfleet_service::clients::OauthClients;
use calfleet_service::drivers::Drivers;
use calfleet_service::service::SignIn;
use calfleet_service::sign_in::{BeginSignIn, SignInAccess, SignInError};
use calfleet_service::{Actor, Nudge, Service};
use calfleet_store::connections::{self, Connection};
use calfleet_store::vault::KeyRing;
use calfleet_store::work::{self, Fairness, HintedRow, Marks};
use calfleet_store::{Priority, Scope, StoreError};
use calfleet_worker::jobs::{Handler, PushOutbox, RevokeGrant, SyncConnection};
use calfleet_worker::push::PushSettings;
use calfleet_worker::sync::SyncSettings;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;
use uuid::Uuid;

use crate::databases::{NOW, TestStore};
use crate::driver_contract::settings;
use crate::sync::world::{Counting, HandClock, Steps};

pub(crate) const ADA: &str = "ada@example.com";
/// Ada, as the application knows her.
pub(crate) const USER: UserId = UserId(Uuid::from_u128(77));
pub(crate) const READ: &str = "https://www.googleapis.com/auth/calendar.readonly";

const EVENTS: &str = "https://www.googleapis.com/auth/calendar.events";
const CALENDARS: &str = "https://www.googleapis.com/auth/calendar.calendarlist.readonly";

#[derive(Debug)]
struct Silence;

impl Nudge for Silence {
    fn nudge(&self) {}
}

pub(crate) struct Fleet<'a> {
    pub(crate) database: &'a TestStore,
    pub(crate) sandbox: Sandbox,
    pub(crate) service: Service,
    accounts: Arc<Registry>,
    provider: ProviderKind,
    /// What a person is asked for.
    access: SignInAccess,
    /// What a person allows.
    scopes: Vec<&'static str>,
    /// For whom the application acts.
    pub(crate) organization: OrganizationId,
    clock: Arc<HandClock>,
    rng: Arc<Counting>,
}

fn drivers(database: &TestStore, accounts: Arc<Registry>) -> Drivers {
    let ring = KeyRing::new("a", [("a".to_owned(), [7_u8; 32])]).unwrap();
    Drivers::new(database.store.clone(), Arc::new(ring), accounts)
}

impl<'a> Fleet<'a> {
    /// A deployment with a Google client, and the account of Ada at the simulated Google.
    pub(crate) async fn start(database: &'a TestStore) -> Self {
        let sandbox = sandbox().await;
        sandbox.google().create_account(GoogleAccountSpec::new(ADA)).unwrap();
        let root = sandbox.google().url();
        let url = |path: &str| Url::parse(&format!("{root}/{path}")).unwrap();
        let endpoints = Endpoints { google: url("calendar/v3/"), ..Endpoints::production().unwrap() };
        let client = OauthSettings {
            provider: ProviderKind::Google,
            client_id: "calfleet".to_owned(),
            client_secret: "client secret".to_owned().into(),
            authorize_url: url("o/oauth2/v2/auth"),
            token_url: url("token"),
            revoke_url: Some(url("revoke")),
            issuer: root.clone(),
            jwks_url: url("oauth2/v3/certs"),
            redirect_url: Url::parse("https://calfleet.example.com/connect/google/callback").unwrap(),
            extra: [("access_type", "offline"), ("prompt", "consent")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        };
        Self::of(database, sandbox, endpoints, client, vec!["openid", "email", READ])
    }

    /// The same, whose application asks for the right to make changes.
    pub(crate) async fn start_writing(database: &'a TestStore) -> Self {
        Self::start(database).await.writing(vec!["openid", "email", EVENTS, CALENDARS])
    }

    /// The same, whose application asks for the right to make changes, and whose people allow this.
    pub(crate) fn writing(self, scopes: Vec<&'static str>) -> Self {
        Self { access: SignInAccess::Write, scopes, ..self }
    }

    /// A deployment with one client.
    pub(crate) fn of(
        database: &'a TestStore,
        sandbox: Sandbox,
        endpoints: Endpoints,
        client: OauthSettings,
        scopes: Vec<&'static str>,
    ) -> Self {
        let provider = client.provider;
        let clock = Arc::new(HandClock::at(NOW));
        let rng = Arc::new(Counting::default());
        let http = HttpClient::new(settings(&[sandbox.address().port()])).unwrap();
        let registry =
            Registry::with_client(http.clone(), Arc::new(DnsServices), endpoints, clock.clone(), rng.clone());
        let accounts = Arc::new(registry);
        let service = Service {
            store: database.store.clone(),
            drivers: drivers(database, accounts.clone()),
            sign_in: Arc::new(SignIn {
                clients: OauthClients::default().with(OauthClient::new(client, http)),
                return_urls: vec![Url::parse("https://app.example.com/calendar").unwrap()],
                ..SignIn::default()
            }),
            clock: clock.clone(),
            rng: rng.clone(),
            nudge: Arc::new(Silence),
        };
        let organization = database.here;
        let access = SignInAccess::Read;
        Self { database, sandbox, service, accounts, provider, access, scopes, organization, clock, rng }
    }

    /// The same deployment after it lost its database: another one, with nothing in it.
    pub(crate) fn with_lost_database(self, database: &'a TestStore) -> Self {
        let drivers = drivers(database, self.accounts.clone());
        let service = Service { store: database.store.clone(), drivers, ..self.service };
        Self { database, service, organization: database.here, ..self }
    }

    pub(crate) fn google(&self) -> GoogleControl {
        self.sandbox.google()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.sandbox.clock().advance(by);
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope::Organization(self.organization)
    }

    /// The application begins a sign-in; the consent page.
    pub(crate) async fn begin(&self, user: Option<UserId>) -> Result<Url, SignInError> {
        self.begin_for(user, None).await
    }

    pub(crate) async fn begin_for(
        &self,
        user_id: Option<UserId>,
        connection_id: Option<ConnectionId>,
    ) -> Result<Url, SignInError> {
        let wanted = BeginSignIn {
            access: self.access,
            organization_id: self.organization,
            user_id,
            provider: self.provider,
            return_url: Url::parse("https://app.example.com/calendar").unwrap(),
            connection_id,
        };
        Ok(self.service.begin_sign_in(&wanted).await?.authorize_url)
    }

    /// A person decides on the consent page: the address that the provider sends the browser to.
    pub(crate) async fn decide(&self, page: &Url, account: &str, scopes: &[&str], decision: &str) -> Url {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("request", page.query().unwrap()).append_pair("account", account);
        for scope in scopes {
            form.append_pair("scope", scope);
        }
        let body = form.append_pair("decision", decision).finish();
        let answer = post(page, &body).await;
        assert!(answer.starts_with("HTTP/1.1 30"), "{answer}");
        let location = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        Url::parse(&location.expect("the browser is sent on")).unwrap()
    }

    /// The browser comes back: where the application finds it, with a one-time id or a reason.
    pub(crate) async fn come_back(&self, callback: &Url) -> Result<Url, SignInError> {
        let value = |name: &str| {
            callback.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
        };
        let state = SecretString::from(value("state").unwrap());
        let answer = match value("code") {
            Some(code) => Ok(SecretString::from(code)),
            None => Err(value("error").unwrap()),
        };
        self.service.sign_in_returned(self.provider, &state, answer).await
    }

    pub(crate) async fn confirm(
        &self,
        user: Option<UserId>,
        back: &Url,
    ) -> Result<ConnectionId, SignInError> {
        let ticket = back.query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();
        let ticket = SecretString::from(ticket);
        let connected =
            self.service.confirm_sign_in(self.organization, user, &ticket, &Actor::operator()).await?;
        Ok(connected.connection.id())
    }

    /// Ada connects her account.
    pub(crate) async fn connect(&self) -> ConnectionId {
        self.connect_as(ADA).await
    }

    /// Ada connects an account of that address.
    pub(crate) async fn connect_as(&self, account: &str) -> ConnectionId {
        let page = self.begin(Some(USER)).await.unwrap();
        let callback = self.decide(&page, account, &self.scopes, "allow").await;
        let back = self.come_back(&callback).await.unwrap();
        self.confirm(Some(USER), &back).await.unwrap()
    }

    pub(crate) async fn connection(&self, id: ConnectionId) -> Connection {
        let tx = self.database.store.read(self.scope()).await.unwrap();
        connections::load(&tx, id).await.unwrap().unwrap()
    }

    /// Asks for a sync as a person and runs it to its end.
    pub(crate) async fn sync(&self, id: ConnectionId) -> Finish {
        for _ in 0..100 {
            let finish = self.run(id).await;
            if finish.next > self.service.now() || finish.state != calfleet_domain::job::WorkState::Active {
                return finish;
            }
        }
        panic!("the sync does not come to an end");
    }

    async fn run(&self, id: ConnectionId) -> Finish {
        self.advance(Duration::from_secs(30));
        let claim = self.claim(Kind::Sync, id).await;
        let finish = self.run_sync(&claim).await;
        work::finish(&self.database.store, &[(&claim, &finish)], self.service.now()).await.unwrap();
        finish
    }

    /// The job that syncs, without spacing.
    pub(crate) fn syncs(&self) -> SyncConnection {
        SyncConnection {
            store: self.database.store.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: SyncSettings { spacing: Duration::ZERO, ..SyncSettings::default() },
        }
    }

    /// A sync that dies after so many steps; its lease has run out afterwards.
    pub(crate) async fn sync_for(&self, id: ConnectionId, steps: u32) {
        self.advance(Duration::from_secs(30));
        let claim = self.claim(Kind::Sync, id).await;
        let job = self.syncs();
        drop(Steps::of(job.run(&claim), steps).await);
        self.outlive_lease().await;
    }

    async fn outlive_lease(&self) {
        self.advance(Duration::from_mins(1));
        let later = self.service.now().plus(Duration::from_hours(1));
        work::recover(&self.database.store, 1, later).await.unwrap();
    }

    /// Runs a sync under its claim.
    pub(crate) async fn run_sync(&self, claim: &Claim) -> Finish {
        self.syncs().run(claim).await.unwrap()
    }

    fn pushing(&self) -> PushOutbox {
        PushOutbox {
            store: self.database.store.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: PushSettings::default(),
        }
    }

    /// A push that dies after so many steps; its lease has run out afterwards.
    pub(crate) async fn push_for(&self, id: ConnectionId, steps: u32) {
        let claim = self.claim(Kind::Push, id).await;
        let job = self.pushing();
        drop(Steps::of(job.run(&claim), steps).await);
        self.outlive_lease().await;
    }

    /// Delivers what waits in the outbox.
    pub(crate) async fn push(&self, id: ConnectionId) -> Finish {
        self.advance(Duration::from_secs(1));
        let claim = self.claim(Kind::Push, id).await;
        let finish = self.pushing().run(&claim).await.unwrap();
        work::finish(&self.database.store, &[(&claim, &finish)], self.service.now()).await.unwrap();
        finish
    }

    /// Works on a departure once.
    pub(crate) async fn leave(&self, id: ConnectionId) -> Finish {
        let claim = self.claim(Kind::Revoke, id).await;
        let finish = self.run_revoke(&claim).await.unwrap();
        work::finish(&self.database.store, &[(&claim, &finish)], self.service.now()).await.unwrap();
        finish
    }

    /// Works on a departure under its claim.
    pub(crate) async fn run_revoke(&self, claim: &Claim) -> Result<Finish, StoreError> {
        let job = RevokeGrant {
            store: self.database.store.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            lease: Duration::from_secs(30),
        };
        job.run(claim).await
    }

    /// Claims a row of the connection, asking for it as a person.
    pub(crate) async fn claim(&self, kind: Kind, id: ConnectionId) -> Claim {
        // A row that ended its worker too often is set aside, until a person asks for it again; it is handed out when
        // no other such row is; and a throttle is shortened by nobody.
        for _ in 0..6 {
            if let Some(claim) = self.try_claim(kind, id).await {
                return claim;
            }
            self.make_way(kind, id).await;
            self.advance(Duration::from_secs(10));
        }
        panic!("the row can be claimed");
    }

    /// Runs the other row, if that is the one that was handed out: rows that ended their workers go one by one.
    async fn make_way(&self, kind: Kind, id: ConnectionId) {
        let other = if kind == Kind::Sync { Kind::Push } else { Kind::Sync };
        let Some(claim) = self.handed_out(other, id).await else { return };
        let finish = match other {
            Kind::Push => self.pushing().run(&claim).await.unwrap(),
            _ => self.run_sync(&claim).await,
        };
        work::finish(&self.database.store, &[(&claim, &finish)], self.service.now()).await.unwrap();
    }

    async fn try_claim(&self, kind: Kind, id: ConnectionId) -> Option<Claim> {
        let (now, key) = (self.service.now(), WorkKey { kind, target: id.0 });
        let tx = self.database.store.begin(self.scope(), Priority::Interactive).await.unwrap();
        let ask = Ask {
            key,
            organization_id: self.organization,
            connection_id: Some(id),
            lane: Lane::Interactive,
            at: now,
            asker: Asker::Person,
        };
        work::ask(&tx, &[ask]).await.unwrap();
        tx.commit().await.unwrap();
        self.claim_due(kind, id).await
    }

    /// Runs a sync if its row is due; whether it was.
    pub(crate) async fn run_due(&self, id: ConnectionId) -> bool {
        let Some(claim) = self.claim_due(Kind::Sync, id).await else { return false };
        let finish = self.run_sync(&claim).await;
        work::finish(&self.database.store, &[(&claim, &finish)], self.service.now()).await.unwrap();
        true
    }

    async fn claim_due(&self, kind: Kind, id: ConnectionId) -> Option<Claim> {
        let marks = Marks { epoch: 1, last: Duration::from_secs(5) };
        let (store, now) = (&self.database.store, self.service.now());
        let seen = work::look(store, now).await.unwrap();
        work::hand_out(store, seen, [9; 4], marks, &mut Fairness::default(), now).await.unwrap();
        self.handed_out(kind, id).await
    }

    /// The row's claim, if it was handed out.
    async fn handed_out(&self, kind: Kind, id: ConnectionId) -> Option<Claim> {
        let key = WorkKey { kind, target: id.0 };
        let hint = HintedRow { key, organization_id: self.organization, lane: Lane::Interactive };
        let (store, owner) = (&self.database.store, LeaseOwner(Uuid::from_u128(5)));
        let (lease, now) = (Duration::from_secs(30), self.service.now());
        let claimed = work::claim(store, &[hint], owner, lease, now).await.unwrap();
        claimed.claims.into_iter().next()
    }
}

/// The simulated providers, on a clock that stands.
pub(crate) async fn sandbox() -> Sandbox {
    let clock = SandboxClock::standing_at(NOW.0);
    Sandbox::start(SandboxOptions { clock, ..SandboxOptions::default() }).await.unwrap()
}

/// What a browser sends for a form, and the whole answer; not the product's client.
async fn post(page: &Url, body: &str) -> String {
    let (host, port) = (page.host_str().unwrap(), page.port().unwrap());
    let mut stream = TcpStream::connect((host, port)).await.unwrap();
    let target = format!("{}?{}", page.path(), page.query().unwrap());
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
