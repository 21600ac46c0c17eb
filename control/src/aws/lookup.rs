//! What single ids stand for, for whoever names them outside Global Accelerator: the API's endpoints. Asks when it is asked and within
//! a bound; remembers nothing but its session, so that what is served never hangs on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_config::model::Aws;
use tokio::sync::Mutex;

use super::asking::Asking;
use super::elb;
use super::picture::{Picture, Resource, resource_key};
use super::session::{CallError, Session};
use super::walk::{identity, look_up};

/// A caller waits for the answer, and clients of AWS give up after a minute.
const LONGEST: Duration = Duration::from_secs(20);

/// Longer ones are none.
const LONGEST_REGION: usize = 32;

/// An id that AWS gives its meaning, and the region of its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) region: String,
    pub(crate) id: String,
}

/// What came of asking for one.
#[derive(Clone, Debug)]
pub(crate) enum Looked {
    /// It is there.
    Found(Resource),
    /// AWS has it not, or not for these credentials.
    Missing,
    /// AWS did not say.
    Failed(Arc<CallError>),
}

/// Answers by what was asked.
pub(crate) type Answers = BTreeMap<Named, Looked>;

/// Asks.
#[derive(Default)]
pub(crate) struct Lookup {
    /// Held while the session is opened, and no longer.
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    of: Aws,
    session: Session,
    /// Whose credentials these are.
    account: Option<String>,
}

impl Named {
    /// An endpoint id; `None` when AWS has nothing to say about it.
    pub(crate) fn of(region: &str, id: &str) -> Option<Named> {
        // It becomes part of the name of the host that is asked, and a caller must not choose that.
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_region = (1..=LONGEST_REGION).contains(&region.len()) && region.bytes().all(plain);
        (is_region && Self::is_id(id)).then(|| Named {
            region: region.to_owned(),
            id: id.to_owned(),
        })
    }

    /// Whether AWS gives such ids their meaning.
    pub(crate) fn is_id(id: &str) -> bool {
        let hex = |rest: &str| rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit());
        elb::place(id).is_some()
            || id.strip_prefix("i-").is_some_and(hex)
            || id.strip_prefix("eipalloc-").is_some_and(hex)
    }

    /// The region that the id itself says, when it is another one.
    pub(crate) fn elsewhere(&self) -> Option<String> {
        let own = elb::place(&self.id).map(|place| place.region);
        own.filter(|own| *own != self.region)
    }
}

impl Lookup {
    /// What these are. Everything that was asked for is in the answer.
    pub(crate) async fn ask(&self, aws: &Aws, wanted: BTreeSet<Named>) -> Answers {
        let (session, account) = self.session(aws).await;
        let asking = Asking {
            session,
            deadline: Instant::now() + LONGEST,
        };
        let account = match account {
            Some(account) => account,
            None => match self.identify(&asking, aws).await {
                Ok(account) => account,
                Err(error) => {
                    let failed = Looked::Failed(Arc::new(error));
                    return wanted.into_iter().map(|n| (n, failed.clone())).collect();
                }
            },
        };
        let ids = wanted.iter().map(|n| (n.region.clone(), n.id.clone()));
        let (read, errors) = look_up(&asking, &account, ids.collect()).await;
        let failed = errors.into_iter().next().map(Arc::new);
        let looked = |named: Named| {
            let answer = match (read.get(&resource_key(&named.region, &named.id)), &failed) {
                (Some(Some(resource)), _) => Looked::Found(resource.clone()),
                (None, Some(error)) => Looked::Failed(error.clone()),
                (Some(None), _) | (None, None) => Looked::Missing,
            };
            (named, answer)
        };
        wanted.into_iter().map(looked).collect()
    }

    async fn session(&self, aws: &Aws) -> (Session, Option<String>) {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.of == *aws) {
            return (known.session.clone(), known.account.clone());
        }
        let session = Session::open(aws).await;
        *known = Some(Known {
            of: aws.clone(),
            session: session.clone(),
            account: None,
        });
        (session, None)
    }

    /// Whose credentials these are, asked once for a session.
    async fn identify(&self, asking: &Asking, aws: &Aws) -> Result<String, CallError> {
        let account = identity(asking, aws, &Picture::default()).await?;
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_mut().filter(|known| known.of == *aws) {
            known.account = Some(account.clone());
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_balancers_instances_and_elastic_ips_are_awss() {
        let arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/50dc6c495c0c9188";
        let named = Named::of("eu-west-1", arn).expect("a load balancer");
        assert_eq!(named.elsewhere(), None);
        let named = Named::of("eu-west-2", arn).expect("a load balancer");
        assert_eq!(named.elsewhere().as_deref(), Some("eu-west-1"));
        for region in ["", "evil.example.com/", "eu-west-1@evil", "EU-WEST-1"] {
            assert_eq!(Named::of(region, arn), None, "{region}");
        }
        assert!(Named::of("r", "i-0123456789abcdef0").is_some());
        assert!(Named::of("r", "eipalloc-0123456789abcdef0").is_some());
        for other in [
            "10.0.0.1",
            "web.internal:80",
            "i-am-a-name",
            "eipalloc-none",
            "subnet-0123456789abcdef0",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/classic",
            "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0",
        ] {
            assert_eq!(Named::of("r", other), None, "{other}");
        }
    }
}
