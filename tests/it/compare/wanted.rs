//! The differences from Kafka that we want, each with its reason.

use millstream::kafka::messages::ApiKey;

use super::Step;

/// A difference that is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    api: ApiKey,
    /// Begins the name of the requests; empty for all.
    request: &'static str,
    /// Where in the answer: names with `/` between, `*` for any one, a last `**` for any more.
    path: &'static str,
    /// Why.
    #[expect(dead_code, reason = "for who reads this, and in the test's output")]
    reason: &'static str,
}

impl Wanted {
    pub(super) fn covers(&self, step: &Step, path: &str) -> bool {
        self.api == step.api && step.name.starts_with(self.request) && matches(self.path, path)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) | (Some("**"), _) => return true,
            (Some(wanted), Some(found)) if wanted == "*" || wanted == found => {}
            _ => return false,
        }
    }
}

const fn wanted(
    api: ApiKey,
    request: &'static str,
    path: &'static str,
    reason: &'static str,
) -> Wanted {
    Wanted { api, request, path, reason }
}

/// All of them.
pub(super) const WANTED: &[Wanted] = &[wanted(
    ApiKey::ApiVersions,
    "",
    "api_keys/**",
    "transactions, KIP-848, share groups and security are still to come",
)];
