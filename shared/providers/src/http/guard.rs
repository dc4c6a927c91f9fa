//! Which addresses may be connected to.
//!
//! A name is resolved here and nowhere else, and the connection goes to an address that passed: a name that
//! changes its answer between check and use gains nothing. Literal addresses never reach a resolver, so
//! [`AddressPolicy::check_url`] judges them; the URL parser has already read their decimal, octal, hexadecimal
//! and shortened spellings. Addresses that carry an IPv4 address inside (mapped, compatible, NAT64, 6to4, Teredo)
//! are judged by that one too.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::HttpSettings;
use crate::driver::Problem;

/// Where calendars are served.
const USUAL_PORTS: [u16; 2] = [443, 8443];

/// The two schemes we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// With TLS.
    Https,
    /// Readable on the way: only to networks that the operator named, or where he allowed it.
    Http,
}

/// Which schemes, ports and addresses are allowed.
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    allowed_networks: Vec<IpNet>,
    allowed_ports: Vec<u16>,
    allow_http: bool,
}

/// What is said of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It may be connected to.
    Allowed,
    /// It lies in a network that is not public and was not allowed.
    Private,
    /// Plain `http`, and neither the scheme nor the network was allowed.
    Insecure,
}

impl AddressPolicy {
    /// The policy of these settings.
    pub fn of(settings: &HttpSettings) -> Self {
        Self {
            allowed_networks: settings.allowed_networks.clone(),
            allowed_ports: settings.allowed_ports.clone(),
            allow_http: settings.allow_http,
        }
    }

    /// Whether an address may be connected to.
    pub fn judge(&self, scheme: Scheme, address: IpAddr) -> Judgement {
        let plain = address.to_canonical();
        if self.allowed_networks.iter().any(|network| network.contains(&plain) || network.contains(&address))
        {
            return Judgement::Allowed;
        }
        if !is_public(address) {
            return Judgement::Private;
        }
        match scheme {
            Scheme::Https => Judgement::Allowed,
            Scheme::Http if self.allow_http => Judgement::Allowed,
            Scheme::Http => Judgement::Insecure,
        }
    }

    /// Whether a URL may be asked, as far as that shows without resolving its name, and over which scheme.
    ///
    /// # Errors
    /// The problem, for people.
    pub fn check_url(&self, url: &Url) -> Result<Scheme, Problem> {
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => {
                return Err(Problem::InvalidUrl { reason: format!("{other} is not https") });
            }
        };
        // An operator who allows neither http nor any network will not see a name resolve to something allowed.
        if scheme == Scheme::Http && !self.allow_http && self.allowed_networks.is_empty() {
            return Err(Problem::InsecureUrl);
        }
        let port = url.port_or_known_default().unwrap_or(0);
        let address = match url.host() {
            None => return Err(Problem::InvalidUrl { reason: "it names no server".to_owned() }),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        };
        if let Some(address) = address {
            match self.judge(scheme, address) {
                Judgement::Allowed => {}
                Judgement::Private => {
                    return Err(Problem::AddressNotAllowed { host: address.to_string() });
                }
                Judgement::Insecure => return Err(Problem::InsecureUrl),
            }
        }
        if !USUAL_PORTS.contains(&port) && !self.allowed_ports.contains(&port) {
            return Err(Problem::PortNotAllowed { port });
        }
        Ok(scheme)
    }
}

/// Whether an address is one of the public Internet (IANA special-purpose registries).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        // multicast, reserved and broadcast
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, third, fourth, fifth, sixth, seventh, eighth] = segments;
    match segments {
        // IPv4-mapped, IPv4-translated, NAT64 with its well-known prefix
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            is_public_inside(seventh, eighth)
        }
        // 6to4 carries the address of its gateway, Teredo of its server and, inverted, of its client
        [0x2002, ..] => is_public_inside(second, third),
        [0x2001, 0, ..] => is_public_inside(third, fourth) && is_public_inside(!seventh, !eighth),
        _ => {
            // the rest of 2001::/23 (protocol assignments) and documentation
            let is_reserved = (first == 0x2001 && (second < 0x200 || second == 0xdb8))
                || (first == 0x3fff && second <= 0xfff);
            // Only 2000::/3 is global unicast: that excludes unspecified, loopback, IPv4-compatible, unique local,
            // link-local, site-local, discard and multicast.
            let is_global = first & 0xe000 == 0x2000;
            // ISATAP ends in the address behind it.
            let is_tunnel = matches!(fifth, 0 | 0x200) && sixth == 0x5efe;
            is_global && !is_reserved && (!is_tunnel || is_public_inside(seventh, eighth))
        }
    }
}

fn is_public_inside(high: u16, low: u16) -> bool {
    let ([first, second], [third, fourth]) = (high.to_be_bytes(), low.to_be_bytes());
    is_public_v4(Ipv4Addr::new(first, second, third, fourth))
}

/// Turns names into addresses.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug {
    /// Every address of a name.
    ///
    /// # Errors
    /// When there is none, or nobody could be asked.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves as the system does, its hosts file included.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Why a name was not connected to; found again in the client's error by [`super::failure`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("find the address of the server")]
    Unknown(#[source] io::Error),
    #[error("the server has no address that is allowed")]
    Private,
    #[error("the server may not be asked over plain http")]
    Insecure,
}

/// Resolves a name and lets through what the policy allows.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    scheme: Scheme,
    policy: Arc<AddressPolicy>,
    lookup: Arc<dyn Lookup>,
}

impl GuardedResolver {
    pub(super) fn new(scheme: Scheme, policy: Arc<AddressPolicy>, lookup: Arc<dyn Lookup>) -> Self {
        Self { scheme, policy, lookup }
    }
}

async fn resolve(
    scheme: Scheme,
    policy: &AddressPolicy,
    lookup: &dyn Lookup,
    host: &str,
) -> Result<Vec<SocketAddr>, Refusal> {
    let found = lookup.lookup(host).await.map_err(Refusal::Unknown)?;
    let mut refusal = Refusal::Unknown(io::Error::from(io::ErrorKind::NotFound));
    let mut allowed = Vec::with_capacity(found.len());
    for address in found {
        match policy.judge(scheme, address) {
            Judgement::Allowed => allowed.push(SocketAddr::new(address, 0)),
            Judgement::Private => refusal = Refusal::Private,
            Judgement::Insecure => refusal = Refusal::Insecure,
        }
    }
    if allowed.is_empty() { Err(refusal) } else { Ok(allowed) }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (scheme, policy, lookup) = (self.scheme, self.policy.clone(), self.lookup.clone());
        Box::pin(async move {
            let addresses = resolve(scheme, &policy, lookup.as_ref(), name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(change: impl FnOnce(&mut HttpSettings)) -> AddressPolicy {
        let mut settings = HttpSettings::default();
        change(&mut settings);
        AddressPolicy::of(&settings)
    }

    fn check(policy: &AddressPolicy, url: &str) -> Result<Scheme, &'static str> {
        policy.check_url(&Url::parse(url).unwrap()).map_err(|problem| problem.code())
    }

    #[test]
    fn no_spelling_of_a_private_address_gets_through() {
        let strict = policy(|_| {});

        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
            "10.1.2.3",
            "0xa.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.168.257",
            "100.64.0.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:a00:1]",
            "[::127.0.0.1]",
            "[::ffff:0:10.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2002:c0a8:1::1]",
            "[2001:0:0a00:1::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[100::1]",
            "[4000::1]",
        ] {
            assert_eq!(check(&strict, &format!("https://{host}/")), Err("address_not_allowed"), "{host}");
        }
    }

    #[test]
    fn public_addresses_and_names_get_through() {
        let strict = policy(|_| {});

        for host in ["93.184.216.34", "[2606:2800:220:1::1]", "[::ffff:93.184.216.34]", "dav.example.com"] {
            assert_eq!(check(&strict, &format!("https://{host}/")), Ok(Scheme::Https), "{host}");
        }
    }

    #[test]
    fn ports_and_schemes_are_those_that_the_operator_named() {
        let strict = policy(|_| {});
        let lan = policy(|settings| {
            settings.allowed_networks = vec!["192.168.0.0/16".parse().unwrap()];
            settings.allowed_ports = vec![80, 5232];
        });

        assert_eq!(check(&strict, "https://dav.example.com:22/"), Err("port_not_allowed"));
        assert_eq!(check(&strict, "https://dav.example.com:8443/"), Ok(Scheme::Https));
        assert_eq!(check(&strict, "http://dav.example.com/"), Err("insecure_url"));
        assert_eq!(check(&strict, "ftp://dav.example.com/"), Err("invalid_url"));
        assert_eq!(check(&lan, "http://192.168.1.2:5232/"), Ok(Scheme::Http));
        assert_eq!(check(&lan, "http://[::ffff:192.168.1.2]:5232/"), Ok(Scheme::Http));
        assert_eq!(check(&lan, "http://93.184.216.34/"), Err("insecure_url"));
        assert_eq!(check(&lan, "http://10.0.0.1:5232/"), Err("address_not_allowed"));
        assert_eq!(check(&lan, "http://192.168.1.2:6379/"), Err("port_not_allowed"));
    }

    /// Answers with the next of its answers each time.
    #[derive(Debug)]
    struct Rebinding(std::sync::Mutex<Vec<Vec<IpAddr>>>);

    #[async_trait]
    impl Lookup for Rebinding {
        async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.lock().unwrap().remove(0))
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_its_answer_is_judged_each_time() {
        let (public, private): (IpAddr, IpAddr) =
            ("93.184.216.34".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let name = Rebinding(std::sync::Mutex::new(vec![vec![public], vec![private], vec![private, public]]));
        let strict = policy(|_| {});

        let first = resolve(Scheme::Https, &strict, &name, "x").await;
        let second = resolve(Scheme::Https, &strict, &name, "x").await;
        let mixed = resolve(Scheme::Https, &strict, &name, "x").await;

        assert_eq!(first.unwrap(), [SocketAddr::new(public, 0)]);
        assert!(matches!(second, Err(Refusal::Private)));
        assert_eq!(mixed.unwrap(), [SocketAddr::new(public, 0)]);
    }

    #[tokio::test]
    async fn plain_http_reaches_allowed_networks_only() {
        let (public, lan): (IpAddr, IpAddr) = ("93.184.216.34".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let name = Rebinding(std::sync::Mutex::new(vec![vec![public], vec![public, lan]]));
        let policy = policy(|settings| settings.allowed_networks = vec!["10.0.0.0/8".parse().unwrap()]);

        assert!(matches!(resolve(Scheme::Http, &policy, &name, "x").await, Err(Refusal::Insecure)));
        assert_eq!(resolve(Scheme::Http, &policy, &name, "x").await.unwrap(), [SocketAddr::new(lan, 0)]);
    }
}
