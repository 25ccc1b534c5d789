//! Who may ask: keeps pages of other origins from driving a broker on the same machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Options;
use super::error::ApiError;

/// What the `Host` of a request may be. A page whose name was rebound to this machine's address
/// sends its own name.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    name: String,
    any_ip: bool,
    ips: Vec<IpAddr>,
}

impl AllowedHosts {
    /// Loopback, and the host that the API listens at: `ips` are its addresses. Where it listens
    /// at every address, any address is allowed; names other than `name` never are.
    pub fn new(name: &str, ips: &[IpAddr]) -> Self {
        let any_ip = ips.iter().any(IpAddr::is_unspecified);
        Self { name: name.to_ascii_lowercase(), any_ip, ips: ips.to_vec() }
    }

    /// Whether the value of a `Host` header is one of them. The port does not matter.
    fn allow(&self, host: &str) -> bool {
        let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((v6, _)) => v6,
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        match bare.parse::<IpAddr>() {
            Ok(ip) => self.any_ip || ip.is_loopback() || self.ips.contains(&ip),
            Err(_) => {
                let name = bare.to_ascii_lowercase();
                name == "localhost" || (!name.is_empty() && name == self.name)
            }
        }
    }
}

/// Lets a request through that is meant for this API.
pub(super) async fn check(
    State(options): State<Arc<Options>>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&options.hosts, request.method(), request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(hosts: &AllowedHosts, method: &Method, headers: &HeaderMap) -> Option<ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    if !hosts.allow(host) {
        let error = format!("host {host:?} is not this broker; ask for localhost or its address");
        return Some(ApiError::new(StatusCode::FORBIDDEN, error));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if headers.contains_key(ORIGIN)
        && text(ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, at)| at) != Some(host)
    {
        let error = "changes from a page of another origin are refused";
        return Some(ApiError::new(StatusCode::FORBIDDEN, error));
    }
    // Nor can a form of another origin send any of these.
    let media = text(CONTENT_TYPE).map(|value| value.split(';').next().unwrap_or(value).trim());
    let json = media.is_some_and(|media| {
        ["application/json", "application/x-ndjson"].iter().any(|m| media.eq_ignore_ascii_case(m))
    });
    if *method == Method::POST && !json {
        let error = "content-type must be application/json or application/x-ndjson";
        return Some(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, headers: &[(&'static str, &'static str)]) -> Option<StatusCode> {
        let hosts = AllowedHosts::new("127.0.0.1", &["127.0.0.1".parse().unwrap()]);
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        refusal(&hosts, &method, &headers).map(|error| error.into_response().status())
    }

    #[test]
    fn only_meant_hosts_are_served() {
        for host in ["localhost", "LOCALHOST:9644", "127.0.0.1:1", "[::1]:9644", "127.9.9.9"] {
            assert_eq!(status(Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:9644", "192.0.2.1", "[::1", "::1"]
        {
            assert_eq!(
                status(Method::GET, &[("host", host)]),
                Some(StatusCode::FORBIDDEN),
                "{host}"
            );
        }
        assert_eq!(status(Method::GET, &[]), Some(StatusCode::FORBIDDEN));
    }

    #[test]
    fn listening_everywhere_allows_addresses_but_no_names() {
        let hosts = AllowedHosts::new("0.0.0.0", &["0.0.0.0".parse().unwrap()]);
        assert!(hosts.allow("192.0.2.1:9644") && !hosts.allow("evil.example"));
        let named = AllowedHosts::new("Broker.lan", &["192.0.2.1".parse().unwrap()]);
        assert!(named.allow("broker.LAN:9644") && named.allow("192.0.2.1"));
        assert!(!named.allow("192.0.2.2"));
    }

    #[test]
    fn a_form_of_another_origin_changes_nothing() {
        let host = ("host", "localhost:9644");
        let json = ("content-type", "application/json; charset=utf-8");
        let unsupported = Some(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(status(Method::POST, &[host, json]), None);
        assert_eq!(status(Method::POST, &[host]), unsupported);
        assert_eq!(status(Method::POST, &[host, ("content-type", "text/plain")]), unsupported);
        let own = ("origin", "http://localhost:9644");
        let foreign = ("origin", "http://evil.example");
        assert_eq!(status(Method::POST, &[host, json, own]), None);
        for method in [Method::POST, Method::DELETE] {
            assert_eq!(status(method, &[host, json, foreign]), Some(StatusCode::FORBIDDEN));
        }
        let sandboxed = ("origin", "null");
        assert_eq!(status(Method::DELETE, &[host, sandboxed]), Some(StatusCode::FORBIDDEN));
    }
}
