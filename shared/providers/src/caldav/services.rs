//! Which servers a domain names for its calendars (RFC 6764 §3): SRV and TXT records of `_caldavs._tcp`.

use std::fmt;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

/// Longer answers are cut.
const MAX_SERVERS: usize = 8;

/// What a domain says about its calendar service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Servers in the order in which they are to be tried: name and port.
    pub servers: Vec<(String, u16)>,
    /// Where on the server the service begins.
    pub path: Option<String>,
}

/// Looks services up.
#[async_trait]
pub trait Services: Send + Sync + fmt::Debug {
    /// What `domain` says; nothing where it says nothing or cannot be asked.
    async fn service(&self, domain: &str) -> Service;
}

/// Asks the name servers of the system.
#[derive(Debug, Clone, Copy)]
pub struct DnsServices;

#[async_trait]
impl Services for DnsServices {
    async fn service(&self, domain: &str) -> Service {
        let Ok(resolver) = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build)
        else {
            return Service::default();
        };
        // Only the one with TLS; the final dot keeps the system's search domains out.
        let name = format!("_caldavs._tcp.{}.", domain.trim_end_matches('.'));
        let mut records = Vec::new();
        if let Ok(found) = resolver.srv_lookup(name.as_str()).await {
            for record in found.answers() {
                if let RData::SRV(service) = &record.data {
                    let target = service.target.to_utf8();
                    records.push((service.priority, service.weight, target, service.port));
                }
            }
        }
        let mut path = None;
        if !records.is_empty()
            && let Ok(found) = resolver.txt_lookup(name.as_str()).await
        {
            for record in found.answers() {
                if let RData::TXT(text) = &record.data {
                    path = path.or_else(|| text.txt_data.iter().find_map(|part| path_of(part)));
                }
            }
        }
        Service { servers: in_order(records), path }
    }
}

/// By priority, then the heavier first; a target of "." says that there is none.
fn in_order(mut records: Vec<(u16, u16, String, u16)>) -> Vec<(String, u16)> {
    records.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
    let servers =
        records.into_iter().map(|(_, _, target, port)| (target.trim_end_matches('.').to_owned(), port));
    servers.filter(|(target, _)| !target.is_empty()).take(MAX_SERVERS).collect()
}

fn path_of(part: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(part).ok()?.strip_prefix("path=")?;
    path.starts_with('/').then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_tried_by_priority_then_weight_and_a_dot_means_none() {
        let records = vec![
            (20, 0, "backup.example.com.".to_owned(), 443),
            (10, 1, "light.example.com.".to_owned(), 8443),
            (10, 9, "heavy.example.com.".to_owned(), 443),
        ];

        let names: Vec<_> = in_order(records).into_iter().map(|(name, _)| name).collect();

        assert_eq!(names, ["heavy.example.com", "light.example.com", "backup.example.com"]);
        assert!(in_order(vec![(0, 0, ".".to_owned(), 0)]).is_empty());
        assert_eq!(path_of(b"path=/dav/"), Some("/dav/".to_owned()));
        assert_eq!(path_of(b"path=evil"), None);
    }
}
