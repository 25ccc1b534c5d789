//! Asking a running broker over HTTP.

use std::io::ErrorKind;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::http::ErrorView;
use crate::limits::CLIENT_ANSWER_BYTES;

/// Which broker is asked.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// HTTP address of the broker.
    #[arg(
        long,
        value_name = "URL",
        env = "MILLSTREAM_SERVER",
        default_value = "http://127.0.0.1:9644"
    )]
    server: String,
}

/// Why the broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody is there.
    #[error(
        "no broker answers at {url}; start one with `millstream serve`, or say with --server \
         where it is"
    )]
    NoBroker {
        /// Where.
        url: String,
        /// What the system says.
        #[source]
        source: ureq::Error,
    },
    /// It refuses.
    #[error("{}", render(.0))]
    Refused(ErrorView),
    /// Somebody else is there.
    #[error("what answers at {url} is no Millstream broker, or another version (status {status})")]
    Stranger {
        /// Where.
        url: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The connection broke.
    #[error("the connection to the broker at {url} failed")]
    Connection {
        /// Where.
        url: String,
        /// What happened.
        #[source]
        source: ureq::Error,
    },
}

fn render(view: &ErrorView) -> String {
    let problems = view.problems.iter().map(|problem| format!("\n{}", problem.rendered));
    format!("{}{}", view.error, problems.collect::<String>())
}

/// A broker that may be asked.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    pub(super) fn new(args: &ServerArgs) -> Self {
        Self::waiting(args, Some(Duration::from_secs(120)))
    }

    /// For what takes as long as it takes.
    pub(super) fn patient(args: &ServerArgs) -> Self {
        Self::waiting(args, None)
    }

    fn waiting(args: &ServerArgs, answer_within: Option<Duration>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The broker is near; a proxy for the web would not find it.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(answer_within)
            .build()
            .into();
        let url = args.server.trim_end_matches('/');
        let scheme = if url.contains("://") { "" } else { "http://" };
        Self { agent, url: format!("{scheme}{url}") }
    }

    /// Asks for something.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in query {
            request = request.query(*name, value);
        }
        self.read(request.call())
    }

    /// Sends something.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.read(self.agent.post(format!("{}{path}", self.url)).send_json(body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let mut answer = answer.map_err(|error| self.failed(error))?;
        let status = answer.status();
        let stranger = || ClientError::Stranger { url: self.url.clone(), status };
        let limited = answer.body_mut().with_config().limit(CLIENT_ANSWER_BYTES);
        let body = limited.read_to_vec().map_err(|error| self.failed(error))?;
        if !status.is_success() {
            let view = serde_json::from_slice(&body).map_err(|_| stranger())?;
            return Err(ClientError::Refused(view));
        }
        serde_json::from_slice(&body).map_err(|_| stranger())
    }

    fn failed(&self, source: ureq::Error) -> ClientError {
        let url = self.url.clone();
        let nobody = match &source {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Timeout(ureq::Timeout::Connect) => true,
            ureq::Error::Io(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
            ),
            _ => false,
        };
        if nobody {
            ClientError::NoBroker { url, source }
        } else {
            ClientError::Connection { url, source }
        }
    }
}
