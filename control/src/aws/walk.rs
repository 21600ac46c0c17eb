//! One reading of AWS, from whose credentials these are to what every endpoint is. It ends by its deadline, keeps what it has read
//! before an error, and says of every list whether it was read to its end.

mod resources;

pub(super) use self::resources::look_up;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use portolan_config::model::{Aws, EndpointAlias};

use super::asking::Asking;
use super::ga;
use super::picture::{Picture, Reading, Scope, SeenAccelerator, SeenListener};
use super::session::{Account, Call, CallError, ErrorClass, Fault, Service, Session, WholeXml};
use super::tags;

/// All calls of one reading end by then: a service that hangs must not hold up the next one for ever.
const LONGEST: Duration = Duration::from_secs(300);

/// Lists read at once; the pace bounds how fast they start.
pub(super) const AT_ONCE: usize = 8;

/// What a walk brings home.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What was read.
    pub reading: Reading,
    /// What was not, and why.
    pub errors: Vec<CallError>,
    /// What was read and makes no sense.
    pub remarks: Vec<String>,
}

/// Reads everything. `before` says which account was believed and what is known; it adds nothing to the reading. What has
/// an alias is not asked for: the operator has said what it is.
pub async fn walk(
    session: &Session,
    aws: &Aws,
    aliases: &[EndpointAlias],
    before: &Picture,
) -> Gathered {
    let asking = Asking {
        session: session.clone(),
        deadline: Instant::now() + LONGEST,
    };
    let mut gathered = Gathered::default();
    let account = match identity(&asking, aws, before).await {
        Ok(account) => account,
        Err(error) => {
            gathered.errors.push(error);
            return gathered;
        }
    };
    gathered.reading.account = Some(account.clone());
    accelerators(&asking, &account, &mut gathered).await;
    for region in &aws.regions {
        tags::discover(&asking, region, &mut gathered).await;
    }
    resources::resources(&asking, &account, (before, aliases), &mut gathered).await;
    gathered
}

/// Whose credentials these are. Another account than the one that is believed is an error: its lists would be valid, and wrong.
pub(super) async fn identity(
    asking: &Asking,
    aws: &Aws,
    before: &Picture,
) -> Result<String, CallError> {
    let region = aws.regions.first().map_or("us-east-1", String::as_str);
    let call = Call {
        service: Service::Sts,
        operation: "GetCallerIdentity",
        account: &Account::Own,
        region,
    };
    let config = asking.session.config(&call).await?;
    let config = aws_sdk_sts::config::Builder::from(&config).interceptor(WholeXml);
    let client = aws_sdk_sts::Client::from_conf(config.build());
    let answer = asking
        .call(&call, || {
            let request = client.get_caller_identity();
            async move { Ok(request.send().await?) }
        })
        .await?;
    let error = |class, message: String| CallError::of(&call, Fault::new(class, message), 1);
    let Some(found) = answer.account.filter(|account| !account.is_empty()) else {
        let message = "the answer names no account".to_owned();
        return Err(error(ErrorClass::Malformed, message));
    };
    match (&aws.account_id, &before.account) {
        (Some(believed), _) if *believed != found => {
            let message =
                format!("the credentials belong to {found}, [aws] account_id is {believed}");
            Err(error(ErrorClass::WrongAccount, message))
        }
        (None, Some(believed)) if *believed != found => {
            let message = format!(
                "the credentials belong to {found}, and what is served came from {believed}; say which with [aws] account_id"
            );
            Err(error(ErrorClass::WrongAccount, message))
        }
        (_, _) => Ok(found),
    }
}

async fn accelerators(asking: &Asking, account: &str, gathered: &mut Gathered) {
    let reader = match ga::Reader::new(asking).await {
        Ok(reader) => reader,
        Err(error) => return gathered.errors.push(error),
    };
    let listed = reader.accelerators().await;
    let mut whole = listed.error.is_none();
    gathered.errors.extend(listed.error);
    let mut seen = BTreeMap::new();
    for (arn, facts) in listed.items {
        // Such an answer is somebody else's, whatever GetCallerIdentity said.
        if arn.split(':').nth(4) != Some(account) {
            whole = false;
            gathered
                .remarks
                .push(format!("{arn} is not of account {account}"));
            continue;
        }
        seen.insert(
            arn,
            SeenAccelerator {
                facts,
                listeners: Scope::default(),
            },
        );
    }
    let read = stream::iter(seen).map(|(arn, accelerator)| {
        let reader = reader.clone();
        async move {
            let (listeners, errors) = listeners(&reader, &arn).await;
            (
                arn,
                SeenAccelerator {
                    listeners,
                    ..accelerator
                },
                errors,
            )
        }
    });
    let read: Vec<_> = read.buffer_unordered(AT_ONCE).collect().await;
    let mut seen = BTreeMap::new();
    for (arn, accelerator, errors) in read {
        gathered.errors.extend(errors);
        seen.insert(arn, accelerator);
    }
    gathered.reading.accelerators = Scope { seen, whole };
    // Only for the report: nothing depends on it.
    let custom = reader.custom_routing().await;
    if custom.error.is_none() {
        gathered.reading.custom_routing = Some(custom.items);
    }
}

async fn listeners(
    reader: &ga::Reader,
    accelerator: &str,
) -> (Scope<SeenListener>, Vec<CallError>) {
    let listed = reader.listeners(accelerator).await;
    let mut scope = Scope {
        seen: BTreeMap::new(),
        whole: listed.error.is_none(),
    };
    let mut errors: Vec<CallError> = listed.error.into_iter().collect();
    for (arn, facts) in listed.items {
        let groups = reader.groups(&arn).await;
        let whole = groups.error.is_none();
        errors.extend(groups.error);
        let groups = Scope {
            seen: groups.items.into_iter().collect(),
            whole,
        };
        scope.seen.insert(arn, SeenListener { facts, groups });
    }
    (scope, errors)
}
