//! How Portolan speaks with AWS: one way for every client, typed or by hand. Credentials by the SDK's own chain, endpoints by the
//! file or the SDK's environment, a role for each other account; calls are paced, bounded in time, tried again with full jitter, and
//! their errors come in classes. The SDK's own retries are off, so that there is one place that counts and waits.

mod by_hand;
mod calls;
mod credentials;
mod error;
mod pace;
mod whole;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::retry::RetryConfig;
use aws_types::service_config::ServiceConfigKey;
use portolan_config::model::Aws;
use tokio::time::{sleep, timeout};

pub use self::calls::Calls;
pub use self::error::{CallError, ErrorClass, Fault};

pub(crate) use self::by_hand::{Answered, ByHand, encoded};
pub(crate) use self::whole::WholeXml;

use self::credentials::Accounts;
use self::pace::{Backoff, Paces};

/// A service of AWS, as limits and errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Global Accelerator.
    GlobalAccelerator,
    /// Elastic Load Balancing, version 2.
    Elb,
    /// EC2.
    Ec2,
    /// Security Token Service.
    Sts,
    /// Route 53.
    Route53,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] = [
        Service::GlobalAccelerator,
        Service::Elb,
        Service::Ec2,
        Service::Sts,
        Service::Route53,
    ];

    /// As IAM's actions begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::GlobalAccelerator => "globalaccelerator",
            Service::Elb => "elasticloadbalancing",
            Service::Ec2 => "ec2",
            Service::Sts => "sts",
            Service::Route53 => "route53",
        }
    }

    /// Where the service's own control plane is, for those that have one for all regions.
    pub fn home(self) -> Option<&'static str> {
        match self {
            // docs.aws.amazon.com/general/latest/gr/global_accelerator.html: whatever the regions of the endpoints.
            Service::GlobalAccelerator => Some("us-west-2"),
            Service::Route53 => Some("us-east-1"),
            Service::Elb | Service::Ec2 | Service::Sts => None,
        }
    }
}

/// Whose resources are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// The one that the credentials belong to.
    Own,
    /// Another one, by its id; a role of `[aws] roles` reads it.
    Other(Arc<str>),
}

impl Account {
    fn as_str(&self) -> &str {
        match self {
            Account::Own => "",
            Account::Other(id) => id,
        }
    }
}

/// What is called, for limits and messages.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The service.
    pub service: Service,
    /// The operation, as IAM's actions end.
    pub operation: &'static str,
    /// Whose resources.
    pub account: &'a Account,
    /// The region that is asked.
    pub region: &'a str,
}

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// To a connection.
    pub connect: Duration,
    /// One attempt from the first byte to the last.
    pub attempt: Duration,
    /// Attempts, the first included.
    pub attempts: u32,
    /// The longest wait before the second attempt; each further one may wait twice as long.
    pub backoff: Duration,
    /// The longest wait of all.
    pub backoff_cap: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(15),
            attempts: 4,
            backoff: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(20),
        }
    }
}

/// Where the process asks for a region that has none of its own: STS and Route 53.
const ANY_REGION: &str = "us-east-1";

/// One set of credentials, endpoints and limits. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
    calls: Arc<Calls>,
}

struct Inner {
    base: SdkConfig,
    http: Connector,
    timings: Timings,
    paces: Paces,
    accounts: Accounts,
}

impl Session {
    /// Reads the environment and the profile; asks nobody yet.
    pub async fn open(aws: &Aws) -> Self {
        Self::open_with(aws, Timings::default()).await
    }

    /// The same with other timings.
    pub async fn open_with(aws: &Aws, timings: Timings) -> Self {
        let ring = || Provider::Rustls(CryptoMode::Ring);
        let timeouts = TimeoutConfig::builder().connect_timeout(timings.connect);
        // A region is always given: without one the SDK would look for it, at the metadata service at last.
        let region = aws.regions.first().map_or(ANY_REGION, String::as_str);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Builder::new().tls_provider(ring()).build_https())
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        if let Some(url) = &aws.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let base = loader.load().await;
        let settings = HttpConnectorSettings::builder().connect_timeout(timings.connect);
        let http = Connector::builder().connector_settings(settings.build());
        Self {
            inner: Arc::new(Inner {
                accounts: Accounts::new(&base, &aws.roles),
                base,
                http: http.tls_provider(ring()).build(),
                timings,
                paces: Paces::new(aws.calls_per_second, aws.burst),
            }),
            calls: Arc::default(),
        }
    }

    /// Counts its calls here.
    pub fn counting(self, calls: Arc<Calls>) -> Self {
        Self { calls, ..self }
    }

    /// What a typed client of this account and region is made of. Fails where no role reads the account.
    pub async fn config(&self, call: &Call<'_>) -> Result<SdkConfig, CallError> {
        let config = self
            .inner
            .base
            .to_builder()
            .region(Region::new(call.region.to_owned()));
        match self.inner.accounts.provider(call.account).await {
            Ok(None) => Ok(config.build()),
            Ok(Some(provider)) => Ok(config.credentials_provider(provider).build()),
            Err(fault) => Err(CallError::of(call, fault, 0)),
        }
    }

    /// Credentials for a request that is signed by hand.
    pub async fn credentials(&self, account: &Account) -> Result<Credentials, Fault> {
        self.inner.accounts.credentials(account).await
    }

    /// Where a client by hand finds its service: the file's word, else the environment's, else AWS's own endpoint.
    pub fn endpoint(&self, service: Service, region: &str) -> String {
        let base = &self.inner.base;
        let given_in_code = base.get_origin("endpoint_url").is_client_config();
        let id = if service == Service::Route53 {
            // As the SDK spells it for AWS_ENDPOINT_URL_ROUTE_53.
            "Route 53"
        } else {
            service.as_str()
        };
        let key = ServiceConfigKey::builder()
            .service_id(id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let of_service = (!given_in_code)
            .then(|| base.service_config()?.load_config(key.ok()?))
            .flatten();
        let suffix = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        of_service
            .or_else(|| base.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| {
                let name = service.as_str();
                // It has one endpoint for all regions.
                if service == Service::Route53 {
                    format!("https://{name}.{suffix}")
                } else {
                    format!("https://{name}.{region}.{suffix}")
                }
            })
    }

    /// Sends a request that was signed by hand.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        self.inner
            .http
            .call(request)
            .await
            .map_err(|error| Fault::of_connector(&error))
    }

    /// Asks, paced and bounded, again after a fault that may pass. The last fault is told.
    pub async fn call<T, F>(&self, call: &Call<'_>, ask: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let Inner { timings, paces, .. } = &*self.inner;
        let backoff = Backoff::new(timings.backoff, timings.backoff_cap);
        let mut attempt = 0;
        loop {
            attempt += 1;
            paces.wait(call.service, call.account.as_str()).await;
            let fault = match timeout(timings.attempt, ask()).await {
                Ok(Ok(answer)) => {
                    self.calls.count(call.service, None);
                    return Ok(answer);
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::timeout(timings.attempt),
            };
            self.calls.count(call.service, Some(fault.class));
            if attempt >= timings.attempts || !fault.class.may_pass() {
                return Err(CallError::of(call, fault, attempt));
            }
            sleep(backoff.wait(attempt, rand::random())).await;
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither credentials nor anything that leads to them.
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
