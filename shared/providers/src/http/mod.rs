//! The one HTTP client of all drivers, behind a guard.
//!
//! Addresses come from users and answers from strangers. So every request is checked before it leaves (scheme,
//! port, literal addresses), every name is resolved by [`guard`] and only addresses that pass are connected to,
//! every answer is read through [`body`] (deadlines, byte limits counted after decompression, ratio), and every
//! failure becomes a [`DriverError`] with a sentence for people. Redirects are never followed here: callers get
//! them and decide ([`session`] does so for drivers with a password). The client keeps no cookies, uses no proxy
//! and adds no credentials.

pub mod auth;
pub mod body;
mod failure;
pub mod guard;
mod inflate;
pub mod redirect;
pub(crate) mod rest;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use ipnet::IpNet;
use url::Url;

use crate::driver::{DriverError, Problem};
use body::{Body, Deadlines};
use calfleet_domain::failure::FailureClass;
use guard::{AddressPolicy, GuardedResolver, Lookup, Scheme, SystemLookup};

/// What the operator allows and how long and how much we wait for.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Private networks that may be reached all the same, over plain `http` too.
    pub allowed_networks: Vec<IpNet>,
    /// Ports that may be reached besides 443 and 8443.
    pub allowed_ports: Vec<u16>,
    /// Whether plain `http` is allowed to any address.
    pub allow_http: bool,
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// The longest silence while an answer is awaited or read, but for the beginning of a listing.
    pub read_timeout: Duration,
    /// From sending a listing's request to the first byte of its answer's body.
    pub first_byte_timeout: Duration,
    /// A whole exchange, but for listings.
    pub total_timeout: Duration,
    /// A whole listing: these stream, and a large calendar takes its server a while.
    pub listing_timeout: Duration,
    /// Most bytes of a listing, and of the answer to a batch of reads.
    pub max_listing_bytes: u64,
    /// Most bytes of one calendar object; a larger one is unreadable, its neighbours are not.
    pub max_object_bytes: u64,
    /// Most bytes of a feed.
    pub max_feed_bytes: u64,
    /// How we introduce ourselves.
    pub user_agent: String,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allowed_networks: Vec::new(),
            allowed_ports: Vec::new(),
            allow_http: false,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_mins(1),
            // A large calendar makes some servers think for minutes before they begin.
            first_byte_timeout: Duration::from_mins(5),
            total_timeout: Duration::from_mins(1),
            listing_timeout: Duration::from_mins(15),
            max_listing_bytes: 128 << 20,
            max_object_bytes: 10 << 20,
            max_feed_bytes: 32 << 20,
            user_agent: concat!("Calfleet/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// How much of an answer is taken, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Most bytes, counted after decompression.
    pub max_bytes: u64,
    /// The setting that raises `max_bytes`, for people.
    pub setting: &'static str,
    /// From sending the request to the first byte of the answer's body.
    pub patience: Duration,
    /// From sending the request to the last byte of the answer.
    pub deadline: Duration,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// Where it came from: the URL asked.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed while it is read.
    pub body: Body,
}

impl Answer {
    /// A header's value as text; `None` where it is absent or not text.
    pub fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The guarded client. Cheap to clone; one for the whole process, so that connections are shared.
#[derive(Debug, Clone)]
pub struct HttpClient {
    secure: reqwest::Client,
    plain: reqwest::Client,
    policy: Arc<AddressPolicy>,
    settings: Arc<HttpSettings>,
}

/// The client could not be built: the TLS library refused to start.
#[derive(Debug, thiserror::Error)]
#[error("build the http client")]
pub struct BuildError(#[from] reqwest::Error);

impl HttpClient {
    /// A client that resolves names as the system does.
    ///
    /// # Errors
    /// When the TLS library cannot be started.
    pub fn new(settings: HttpSettings) -> Result<Self, BuildError> {
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        Self::with_lookup(settings, &lookup)
    }

    /// A client with a resolver of the caller's; what it answers is guarded all the same.
    ///
    /// # Errors
    /// When the TLS library cannot be started.
    pub fn with_lookup(settings: HttpSettings, lookup: &Arc<dyn Lookup>) -> Result<Self, BuildError> {
        let settings = Arc::new(settings);
        let policy = Arc::new(AddressPolicy::of(&settings));
        // Two clients, because the resolver is not told for which scheme it resolves, and plain http has the
        // stricter rule.
        let build = |scheme| {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(settings.connect_timeout)
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(8)
                .dns_resolver(Arc::new(GuardedResolver::new(scheme, policy.clone(), lookup.clone())))
                .build()
        };
        Ok(Self { secure: build(Scheme::Https)?, plain: build(Scheme::Http)?, policy, settings })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    /// Whether a URL may be asked at all, as far as that shows without resolving its name.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] with the reason.
    pub fn check(&self, operation: &'static str, url: &Url) -> Result<(), DriverError> {
        self.policy
            .check_url(url)
            .map(|_| ())
            .map_err(|problem| DriverError::new(operation, FailureClass::Permanent, problem))
    }

    /// Sends one request and returns the answer once its head has arrived.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] for an address that is not allowed, [`FailureClass::Transient`] for everything
    /// on the way; statuses are answers, not errors.
    #[tracing::instrument(
        name = "provider.request",
        level = "debug",
        skip_all,
        fields(operation, method = %request.method(), host = request.uri().host(), status)
    )]
    pub async fn send(
        &self,
        operation: &'static str,
        request: Request<Bytes>,
        allowance: Allowance,
    ) -> Result<Answer, DriverError> {
        let invalid = |reason: &str| {
            DriverError::new(
                operation,
                FailureClass::Permanent,
                Problem::InvalidUrl { reason: reason.to_owned() },
            )
        };
        let url = Url::parse(&request.uri().to_string()).map_err(|error| invalid(&error.to_string()))?;
        let scheme = self
            .policy
            .check_url(&url)
            .map_err(|problem| DriverError::new(operation, FailureClass::Permanent, problem))?;
        let client = match scheme {
            Scheme::Https => &self.secure,
            Scheme::Http => &self.plain,
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = reqwest::Request::try_from(request).map_err(|error| invalid(&error.to_string()))?;
        self.introduce(request.headers_mut());

        metrics::counter!("calfleet_provider_requests_total").increment(1);
        let started = tokio::time::Instant::now();
        let patience = allowance.patience.min(allowance.deadline);
        #[expect(clippy::disallowed_methods, reason = "deadlines of requests belong here")]
        let sent = tokio::time::timeout(patience, client.execute(request)).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure::of_request(operation, &host, error)),
            Err(_) => return Err(failure::timeout(operation, &host)),
        };
        tracing::Span::current().record("status", response.status().as_u16());
        let (status, headers) = (response.status(), response.headers().clone());
        let deadlines = Deadlines {
            begins_by: started + patience,
            ends_by: started + allowance.deadline,
            silence: self.settings.read_timeout,
        };
        let body = Body::new(operation, host, response, allowance, deadlines)?;
        Ok(Answer { url, status, headers, body })
    }

    fn introduce(&self, headers: &mut HeaderMap) {
        if let Ok(agent) = HeaderValue::from_str(&self.settings.user_agent) {
            headers.insert(USER_AGENT, agent);
        }
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip, deflate"));
    }
}
